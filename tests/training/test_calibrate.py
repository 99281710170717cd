"""training.calibrate: the temperature."""

import numpy as np
import pytest

from model.calibration import Calibration
from training import calibrate


def drawn(rows: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and targets drawn from their softmax: perfectly calibrated as they are."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2, size=(rows, classes)).astype(np.float32)
    powers = np.exp(logits)
    targets = [rng.choice(classes, p=row / row.sum()) for row in powers.astype(np.float64)]
    return logits, np.asarray(targets)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(factor: float) -> None:
    """Logits that are too large by a factor want that factor as their temperature."""
    logits, targets = drawn(20_000, 4)
    found = calibrate.fit(logits * np.float32(factor), targets)
    assert found.temperature == pytest.approx(factor, rel=0.05)
    assert found.rows == 20_000


def test_it_makes_overconfident_scores_honest() -> None:
    """The error before and after is part of the calibration."""
    logits, targets = drawn(5_000, 3)
    found = calibrate.fit(logits * 4, targets)
    assert found.ece_before is not None
    assert found.ece_after is not None
    assert found.ece_after < 0.03
    assert found.ece_before > 0.1


def test_without_rows_nothing_is_fitted() -> None:
    """Tiny data may leave none: scores stay as they are, and the calibration says so."""
    assert calibrate.fit(np.empty((0, 3), dtype=np.float32), np.empty(0, dtype=np.int64)) == Calibration(rows=0)


def test_perfect_separation_ends_at_a_bound() -> None:
    """Not at a temperature of zero, where every score would be one or zero."""
    logits = np.asarray([[5.0, -5.0], [-5.0, 5.0]] * 20, dtype=np.float32)
    assert calibrate.fit(logits, np.asarray([0, 1] * 20)).temperature >= calibrate.LOWEST
