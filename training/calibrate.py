"""Fit the temperature that makes probabilities mean what they say, and the thresholds that decide by them.

N rows, C classes.
"""

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
# Powers of a label's frequency that are tried, 0 among them.
POWERS = 11


def fit(logits_NC: Floats, targets_NC: Flags, kind: Kind) -> Calibration:
    """What makes these rows most likely; neutral where there are none. Multi-label: a temperature a label, and the
    thresholds of its highest F1.
    """
    if not len(targets_NC):
        return Calibration()
    shared = _temperature(logits_NC, targets_NC, kind)
    fitted = Calibration(temperature=shared, rows=len(targets_NC))
    if kind == "multi-label":
        fitted = fitted.model_copy(update=_own(logits_NC, targets_NC, shared))
    before, after = (_error(logits_NC, targets_NC, calibration, kind) for calibration in (Calibration(), fitted))
    return fitted.model_copy(update={"ece_before": before, "ece_after": after})


def _error(logits_NC: Floats, targets_NC: Flags, calibration: Calibration, kind: Kind) -> float:
    probs_NC = probabilities(logits_NC, calibration, kind)
    claims = metrics.claims(probs_NC, decisions(probs_NC, calibration, kind), targets_NC, kind)
    return metrics.expected_calibration_error(*claims)


def adjusted(
    probs_NC: Floats, targets_NC: Flags, counts_C: npt.NDArray[np.int64], *, most: float
) -> list[float] | None:
    """Thresholds for single-label decisions: how many rows of train have each label, `counts_C`, as shares of the most
    frequent one's, to a power up to `most`. None where 0 is the best: the most probable label.

    The best is the one of which accuracy and macro-F1 together are expected to be highest by the calibrated
    probabilities of these rows, as a rare label's F1 on a few hundred rows is chance; but by their labels both together
    must not be lower than without. An overconfident network's probabilities don't know what rare is.
    """
    shares_C = np.maximum(counts_C, 1) / max(1, counts_C.max())
    powers = np.linspace(0, most, POWERS) if len(probs_NC) and len(set(shares_C)) > 1 else np.zeros(1)
    decided = [decisions(probs_NC, Calibration(thresholds=(shares_C**p).tolist()), "single-label") for p in powers]
    measured = [_accuracy_and_macro_f1(decided_NC, targets_NC) for decided_NC in decided]
    expected = [
        _accuracy_and_macro_f1(decided_NC, probs_NC) if found >= measured[0] else -1.0
        for decided_NC, found in zip(decided, measured, strict=True)
    ]
    best = int(np.argmax(expected))
    return (shares_C ** powers[best]).tolist() if best else None


def _accuracy_and_macro_f1(decided_NC: Flags, targets_NC: Flags | Floats) -> float:
    """Their sum, of what was decided; where targets are shares of 1 the one to be expected. 0 of no rows."""
    right_C = (targets_NC * decided_NC).sum(axis=0, dtype=np.float64)
    of_C = decided_NC.sum(axis=0) + targets_NC.sum(axis=0, dtype=np.float64)
    there = of_C > 0
    f1_C = 2 * right_C[there] / of_C[there]
    return float(right_C.sum() / len(decided_NC) + f1_C.mean()) if len(decided_NC) else 0.0


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
