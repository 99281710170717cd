"""model.calibration: logits to probabilities."""

import numpy as np
import pytest

from model.calibration import Calibration, probabilities

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
