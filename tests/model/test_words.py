"""model.words: on plain text the same ids as the library's pipeline, and on other text none."""

import random

import pytest
import tokenizers
from tokenizers import AddedToken, models, normalizers, pre_tokenizers, processors

from model.words import Words, normalizer, pre_tokenizer

KNOWN = ["it", "'s", "s", "did", "don", "n't", "t", "nt", "'t", "ca", "é", "ß", "ação", "x1", "_", "'", ",", "”"]
# All of ASCII, what else is plain, and pieces that make contractions likely.
SIGNS = [*map(chr, range(128)), *"ÀÖØÞßàöøÿãçéõœŒ¡¿’‘“”„«»–—•€£§°©®", *["n't", "N’T", "'s", "did", "can", " "] * 12]
OTHERS = ["ª", "µ", "×", "÷", "½", "…", "\u00a0", "\u0301", "\x1f", "İ", "Σ", "ŉ", "語", "\u200b"]


def pipeline(*, lowercase: bool = True) -> tokenizers.Tokenizer:
    """As training makes it."""
    vocabulary = {word: index for index, word in enumerate(["<pad>", "<unk>", *KNOWN, *map(str.upper, KNOWN)])}
    made = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.normalizer = normalizer(lowercase=lowercase)
    made.pre_tokenizer = pre_tokenizer()
    return tokenizers.Tokenizer.from_str(made.to_str())


def words(found: tokenizers.Tokenizer) -> Words:
    made = Words.of(found)
    assert made is not None
    return made


@pytest.mark.parametrize("lowercase", [True, False])
def test_plain_text_has_the_pipelines_ids(lowercase: bool) -> None:
    """Whatever stands beside each other; text that isn't plain is left alone, and never read another way."""
    library = pipeline(lowercase=lowercase)
    ours = words(library)
    draw, plain = random.Random(0), 0
    for _ in range(4000):
        text = "".join(draw.choices(SIGNS, k=draw.randint(0, 12)))
        if (ids := ours.ids(text)) is not None:
            plain += 1
            assert ids == library.encode(text).ids, repr(text)
    assert plain > 500


@pytest.mark.parametrize("sign", OTHERS)
def test_a_sign_that_might_be_changed_is_left_to_the_library(sign: str) -> None:
    """By NFKC or by lower case, or counted as white space by one and not by the other."""
    assert words(pipeline()).ids(f"it's {sign} it") is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("normalizer", normalizers.NFKC()),
        ("pre_tokenizer", pre_tokenizers.Whitespace()),
        ("model", models.BPE()),
    ],
)
def test_another_pipeline_is_left_to_the_library(name: str, value: object) -> None:
    """A bundle's file says how it reads; only our own way is known here."""
    other = pipeline()
    setattr(other, name, value)
    assert Words.of(other) is None


def test_a_pipeline_that_adds_or_cuts_is_left_to_the_library() -> None:
    """Words of its own are found before any pattern."""
    adding, cutting, repeating = pipeline(), pipeline(), pipeline()
    adding.add_tokens([AddedToken("did it")])
    cutting.enable_truncation(3)
    repeating.post_processor = processors.TemplateProcessing("$A $A", "$A $B", [])
    assert [Words.of(other) for other in (adding, cutting, repeating)] == [None] * 3
