"""Which recipe a data set gets where none is named: `--recipe auto`.

The rule looks at the data's shape alone, never at how well anything did on it, so that anybody's own set gets it too.
"""

import statistics
from collections.abc import Sequence

from training import config
from training.config import TrainingConfig
from training.data import Parts
from training.reading import Examples

AUTO = "auto"
# Of the middle text of train: about 80 words. Reviews and posts are longer, sentences and tweets shorter.
LONG_CHARACTERS = 450
# About ten words: questions and phrases, too short to learn words from what stands beside them.
SHORT_CHARACTERS = 60
# Of train and `unlabelled` together, each text once. A language model of 0.7 million brought SST-2's sentences nothing
# for as much time again, one of 0.9 made B2W's reviews 4 % likelier.
LITTLE_TEXT = 800_000
SAMPLED = 10_000
# Rows of train, as it was read.
FEW_ROWS = 5_000


def check(recipe: str, settings: Sequence[str], *, seed: int | None) -> None:
    """Before the data is read. Raises: ConfigError, as `load`."""
    config.load(None if recipe == AUTO else recipe, settings, seed=seed)


def load(recipe: str, settings: Sequence[str], parts: Parts, *, seed: int | None) -> tuple[str, TrainingConfig]:
    """The recipe's name, chosen for the data where it is "auto", and its settings under those of `--set` and `--seed`.

    Raises: ConfigError.
    """
    chosen = choose(parts) if recipe == AUTO else recipe
    return chosen, config.load(chosen, settings, seed=seed)


def choose(parts: Parts) -> str:
    """The name of a recipe in `recipes/`: several labels a text, long texts, few, short ones or little text, or none of
    these, in this order.
    """
    if parts.train.kind == "multi-label":
        return "multi-label"
    length = _middle_length(parts.train)
    if length >= LONG_CHARACTERS:
        return "long"
    if len(parts.train) < FEW_ROWS:
        return "few"
    if length < SHORT_CHARACTERS or _characters(parts) < LITTLE_TEXT:
        return "short"
    return "default"


def _characters(parts: Parts) -> int:
    """Of all that a language model could be made from; a text that comes twice is read once."""
    return sum(map(len, {*parts.train.texts, *(parts.unlabelled or ())}))


def _middle_length(train: Examples) -> float:
    """In characters; of evenly spaced rows, as a file may be sorted."""
    step = max(1, len(train) // SAMPLED)
    return statistics.median(len(text) for text in train.texts[::step])
