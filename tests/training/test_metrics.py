"""training.metrics: figures that can be worked out by hand."""

import numpy as np
import pytest

from training import metrics

# Answers: a, a, b, b. Truths: a, b, b, b. Nothing is c.
PROBS = np.asarray([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.2, 0.8, 0], [0.3, 0.7, 0]], dtype=np.float32)
TARGETS = np.arange(3) == np.asarray([0, 1, 1, 1])[:, None]
DECIDED = np.arange(3) == PROBS.argmax(axis=1)[:, None]


def most_probable(probs: np.ndarray) -> np.ndarray:
    return np.arange(probs.shape[1]) == probs.argmax(axis=1)[:, None]


def ece(probs: np.ndarray, targets: np.ndarray) -> float:
    one_hot = np.arange(probs.shape[1]) == targets[:, None]
    return metrics.expected_calibration_error(*metrics.claims(probs, most_probable(probs), one_hot, "single-label"))


def test_what_is_claimed_is_the_label_that_was_told() -> None:
    """Though another one is more probable: its own probability, right or wrong, is what a client is told."""
    told = np.arange(3) == np.asarray([1, 1, 1, 1])[:, None]
    claimed, right = metrics.claims(PROBS, told, TARGETS, "single-label")
    assert claimed[:, 0] == pytest.approx([0.1, 0.4, 0.8, 0.7])
    assert right[:, 0].tolist() == [0, 1, 1, 1]
    assert metrics.confidence(PROBS, told, "single-label") == pytest.approx([0.1, 0.4, 0.8, 0.7])


def test_precision_recall_and_f1_are_those_of_the_textbook() -> None:
    """a: precision 1/2, recall 1, F1 2/3; b: precision 1, recall 2/3, F1 4/5; c has none, and is 0."""
    precision, recall, f1 = metrics.per_class(TARGETS, DECIDED)
    assert precision.tolist() == pytest.approx([1 / 2, 1, 0])
    assert recall.tolist() == pytest.approx([1, 2 / 3, 0])
    assert f1.tolist() == pytest.approx([2 / 3, 4 / 5, 0])


def test_micro_f1_of_one_label_a_row_is_the_accuracy() -> None:
    """Three of four are right."""
    assert metrics.micro_f1(TARGETS, DECIDED) == 0.75


def test_macro_f1_leaves_out_classes_that_never_occur() -> None:
    """A class that is neither true nor answered has no F1, rather than one of 0."""
    assert metrics.macro_f1(TARGETS, DECIDED) == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_the_best_threshold_is_the_best_of_all() -> None:
    """No cut of a grid has a higher F1, and the threshold gives what it promises; ties in the scores included."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        targets = rng.random(60) < 0.3
        targets[0] = True
        probs = (0.3 * targets + 0.7 * rng.random(60)).round(1).astype(np.float32)
        threshold, promised = metrics.best_threshold(probs, targets)
        found = metrics.micro_f1(targets[:, None], (probs >= threshold)[:, None])
        assert found == pytest.approx(promised)
        assert all(
            metrics.micro_f1(targets[:, None], (probs >= cut)[:, None]) <= found + 1e-12
            for cut in np.linspace(0, 1, 201)
        )


def test_calibration_error_is_the_distance_of_confidence_and_accuracy() -> None:
    """With fewer rows than bins each row is a bin: |1 − .9|, |0 − .6|, |1 − .8|, |1 − .7|."""
    assert ece(PROBS, np.asarray([0, 1, 1, 1])) == pytest.approx((0.1 + 0.6 + 0.2 + 0.3) / 4)


def test_calibration_error_of_honest_confidence_is_small_and_of_a_boaster_large() -> None:
    """Right in seven of ten: small at a confidence of 0.7, a quarter at 0.95."""
    rng = np.random.default_rng(0)
    targets = np.where(rng.random(15_000) < 0.7, 0, 1)
    honest, boaster = (np.tile(np.asarray([[c, 1 - c]], dtype=np.float32), (15_000, 1)) for c in (0.7, 0.95))
    assert ece(honest, targets) < 0.02
    assert ece(boaster, targets) == pytest.approx(0.25, abs=0.01)


def test_bins_hold_equal_numbers_of_rows_ordered_by_confidence() -> None:
    """Rows that are too sure and rows that are too modest don't cancel out where they fall into bins of their own."""
    probs = np.asarray([[0.9, 0.1]] * 75 + [[0.6, 0.4]] * 75, dtype=np.float32)
    # 15 bins of 10 rows: seven of the modest, one of both halves (their gaps are +0.4 and -0.9), seven of the sure.
    expected = (70 * 0.4 + abs(5 * 0.4 - 5 * 0.9) + 70 * 0.9) / 150
    assert ece(probs, np.asarray([1] * 75 + [0] * 75)) == pytest.approx(expected, rel=1e-5)


