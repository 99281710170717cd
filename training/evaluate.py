"""How good a classifier is, measured through the class that serves.

N rows, C classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from model.calibration import Calibration, Flags, Floats, decisions, probabilities
from model.classifier import Classifier
from model.config import ClassifierConfig
from training import metrics
from training.metrics import Bin, Point
from training.reading import Examples, Labels

# A matrix of more classes than this is for nobody's eyes, and most of a report's bytes.
MOST_CLASSES_CONFUSED = 200


class ClassScore(BaseModel):
    """One class: precision, recall, F1, and how many rows truly have it."""

    model_config = ConfigDict(frozen=True)

    label: str
    precision: float
    recall: float
    f1: float
    rows: int


class Report(BaseModel):
    """Figures on one split, as shares of 1.

    `accuracy` is the share of rows that were given exactly their labels; with one label a row `micro_f1` is the same.
    `confusion[i][j]` counts rows of class i that were called class j; None in multi-label data.
    """

    model_config = ConfigDict(frozen=True)

    rows: int
    accuracy: float
    micro_f1: float
    macro_f1: float
    ece: float
    ece_interval: tuple[float, float]
    ece_floor: float  # of chance alone, on so many rows
    truncated: int
    classes: list[ClassScore]
    confusion: list[list[int]] | None
    reliability: dict[str, list[Bin]]  # before and after calibration
    coverage: list[Point]

    def summary(self) -> dict[str, Any]:
        """The figures of the closing JSON line."""
        return self.model_dump(include={"accuracy", "micro_f1", "macro_f1", "ece", "rows"})


@dataclass(frozen=True, slots=True)
class Answers:
    """What a classifier said of labelled rows."""

    config: ClassifierConfig
    logits_NC: Floats
    probs_NC: Floats
    decided_NC: Flags
    targets_NC: Flags
    truncated: int

    @property
    def right_N(self) -> Flags:
        """Whether each row was given exactly its labels."""
        right: Flags = (self.decided_NC == self.targets_NC).all(axis=1)
        return right


@dataclass(frozen=True, slots=True)
class Judged:
    """A split, what was said of it, and what that came to."""

    examples: Examples
    answers: Answers
    report: Report


def judge(classifier: Classifier, examples: Examples) -> Judged:
    """Classify and compare. Every label must be one of the classifier's."""
    answers = answer(classifier, examples)
    return Judged(examples, answers, report(answers))


def answer(classifier: Classifier, examples: Examples) -> Answers:
    """Classify labelled texts. Every label must be one of the classifier's."""
    encoded = classifier.encode(examples.texts)
    logits_NC = classifier.logits(encoded)
    probs_NC = probabilities(logits_NC, classifier.calibration, classifier.config.kind)
    return Answers(
        config=classifier.config,
        logits_NC=logits_NC,
        probs_NC=probs_NC,
        decided_NC=decisions(probs_NC, classifier.calibration, classifier.config.kind),
        targets_NC=flags(examples.labels, classifier.config.labels),
        truncated=sum(row.tokens.truncated for row in encoded),
    )


def report(answers: Answers) -> Report:
    """Figures of answers. Macro-F1 is over the classes that occur in the targets or the answers."""
    names, kind = answers.config.labels, answers.config.kind
    targets_NC, decided_NC = answers.targets_NC, answers.decided_NC
    after = metrics.claims(answers.probs_NC, decided_NC, targets_NC, kind)
    before = metrics.claims(probabilities(answers.logits_NC, Calibration(), kind), decided_NC, targets_NC, kind)
    scores = zip(names, *metrics.per_class(targets_NC, decided_NC), targets_NC.sum(axis=0), strict=True)
    return Report(
        rows=len(targets_NC),
        accuracy=float(answers.right_N.mean()),
        micro_f1=metrics.micro_f1(targets_NC, decided_NC),
        macro_f1=metrics.macro_f1(targets_NC, decided_NC),
        ece=metrics.expected_calibration_error(*after),
        ece_interval=metrics.ece_interval(*after),
        ece_floor=metrics.ece_floor(after[0]),
        truncated=answers.truncated,
        classes=[ClassScore(label=name, precision=p, recall=r, f1=f, rows=n) for name, p, r, f, n in scores],
        confusion=_confusion(targets_NC, decided_NC) if kind == "single-label" else None,
        reliability={"before": metrics.reliability(*before), "after": metrics.reliability(*after)},
        coverage=metrics.coverage(metrics.confidence(answers.probs_NC, decided_NC, kind), answers.right_N),
    )


def mistakes(answers: Answers, *, most: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows that were not given exactly their labels, the most confident first: (row, labels, predicted, score)."""
    names = answers.config.labels
    sure_N = metrics.confidence(answers.probs_NC, answers.decided_NC, answers.config.kind)
    wrong = np.flatnonzero(~answers.right_N)
    for row in wrong[np.argsort(-sure_N[wrong], kind="stable")][:most]:
        yield (
            int(row),
            {
                "labels": [names[c] for c in np.flatnonzero(answers.targets_NC[row])],
                "predicted": [names[c] for c in np.flatnonzero(answers.decided_NC[row])],
                "score": float(sure_N[row]),
            },
        )


def flags(labels: Sequence[Labels], names: Sequence[str]) -> Flags:
    """Which of the names each row has (N, C)."""
    index = {name: number for number, name in enumerate(names)}
    targets_NC = np.zeros((len(labels), len(names)), dtype=np.bool_)
    for row, found in enumerate(labels):
        targets_NC[row, [index[label] for label in found]] = True
    return targets_NC


def _confusion(targets_NC: Flags, decided_NC: Flags) -> list[list[int]] | None:
    classes = targets_NC.shape[1]
    if classes > MOST_CLASSES_CONFUSED:
        return None
    cells = targets_NC.argmax(axis=1) * classes + decided_NC.argmax(axis=1)
    counts: list[list[int]] = np.bincount(cells, minlength=classes * classes).reshape(classes, classes).tolist()
    return counts
