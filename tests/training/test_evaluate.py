"""training.evaluate: figures that can be worked out by hand."""

import numpy as np
import pytest

from training import evaluate

NAMES = ["a", "b", "c"]
# Answers: a, a, b, b. Truths: a, b, b, b. Nothing is c.
PROBS = np.asarray([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.2, 0.8, 0], [0.3, 0.7, 0]], dtype=np.float32)
TARGETS = np.asarray([0, 1, 1, 1])


def test_accuracy_f1_and_confusion_are_those_of_the_textbook() -> None:
    """a: precision 1/2, recall 1, F1 2/3; b: precision 1, recall 2/3, F1 4/5."""
    found = evaluate.report(PROBS, TARGETS, NAMES, truncated=1)
    assert (found.rows, found.accuracy, found.truncated) == (4, 0.75, 1)
    a, b, c = found.classes
    assert (a.precision, a.recall, a.f1, a.rows) == (0.5, 1.0, pytest.approx(2 / 3), 1)
    assert (b.precision, b.recall, b.f1, b.rows) == (1.0, pytest.approx(2 / 3), pytest.approx(0.8), 3)
    assert (c.f1, c.rows) == (0.0, 0)
    assert found.confusion == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]


def test_macro_f1_leaves_out_classes_that_never_occur() -> None:
    """A class that is neither true nor answered has no F1, rather than one of 0."""
    assert evaluate.report(PROBS, TARGETS, NAMES, truncated=0).macro_f1 == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_calibration_error_is_the_distance_of_confidence_and_accuracy() -> None:
    """With fewer rows than bins each row is a bin: |1 − .9|, |0 − .6|, |1 − .8|, |1 − .7|."""
    assert evaluate.expected_calibration_error(PROBS, TARGETS) == pytest.approx((0.1 + 0.6 + 0.2 + 0.3) / 4)


def test_calibration_error_of_honest_confidence_is_small_and_of_a_boaster_large() -> None:
    """Right in seven of ten: small at a confidence of 0.7, a quarter at 0.95."""
    rng = np.random.default_rng(0)
    right = rng.random(15_000) < 0.7
    targets = np.where(right, 0, 1)
    honest, boaster = (np.tile(np.asarray([[c, 1 - c]], dtype=np.float32), (15_000, 1)) for c in (0.7, 0.95))
    assert evaluate.expected_calibration_error(honest, targets) < 0.02
    assert evaluate.expected_calibration_error(boaster, targets) == pytest.approx(0.25, abs=0.01)


def test_bins_hold_equal_numbers_of_rows_ordered_by_confidence() -> None:
    """Rows that are too sure and rows that are too modest don't cancel out where they fall into bins of their own."""
    probs = np.asarray([[0.9, 0.1]] * 75 + [[0.6, 0.4]] * 75, dtype=np.float32)
    targets = np.asarray([1] * 75 + [0] * 75)
    # 15 bins of 10 rows: seven of the modest, one of both halves (their gaps are +0.4 and -0.9), seven of the sure.
    expected = (70 * 0.4 + abs(5 * 0.4 - 5 * 0.9) + 70 * 0.9) / 150
    assert evaluate.expected_calibration_error(probs, targets) == pytest.approx(expected, rel=1e-5)
