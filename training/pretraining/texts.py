"""Which texts are learnt from: read, without what the classifier is judged by, and without repeats."""

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from training import data, reading
from training.data import Parts, Splits
from training.errors import DataError
from training.reading import SUFFIXES, Columns

# Held out of the language model's training, to say how good it is: this share, and at most so many.
HELD_OUT_SHARE = 0.01
MOST_HELD_OUT = 500


@dataclass(frozen=True, slots=True)
class Texts:
    """What is learnt from, and what was held out to measure it. Labels are never read."""

    train: list[str]
    held_out: list[str]
    left_out: int  # as they are, by data.words_of, in what a classifier is judged by
    repeated: int  # as the same text, to the letter, came before
    hashes: dict[str, str] = field(default_factory=dict)  # sha256, by the name of the file

    @property
    def all(self) -> list[str]:
        return [*self.train, *self.held_out]

    @property
    def sha256(self) -> str:
        """Over all of them, in their order."""
        digest = hashlib.sha256()
        for text in (*self.train, "", *self.held_out):
            digest.update(json.dumps(text).encode())
        return digest.hexdigest()


def read(source: Path, columns: Columns, *, seed: int) -> Texts:
    """`train` and `unlabelled` of a folder, without what repeats in its `valid` or `test`; or all of a single file.

    A file of plain text has a text a line. Raises: DataError.
    """
    paths = data.files(source, needed=("train", "unlabelled"))
    texts = [text for name in ("train", "unlabelled") if name in paths for text in _texts(paths[name], columns)]
    judging = [text for name in ("valid", "test") if name in paths for text in _texts(paths[name], columns)]
    return _choose(texts, judging, source=source, seed=seed, hashes=data.hashes(paths))


def of_splits(parts: Parts, splits: Splits, *, seed: int) -> Texts:
    """Those of a training run: its train split and its `unlabelled`, without what repeats in any other split."""
    judging = [text for name, part in splits.parts.items() if name != "train" for text in part.texts]
    texts = [*splits.train.texts, *(parts.unlabelled or [])]
    return _choose(texts, judging, source=parts.source, seed=seed, hashes=parts.hashes)


def _texts(path: Path, columns: Columns) -> Iterable[str]:
    if path.name.lower().endswith(SUFFIXES):
        return reading.read_texts(path, columns)
    return reading.plain_texts(path)


def _choose(texts: Sequence[str], judging: Iterable[str], *, source: Path, seed: int, hashes: dict[str, str]) -> Texts:
    known = {data.words_of(text) for text in judging}
    kept = [text for text in texts if text.strip() and data.words_of(text) not in known]
    left_out = sum(bool(text.strip()) for text in texts) - len(kept)
    distinct = list(dict.fromkeys(kept))
    if len(distinct) < 2:
        raise DataError(f"{source} has {len(distinct)} texts to learn from; at least 2 are needed")
    number = min(MOST_HELD_OUT, max(1, round(len(distinct) * HELD_OUT_SHARE)))
    chosen = set(random.Random(seed).sample(range(len(distinct)), number))
    return Texts(
        train=[text for index, text in enumerate(distinct) if index not in chosen],
        held_out=[distinct[index] for index in sorted(chosen)],
        left_out=left_out,
        repeated=len(kept) - len(distinct),
        hashes=hashes,
    )
