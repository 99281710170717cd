"""Fit the temperature that makes probabilities mean what they say, and the thresholds that decide by them.

N rows, C classes.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.special

from model.calibration import Calibration, Flags, Floats, decisions, probabilities
from model.config import Kind
from training import metrics

# A temperature outside makes every answer certain, or none; the fit ends at these when the rows say so.
LOWEST, HIGHEST = 0.05, 20.0
# A label with fewer rows than this has no temperature of its own: what a handful of rows say is chance.
FEWEST_ROWS = 20
# With fewer than this, a label's threshold is no lower than the one that would be best for all labels.
FEWEST_FOR_THRESHOLD = 3
# How far each label's threshold goes to the one of all labels: on GoEmotions' validation rows 57.7 micro-F1 and 47.8
# macro-F1 without, 58.8 and 47.6 by a quarter, 59.3 and 47.0 by half, 59.4 and 45.1 by the whole of the way.
TOGETHER = 0.25
# Powers of a label's frequency that are tried.
ADJUSTMENTS = 10


def fit(
    logits_NC: Floats, targets_NC: Flags, kind: Kind, *, counts_C: Sequence[int] = (), adjustment: float = 0.0
) -> Calibration:
    """What makes these rows most likely; neutral where there are none. Multi-label: a temperature a label, and the
    thresholds of its highest F1. Single-label: thresholds by how many rows of train have each label, `counts_C`, to the
    power of `adjustment` at most.
    """
    if not len(targets_NC):
        return Calibration()
    shared = _temperature(logits_NC, targets_NC, kind)
    fitted = Calibration(temperature=shared, rows=len(targets_NC))
    if kind == "multi-label":
        fitted = fitted.model_copy(update=_own(logits_NC, targets_NC, shared))
    elif adjustment and len(set(counts_C)) > 1:
        thresholds = _adjusted(probabilities(logits_NC, fitted, kind), np.asarray(counts_C), adjustment)
        fitted = fitted.model_copy(update={"thresholds": thresholds})
    decided_NC = decisions(probabilities(logits_NC, fitted, kind), fitted, kind)
    before, after = (
        metrics.expected_calibration_error(
            *metrics.claims(probabilities(logits_NC, calibration, kind), decided_NC, targets_NC, kind)
        )
        for calibration in (Calibration(), fitted)
    )
    return fitted.model_copy(update={"ece_before": before, "ece_after": after})


def _adjusted(probs_NC: Floats, counts_C: npt.NDArray[np.int64], most: float) -> list[float] | None:
    """Thresholds by how frequent each label is: to the power, up to `most`, by which accuracy and macro-F1 together are
    expected to be highest on these rows. None where that is nothing.

    Expected by the rows' calibrated probabilities alone: a rare label's F1 on a few hundred rows is chance, by which
    this choice was half a point of macro-F1 worse on B2W's reviews.
    """
    shares_C = np.maximum(counts_C, 1) / max(counts_C)
    best, best_score = None, _expected(probs_NC, Calibration())
    for power in np.linspace(0, most, ADJUSTMENTS + 1)[1:]:
        thresholds: list[float] = (shares_C**power).tolist()
        score = _expected(probs_NC, Calibration(thresholds=thresholds))
        if score > best_score:
            best, best_score = thresholds, score
    return best


def _expected(probs_NC: Floats, calibration: Calibration) -> float:
    """The accuracy and the macro-F1 of what is decided, added, if probabilities mean what they say."""
    decided_NC = decisions(probs_NC, calibration, "single-label")
    right_C = (probs_NC * decided_NC).sum(axis=0, dtype=np.float64)
    of_C = decided_NC.sum(axis=0) + probs_NC.sum(axis=0, dtype=np.float64)
    return float(right_C.sum() / len(probs_NC) + (2 * right_C / of_C).mean())


def _own(logits_NC: Floats, targets_NC: Flags, shared: float) -> dict[str, list[float]]:
    """A temperature for each label that has the rows for it, the shared one for the rest; and each label's threshold.

    A threshold that is best for a handful of rows is chance too. So half of what a row says of a label is whether it
    has it, half its calibrated probability; and each threshold moves towards the one that is best for all labels, by
    which what is right of all pairs, where frequent labels count most, is served as well as each label (`TOGETHER`).
    """
    temperatures = np.full(targets_NC.shape[1], shared)
    for label in np.flatnonzero(targets_NC.sum(axis=0) >= FEWEST_ROWS):
        temperatures[label] = _temperature(logits_NC[:, [label]], targets_NC[:, [label]], "multi-label")
    probs_NC = probabilities(logits_NC, Calibration(temperature=temperatures.tolist()), "multi-label")
    said_NC: Floats = (targets_NC + probs_NC) / np.float32(2)
    thresholds_C = np.array([metrics.best_threshold(p, said)[0] for p, said in zip(probs_NC.T, said_NC.T, strict=True)])
    # Where no probability says anything, F1 is expected to be highest if all are given the label (Lipton et al. 2014).
    of_all, _ = metrics.best_threshold(probs_NC, said_NC)
    unseen = targets_NC.sum(axis=0) < FEWEST_FOR_THRESHOLD
    thresholds_C[unseen] = np.maximum(thresholds_C[unseen], of_all)
    thresholds_C += TOGETHER * (of_all - thresholds_C)
    return {"temperature": temperatures.tolist(), "thresholds": thresholds_C.tolist()}


def _temperature(logits_NC: Floats, targets_NC: Flags, kind: Kind) -> float:
    """The temperature of least negative log-likelihood (Guo et al. 2017, section 4.2)."""
    logits, targets = logits_NC.astype(np.float64), targets_NC.astype(np.float64)

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(logits / np.exp(log_temperature), targets, kind)

    found = scipy.optimize.minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    return float(np.exp(found.x))


def negative_log_likelihood(
    logits_NC: npt.NDArray[np.float64], targets_NC: npt.NDArray[np.float64], kind: Kind
) -> float:
    """The mean over rows; of multi-label data over rows and labels."""
    return float(negative_log_likelihoods(logits_NC, targets_NC, kind).mean())


def negative_log_likelihoods(
    logits_NC: npt.NDArray[np.float64], targets_NC: npt.NDArray[np.float64], kind: Kind
) -> npt.NDArray[np.float64]:
    """Of each row (N,); of multi-label data the mean over its labels."""
    losses_N: npt.NDArray[np.float64]
    if kind == "multi-label":
        losses_N = (np.logaddexp(0.0, logits_NC) - logits_NC * targets_NC).mean(axis=1)
    else:
        losses_N = scipy.special.logsumexp(logits_NC, axis=1) - (logits_NC * targets_NC).sum(axis=1)
    return losses_N