def test_each_label_of_several_is_a_claim_of_its_own() -> None:
    """Two labels, each with a probability of 0.8 that holds in eight of ten rows, are honest."""
    targets = np.stack([np.arange(1000) % 10 < 8, np.arange(1000) % 10 >= 2], axis=1)
    probs = np.full((1000, 2), 0.8, dtype=np.float32)
    assert metrics.expected_calibration_error(*metrics.claims(probs, targets, targets, "multi-label")) < 0.01


def test_the_interval_of_the_error_holds_it_and_narrows_with_rows() -> None:
    """Twenty times the rows, less than half the width; and one seed gives one interval."""
    rng = np.random.default_rng(0)
    widths = []
    for rows in (200, 4000):
        claimed = rng.uniform(0.5, 1.0, size=(rows, 1))
        right = (rng.random((rows, 1)) < claimed - 0.2).astype(float)
        low, high = metrics.ece_interval(claimed, right)
        assert low <= metrics.expected_calibration_error(claimed, right) <= high
        assert metrics.ece_interval(claimed, right) == (low, high)
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


@pytest.mark.parametrize("boast", [0.0, 0.03, 0.15])
def test_the_interval_holds_the_error_on_endlessly_many_rows(boast: float) -> None:
    """In at least 90 of 100 draws, and the error that was measured in all; a perfect classifier's too."""
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(100):
        claimed = rng.uniform(0.6, 1.0, size=(400, 1))
        right = (rng.random((400, 1)) < claimed - boast).astype(float)
        low, high = metrics.ece_interval(claimed, right)
        assert low <= metrics.expected_calibration_error(claimed, right) <= high
        held += low <= boast <= high
    assert held >= 90


def test_chances_share_is_what_draws_come_to() -> None:
    """The formula against simulation."""
    rng = np.random.default_rng(3)
    claimed = rng.uniform(0.5, 1.0, size=(1000, 1))
    drawn = [
        metrics.expected_calibration_error(claimed, (rng.random((1000, 1)) < claimed).astype(float)) for _ in range(300)
    ]
    assert metrics.ece_floor(claimed) == pytest.approx(np.mean(drawn), rel=0.05)


def test_validation_without_any_label_scores_nothing() -> None:
    """Multi-label: an epoch's score is 0 then, not no number."""
    nothing = np.zeros((5, 3), dtype=np.bool_)
    probs = np.full((5, 3), 0.4, dtype=np.float32)
    for selection in ("micro_f1", "macro_f1"):
        assert metrics.selection_score(probs, nothing, selection=selection, kind="multi-label") == 0.0


def test_a_perfect_classifier_has_the_error_of_chance_alone() -> None:
    """On few rows that is large; honest claims come out at it, boasts far above."""
    rng = np.random.default_rng(1)
    claimed = rng.uniform(0.5, 1.0, size=(500, 1))
    floor = metrics.ece_floor(claimed)
    honest, boasting = ((rng.random((500, 1)) < claimed - less).astype(float) for less in (0, 0.2))
    assert 0.01 < floor < 0.08
    assert metrics.expected_calibration_error(claimed, honest) < 2 * floor
    assert metrics.expected_calibration_error(claimed, boasting) > 2 * floor


def test_coverage_answers_the_surest_first() -> None:
    """Two sure and right, then one wrong, then one right."""
    points = metrics.coverage(np.asarray([0.6, 0.9, 0.7, 0.8]), np.asarray([True, True, False, True]))
    assert [(point.coverage, point.accuracy) for point in points] == [
        (0.25, 1.0),
        (0.5, 1.0),
        (0.75, pytest.approx(2 / 3)),
        (1.0, 0.75),
    ]
