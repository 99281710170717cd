"""training.pretraining.loop and .make: it learns, and goes on after a break as if there had been none."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch

from tests.training.fakes import NEEDS_BFLOAT16, Killed, Memory, Silent
from tests.training.pretraining.corpus import SMALL, texts
from training.loop import Interrupted
from training.pretraining import loop, make
from training.pretraining.language_model import LanguageModel
from training.pretraining.make import Pretrained
from training.pretraining.texts import Texts

CPU = torch.device("cpu")
TEXTS = Texts(texts()[:50], texts()[50:], left_out=0, repeated=0)


def made(keeper: Memory | None = None, stopped: Callable[[], bool] = lambda: False, **settings: object) -> Pretrained:
    config = SMALL.model_copy(update=settings)
    return make.make(TEXTS, config, Silent(), device=CPU, keeper=keeper, stopped=stopped)


@pytest.fixture(scope="module")
def whole() -> Pretrained:
    return made()


def test_it_learns_the_rule(whole: Pretrained) -> None:
    """On held-out text, in both directions; a word more than a guess among all is known."""
    before, after = whole.learnt.before, whole.learnt.after
    assert after.forward < before.forward - 1
    assert after.backward is not None
    assert before.backward is not None
    assert after.backward < before.backward - 1


def test_the_table_is_given_as_it_is_served(whole: Pretrained) -> None:
    """Mean 0 and variance 1 over the text, each token as often as it came."""
    counts, table = whole.encoder.weights["counts"], whole.encoder.weights["embedding.weight"]
    share = (counts / counts.sum())[:, None]
    assert torch.allclose((share * table).sum(dim=0), torch.zeros(SMALL.embedding_size), atol=1e-5)
    assert torch.allclose((share * table.square()).sum(dim=0), torch.ones(SMALL.embedding_size), atol=1e-3)


def test_one_seed_fixes_everything(whole: Pretrained) -> None:
    """Equal encoders have equal versions; another seed gives another."""
    assert made().encoder.version == whole.encoder.version != made(seed=1).encoder.version


@pytest.mark.parametrize("at", [2, 9, 30])
@pytest.mark.parametrize("taken", ["float32", pytest.param("bfloat16", marks=NEEDS_BFLOAT16)])
def test_a_run_that_was_cut_off_ends_in_the_same_bytes(at: int, taken: str) -> None:
    """Killed at any step, and taken up in a process with other random numbers."""
    memory, steps = Memory(due_every=4), itertools.count(1)

    def kill() -> bool:
        if next(steps) == at:
            raise Killed
        return False

    with pytest.raises(Killed):
        made(memory, kill, precision=taken)
    again, straight = made(memory, precision=taken), made(precision=taken)
    assert again.encoder.version == straight.encoder.version
    assert again.learnt.after == straight.learnt.after


def test_a_stop_keeps_the_state(whole: Pretrained) -> None:
    """After the step in which it was asked for; a run that is done is done at once when it is taken up."""
    memory, steps = Memory(due_every=4), itertools.count(1)
    with pytest.raises(Interrupted):
        made(memory, lambda: next(steps) == 3)
    assert memory.load() is not None
    assert made(memory).encoder.version == whole.encoder.version
    assert made(memory, lambda: pytest.fail("there was another step")).encoder.version == whole.encoder.version


def test_one_direction_is_enough() -> None:
    """As the classifier's `bidirectional` says."""
    found = made(bidirectional=False)
    assert (found.learnt.after.backward, "lstm.1.weight_ih_l0" in found.encoder.weights) == (None, False)


@pytest.mark.parametrize("loss", [3.0, 709.0, 1e4, float("inf")])
def test_a_perplexity_is_a_finite_number(loss: float) -> None:
    """However bad the model is."""
    found = loop.Exact(loss, None, words=1).document()["perplexity"]
    assert found == math.exp(min(loss, 709.0)) < math.inf


def test_no_step_is_for_next_to_nothing() -> None:
    """The rate goes up, then down in a line, and ends at a hundredth."""
    learner = loop.Learner(LanguageModel(torch.tensor([0, 3, 4, 5]), SMALL), SMALL, steps=1000)
    (group,) = learner._optimizer.param_groups
    rates = []
    for _ in range(1000):
        rates.append(group["lr"] / SMALL.pretrain_rate)
        learner._optimizer.step()
        learner._scheduler.step()
    assert max(rates) == pytest.approx(1.0)
    assert min(rates[100:]) == pytest.approx(rates[-1]) == pytest.approx(loop.LEAST_RATE)
