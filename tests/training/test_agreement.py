"""training.agreement: whether 8 bits are enough is told by what they change."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy

from model.engine_native import kernels
from tests import tiny
from training import agreement, evaluate
from training.evaluate import Judged
from training.reading import Examples

pytestmark = pytest.mark.skipif(not kernels(), reason="built without a C compiler, or this CPU has no AVX2")

TEXTS = ["the film was good", "very dull", "a long film and bad", "unheard", "good", "bad"]
LABELS = [(tiny.LABELS[number % 3],) for number in range(len(TEXTS))]


def judged() -> Judged:
    return evaluate.judge(tiny.classifier(), Examples(TEXTS, LABELS))


def test_what_changes_no_label_agrees() -> None:
    """All rows have the labels that they had, and no probability is far off."""
    found = agreement.eight_bits(tiny.classifier(), tiny.weights(), judged(), threads=1)
    assert found is not None
    assert found["agree"] is True
    assert (found["rows"], found["same_labels"], found["accuracy_gained"]) == (len(TEXTS), 1.0, 0.0)
    assert 0 < found["largest_change"] < 0.01


def test_one_label_of_a_few_rows_is_too_much() -> None:
    """A tenth of a point of six rows is none."""
    before = judged()
    other_NC = before.answers.decided_NC.copy()
    other_NC[0] = np.roll(other_NC[0], 1)
    changed = replace(before, answers=replace(before.answers, decided_NC=other_NC))
    found = agreement.eight_bits(tiny.classifier(), tiny.weights(), changed, threads=1)
    assert found is not None
    assert found["agree"] is False
    assert found["same_labels"] == pytest.approx(5 / 6)


def test_a_probability_that_is_far_off_is_too_much() -> None:
    """Though every label is the same: a steep head makes much of a small difference."""
    found = safetensors.numpy.load(tiny.weights())
    found["head.weight"] *= 400
    steep = safetensors.numpy.save(found)
    its = tiny.classifier(tensors=steep)
    texts = [" ".join(words) for words in itertools.product(tiny.KNOWN.split(), repeat=3)]
    before = evaluate.judge(its, Examples(texts, [(tiny.LABELS[0],)] * len(texts)))
    told = agreement.eight_bits(its, steep, before, threads=1)
    assert told is not None
    assert told["largest_change"] > 0.01
    assert told["agree"] is False


def test_weights_that_our_engine_cannot_take_say_nothing() -> None:
    """Another one serves them, and that knows no 8 bits."""
    found = safetensors.numpy.load(tiny.weights())
    found["embedding.weight"] = found["embedding.weight"].astype(np.float32)
    found["embedding.weight"][3] *= 1e6
    assert agreement.eight_bits(tiny.classifier(), safetensors.numpy.save(found), judged(), threads=1) is None
