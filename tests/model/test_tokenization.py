"""model.tokenization: where a text is cut, and what an empty one is."""

import pytest

from model.errors import BundleError
from model.tokenization import CHARACTERS_PER_TOKEN, MANY, PARALLEL, UNKNOWN, Tokenization
from training import tokenizer
from training.config import TrainingConfig

TEXTS = ["the film was good", "the film was not good", "it's a film I didn't like"]


@pytest.fixture
def tokenization() -> Tokenization:
    return Tokenization(tokenizer.train(TEXTS, TrainingConfig(min_count=1)), max_tokens=4)


def test_a_long_text_is_cut_and_says_so(tokenization: Tokenization) -> None:
    """The first `max_tokens` tokens are kept, and `truncated` is true."""
    kept, cut = tokenization.encode(["the film was good", "the film was not good"])
    assert (len(kept.ids), kept.truncated) == (4, False)
    assert (len(cut.ids), cut.truncated) == (4, True)


def test_a_huge_text_is_cut_before_it_is_tokenized(tokenization: Tokenization) -> None:
    """Characters past any that could matter are never read, and the text counts as cut, even if few tokens came."""
    (row,) = tokenization.encode(["good " + "x" * 4 * CHARACTERS_PER_TOKEN])
    assert row.truncated
    assert len(row.ids) == 2


def test_white_space_takes_no_room(tokenization: Tokenization) -> None:
    """However much of it there is, the words are read."""
    (row,) = tokenization.encode([" " * 100 * CHARACTERS_PER_TOKEN + "the film was good"])
    assert (len(row.ids), row.truncated) == (4, False)


@pytest.mark.parametrize("parallel", ["true", "false"])
def test_many_texts_are_read_as_each_is_alone(
    tokenization: Tokenization, parallel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the library's threads, or by words: plain texts and others, in their order."""
    monkeypatch.setenv(PARALLEL, parallel)
    texts = [f"the film {sign} {number}" for number in range(MANY) for sign in ("was", "…", "didn’t")]
    alone = [tokenization.encode([text])[0].ids.tolist() for text in texts]
    assert [row.ids.tolist() for row in tokenization.encode(texts)] == alone


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u200b"])
def test_a_text_without_tokens_is_one_unknown_token(tokenization: Tokenization, text: str) -> None:
    """Nothing can be read, and still there is an answer."""
    (row,) = tokenization.encode([text])
    assert row.ids.tolist() == [UNKNOWN]


def test_a_tokenizer_comes_back_the_same(tokenization: Tokenization) -> None:
    """Written as JSON and read again it gives the same ids."""
    again = Tokenization.from_json(tokenization.to_json(), max_tokens=4)
    assert [row.ids.tolist() for row in again.encode(TEXTS)] == [row.ids.tolist() for row in tokenization.encode(TEXTS)]


def test_what_is_no_tokenizer_is_refused() -> None:
    """The error names the file."""
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        Tokenization.from_json("{}", max_tokens=4)


def test_special_names_in_a_text_are_plain_text(tokenization: Tokenization) -> None:
    """A text can't smuggle padding in."""
    (row,) = tokenization.encode(["<pad>"])
    assert row.ids.tolist() == [UNKNOWN] * 3
