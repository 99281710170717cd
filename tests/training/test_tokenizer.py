"""training.tokenizer: words, and what is made of them."""

import tokenizers

from training import tokenizer
from training.config import TrainingConfig


def words(text: str, **settings: object) -> list[str]:
    config = TrainingConfig(min_count=1, **settings)  # type: ignore[arg-type]
    made: tokenizers.Tokenizer = tokenizer.train([text], config)
    return made.encode(text).tokens


def test_contractions_are_cut_where_the_treebank_cuts_them() -> None:
    """A negation is a word by itself, whatever apostrophe it is written with."""
    assert words("I didn't, it’s over!") == ["i", "did", "n't", ",", "it", "'s", "over", "!"]


def test_portuguese_words_keep_their_accents() -> None:
    """Letters are letters in any language."""
    assert words("Não é só isso, coração") == ["não", "é", "só", "isso", ",", "coração"]


def test_case_can_be_kept() -> None:
    """Where case says something."""
    assert words("NO no", lowercase=False) == ["NO", "no"]


def test_rare_words_are_unknown() -> None:
    """Words below `min_count`, and those past `max_vocabulary`."""
    made = tokenizer.train(["a a a b b c"], TrainingConfig(min_count=2))
    assert made.encode("a b c d").tokens == ["a", "b", "<unk>", "<unk>"]
    made = tokenizer.train(["a a a b b c"], TrainingConfig(min_count=1, max_vocabulary=3))
    assert made.encode("a b c").tokens == ["a", "<unk>", "<unk>"]


def test_ties_are_broken_by_the_alphabet() -> None:
    """The order of the texts, and of a hash, is no part of a tokenizer."""
    one, other = (tokenizer.train(texts, TrainingConfig()).to_str() for texts in (["b b a a"], ["a b", "b a"]))
    assert one == other
