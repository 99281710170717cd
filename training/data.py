"""Labelled text to splits: validate, warn, split."""

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path

from training.config import TrainingConfig
from training.errors import DataError
from training.reading import SUFFIXES, Columns, Examples, read

SAMPLE = Path(__file__).parent / "sample" / "messages.jsonl"


@dataclass(frozen=True, slots=True)
class Splits:
    """What a run learns from, chooses its epoch by, fits its temperature on, and is judged by.

    No row is in two of them. `test` is None where the data has none; `warnings` are for the user to read.
    """

    train: Examples
    validation: Examples
    calibration: Examples
    test: Examples | None
    labels: list[str]
    sources: dict[str, str]  # sha256 of every file that was read
    warnings: list[str]


def load(data: Path, config: TrainingConfig, columns: Columns) -> Splits:
    """The splits of a folder with `train` (and `valid`, `test`), or of a single file.

    Raises: DataError.
    """
    paths = _files(data)
    parts = {name: read(path, columns) for name, path in paths.items()}
    train, validation, test = parts["train"], parts.get("valid"), parts.get("test")
    _check_classes(paths["train"], train)
    rng = random.Random(config.seed)
    if not data.is_dir():
        test, train = _carve(train, config.test_share, rng)
    warnings = _warnings(train, test)
    validation, calibration, train = _hold_out(train, validation, config, rng)
    labels = sorted(set(train.labels))
    for name, examples in (("valid", validation), ("valid", calibration), ("test", test)):
        check_known(paths.get(name, paths["train"]), examples, labels)
    return Splits(
        train=train,
        validation=validation,
        calibration=calibration,
        test=test,
        labels=labels,
        sources={path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths.values()},
        warnings=warnings,
    )


def _files(data: Path) -> dict[str, Path]:
    if data.is_file():
        return {"train": data}
    if not data.is_dir():
        raise DataError(f"{data} doesn't exist")
    found = {name: _file(data, name) for name in ("train", "valid", "test")}
    paths = {name: path for name, path in found.items() if path is not None}
    if "train" not in paths:
        raise DataError(f"{data} has no train file ({', '.join('train' + suffix for suffix in SUFFIXES)})")
    return paths


def _file(folder: Path, name: str) -> Path | None:
    found = [path for suffix in SUFFIXES if (path := folder / (name + suffix)).is_file()]
    if len(found) > 1:
        raise DataError(f"{folder} has {' and '.join(path.name for path in found)}; one of them can be {name}")
    return found[0] if found else None


def _check_classes(path: Path, train: Examples) -> None:
    classes = len(set(train.labels))
    if classes == 1:
        raise DataError(f"{path} has one class only ({train.labels[0]!r}); at least 2 are needed")
    if len(train) < 3 * classes:
        raise DataError(
            f"{path} has {len(train):,} rows for {classes:,} classes; at least 3 rows a class are needed "
            "(is the label column the right one?)"
        )


def check_known(path: Path, examples: Examples | None, labels: list[str]) -> None:
    """Raises: DataError if a label isn't one of `labels`."""
    unknown = sorted(set(examples.labels) - set(labels)) if examples else []
    if unknown:
        raise DataError(
            f"{path}: {', '.join(map(repr, unknown[:5]))} among the labels, but not among those of training"
        )


def _warnings(train: Examples, test: Examples | None) -> list[str]:
    found = []
    folded: dict[str, set[str]] = {}
    for label in train.labels:
        folded.setdefault(" ".join(label.split()).casefold(), set()).add(label)
    found += [
        f"labels that differ in case or spaces only: {', '.join(map(repr, sorted(names)))}"
        for names in folded.values()
        if len(names) > 1
    ]
    if empty := sum(not text.strip() for text in train.texts):
        found.append(f"{empty:,} empty texts in train")
    if test is not None:
        known = set(train.texts)
        if repeats := sum(text in known for text in test.texts):
            found.append(f"{repeats:,} of {len(test):,} test texts are also in train, to the letter")
    return found


def _hold_out(
    train: Examples, valid: Examples | None, config: TrainingConfig, rng: random.Random
) -> tuple[Examples, Examples, Examples]:
    """Validation, calibration, and what is left of train."""
    held_out = config.validation_share + config.calibration_share
    if valid is None:
        valid, train = _carve(train, held_out, rng)
    calibration, validation = _carve(valid, config.calibration_share / held_out, rng)
    return validation, calibration, train


def _carve(examples: Examples, share: float, rng: random.Random) -> tuple[Examples, Examples]:
    """A share of every label's rows, at random, and the rest: of each label at least one row stays in the rest, and
    where it has two, at least one is carved.
    """
    by_label: dict[str, list[int]] = {}
    for index, label in enumerate(examples.labels):
        by_label.setdefault(label, []).append(index)
    carved: list[int] = []
    for label in sorted(by_label):
        indices = by_label[label]
        rng.shuffle(indices)
        carved += indices[: min(max(round(len(indices) * share), 1), len(indices) - 1)]
    inside = set(carved)
    return examples.take(sorted(carved)), examples.take([i for i in range(len(examples)) if i not in inside])
