"""model.ngrams: the same n-grams for the same text, wherever it stands, and scores that add up."""

import re

import numpy as np
import pytest
import safetensors.numpy

from model import ngrams
from model.errors import BundleError
from model.ngrams import Ngrams

LIMIT = 1000
KNOWN_HASHES = [3596786, 3860471, 494748]  # of a, b, and a b
TEXTS = ["The film was good.", "an awful, awful film", "", "🙂🙂 a", "ação não", "x" * 9]


def model(texts: list[str] = TEXTS, *, classes: int = 3) -> Ngrams:
    """One that knows every n-gram of the texts, with random weights."""
    found = ngrams.find(texts, ("words", "characters"), LIMIT).values()
    hashes_K = np.unique(np.concatenate([kind.hash_G for kind in found]))
    draw = np.random.default_rng(0)
    idf_K = draw.uniform(1, 5, len(hashes_K)).astype(np.float32)
    weights_KC = draw.normal(size=(len(hashes_K), classes)).astype(np.float32)
    return Ngrams(("words", "characters"), LIMIT, hashes_K, idf_K, weights_KC, np.ones(classes, dtype=np.float32))


def counts(text: str, kind: ngrams.NgramKind) -> int:
    return len(ngrams.find([text], (kind,), LIMIT)[kind].text_G)


def test_words_are_runs_of_letters_single_signs_and_pairs() -> None:
    """Three words and a full stop are four, and three pairs."""
    assert counts("The film was.", "words") == 4 + 3
    assert counts("🙂🙂", "words") == 2 + 1
    assert counts("snake_case2", "words") == 1


@pytest.mark.parametrize("text", ["a", "ab", "the film", "  one two  three ", "não é"])
def test_characters_are_those_inside_a_word_and_the_space_around_it(text: str) -> None:
    """As many as a plain loop over every word finds."""
    padded = [f" {word} " for word in text.split()]
    expected = sum(max(len(word) - length + 1, 0) for word in padded for length in ngrams.CHARACTERS)
    assert counts(text, "characters") == expected


def test_case_and_space_are_no_difference() -> None:
    """The same hashes in the same order."""
    first, second = (ngrams.find([text], ("words",), LIMIT)["words"] for text in ("The  FILM\n", "the film"))
    assert first.hash_G.tolist() == second.hash_G.tolist()


def test_hashes_are_the_same_on_every_machine() -> None:
    """Known values: a bundle would be worth nothing where they are others."""
    assert ngrams.find(["a b"], ("words",), LIMIT)["words"].hash_G.tolist() == KNOWN_HASHES


def test_different_words_have_different_hashes() -> None:
    """Of ten thousand words in four million buckets about a dozen pairs meet."""
    words = [f"w{number}" for number in range(10_000)]
    found = ngrams.find(words, ("words",), LIMIT)["words"].hash_G
    assert len(np.unique(found)) > 9_950


def test_a_text_scores_the_same_alone_and_among_others() -> None:
    """To the bit, whatever stands beside it."""
    made = model()
    alone = np.concatenate([made.logits([text]) for text in TEXTS])
    assert (made.logits(TEXTS) == alone).all()
    assert (made.logits(TEXTS * 5)[-len(TEXTS) :] == alone).all()


def test_texts_beyond_one_part_are_scored_each_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut into parts of a few characters, the scores are those of one part."""
    made, texts = model(), TEXTS * 3
    whole = made.logits(texts)
    monkeypatch.setattr(ngrams, "PART", 10)
    assert (made.logits(texts) == whole).all()


def test_a_text_without_known_ngrams_scores_the_biases() -> None:
    """So does an empty one, and none at all has no row."""
    assert (model(["a"]).logits(["zzz", ""]) == 1).all()
    assert model().logits([]).shape == (0, 3)


def test_scores_are_weights_times_values_of_length_one() -> None:
    """One word known of two: its value is 1, its score the weight and the bias."""
    hashes_K = ngrams.find(["film"], ("words",), LIMIT)["words"].hash_G
    idf_K, weights_KC, biases_C = (np.full(shape, 3, np.float32) for shape in (1, (1, 2), 2))
    made = Ngrams(("words",), LIMIT, hashes_K, idf_K, weights_KC, biases_C)
    assert made.logits(["unheard film"]).tolist() == [[6, 6]]


def test_what_was_written_is_read() -> None:
    """The same scores from its own bytes."""
    made = model()
    again = Ngrams.from_bytes(("words", "characters"), LIMIT, made.to_bytes(), classes=3)
    assert (again.logits(TEXTS) == made.logits(TEXTS)).all()


def test_a_file_that_does_not_fit_is_refused_by_name() -> None:
    """No safetensors, or of other classes."""
    with pytest.raises(BundleError, match=re.escape("ngrams.safetensors can't be read")):
        Ngrams.from_bytes(("words",), LIMIT, b"nothing", classes=3)
    with pytest.raises(BundleError, match=r"weights is float32 .*, 3\); float32 .*, 4\) was expected"):
        Ngrams.from_bytes(("words",), LIMIT, model().to_bytes(), classes=4)


def test_a_file_of_other_types_is_refused() -> None:
    """Hashes that are no whole numbers would index nothing."""
    arrays = safetensors.numpy.load(model().to_bytes())
    data = safetensors.numpy.save({**arrays, "hashes": arrays["hashes"].astype(np.float32)})
    with pytest.raises(BundleError, match="hashes is float32"):
        Ngrams.from_bytes(("words",), LIMIT, data, classes=3)


SAME = [("café", "cafe\u0301"), ("don’t", "don't"), ("ＡＢＣ", "abc"), ("ﬁne", "fine")]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_the_tokenizer_reads_the_same_is_the_same(one: str, other: str) -> None:
    """Compatible forms of a sign, and both apostrophes."""
    made = model([one])
    assert (made.logits([one]) == made.logits([other])).all()


def test_a_mark_belongs_to_its_letter() -> None:
    """A Hindi word with its vowel signs is one word."""
    assert counts("हिन्दी", "words") == 1


def test_a_word_gains_nothing_by_being_said_again() -> None:
    """The values of a text have length 1, however often a word comes."""
    made = model(["good"])
    assert np.allclose(made.logits(["good"]), made.logits(["good " * 200]), atol=1e-5)


def test_what_stands_beyond_the_limit_is_not_read() -> None:
    """As many characters as were promised."""
    made = model()
    assert (made.logits(["x" * LIMIT + " awful"]) == made.logits(["x" * LIMIT])).all()


def test_many_features_are_added_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a few features each, a text across several: the same sums but for their order."""
    made = model()
    whole = made.logits(TEXTS)
    monkeypatch.setattr(ngrams, "BLOCK", 6)
    assert np.allclose(made.logits(TEXTS), whole, atol=1e-5)
