"""Labelled text to splits: read, validate, hold out, drop what repeats."""

import hashlib
import os
import random
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from model.config import ClassifierConfig, Kind
from training import reading
from training.config import TrainingConfig
from training.errors import DataError
from training.printable import utf_8
from training.reading import SUFFIXES, Columns, Examples

# A number of each row (N,).
Rows: TypeAlias = npt.NDArray[np.int64]

# What a network may have: model.config.NetworkConfig.classes.
MOST_CLASSES = 10_000
FOLDS = 5
MOST_HELD_OUT = 0.5  # of train, where it is learnt from afterwards
SAMPLE = Path(__file__).parent / "sample" / "messages.jsonl"


@dataclass(frozen=True, slots=True)
class Parts:
    """What was read, as it lies in the files: `train` at least; the rest where the source has it."""

    source: Path
    paths: dict[str, Path]  # by the name of the part
    hashes: dict[str, str]  # sha256, by the name of the file
    train: Examples
    valid: Examples | None = None
    test: Examples | None = None
    unlabelled: list[str] | None = None

    @property
    def labelled(self) -> dict[str, Examples]:
        """The parts with labels that are there, by name."""
        parts = {"train": self.train, "valid": self.valid, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}


@dataclass(frozen=True, slots=True)
class Splits:
    """What a run learns from, chooses its epoch by, fits its temperature on, and is judged by.

    No row is in two of them, nor a text, by `words_of`, unless `drop_repeats` is off. `test` is None where the data has
    none. `dropped` rows were left out, as their texts are in the data's own test too or, of train, in its own valid.
    `own_valid`: validation and calibration are that.
    """

    train: Examples
    validation: Examples
    calibration: Examples
    test: Examples | None
    labels: list[str]
    dropped: int
    own_valid: bool = False

    @property
    def kind(self) -> Kind:
        return self.train.kind

    @property
    def parts(self) -> dict[str, Examples]:
        """The splits that are there, by name."""
        named = {name: getattr(self, name) for name in ("train", "validation", "calibration", "test")}
        return {name: part for name, part in named.items() if part is not None}

    @property
    def judged(self) -> dict[str, Examples]:
        """What is reported on: validation, and test where there is one, which is the one to believe."""
        return {"valid": self.validation} | ({"test": self.test} if self.test is not None else {})


def read(source: Path, columns: Columns) -> Parts:
    """The files of a folder with `train` (and `valid`, `test`, `unlabelled`), or a single file, which is `train`.

    Raises: DataError.
    """
    paths = files(source)
    labelled = {"train": reading.read(paths["train"], columns)}
    known = labelled["train"].rows_a_label
    labelled |= {name: reading.read(paths[name], columns, known=known) for name in ("valid", "test") if name in paths}
    for name, examples in labelled.items():
        if examples.kind != labelled["train"].kind:
            raise DataError(f"{paths[name]} is {examples.kind}, but {paths['train']} is {labelled['train'].kind}")
    unlabelled = list(reading.read_texts(paths["unlabelled"], columns)) if "unlabelled" in paths else None
    return Parts(source, paths, hashes(paths), **labelled, unlabelled=unlabelled)


def hashes(paths: dict[str, Path]) -> dict[str, str]:
    """sha256 of each file, by its name."""
    found = {}
    for path in paths.values():
        with path.open("rb") as file:
            found[utf_8(path.name)] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def split(parts: Parts, config: TrainingConfig) -> Splits:
    """Hold out what is missing, by seed and a label's share; then leave out what the data's own valid and test have.

    Raises: DataError.
    """
    train, validation, test = parts.train, parts.valid, parts.test
    path = parts.paths["train"]
    _check_classes(path, train)
    rng = random.Random(config.seed)
    if not parts.source.is_dir():
        test, train = _carve(train, config.test_share, rng)
    validation, calibration, train = _hold_out(train, validation, config, rng)
    _check_held_out(path, test, validation)
    rows = len(train) + len(validation) + len(calibration)
    if config.drop_repeats:  # between parts that were carved of one there are none
        judging = [test] if test is not None else []
        validation, calibration = (_without(part, judging) for part in (validation, calibration))
        train = _without(train, [*judging, validation, calibration])
    if not len(validation):
        raise DataError(f"{path}: no row is left for validation: all their texts are in test too (drop_repeats=false)")
    labels = sorted(train.rows_a_label)
    _check_left(path, parts.train, train)
    for name, examples in (("valid", validation), ("valid", calibration), ("test", test)):
        check_known(parts.paths.get(name, path), examples, labels)
    dropped = rows - len(train) - len(validation) - len(calibration)
    return Splits(train, validation, calibration, test, labels, dropped, own_valid=parts.valid is not None)


def refusal(parts: Parts, config: TrainingConfig) -> str | None:
    """Why no training can begin with these settings; None where one can."""
    try:
        split(parts, config)
    except DataError as error:
        return str(error)
    return None


