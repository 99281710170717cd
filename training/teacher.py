"""What bundles say of texts, for a network that learns from their answers: distillation (Hinton et al. 2015).

N texts, C labels.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.bundle import Bundle
from model.calibration import Floats
from model.classifier import Classifier
from training.data import Splits
from training.errors import DataError

# Texts in memory as rows at a time.
CHUNK = 1024


@dataclass(frozen=True)
class Teacher:
    """A bundle whose answers are learnt from."""

    path: Path
    version: str
    classifier: Classifier
    # Whether it learnt from exactly the rows that the student is to learn from. Where it didn't, it may know rows that
    # judge the student.
    same_rows: bool


@dataclass(frozen=True)
class Teachers:
    """One or several, the mean of whose probabilities is what is learnt, on rows with labels and on `texts` without."""

    all: Sequence[Teacher]
    labels: Sequence[str]
    texts: Sequence[str]

    @property
    def identity(self) -> str:
        """Of the versions of all, and the texts."""
        said = [*(teacher.version for teacher in self.all), "", *self.texts]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()

    def document(self) -> list[dict[str, Any]]:
        """For a report: whose answers, by version, and whether they learnt from the rows that the student does."""
        return [
            {"bundle": str(teacher.path), "version": teacher.version, "same_rows": teacher.same_rows}
            for teacher in self.all
        ]

    def answers(self, texts: Sequence[str]) -> Floats:
        """Calibrated probabilities (N, C), a column a label."""
        mean_NC: Floats = np.mean([self._of(teacher, texts) for teacher in self.all], axis=0, dtype=np.float32)
        return mean_NC

    def _of(self, teacher: Teacher, texts: Sequence[str]) -> Floats:
        its = teacher.classifier
        columns = [its.config.labels.index(label) for label in self.labels]
        answers_NC = np.empty((len(texts), len(columns)), dtype=np.float32)
        for begin in range(0, len(texts), CHUNK):
            chunk = texts[begin : begin + CHUNK]
            answers_NC[begin : begin + CHUNK] = its.score(its.encode(chunk))[:, columns]
        return answers_NC


def load(paths: Sequence[Path], splits: Splits, texts: Sequence[str], *, threads: int) -> Teachers:
    """Open bundles that know the data's labels. Raises: BundleError, DataError.

    `texts` have no labels; those that are texts of train are passed over.
    """
    known = set(splits.train.texts)
    teachers = [_open(path, splits, threads=threads) for path in paths]
    return Teachers(teachers, splits.labels, [text for text in texts if text not in known])


def _open(path: Path, splits: Splits, *, threads: int) -> Teacher:
    bundle = Bundle.open(path)
    kind, labels = bundle.config.kind, bundle.config.labels
    if kind != splits.kind:
        raise DataError(f"teacher {path} is {kind}, and the data is {splits.kind}")
    for label in [*splits.labels, *labels]:
        if label not in labels or label not in splits.labels:
            who = "the data" if label in labels else f"teacher {path}"
            raise DataError(f"teacher {path} must have the labels of the data; {who} has no {label!r}")
    learnt = bundle.report.get("data", {}).get("splits", {}).get("train", {}).get("sha256")
    same = learnt == splits.train.fingerprint()["sha256"] and not bundle.report.get("refit")
    return Teacher(path, bundle.manifest.version, bundle.classifier(threads=threads), same)
