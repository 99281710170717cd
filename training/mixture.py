"""How much the network and the linear model of n-grams each say: a weighted sum of their scores.

A logarithmic opinion pool (Genest and Zidek 1986, section 3), as Mesnil et al. 2014 did with an RNN and an NB-SVM.

N rows, C classes.
"""

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


@dataclass(frozen=True, slots=True)
class Mixture:
    """Logits are `network` times the network's, `linear` times the linear model's scores, and `bias`."""

    network: float
    linear: float
    bias: float
    gain: float  # the share by which the negative log-likelihood of the network's logits alone fell


def fit(network_NC: Scores, linear_NC: Scores, targets_NC: Flags, kind: Kind) -> Mixture | None:
    """What makes these rows most likely; None if the network is as good without the linear model, at its best
    temperature. Rows that the one learnt from and the other didn't would say that the one is better than it is.
    """
    if not len(targets_NC):
        return None
    parts = [network_NC, linear_NC, np.ones_like(linear_NC)]
    # With softmax, what is added to every label alike changes nothing.
    columns = parts if kind == "multi-label" else parts[:2]
    alone, _ = _best([network_NC, *columns[2:]], targets_NC, kind)
    together, factors = _best(columns, targets_NC, kind)
    gain = 1 - together / alone
    if gain < LEAST_GAIN:
        return None
    network, linear, bias = [*factors, 0.0][:3]
    return Mixture(network=network, linear=linear, bias=bias, gain=gain)


def _best(parts: list[Scores], targets_NC: Flags, kind: Kind) -> tuple[float, list[float]]:
    """The least negative log-likelihood over factors of the parts, and these."""
    targets = targets_NC.astype(np.float64)
    stacked = np.stack([part.astype(np.float64) for part in parts])

    def loss(factors: npt.NDArray[np.float64]) -> float:
        return calibrate.negative_log_likelihood(np.tensordot(factors, stacked, axes=1), targets, kind)

    found = scipy.optimize.minimize(loss, np.full(len(parts), 0.5), method="L-BFGS-B")
    return float(found.fun), [float(factor) for factor in found.x]
