"""How much the network and the linear model of n-grams each say: a weighted sum of their scores.

A logarithmic opinion pool (Genest and Zidek 1986, section 3), as Mesnil et al. 2014 did with an RNN and an NB-SVM.

N rows, C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.optimize

from model.calibration import Flags, Floats
from model.config import Kind
from training import calibrate

Scores: TypeAlias = npt.NDArray[np.floating]

# The negative log-likelihood must fall by this share, or the linear model isn't worth its bytes and its microseconds.
LEAST_GAIN = 0.01
# And by this much over all rows, or the linear model by itself must say so much of other rows: by chance alone a factor
# more gains half of a chi-square variable, above 3 one time in seventy.
LEAST_EVIDENCE = 3.0
# Of what folds say that its scores are worth: where held-out rows leave less of that, they have seen enough of it.
LEAST_TRUST = 0.1
# Standard deviation of a normal prior on each factor: where few rows are all right, no factor is too large for them.
PRIOR = 3.0
# No opinion is turned round. A network that says nothing keeps a trace: a head of zeros could as well be a fault.
TRACE = 1e-3
LEAST = {"network": TRACE, "linear": 0.0, "bias": None}


@dataclass(frozen=True, slots=True)
class Alone:
    """What the linear model says by itself, of rows that neither it nor the mixture had learnt from."""

    factor: float  # of its scores, that makes these rows most likely
    evidence: float  # in nats over all of them, against how frequent the labels are
    bias: float = 0.0  # added to each of these, in multi-label data


@dataclass(frozen=True, slots=True)
class Mixture:
    """Logits are `network` times the network's, `linear` times the linear model's scores, and `bias`."""

    network: float
    linear: float
    bias: float
    gain: float  # the share by which the negative log-likelihood of the network's logits alone fell, or below 0 rose

    def of(self, network_NC: Scores, linear_NC: Scores) -> Floats:
        """The logits (N, C) of these."""
        return np.asarray(self.network * network_NC + self.linear * linear_NC + self.bias, dtype=np.float32)


def fit(
    network_NC: Scores, linear_NC: Scores, targets_NC: Flags, kind: Kind, *, alone: Alone | None = None
) -> Mixture | None:
    """What makes these rows most likely, neither opinion turned round; None if the network is as good without the
    linear model, at its best temperature, or the rows are too few to tell.

    Where folds have shown what the linear model is worth `alone`, these rows need not: each opinion then counts for
    half of what it would alone, until they say otherwise.
    Rows that the one learnt from and the other didn't would say that the one is better than it is.
    """
    if not len(targets_NC):
        return None
    # With softmax, what is added to every label alike changes nothing.
    biases = {"bias": np.ones_like(linear_NC)} if kind == "multi-label" else {}
    without, factors = _best({"network": network_NC, **biases}, targets_NC, kind)
    both = {"network": network_NC, "linear": linear_NC, **biases}
    expected = {}
    if alone is not None and alone.evidence >= LEAST_EVIDENCE and alone.factor > TRACE:
        expected = {"network": max(factors["network"] / 2, TRACE), "linear": alone.factor / 2}
    together, factors = _best(both, targets_NC, kind, expected)
    gained = without - together
    proven = _answers(targets_NC, kind) * gained >= LEAST_EVIDENCE and gained >= LEAST_GAIN * without
    trusted = bool(expected) and factors["linear"] > 2 * expected["linear"] * LEAST_TRUST
    if not proven and not trusted:
        return None
    return Mixture(**{"bias": 0.0, **factors}, gain=gained / without if without else 0.0)


def by_itself(scores_NC: Scores, targets_NC: Flags, kind: Kind) -> Alone:
    """What scores are worth by themselves, of rows that gave them nothing."""
    bias_NC = np.ones_like(scores_NC)
    biases = {"bias": bias_NC} if kind == "multi-label" else {}
    loss, factors = _best({"linear": scores_NC, **biases}, targets_NC, kind)
    shares_C = (targets_NC.sum(axis=0) + 0.5) / (len(targets_NC) + 1)
    shares_NC = np.broadcast_to(
        np.log(shares_C if kind == "single-label" else shares_C / (1 - shares_C)), scores_NC.shape
    )
    # Whichever is better: of rare labels a share of their own says less than one for all.
    blind = min(
        _best({"bias": bias_NC}, targets_NC, kind)[0],
        calibrate.negative_log_likelihood(shares_NC, targets_NC.astype(np.float64), kind),
    )
    return Alone(factors["linear"], _answers(targets_NC, kind) * (blind - loss), factors.get("bias", 0.0))


def _best(
    parts: Mapping[str, Scores], targets_NC: Flags, kind: Kind, expected: Mapping[str, float] = MappingProxyType({})
) -> tuple[float, dict[str, float]]:
    """The negative log-likelihood at the most probable factors of the parts, by name, and these.

    A factor is believed to be near 0, or near what is `expected` of it and as uncertain as that is large.
    """
    targets = targets_NC.astype(np.float64)
    stacked = np.stack([part.astype(np.float64) for part in parts.values()])
    means = np.array([expected.get(name, 0.0) for name in parts])
    deviations = np.array([expected.get(name, PRIOR) for name in parts])

    def likelihood(factors: npt.NDArray[np.float64]) -> float:
        return calibrate.negative_log_likelihood(np.tensordot(factors, stacked, axes=1), targets, kind)

    def loss(factors: npt.NDArray[np.float64]) -> float:
        surprise = np.square((factors - means) / deviations).sum()
        return likelihood(factors) + float(surprise) / (2 * _answers(targets_NC, kind))

    bounds = [(LEAST[name], None) for name in parts]
    first = np.array([expected.get(name, 0.5) for name in parts])
    found = scipy.optimize.minimize(loss, first, bounds=bounds, method="L-BFGS-B")
    return likelihood(found.x), dict(zip(parts, map(float, found.x), strict=True))


def _answers(targets_NC: Flags, kind: Kind) -> int:
    """How many questions were answered: one a row, or one a row and label."""
    return targets_NC.size if kind == "multi-label" else len(targets_NC)
