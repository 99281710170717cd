"""How much the network and the linear model of n-grams each say: a weighted sum of their scores.

A logarithmic opinion pool (Genest and Zidek 1986, section 3), as Mesnil et al. 2014 did with an RNN and an NB-SVM.

N rows, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.optimize

from model.calibration import Flags
from model.config import Kind
from training import calibrate

Scores: TypeAlias = npt.NDArray[np.floating]

# The negative log-likelihood must fall by this share, or the linear model isn't worth its bytes and its microseconds.
LEAST_GAIN = 0.01
# And by this much over all rows: by chance alone a factor more gains half of a chi-square variable, above 3 one time in
# seventy.
LEAST_EVIDENCE = 3.0
# Standard deviation of a normal prior on each factor: where few rows are all right, no factor is too large for them.
PRIOR = 3.0


@dataclass(frozen=True, slots=True)
class Mixture:
    """Logits are `network` times the network's, `linear` times the linear model's scores, and `bias`."""

    network: float
    linear: float
    bias: float
    gain: float  # the share by which the negative log-likelihood of the network's logits alone fell


def fit(network_NC: Scores, linear_NC: Scores, targets_NC: Flags, kind: Kind) -> Mixture | None:
    """What makes these rows most likely, neither opinion turned round; None if the network is as good without the
    linear model, at its best temperature, or the rows are too few to tell.

    Rows that the one learnt from and the other didn't would say that the one is better than it is.
    """
    if not len(targets_NC):
        return None
    # With softmax, what is added to every label alike changes nothing.
    biases = [np.ones_like(linear_NC)] if kind == "multi-label" else []
    alone, _ = _best([network_NC, *biases], targets_NC, kind)
    together, factors = _best([network_NC, linear_NC, *biases], targets_NC, kind)
    answers = targets_NC.size if kind == "multi-label" else len(targets_NC)
    if answers * (alone - together) < LEAST_EVIDENCE or alone - together < LEAST_GAIN * alone:
        return None
    network, linear, bias = [*factors, 0.0][:3]
    return Mixture(network=network, linear=linear, bias=bias, gain=1 - together / alone)


def _best(parts: Sequence[Scores], targets_NC: Flags, kind: Kind) -> tuple[float, list[float]]:
    """The negative log-likelihood at the most probable factors of the parts, and these."""
    targets = targets_NC.astype(np.float64)
    stacked = np.stack([part.astype(np.float64) for part in parts])
    answers = targets_NC.size if kind == "multi-label" else len(targets_NC)

    def likelihood(factors: npt.NDArray[np.float64]) -> float:
        return calibrate.negative_log_likelihood(np.tensordot(factors, stacked, axes=1), targets, kind)

    def loss(factors: npt.NDArray[np.float64]) -> float:
        return likelihood(factors) + float(np.square(factors / PRIOR).sum()) / (2 * answers)

    # A network that says nothing keeps a trace of itself: a head of zeros could not be told from a damaged one.
    bounds = [(1e-3, None), (0.0, None), (None, None)]
    bounds = bounds if len(parts) == 3 else bounds[:2] if kind == "single-label" else bounds[::2]
    found = scipy.optimize.minimize(loss, np.full(len(parts), 0.5), bounds=bounds[: len(parts)], method="L-BFGS-B")
    return likelihood(found.x), [float(factor) for factor in found.x]
