"""Figures from probabilities and decisions, whatever the kind of classifier.

N rows, C classes. Targets and decisions are flags (N, C): one a row in single-label data, any number in multi-label.
"""

import math
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from model.calibration import Flags, Floats
from model.config import Kind

Doubles: TypeAlias = npt.NDArray[np.float64]
Selection = Literal["micro_f1", "macro_f1", "loss"]

ECE_BINS = 15
RESAMPLES = 200
POINTS = 50


class Bin(BaseModel):
    """Rows of similar confidence: its mean, and how often they were right."""

    model_config = ConfigDict(frozen=True)

    confidence: float
    accuracy: float
    rows: int


class Point(BaseModel):
    """What accuracy is left when only the share `coverage` is answered, whose confidence is at least `confidence`."""

    model_config = ConfigDict(frozen=True)

    coverage: float
    accuracy: float
    confidence: float


def per_class(targets_NC: Flags, decided_NC: Flags) -> tuple[Doubles, Doubles, Doubles]:
    """Precision, recall and F1 of each class (C); 0 where there is nothing to divide by."""
    true_C = (targets_NC & decided_NC).sum(axis=0)
    decided_C, targets_C = decided_NC.sum(axis=0), targets_NC.sum(axis=0)
    return _share(true_C, decided_C), _share(true_C, targets_C), _share(2 * true_C, decided_C + targets_C)


def micro_f1(targets_NC: Flags, decided_NC: Flags) -> float:
    """F1 over all pairs of a row and a class; with one label a row, this is the accuracy."""
    return float(_share(2 * (targets_NC & decided_NC).sum(), decided_NC.sum() + targets_NC.sum()))


def macro_f1(targets_NC: Flags, decided_NC: Flags) -> float:
    """The mean F1 of the classes that occur in the targets or the decisions."""
    occurring_C = (targets_NC | decided_NC).any(axis=0)
    return float(per_class(targets_NC, decided_NC)[2][occurring_C].mean()) if occurring_C.any() else 0.0


def best_threshold(probs: Floats, targets: Flags | Floats) -> tuple[float, float]:
    """The threshold of highest F1 over these pairs, and that F1: halfway to the next lower probability, where float32
    has a number there.

    Targets may be shares of 1 too: the F1 is then the one to be expected.
    """
    order = np.argsort(-probs.ravel(), kind="stable")
    sorted_probs = probs.ravel()[order].astype(np.float64)
    true = np.cumsum(targets.ravel()[order])
    f1 = 2 * true / (np.arange(1, len(order) + 1) + targets.sum())
    below = np.append(sorted_probs[1:], 0.0)
    f1[sorted_probs == below] = -1.0  # no threshold cuts between equal ones
    best = int(f1.argmax())
    middle = np.float32((sorted_probs[best] + below[best]) / 2)
    return float(middle if middle > below[best] else sorted_probs[best]), float(f1[best])


def selection_score(probs_NC: Floats, targets_NC: Flags, *, selection: Selection, kind: Kind) -> float:
    """How good an epoch is by `selection`, higher is better; "loss" is left to the caller.

    Multi-label probabilities are judged at thresholds of their best F1, as the ones to serve are tuned later; of
    single-label ones the most probable label is, though another may be told in the end.
    """
    if kind == "single-label":
        decided_NC = np.arange(probs_NC.shape[1]) == probs_NC.argmax(axis=1)[:, None]
        return (macro_f1 if selection == "macro_f1" else micro_f1)(targets_NC, decided_NC)
    if selection == "macro_f1":
        occurring = np.flatnonzero(targets_NC.any(axis=0))
        scores = [best_threshold(probs_NC[:, c], targets_NC[:, c])[1] for c in occurring]
        return float(np.mean(scores)) if scores else 0.0
    return best_threshold(probs_NC, targets_NC)[1]


def confidence(probs_NC: Floats, decided_NC: Flags, kind: Kind) -> Doubles:
    """How sure each row's decision is (N): its probability; in multi-label data that of all its labels together, as
    if they were independent, which ranks rows but is no calibrated figure.
    """
    probs = probs_NC.astype(np.float64)
    if kind == "single-label":
        of_decided: Doubles = (probs * decided_NC).sum(axis=1)
        return of_decided
    together: Doubles = np.where(decided_NC, probs, 1 - probs).prod(axis=1)
    return together


