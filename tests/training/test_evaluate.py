"""training.evaluate: what a classifier's answers come to."""

import numpy as np
import pytest

from model.calibration import Calibration
from model.classifier import Classifier
from tests import tiny
from training import evaluate
from training.reading import Examples

TEXTS = ["the film was good", "very dull", "a long film and bad", "unheard", "good", "bad"]


def answers(calibration: Calibration = tiny.CALIBRATION) -> evaluate.Answers:
    labels = [(tiny.LABELS[number % 3],) for number in range(len(TEXTS))]
    return evaluate.answer(tiny.classifier(calibration=calibration), Examples(TEXTS, labels))


@pytest.mark.parametrize("thresholds", [None, [1.0, 0.01, 0.6], [0.01, 1.0, 1.0]])
def test_the_figures_are_those_of_the_class_that_serves(thresholds: list[float] | None) -> None:
    """Accuracy, confusion, confidences and counts agree with what `predict` says."""
    calibration = tiny.CALIBRATION.model_copy(update={"thresholds": thresholds})
    found = evaluate.report(answers(calibration))
    predictions = tiny.classifier(calibration=calibration).predict(TEXTS)
    said = [prediction.label for prediction in predictions]
    right = sum(label == tiny.LABELS[number % 3] for number, label in enumerate(said))
    confidences = [one.confidence for one in found.reliability["after"]]
    assert confidences == pytest.approx(sorted(prediction.score for prediction in predictions))
    assert found.coverage[0].confidence == pytest.approx(max(confidences))
    assert found.accuracy == found.micro_f1 == pytest.approx(right / len(TEXTS))
    assert found.confusion is not None
    assert np.sum(found.confusion) == found.rows == len(TEXTS)
    assert np.trace(found.confusion) == right
    assert [score.rows for score in found.classes] == [2, 2, 2]


def test_reliability_is_shown_before_and_after_calibration() -> None:
    """The tiny bundle's temperature of 1.5 makes every answer less sure, and none another."""
    found = evaluate.report(answers())
    before, after = (sum(one.confidence for one in found.reliability[name]) for name in ("before", "after"))
    assert before > after
    assert sum(one.rows for one in found.reliability["after"]) == len(TEXTS)
    assert found.ece_interval[0] <= found.ece_interval[1]


def test_the_surest_mistakes_come_first() -> None:
    """Each with what it was, what it was called, and how sure that was."""
    found = answers()
    listed = list(evaluate.mistakes(found, most=10))
    assert [row for row, _ in listed] != []
    assert {row for row, _ in listed} == set(np.flatnonzero(~found.right_N))
    scores = [mistake["score"] for _, mistake in listed]
    assert scores == sorted(scores, reverse=True)
    assert all(mistake["labels"] != mistake["predicted"] for _, mistake in listed)
    assert len(list(evaluate.mistakes(found, most=1))) == 1


def test_labels_of_which_there_may_be_none() -> None:
    """Multi-label: rows are right when exactly their labels reach the thresholds; there is no confusion matrix."""
    several = Classifier(
        tiny.CONFIG.model_copy(update={"kind": "multi-label"}),
        tiny.tokenization(),
        tiny.classifier().engine,
        Calibration(thresholds=[1.0, 0.0, 1.0]),
    )
    examples = Examples(TEXTS, [("neutral",), ("neutral",), ("neutral",), (), ("neutral", "positive"), ("neutral",)])
    found = evaluate.report(evaluate.answer(several, examples))
    assert found.confusion is None
    assert found.accuracy == pytest.approx(4 / 6)
    # Said: neutral, six times, of which five are true; true: six pairs.
    assert found.micro_f1 == pytest.approx(2 * 5 / (6 + 6))
    assert several.predict(["good"])[0].labels == ["neutral"]
