"""training.loop: what is learnt, early stop, going on after a break."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from tests.training.fakes import SHAPE, Killed, Memory, Silent, made
from training import loop
from training.config import TrainingConfig
from training.loop import Encoded


def example(size: int, seed: int = 0) -> Encoded:
    """The label is whether token 3 occurs."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(2, 6, size=rng.integers(1, 7)) for _ in range(size)]
    return Encoded(rows, one_hot([int(3 in row) for row in rows]), "single-label")


def one_hot(targets: Sequence[int]) -> np.ndarray:
    return np.arange(SHAPE.classes) == np.asarray(targets)[:, None]


def test_it_learns_what_can_be_learned() -> None:
    """A rule over tokens is found, on rows that weren't trained on."""
    config = TrainingConfig(
        epochs=5, epoch_steps=60, least_steps=1, learning_rate=0.01, average_decay=0.9, pooled_dropout=0.1
    )
    fitted = loop.fit(made(), example(600), example(100, seed=1), config, Silent())
    assert max(result.score for result in fitted.epochs) >= 0.97


def test_it_stops_when_validation_has_stopped_rising() -> None:
    """Labels at random can't be learned: patience ends the run early, and the best epoch's weights are kept."""
    data = example(40)
    noise = Encoded(data.rows, one_hot(np.random.default_rng(3).integers(0, 2, size=40)), "single-label")
    config = TrainingConfig(epochs=50, epoch_steps=2, least_steps=1, patience=2)
    fitted = loop.fit(made(), noise, noise, config, Silent())
    best = max(result.epoch for result in fitted.epochs if result.best)
    assert len(fitted.epochs) == best + 2 < 50
    network = made()
    network.load_state_dict(fitted.weights)
    assert loop.judge(network, noise, selection="micro_f1")[1] == pytest.approx(fitted.epochs[best - 1].score)


def test_it_learns_labels_that_come_together() -> None:
    """Multi-label goes down the same road: whether token 3 occurs, and whether token 4 does."""
    plain = [example(600), example(100, seed=1)]
    several = [
        Encoded(data.rows, np.asarray([[3 in row, 4 in row] for row in data.rows]), "multi-label") for data in plain
    ]
    config = TrainingConfig(
        epochs=8,
        epoch_steps=60,
        least_steps=1,
        learning_rate=0.01,
        average_decay=0.9,
        pooled_dropout=0.1,
        adversarial_norm=0.5,
    )
    for selection in ("micro_f1", "macro_f1"):
        fitted = loop.fit(made(), *several, config.model_copy(update={"selection": selection}), Silent())
        assert max(result.score for result in fitted.epochs) >= 0.97


def test_a_rare_class_counts_more_when_it_is_asked_for() -> None:
    """One row in twenty has a label that a token hints at in two cases of three: balanced, it is answered there."""
    rng = np.random.default_rng(0)
    rare = np.arange(600) % 20 == 0
    hinted = np.where(rng.random(600) < 2 / 3, rare, rng.random(600) < 0.15)
    data = Encoded([np.asarray([3 if hint else 4]) for hint in hinted], one_hot(rare.astype(int)), "single-label")
    found = {}
    for weight in ("none", "balanced"):
        config = TrainingConfig(
            epochs=8,
            epoch_steps=20,
            least_steps=1,
            learning_rate=0.01,
            average_decay=0.9,
            adversarial_weight=0,
            class_weight=weight,
        )
        network = made()
        network.load_state_dict(loop.fit(network, data, data, config, Silent()).weights)
        logits = network(torch.tensor([[3]]), torch.tensor([1]))
        found[weight] = int(logits.argmax())
    assert found == {"none": 0, "balanced": 1}


def test_the_loss_can_select() -> None:
    """The score is then the loss with a minus."""
    config = TrainingConfig(epochs=2, epoch_steps=5, least_steps=1, selection="loss")
    fitted = loop.fit(made(), example(50), example(50), config, Silent())
    assert all(result.score == -result.validation_loss for result in fitted.epochs)


@pytest.mark.parametrize("at", [1, 7, 10, 11, 29])
def test_a_run_that_was_cut_off_ends_in_the_same_weights(at: int) -> None:
    """Killed at any step, in mid-epoch or at its end, and taken up in a process with other random numbers."""
    config = TrainingConfig(epochs=3, epoch_steps=10, least_steps=1, learning_rate=0.01)
    whole = loop.fit(made(), example(100), example(50, seed=1), config, Silent())
    memory, steps = Memory(due_every=4), itertools.count(1)

    def kill() -> bool:
        if next(steps) == at:
            raise Killed
        return False

    with pytest.raises(Killed):
        loop.fit(made(), example(100), example(50, seed=1), config, Silent(), keeper=memory, stopped=kill)
    resumed = made()
    if memory.kept is not None:
        torch.manual_seed(99)
    again = loop.fit(resumed, example(100), example(50, seed=1), config, Silent(), keeper=memory)
    assert [result.validation_loss for result in again.epochs] == [result.validation_loss for result in whole.epochs]
    for name, value in whole.weights.items():
        assert torch.equal(again.weights[name], value), name


def test_a_stop_keeps_the_state_and_hands_over_the_best() -> None:
    """After the step in which it was asked for."""
    memory, steps = Memory(due_every=1000), itertools.count(1)
    config = TrainingConfig(epochs=3, epoch_steps=10, least_steps=1)
    with pytest.raises(loop.Interrupted) as caught:
        loop.fit(made(), example(100), example(50), config, Silent(), keeper=memory, stopped=lambda: next(steps) == 15)
    assert len(caught.value.fitted.epochs) == 1
    assert caught.value.fitted.weights
    kept = memory.load()
    assert kept is not None
    assert kept["step"] == 15


def test_small_data_gets_more_epochs() -> None:
    """Until the least number of steps is done, whatever the number of epochs."""
    config = TrainingConfig(epochs=1, epoch_steps=5, least_steps=30, patience=100, learning_rate=1e-4)
    fitted = loop.fit(made(), example(20), example(20), config, Silent())
    assert 2 < len(fitted.epochs) <= 6


def test_what_is_frozen_is_as_it_was() -> None:
    """In a step of the head alone the embedding and the LSTMs are unchanged; without a frozen share they learn."""
    for frozen, same in ((0.45, True), (0.0, False)):
        network = made()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        config = TrainingConfig(epochs=1, epoch_steps=2, least_steps=1, frozen_share=frozen, average_decay=0.0)
        with pytest.raises(loop.Interrupted):
            loop.fit(network, example(40), example(20), config, Silent(), pretrained=True, stopped=lambda: True)
        after = network.state_dict()
        assert not torch.equal(before["head.weight"], after["head.weight"])
        assert torch.equal(before["lstm.0.weight_hh_l0"], after["lstm.0.weight_hh_l0"]) == same