def all_rows(splits: Splits, config: TrainingConfig, *, more: int = 0) -> Splits | None:
    """What a second training learns from: train with the validation and calibration rows that were held out of it, all
    three as they were left without repeats. None where there is none: `refit_below`, of these and the texts that are
    learnt from beside, which are `more`.
    """
    learnt = (splits.train, splits.validation, splits.calibration)
    if splits.own_valid or sum(map(len, learnt)) + more >= config.refit_below:
        return None
    nothing = splits.train.take([])
    return replace(splits, train=joined(learnt), validation=nothing, calibration=nothing)


def joined(parts: Sequence[Examples]) -> Examples:
    """The rows of all, in their order; they are of one kind."""
    texts, labels = ([row for part in parts for row in getattr(part, name)] for name in ("texts", "labels"))
    return Examples(texts, labels, parts[0].kind)


def folds(examples: Examples, seed: int, *, count: int = FOLDS) -> Rows:
    """Which of `count` folds each row is held out in (N,): copies of a text together, each label spread over all; of a
    row's labels the rarest counts.
    """
    first_N = first_copies(examples)
    rows = sorted(set(first_N.tolist()), key=lambda row: folded(examples.texts[row]))
    random.Random(seed).shuffle(rows)
    rows_a_label = examples.rows_a_label
    rows.sort(key=lambda row: min(((rows_a_label[label], label) for label in examples.labels[row]), default=(0, "")))
    fold = {row: place % count for place, row in enumerate(rows)}
    return np.array([fold[row] for row in first_N.tolist()])


def first_copies(examples: Examples) -> Rows:
    """The first row that has each row's text (N,), by its `words_of`."""
    first: dict[str, int] = {}
    keys = map(words_of, examples.texts)
    return np.array([first.setdefault(key, row) for row, key in enumerate(keys)], dtype=np.int64)


def words_of(text: str) -> str:
    """What is the same for copies of a text: its words and symbols in their order, whatever the case, space and
    punctuation. Of a text with none of these it is all that `folded` leaves: ":)" isn't ":(".

    This is what "the same text" means wherever what is judged must not be learnt from.
    """
    same = folded(text)
    return " ".join(same.translate(_WORDS_APART).split()) or same


class _WordsApart(dict[int, int]):
    """For str.translate: a space for each character of no word. Marks are of one: कि and की differ by theirs."""

    def __missing__(self, code: int) -> int:
        self[code] = code if _is_in_words(chr(code)) else ord(" ")
        return self[code]


def _is_in_words(character: str) -> bool:
    if unicodedata.category(character) in {"Mn", "Mc"}:  # those that choose a sign's look follow signs
        return not unicodedata.name(character, "").startswith("VARIATION SELECTOR")
    return character.isalnum() or unicodedata.category(character) in {"Sc", "Sm", "So"}  # C++, €, a face


_WORDS_APART = _WordsApart()


def files(data: Path, *, needed: Sequence[str] = ("train",)) -> dict[str, Path]:
    """The parts of a folder, one of `needed` at least, by name; a single file is "train". Raises: DataError."""
    try:
        if data.is_file():
            return {"train": data}
        if not data.is_dir():
            raise DataError(
                f"{data} is neither a file nor a folder" if os.path.lexists(data) else f"{data} doesn't exist"
            )
    except OSError as error:
        raise DataError(f"{_short(data)} can't be read: {error.strerror}") from None
    found = {name: _file(data, name) for name in ("train", "valid", "test", "unlabelled")}
    paths = {name: path for name, path in found.items() if path is not None}
    if not any(name in paths for name in needed):
        endings = ", ".join(needed[0] + suffix for suffix in SUFFIXES)
        raise DataError(f"{data} has no {' or '.join(needed)} file ({endings})")
    return paths


def _short(path: Path) -> str:
    return shown if len(shown := str(path)) <= 200 else f"{shown[:197]}…"


def _file(folder: Path, name: str) -> Path | None:
    found = [path for suffix in SUFFIXES if os.path.lexists(path := folder / (name + suffix))]
    for path in found:
        if not path.is_file():
            raise DataError(f"{path} is no file")
    if len(found) > 1:
        raise DataError(f"{folder} has {' and '.join(path.name for path in found)}; one of them can be {name}")
    return found[0] if found else None


def _check_classes(path: Path, train: Examples) -> None:
    labels = train.rows_a_label
    if len(labels) < 2:
        what = f"one class only ({next(iter(labels))!r})" if labels else "no label in any row"
        raise DataError(f"{path} has {what}; at least 2 are needed")
    if len(labels) > MOST_CLASSES:
        raise DataError(
            f"{path} has {len(labels):,} classes; the limit is {MOST_CLASSES:,} (is the label column the right one?)"
        )
    if not any(text.strip() for text in train.texts):
        raise DataError(f"{path}: every text is empty or white space (is the text column the right one?)")
    if len(train) < 3 * len(labels):
        raise DataError(
            f"{path} has {len(train):,} rows for {len(labels):,} classes; at least 3 rows a class are needed "
            "(is the label column the right one?)"
        )


