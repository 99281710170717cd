"""What bundles say of texts, for a network that learns from their answers: distillation (Hinton et al. 2015).

N texts, C labels.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.bundle import Bundle
from model.calibration import Flags, Floats
from model.classifier import Classifier
from model.engine import Device
from training.data import Splits
from training.errors import DataError
from training.printable import utf_8

# Texts in memory as rows at a time.
CHUNK = 1024


@dataclass(frozen=True)
class Lessons:
    """What all teachers say: the mean of their calibrated probabilities, of each text that was asked about."""

    texts: Sequence[str]  # without labels
    row_of: Mapping[str, int]
    answers_NC: Floats

    def of(self, texts: Sequence[str]) -> Floats:
        """Probabilities (N, C), a column a label of the data."""
        found: Floats = self.answers_NC[[self.row_of[text] for text in texts]]
        return found

    def taught(self, texts: Sequence[str], targets_NC: Flags, *, share: float) -> Floats:
        """What is learnt: of labelled texts their labels and the answers, in these shares, and then of those without
        labels the answers alone, as probabilities.
        """
        answers_NC = (1 - share) * targets_NC.astype(np.float32) + share * self.of(texts)
        return np.concatenate([answers_NC, self.of(self.texts)]).astype(np.float32)


@dataclass(frozen=True)
class Teacher:
    """A bundle whose answers are learnt from."""

    path: Path
    version: str
    classifier: Classifier
    doubt: str | None  # why it may know rows that judge the student


@dataclass(frozen=True)
class Teachers:
    """One or several. `texts` have no labels."""

    all: Sequence[Teacher]
    labels: Sequence[str]
    texts: Sequence[str]

    @property
    def identity(self) -> str:
        """Of the versions of all, and the texts."""
        digest = hashlib.sha256(" ".join(teacher.version for teacher in self.all).encode())
        for text in self.texts:
            digest.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
        return digest.hexdigest()

    def document(self) -> list[dict[str, Any]]:
        """For a report: whose answers, by version, and why they may flatter the student's figures."""
        return [
            {"bundle": utf_8(str(teacher.path)), "version": teacher.version, "doubt": teacher.doubt}
            for teacher in self.all
        ]

    def teach(self, texts: Sequence[str]) -> Lessons:
        """Ask each teacher once about each of `texts` and of the ones without labels."""
        asked = list(dict.fromkeys([*texts, *self.texts]))
        answers_NC = np.zeros((len(asked), len(self.labels)), dtype=np.float32)
        for teacher in self.all:
            its = teacher.classifier
            columns = [its.config.labels.index(label) for label in self.labels]
            for begin in range(0, len(asked), CHUNK):
                probs_NC = its.score(its.encode(asked[begin : begin + CHUNK]))
                answers_NC[begin : begin + CHUNK] += probs_NC[:, columns] / len(self.all)
        return Lessons(self.texts, {text: row for row, text in enumerate(asked)}, answers_NC)


def load(paths: Sequence[Path], splits: Splits, texts: Sequence[str], *, device: Device, threads: int) -> Teachers:
    """Open bundles that know the data's labels. Raises: BundleError, DataError.

    `texts` have no labels; those that are texts of train are passed over.
    """
    known = set(splits.train.texts)
    teachers = [_open(path, splits, device=device, threads=threads) for path in paths]
    return Teachers(teachers, splits.labels, [text for text in texts if text not in known])


def _open(path: Path, splits: Splits, *, device: Device, threads: int) -> Teacher:
    bundle = Bundle.open(path)
    kind, labels = bundle.config.kind, bundle.config.labels
    if kind != splits.kind:
        raise DataError(f"teacher {path} is {kind}, and the data is {splits.kind}")
    for label in [*splits.labels, *labels]:
        if label not in labels or label not in splits.labels:
            who = "the data" if label in labels else f"teacher {path}"
            raise DataError(f"teacher {path} must have the labels of the data; {who} has no {label!r}")
    classifier = bundle.classifier(device=device, threads=threads, eight_bits=False)
    return Teacher(path, bundle.manifest.version, classifier, doubt(bundle.report, splits))


def doubt(report: Mapping[str, Any], splits: Splits) -> str | None:
    """Why a bundle of this report may know rows that judge a classifier of these splits."""
    its = report.get("data", {}).get("splits", {})
    for name, part in splits.parts.items():
        if name != "test" and its.get(name, {}).get("sha256") != part.fingerprint()["sha256"]:
            return f"its {name} rows are others than this run's"
    if report.get("refit"):
        return "it was trained once more on rows that judge this classifier (refit_below = 0 keeps a teacher from it)"
    if any(((report.get("encoder") or {}).get("seen") or {}).values()):
        return "its encoder had learnt from texts that judge this classifier"
    if any(teacher.get("doubt") for teacher in report.get("teachers") or ()):
        return "so may a teacher of its own"
    return None
