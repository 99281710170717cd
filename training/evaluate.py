"""How good a classifier is, measured through the class that serves.

N rows, C classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from model.calibration import Floats
from model.classifier import Classifier

ECE_BINS = 15


class ClassScore(BaseModel):
    """One class: precision, recall, F1, and how many rows truly have it."""

    model_config = ConfigDict(frozen=True)

    label: str
    precision: float
    recall: float
    f1: float
    rows: int


class Report(BaseModel):
    """Figures on one split, as shares of 1. `confusion[i][j]` counts rows of class i that were called class j."""

    model_config = ConfigDict(frozen=True)

    rows: int
    accuracy: float
    macro_f1: float
    ece: float
    truncated: int
    classes: list[ClassScore]
    confusion: list[list[int]]

    def summary(self) -> dict[str, Any]:
        """The figures of the closing JSON line."""
        return self.model_dump(include={"accuracy", "macro_f1", "ece", "rows"})


def evaluate(classifier: Classifier, texts: Sequence[str], labels: Sequence[str]) -> Report:
    """Classify the texts and compare. Every label must be one of the classifier's."""
    names = classifier.config.labels
    encoded = classifier.encode(texts)
    probs_NC = classifier.score([tokens.ids for tokens in encoded])
    index = {name: number for number, name in enumerate(names)}
    targets_N = np.asarray([index[label] for label in labels], dtype=np.int64)
    return report(probs_NC, targets_N, names, truncated=sum(tokens.truncated for tokens in encoded))


def report(probs_NC: Floats, targets_N: npt.NDArray[np.int64], names: Sequence[str], *, truncated: int) -> Report:
    """Figures from probabilities. Macro-F1 is over the classes that occur in the targets or the answers."""
    answers_N = probs_NC.argmax(axis=1)
    every = np.arange(len(names))
    precision, recall, f1, rows = precision_recall_fscore_support(targets_N, answers_N, labels=every, zero_division=0)
    occurring = np.union1d(targets_N, answers_N)
    return Report(
        rows=len(targets_N),
        accuracy=float((answers_N == targets_N).mean()),
        macro_f1=float(f1[occurring].mean()),
        ece=expected_calibration_error(probs_NC, targets_N),
        truncated=truncated,
        classes=[
            ClassScore(label=name, precision=p, recall=r, f1=f, rows=n)
            for name, p, r, f, n in zip(names, precision, recall, f1, rows, strict=True)
        ],
        confusion=confusion_matrix(targets_N, answers_N, labels=every).tolist(),
    )


def expected_calibration_error(probs_NC: Floats, targets_N: npt.NDArray[np.int64]) -> float:
    """Mean distance between confidence and accuracy over bins of equal numbers of rows, ordered by confidence.

    Nguyen & O'Connor 2015 (adaptive bins); 15 of them as in Guo et al. 2017.
    """
    confidence_N = probs_NC.max(axis=1).astype(np.float64)
    correct_N = (probs_NC.argmax(axis=1) == targets_N).astype(np.float64)
    gaps_N = (correct_N - confidence_N)[np.argsort(confidence_N, kind="stable")]
    bins = np.array_split(gaps_N, min(ECE_BINS, len(gaps_N)))
    return float(sum(abs(gaps.sum()) for gaps in bins) / len(gaps_N))
