"""training.pretraining.language_model: what is predicted, from what."""

import numpy as np
import pytest
import torch

from tests.training.pretraining.corpus import SMALL
from training.pretraining import loop, stream
from training.pretraining.language_model import LanguageModel

WORDS = 12
# Sums in another order, in float32.
AGREEMENT = 1e-4


def rows(count: int = 6) -> list[stream.Row]:
    rng = np.random.default_rng(0)
    return [rng.integers(2, WORDS, size=9).astype(np.int32) for _ in range(count)]


def made() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(torch.tensor([0, *range(3, WORDS + 2)]), SMALL.model_copy(update={"word_dropout": 0.0}))


def summed(model: LanguageModel, ids: torch.Tensor, size: int) -> list[float]:
    """The loss of each direction, read in chunks of that size."""
    states, sums = model.fresh(), [0.0, 0.0]
    with torch.inference_mode():
        for index in range(stream.chunks(ids, size)):
            losses, _, states = model.exact(stream.chunk(ids, index, size, directions=2), states, model.table())
            sums = [total + loss for total, loss in zip(sums, losses, strict=True)]
    return sums


@pytest.mark.parametrize("size", [1, 5, 7])
def test_carried_states_are_one_long_read(size: int) -> None:
    """The same loss in chunks as at once, in both directions."""
    model, ids = made().eval(), stream.lay_out(rows(), 2)
    assert summed(model, ids, size) == pytest.approx(summed(model, ids, 1000), rel=AGREEMENT)


def test_the_backward_reader_is_the_forward_one_of_the_text_turned_round() -> None:
    """With the same weights: its loss on a text is the other's on that text from its end."""
    model = made().eval()
    model.lstm[1].load_state_dict(model.lstm[0].state_dict())
    model.projection[1].load_state_dict(model.projection[0].state_dict())
    turned = [row[::-1].copy() for row in reversed(rows())]
    plain, other = loop.exact(model, rows()[:1]), loop.exact(model, turned[-1:])
    assert plain.backward == pytest.approx(other.forward, rel=AGREEMENT)
    assert plain.backward != pytest.approx(plain.forward, rel=AGREEMENT)


def test_every_parameter_gets_a_gradient() -> None:
    """Embedding, both LSTMs, both projections, the bias."""
    model = made()
    losses, _ = model.loss(stream.chunk(stream.lay_out(rows(), 2), 0, 20, directions=2), model.fresh())
    torch.stack(losses).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_separators_and_unknown_words_are_not_predicted() -> None:
    """A stream of nothing else has a loss of zero over no word."""
    model = made()
    ids = torch.tensor([[0, 1, 1, 0, 1, 0]])
    losses, _ = model.loss(stream.chunk(ids, 0, 10, directions=2), model.fresh())
    assert [loss.item() for loss in losses] == [0.0, 0.0]
    with torch.inference_mode():
        _, words, _ = model.eval().exact(stream.chunk(ids, 0, 10, directions=2), model.fresh(), model.table())
    assert words == 0


@pytest.mark.parametrize("setting", ["pretrain_activation", "pretrain_slowness"])
def test_large_and_fast_states_cost(setting: str) -> None:
    """The loss rises by its weight times what the states come to, and the LSTMs feel it."""
    model = made().eval()
    chunks = stream.chunk(stream.lay_out(rows(), 2), 0, 20, directions=2)

    def losses(weight: float) -> torch.Tensor:
        model._config = model._config.model_copy(update={setting: weight})
        torch.manual_seed(0)
        return torch.stack(model.loss(chunks, model.fresh())[0])

    none, one, two = losses(0.0), losses(1.0), losses(2.0)
    assert (one > none).all()
    assert torch.allclose(two - none, 2 * (one - none), rtol=1e-3, atol=AGREEMENT)
    (gradient,) = torch.autograd.grad((one - none).sum(), model.lstm[1].weight_hh_l0)
    assert gradient.abs().sum() > 0
