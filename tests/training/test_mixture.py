"""training.mixture: two opinions weighed by what they are worth."""

import numpy as np
import pytest

from model.config import Kind
from training import mixture

ROWS, CLASSES = 2000, 3


def scores(noise: float, targets_NC: np.ndarray, *, seed: int) -> np.ndarray:
    """The targets under noise of its own."""
    return targets_NC + noise * np.random.default_rng(seed).normal(size=targets_NC.shape)


@pytest.fixture(params=["single-label", "multi-label"])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def targets_NC(kind: Kind) -> np.ndarray:
    draw = np.random.default_rng(0)
    if kind == "multi-label":
        return draw.random((ROWS, CLASSES)) < 0.3
    return np.eye(CLASSES, dtype=bool)[draw.integers(CLASSES, size=ROWS)]


def test_opinions_of_equal_worth_weigh_the_same(targets_NC: np.ndarray, kind: Kind) -> None:
    """Equal noise: factors within a tenth of each other, and a gain."""
    found = mixture.fit(scores(1, targets_NC, seed=1), scores(1, targets_NC, seed=2), targets_NC, kind)
    assert found is not None
    assert found.network == pytest.approx(found.linear, rel=0.15)
    assert found.gain > 0.05


def test_the_noisier_opinion_weighs_less(targets_NC: np.ndarray, kind: Kind) -> None:
    """Twice the noise, a quarter of the weight, as for normal errors."""
    found = mixture.fit(scores(1, targets_NC, seed=1), scores(2, targets_NC, seed=2), targets_NC, kind)
    assert found is not None
    assert found.linear / found.network == pytest.approx(0.25, abs=0.1)


def test_an_opinion_that_says_nothing_new_is_left_out(targets_NC: np.ndarray, kind: Kind) -> None:
    """The network's own scores again, and noise."""
    network_NC = scores(1, targets_NC, seed=1)
    noise_NC = np.random.default_rng(2).normal(size=targets_NC.shape)
    assert mixture.fit(network_NC, network_NC, targets_NC, kind) is None
    assert mixture.fit(network_NC, noise_NC, targets_NC, kind) is None


def test_without_rows_there_is_no_mixture() -> None:
    """Nothing says how much either is worth."""
    nothing_NC = np.zeros((0, 3))
    assert mixture.fit(nothing_NC, nothing_NC, nothing_NC.astype(bool), "single-label") is None


def test_what_others_vouch_for_is_believed_on_few_rows(kind: Kind, targets_NC: np.ndarray) -> None:
    """Ten rows say little: half of what each is worth alone. Two thousand say it all."""
    network_NC, linear_NC = scores(0.5, targets_NC, seed=1), scores(0.5, targets_NC, seed=2)
    alone = mixture.by_itself(scores(0.5, targets_NC, seed=2), targets_NC, kind)
    few = mixture.fit(network_NC[:10], linear_NC[:10], targets_NC[:10], kind, alone=alone)
    assert few is not None
    assert 0.6 < few.linear / (alone.factor / 2) < 1.25
    many, plain = (mixture.fit(network_NC, linear_NC, targets_NC, kind, alone=one) for one in (alone, None))
    assert many is not None
    assert plain is not None
    assert many.linear == pytest.approx(plain.linear, rel=0.05)


def test_nobody_vouches_for_noise(kind: Kind, targets_NC: np.ndarray) -> None:
    """Alone it is worth nothing; what knows the targets is."""
    noise_NC = np.random.default_rng(3).normal(size=targets_NC.shape)
    assert mixture.by_itself(noise_NC[:100], targets_NC[:100], kind).evidence < mixture.LEAST_EVIDENCE
    assert mixture.by_itself(scores(0.5, targets_NC, seed=1)[:100], targets_NC[:100], kind).evidence > 10


def test_who_is_trusted_and_then_says_nothing_is_left_out(kind: Kind, targets_NC: np.ndarray) -> None:
    """Five hundred rows know better than what folds said."""
    network_NC, noise_NC = scores(0.5, targets_NC, seed=1), np.random.default_rng(2).normal(size=targets_NC.shape)
    trusted = mixture.Alone(factor=2.0, evidence=50.0)
    assert mixture.fit(network_NC[:500], noise_NC[:500], targets_NC[:500], kind, alone=trusted) is None


def test_a_factor_of_nothing_is_no_trust(kind: Kind, targets_NC: np.ndarray) -> None:
    """Else it would be divided by."""
    network_NC, linear_NC = scores(0.5, targets_NC, seed=1), np.zeros(targets_NC.shape)
    nothing = mixture.Alone(factor=0.0, evidence=50.0)
    assert mixture.fit(network_NC[:30], linear_NC[:30], targets_NC[:30], kind, alone=nothing) is None


def test_rare_labels_make_no_evidence() -> None:
    """Sixty of two rows each: what a free bias gains on their smoothed shares is nothing that scores say."""
    targets_NC = np.zeros((240, 60), dtype=bool)
    targets_NC[np.arange(120), np.arange(120) // 2] = True
    noise_NC = np.random.default_rng(3).normal(size=targets_NC.shape) - 1
    assert mixture.by_itself(noise_NC, targets_NC, "multi-label").evidence < mixture.LEAST_EVIDENCE


def test_a_network_that_is_never_wrong_makes_no_division_by_nothing() -> None:
    """Its loss is 0, and no mixture's is lower."""
    targets_NC = np.eye(2, dtype=bool)[[0, 1, 0, 1]]
    certain_NC = 1e6 * targets_NC
    found = mixture.fit(certain_NC, certain_NC, targets_NC, "single-label", alone=mixture.Alone(1.0, 10.0))
    assert found is None or found.gain <= 0


@pytest.mark.parametrize("rows", [10, 30, 100])
def test_on_few_rows_noise_is_rarely_believed(rows: int) -> None:
    """Forty draws of two classes: without the demand for evidence half and more were."""
    believed = 0
    for seed in range(40):
        targets_NC = np.eye(2, dtype=bool)[np.random.default_rng(seed).integers(2, size=rows)]
        network_NC = 2 * scores(1, targets_NC, seed=seed + 100)
        noise_NC = np.random.default_rng(seed + 200).normal(size=targets_NC.shape)
        found = mixture.fit(network_NC, noise_NC, targets_NC, "single-label")
        believed += found is not None
    assert believed <= 4


def test_no_opinion_is_turned_round(targets_NC: np.ndarray, kind: Kind) -> None:
    """A network that is always wrong keeps a trace of its sign, a linear model of that kind is left out."""
    wrong_NC, right_NC = scores(1, 1.0 - targets_NC, seed=1), scores(1, targets_NC, seed=2)
    found = mixture.fit(wrong_NC, right_NC, targets_NC, kind)
    assert found is not None
    assert 0 < found.network < 0.01 < found.linear
    assert mixture.fit(right_NC, wrong_NC, targets_NC, kind) is None


def test_rows_that_are_all_right_make_no_factor_endless() -> None:
    """Where everything is told apart, likelihood alone would rise for ever."""
    targets_NC = np.eye(3, dtype=bool)[np.arange(60) % 3]
    for strength in (0.1, 1.0, 30.0):
        found = mixture.fit(0.01 * scores(1, targets_NC, seed=1), strength * targets_NC, targets_NC, "single-label")
        assert found is None or max(found.network, found.linear) < 100
    assert mixture.fit(1000.0 * targets_NC, 1.0 * targets_NC, targets_NC, "single-label") is None