def claims(probs_NC: Floats, decided_NC: Flags, targets_NC: Flags, kind: Kind) -> tuple[Doubles, Doubles]:
    """The probabilities to be checked (N, K), and whether what each claims was so.

    K is 1, the label that was decided for, in single-label data; in multi-label data each label is a claim of its own.
    """
    probs = probs_NC.astype(np.float64)
    if kind == "multi-label":
        return probs, targets_NC.astype(np.float64)
    decided_N1 = decided_NC.argmax(axis=1)[:, None]
    right_N1 = np.take_along_axis(targets_NC, decided_N1, axis=1)
    return np.take_along_axis(probs, decided_N1, axis=1), right_N1.astype(np.float64)


def reliability(claimed: Doubles, right: Doubles) -> list[Bin]:
    """Confidence and accuracy in bins of equal numbers of claims, ordered by confidence."""
    return [
        Bin(confidence=float(claimed.flat[b].mean()), accuracy=float(right.flat[b].mean()), rows=len(b))
        for b in _bins(claimed)
    ]


def expected_calibration_error(claimed: Doubles, right: Doubles) -> float:
    """Mean distance between confidence and accuracy over bins of equal numbers of claims, ordered by confidence.

    Nguyen & O'Connor 2015 (adaptive bins); 15 of them as in Guo et al. 2017. Few claims scatter, so that even a
    perfect classifier has an error above zero: `ece_floor`.
    """
    gaps = right - claimed
    return float(sum(abs(gaps.flat[b].sum()) for b in _bins(claimed)) / gaps.size)


def ece_floor(claimed: Doubles) -> float:
    """The error that a perfect classifier with these confidences would be expected to show by chance alone: the sum of
    a bin's gaps is then nearly normal around zero, and its mean distance from it √(2/π) of its deviation.
    """
    deviations = (math.sqrt(float((claimed.flat[b] * (1 - claimed.flat[b])).sum())) for b in _bins(claimed))
    return math.sqrt(2 / math.pi) * sum(deviations) / claimed.size


def ece_interval(claimed: Doubles, right: Doubles, *, seed: int = 0) -> tuple[float, float]:
    """Where the error on endlessly many rows lies, with at least 95 % confidence: (low, high).

    The spread is that of 200 resamples of the rows, within the bins as they are. Chance only ever adds to the error,
    and a resample has it twice, so that percentiles of resamples lie too high, often above the error itself. Instead
    the high end is the error and 1.96 spreads; the low end is the error less 1.96 spreads and less chance's share.
    """
    bins = _bins(claimed)
    gaps_NB = np.zeros((len(claimed), len(bins)))
    for number, b in enumerate(bins):
        gaps_NB[:, number] = np.bincount(b // claimed.shape[1], right.flat[b] - claimed.flat[b], minlength=len(claimed))
    rng = np.random.default_rng(seed)
    rows = len(claimed)
    drawn = (rng.multinomial(rows, np.full(rows, 1 / rows)) for _ in range(RESAMPLES))
    found = [np.abs(times_N @ gaps_NB).sum() / claimed.size for times_N in drawn]
    spread = 1.96 * float(np.std(found))
    error = expected_calibration_error(claimed, right)
    return max(0.0, error - spread - ece_floor(claimed)), min(1.0, error + spread)


def _bins(claimed: Doubles) -> list[npt.NDArray[np.intp]]:
    """Places in the flattened claims, in equal numbers, ordered by confidence."""
    return np.array_split(np.argsort(claimed, axis=None, kind="stable"), min(ECE_BINS, claimed.size))


def coverage(confidence_N: Doubles, right_N: Flags) -> list[Point]:
    """Accuracy when the least sure rows are left unanswered (El-Yaniv & Wiener 2010), at up to 50 shares."""
    order = np.argsort(-confidence_N, kind="stable")
    accuracy_N = np.cumsum(right_N[order]) / np.arange(1, len(order) + 1)
    ends = np.unique(np.linspace(1, len(order), num=min(POINTS, len(order))).round().astype(int))
    return [
        Point(
            coverage=end / len(order),
            accuracy=float(accuracy_N[end - 1]),
            confidence=float(confidence_N[order][end - 1]),
        )
        for end in ends
    ]


def _share(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> Doubles:
    shares: Doubles = np.divide(part, whole, out=np.zeros(np.shape(part)), where=np.asarray(whole) > 0)
    return shares
