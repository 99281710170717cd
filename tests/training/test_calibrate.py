"""training.calibrate: the temperature, and thresholds."""

import numpy as np
import pytest

from model.calibration import Calibration, decisions, probabilities
from training import calibrate, metrics


def drawn(
    rows: int, classes: int, *, bias: float | np.ndarray = 0.0, scale: float = 2.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and targets drawn from their softmax: perfectly calibrated as they are."""
    rng = np.random.default_rng(seed)
    logits = (rng.normal(scale=scale, size=(rows, classes)) + bias).astype(np.float32)
    powers = np.exp(logits)
    targets = [rng.choice(classes, p=row / row.sum()) for row in powers.astype(np.float64)]
    return logits, np.arange(classes) == np.asarray(targets)[:, None]


def drawn_labels(rows: int, offsets: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Logits of several labels, and targets drawn from their sigmoid; an offset makes a label rarer."""
    rng = np.random.default_rng(0)
    logits = rng.normal(loc=offsets, scale=2, size=(rows, len(offsets))).astype(np.float32)
    return logits, rng.random(logits.shape) < 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(factor: float) -> None:
    """Logits that are too large by a factor want that factor as their temperature."""
    logits, targets = drawn(20_000, 4)
    found = calibrate.fit(logits * np.float32(factor), targets, "single-label")
    assert found.temperature == pytest.approx(factor, rel=0.05)
    assert (found.rows, found.thresholds) == (20_000, None)


def test_it_makes_overconfident_scores_honest() -> None:
    """The error before and after is part of the calibration."""
    logits, targets = drawn(5_000, 3)
    found = calibrate.fit(logits * 4, targets, "single-label")
    assert found.ece_before is not None
    assert found.ece_after is not None
    assert found.ece_after < 0.03
    assert found.ece_before > 0.1


def test_rare_labels_are_found_where_that_costs_little() -> None:
    """On other rows macro-F1 rises, by more than accuracy falls; frequent labels have high thresholds."""
    bias = np.log(np.asarray([0.7, 0.2, 0.1], dtype=np.float32))
    (logits, targets), (others, wanted) = (drawn(rows, 3, bias=bias, scale=1.0, seed=rows) for rows in (2_000, 20_000))
    fitted = calibrate.fit(logits, targets, "single-label")
    probs, counts = probabilities(logits, fitted, "single-label"), targets.sum(axis=0)
    thresholds = calibrate.adjusted(probs, targets, counts, most=0.5)
    assert thresholds is not None
    assert thresholds[0] == 1 > thresholds[1] > thresholds[2]
    (accuracy, macro), (before, macro_before) = (
        (metrics.micro_f1(wanted, decided), metrics.macro_f1(wanted, decided))
        for decided in (
            decisions(probabilities(others, one, "single-label"), one, "single-label")
            for one in (fitted.model_copy(update={"thresholds": thresholds}), fitted)
        )
    )
    assert macro > macro_before + 0.02
    assert accuracy > before - (macro - macro_before)


def test_equally_frequent_labels_and_no_adjustment_have_no_thresholds() -> None:
    """The most probable one is told then."""
    logits, targets = drawn(1_000, 3)
    probs = probabilities(logits, Calibration(), "single-label")
    for counts, most in (([5, 5, 5], 0.5), ([900, 20, 50], 0.0)):
        assert calibrate.adjusted(probs, targets, np.asarray(counts), most=most) is None
    assert calibrate.adjusted(probs[:0], targets[:0], np.asarray([9, 2, 5]), most=0.5) is None


def test_what_rows_labels_speak_against_is_not_believed() -> None:
    """An overconfident network's probabilities, once they are flattened, expect more of rare labels than there is."""
    rng = np.random.default_rng(0)
    targets = np.arange(2) == rng.choice(2, p=[0.9, 0.1], size=3_000)[:, None]
    logits = (np.log([0.9, 0.1]) + 1.5 * targets + 3 * rng.normal(size=targets.shape)).astype(np.float32)
    fitted = calibrate.fit(logits, targets, "single-label")
    probs, counts = probabilities(logits, fitted, "single-label"), targets.sum(axis=0)
    assert calibrate.adjusted(probs, probs, counts, most=0.5) is not None
    assert calibrate.adjusted(probs, targets, counts, most=0.5) is None


def test_a_label_that_is_in_no_row_and_never_told_stands_in_no_others_way() -> None:
    """Nor is it an error: its F1 is left out."""
    logits, targets = drawn(2_000, 3, bias=np.log(np.asarray([0.8, 0.2, 1e-30])), scale=1.0)
    probs = probabilities(logits, Calibration(), "single-label")
    probs[:, 2] = 0
    assert not targets[:, 2].any()
    assert calibrate.adjusted(probs, targets, np.asarray([1600, 400, 1]), most=0.5) is not None


def test_each_label_has_a_temperature_of_its_own() -> None:
    """Multi-label: labels may be overconfident by different factors."""
    logits, targets = drawn_labels(20_000, [0.0, 0.0])
    found = calibrate.fit(logits * np.asarray([0.5, 3.0], dtype=np.float32), targets, "multi-label")
    assert found.temperature == pytest.approx([0.5, 3.0], rel=0.05)


def test_a_label_with_a_handful_of_rows_shares_the_rest_of_its_calibration() -> None:
    """What five rows say of a temperature or a threshold is chance."""
    logits, targets = drawn_labels(20_000, [0.0, 0.0, -10.0])
    assert 0 < targets[:, 2].sum() < calibrate.FEWEST_ROWS
    found = calibrate.fit(logits, targets, "multi-label")
    # Twice the same label, of all pairs: its own temperature is the shared one.
    every = np.repeat(logits.reshape(-1, 1), 2, axis=1), np.repeat(targets.reshape(-1, 1), 2, axis=1)
    shared = calibrate.fit(*every, "multi-label")
    assert isinstance(found.temperature, list)
    assert isinstance(shared.temperature, list)
    assert found.temperature[2] == pytest.approx(shared.temperature[0])


def test_a_label_without_rows_is_not_given_to_everyone() -> None:
    """Its threshold is no lower than the one that would be best for all labels."""
    logits, targets = drawn_labels(2_000, [0.0, -1.0, -4.0])
    logits[:, 2], targets[:, 2] = -9.0, False
    found = calibrate.fit(logits, targets, "multi-label")
    assert found.thresholds is not None
    assert found.thresholds[2] > 0.2
    assert not decisions(probabilities(logits, found, "multi-label"), found, "multi-label")[:, 2].any()


def test_thresholds_serve_f1() -> None:
    """On other rows of the same kind the tuned thresholds beat one half for all."""
    logits, targets = drawn_labels(8_000, [-1.0, -3.0, -5.0])
    fitted = calibrate.fit(logits[:4000], targets[:4000], "multi-label")
    probs = probabilities(logits[4000:], fitted, "multi-label")
    plain = Calibration(temperature=fitted.temperature)
    tuned, half = (metrics.macro_f1(targets[4000:], decisions(probs, how, "multi-label")) for how in (fitted, plain))
    assert tuned > half + 0.02


def test_thresholds_serve_all_pairs_as_well_as_each_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each label's own best ones are worse over all pairs, on other rows, and hardly better label by label."""
    logits, targets = drawn_labels(8_000, [-1.0, -2.0, *[-4.0] * 10])
    fitted = calibrate.fit(logits[:2000], targets[:2000], "multi-label")
    monkeypatch.setattr(calibrate, "TOGETHER", 0.0)
    own = calibrate.fit(logits[:2000], targets[:2000], "multi-label")
    probs = probabilities(logits[2000:], own, "multi-label")
    decided, apart = (decisions(probs, how, "multi-label") for how in (fitted, own))
    assert metrics.micro_f1(targets[2000:], decided) > metrics.micro_f1(targets[2000:], apart) + 0.002
    assert metrics.macro_f1(targets[2000:], decided) > metrics.macro_f1(targets[2000:], apart) - 0.005


@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
def test_without_rows_nothing_is_fitted(kind: str) -> None:
    """Tiny data may leave none: scores stay as they are, and the calibration says so."""
    nothing = np.empty((0, 3), dtype=np.float32)
    assert calibrate.fit(nothing, nothing.astype(bool), kind) == Calibration(rows=0)


def test_perfect_separation_ends_at_a_bound() -> None:
    """Not at a temperature of zero, where every score would be one or zero."""
    logits = np.asarray([[5.0, -5.0], [-5.0, 5.0]] * 20, dtype=np.float32)
    assert calibrate.fit(logits, logits > 0, "single-label").temperature >= calibrate.LOWEST
