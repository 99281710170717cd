"""training.learner: schedule, average, which parameters learn how."""

import torch

from tests.training.fakes import made
from training import learner
from training.config import TrainingConfig


def test_the_rate_rises_then_falls_to_almost_nothing() -> None:
    """Warm-up over its share of the steps, then a line down; never zero, never above one."""
    config = TrainingConfig(warmup_share=0.1)
    rates = [learner.rate(step, 100, config) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert max(rates) == 1.0
    assert 0 < rates[-1] < 0.02


def test_the_average_follows_slowly() -> None:
    """average ← decay · average + (1 − decay) · network, for every parameter."""
    average, network = made(0), made(1)
    before = average.head.weight.detach().clone()
    learner.move_average(average, network, decay=0.75)
    assert torch.allclose(average.head.weight, 0.75 * before + 0.25 * network.head.weight)


def test_biases_and_the_embedding_are_not_decayed() -> None:
    """Weight decay is for the matrices of the LSTM and the head."""
    network = made()
    decayed, rest = learner.make_optimizer(network, TrainingConfig(weight_decay=0.1)).param_groups
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    assert {id(p) for p in decayed["params"]} == {
        id(p) for name, p in network.named_parameters() if name.startswith(("lstm", "head")) and "weight" in name
    }


def test_what_was_pretrained_learns_later_and_more_slowly() -> None:
    """Nothing over the frozen share of the steps, then its share of the rate; the head has the whole rate at once."""
    config = TrainingConfig(frozen_share=0.2, warmup_share=0.1, encoder_rate=0.5)
    rates = [learner.thawing_rate(step, 100, config) for step in range(100)]
    assert rates[:20] == [0.0] * 20
    assert rates[20:27] == sorted(rates[20:27])
    assert rates[30:] == [learner.rate(step, 100, config) for step in range(30, 100)]
    groups = learner.make_optimizer(made(), config, pretrained=True).param_groups
    sizes = {(group["schedule"], group["lr"] / config.learning_rate): len(group["params"]) for group in groups[::2]}
    assert sizes == {("thawing_rate", 0.5): 4, ("rate", 1.0): 1}