def _check_held_out(path: Path, test: Examples | None, validation: Examples) -> None:
    for name, part in (("test", test), ("validation", validation)):
        if part is not None and not len(part):
            raise DataError(
                f"{path}: no row can be held out for {name}: no class has 2 different texts left (case, space and "
                "punctuation are no difference)"
            )


def _check_left(path: Path, read: Examples, train: Examples) -> None:
    gone = sorted(set(read.rows_a_label) - set(train.rows_a_label))
    if gone:
        raise DataError(
            f"{path}: no row of {gone[0]!r} is left for training: the texts of all of them are held out "
            "(drop_repeats=false keeps those that are in valid or test too)"
        )
    if not any(text.strip() for text in train.texts):
        raise DataError(f"{path}: every text that is left for training is empty or white space")


def check_known(path: Path, examples: Examples | None, labels: Sequence[str]) -> None:
    """Raises: DataError if a label isn't one of `labels`."""
    unknown = sorted(set(examples.rows_a_label) - set(labels)) if examples else []
    if unknown:
        raise DataError(
            f"{path}: {', '.join(map(repr, unknown[:5]))} among the labels, but not among those of training"
        )


def check_fits(path: Path, examples: Examples, config: ClassifierConfig) -> None:
    """Raises: DataError if these labels are of another kind than the classifier's, or not among them."""
    if examples.kind != config.kind:
        raise DataError(f"{path} is {examples.kind}, but the bundle is {config.kind}")
    check_known(path, examples, config.labels)


def folded(text: str) -> str:
    """What is the same for texts that differ in case and white space only, and in what the tokenizer reads as one: the
    forms of a character (NFKC), and the two apostrophes. Punctuation and signs stay: they may tell a label, or be all
    of a name; what is held out is compared by `words_of`.
    """
    return " ".join(unicodedata.normalize("NFKC", text).replace("’", "'").split()).casefold()


def _without(examples: Examples, others: Sequence[Examples]) -> Examples:
    """The rows whose text is in none of the others."""
    known = {words_of(text) for other in others for text in other.texts}
    return examples.take([index for index, text in enumerate(examples.texts) if words_of(text) not in known])


def _hold_out(
    train: Examples, valid: Examples | None, config: TrainingConfig, rng: random.Random
) -> tuple[Examples, Examples, Examples]:
    """Validation, calibration, and what is left of train."""
    held_out = config.validation_share + config.calibration_share
    if valid is None:
        share = held_out
        if len(train) < config.refit_below:  # all of them are learnt from in the end
            share = max(share, min(MOST_HELD_OUT, config.least_held_out / len(train)))
        valid, train = _carve(train, share, rng)
    calibration, validation = _carve(valid, config.calibration_share / held_out, rng)
    return validation, calibration, train


def _carve(examples: Examples, share: float, rng: random.Random) -> tuple[Examples, Examples]:
    """A share of every label's rows, at random, and the rest; all copies of a text are in one of them. Of each label at
    least one text stays in the rest, and where it has two, at least one is carved. A text of several labels, on one row
    or on several, counts as one of its rarest.
    """
    carved: list[int] = []
    for texts in _strata(examples):
        rng.shuffle(texts)
        carved += _drawn(texts, share)
    inside = set(carved)
    return examples.take(sorted(carved)), examples.take([i for i in range(len(examples)) if i not in inside])


def _strata(examples: Examples) -> list[list[list[int]]]:
    """The texts of each label, each as the rows of all its copies."""
    copies: dict[int, list[int]] = {}
    for row, first in enumerate(first_copies(examples).tolist()):
        copies.setdefault(first, []).append(row)
    labels_of = {first: {label for row in rows for label in examples.labels[row]} for first, rows in copies.items()}
    # By texts, not rows: a label of one text must not be drawn with those of another.
    texts = Counter(label for labels in labels_of.values() for label in labels)
    strata: dict[str, list[list[int]]] = {}
    for first, rows in copies.items():
        rarest = min(labels_of[first], key=lambda label: (texts[label], label), default="")
        strata.setdefault(rarest, []).append(rows)
    return [strata[label] for label in sorted(strata)]


def _drawn(texts: Sequence[list[int]], share: float) -> list[int]:
    """Rows of the first of these texts, as near to the share of all rows as they come, but of no larger share of the
    texts, nor of the last one. A text that would exceed the share by more than is lacking is passed over, unless all
    would: then it is the smallest.
    """
    lacking = max(round(sum(map(len, texts)) * share), 1)
    # Where a text has most of the rows, to make up for it would leave train no other.
    most = min(max(round(len(texts) * share), 1), len(texts) - 1)
    drawn: list[list[int]] = []
    for rows in texts:
        if len(rows) < 2 * lacking and len(drawn) < most:
            drawn.append(rows)
            lacking -= len(rows)
    if not drawn and len(texts) > 1:
        drawn = [min(texts, key=len)]
    return [row for rows in drawn for row in rows]
