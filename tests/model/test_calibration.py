"""model.calibration: logits to probabilities."""

import numpy as np
import pytest

from model.calibration import Calibration, decisions, probabilities

LOGITS = np.asarray([[2.0, 0.0, -1.0], [1000.0, -1000.0, 0.0]], dtype=np.float32)


def test_single_label_probabilities_sum_to_one() -> None:
    """Softmax, without overflow at extreme logits."""
    probs = probabilities(LOGITS, Calibration(), "single-label")
    assert np.allclose(probs.sum(axis=1), 1)
    assert np.isfinite(probs).all()


def test_multi_label_probabilities_stand_by_themselves() -> None:
    """Sigmoid of each logit, without overflow."""
    probs = probabilities(LOGITS, Calibration(), "multi-label")
    assert np.allclose(probs[0], 1 / (1 + np.exp(-LOGITS[0])))
    assert probs[1].tolist() == [1.0, 0.0, 0.5]


@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
def test_a_higher_temperature_is_less_sure_and_keeps_the_order(kind: str) -> None:
    """Temperature moves confidence, never the answer."""
    sure, unsure = (probabilities(LOGITS[:1], Calibration(temperature=t), kind) for t in (0.5, 5.0))
    assert sure.max() > unsure.max()
    assert np.array_equal(sure.argsort(), unsure.argsort())


def test_each_label_may_have_a_temperature_of_its_own() -> None:
    """Each logit is divided by its label's."""
    probs = probabilities(LOGITS[:1], Calibration(temperature=[1.0, 2.0, 0.5]), "multi-label")
    assert probs[0] == pytest.approx(1 / (1 + np.exp(-np.asarray([2.0, 0.0, -2.0]))))


def test_one_label_is_decided_for_or_all_that_reach_their_thresholds() -> None:
    """Half is the threshold where none was fitted."""
    probs = np.asarray([[0.5, 0.3, 0.6], [0.1, 0.2, 0.3]], dtype=np.float32)
    assert decisions(probs, Calibration(), "single-label").tolist() == [[False, False, True]] * 2
    assert decisions(probs, Calibration(), "multi-label").tolist() == [[True, False, True], [False] * 3]
    tuned = Calibration(thresholds=[0.6, 0.2, 0.3])
    assert decisions(probs, tuned, "multi-label").tolist() == [[False, True, True], [False, True, True]]


def test_a_rare_label_is_told_where_it_is_the_largest_multiple_of_its_threshold() -> None:
    """One label always, whatever the thresholds are."""
    probs = np.asarray([[0.6, 0.3, 0.1], [0.6, 0.1, 0.3], [0.9, 0.1, 0.0]], dtype=np.float32)
    found = decisions(probs, Calibration(thresholds=[1.0, 0.4, 0.5]), "single-label")
    assert found.argmax(axis=1).tolist() == [1, 0, 0]  # 0.6, 0.75, 0.2; 0.6, 0.25, 0.6: the first of equals; 0.9 …
    assert (decisions(probs, Calibration(thresholds=[0.0, 0.0, 1.0]), "single-label").sum(axis=1) == 1).all()
