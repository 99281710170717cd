"""training.loop: what is learnt, early stop, going on after a break."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from model.config import NetworkConfig
from tests.training.fakes import SHAPE, Killed, Memory, Silent, made
from training import loop
from training.config import TrainingConfig
from training.errors import ConfigError
from training.loop import Encoded
from training.network import TrainedNetwork


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


HALF = TrainingConfig(
    epochs=3, epoch_steps=10, least_steps=1, learning_rate=0.01, virtual_weight=1.0, entropy_weight=0.3
)


def unlabelled(size: int = 80) -> list[np.ndarray]:
    return [row.astype(np.int32) for row in example(size, seed=2).rows]


@pytest.mark.parametrize("at", [4, 10, 23])
def test_a_run_that_reads_text_without_labels_goes_on_in_it(at: int) -> None:
    """Killed at any step, to the same weights: the right batch is read next, and the same random moves are made."""
    given = (example(100), example(50, seed=1), HALF, Silent())
    whole = loop.fit(made(), *given, unlabelled=unlabelled())
    memory, steps = Memory(due_every=3), itertools.count(1)

    def kill() -> bool:
        if next(steps) == at:
            raise Killed
        return False

    with pytest.raises(Killed):
        loop.fit(made(), *given, unlabelled=unlabelled(), keeper=memory, stopped=kill)
    network = made()
    torch.manual_seed(99)
    again = loop.fit(network, *given, unlabelled=unlabelled(), keeper=memory)
    assert all(torch.equal(again.weights[name], value) for name, value in whole.weights.items())


def test_text_without_labels_is_read_where_it_has_a_weight_only() -> None:
    """Without one it changes no bit, so no number is drawn for it; with one, other text gives other weights."""
    given = (example(100), example(50, seed=1))
    plain = HALF.model_copy(update={"virtual_weight": 0.0, "entropy_weight": 0.0})
    without = loop.fit(made(), *given, plain, Silent()).weights
    beside = loop.fit(made(), *given, plain, Silent(), unlabelled=unlabelled()).weights
    assert all(torch.equal(beside[name], value) for name, value in without.items())
    for name in ("virtual_weight", "entropy_weight"):
        config = plain.model_copy(update={name: 1.0})
        one, other = (loop.fit(made(), *given, config, Silent(), unlabelled=unlabelled(size)) for size in (80, 60))
        assert not torch.equal(one.weights["head.weight"], without["head.weight"])
        assert not torch.equal(one.weights["head.weight"], other.weights["head.weight"])


class Watched(list[np.ndarray]):
    """Rows that know which of them were read, in order."""

    def __init__(self, rows: Sequence[np.ndarray]) -> None:
        super().__init__(rows)
        self.read: list[int] = []

    def __getitem__(self, index: Any) -> Any:
        self.read.append(index)
        return super().__getitem__(index)


def test_every_step_reads_other_text_until_all_is_read() -> None:
    """Then the cycle begins anew."""
    rows = Watched(unlabelled(80))
    config = HALF.model_copy(update={"unlabelled_tokens": 40})
    loop.fit(made(), example(100), example(50), config, Silent(), unlabelled=rows)
    assert len(rows.read) > 80
    assert set(rows.read) == set(range(80))


@pytest.mark.parametrize("name", ["virtual_weight", "entropy_weight"])
def test_a_weight_for_text_that_is_not_there_is_refused(name: str) -> None:
    """Rather than trained without."""
    config = TrainingConfig(epochs=1, least_steps=1).model_copy(update={name: 1.0})
    with pytest.raises(ConfigError, match="there is no text without labels to read"):
        loop.fit(made(), example(20), example(20), config, Silent())


def test_labels_that_come_together_are_learnt_beside_text_without_any() -> None:
    """Multi-label: whether token 3 occurs, and whether token 4 does, from 60 rows with labels."""
    plain = [example(60), example(100, seed=1)]
    several = [
        Encoded(data.rows, np.asarray([[3 in row, 4 in row] for row in data.rows]), "multi-label") for data in plain
    ]
    config = TrainingConfig(
        epochs=8,
        epoch_steps=40,
        least_steps=1,
        learning_rate=0.01,
        average_decay=0.9,
        pooled_dropout=0.1,
        embedding_dropout=0.1,
        adversarial_norm=0.5,
        virtual_weight=1.0,
        entropy_weight=0.1,
        unlabelled_tokens=256,
    )
    fitted = loop.fit(made(), *several, config, Silent(), unlabelled=unlabelled(600))
    assert max(result.score for result in fitted.epochs) >= 0.95


def test_words_that_no_label_explains_are_learnt_from_text_without_labels() -> None:
    """Each class has eight words of its own. Rows with labels have three of them, validation the five others, and only
    text without labels has both: with either weight those five are known, without one not. Medians of three seeds.
    """
    weights = ({}, {"virtual_weight": 1.0}, {"entropy_weight": 1.0})
    without, virtual, certain = (sorted(_score(seed, **weight) for seed in range(3))[1] for weight in weights)
    assert without < 0.7
    assert min(virtual, certain) > without + 0.2


def _score(seed: int, **weight: float) -> float:
    """On validation, after the last epoch of 150 steps."""
    config = TrainingConfig(
        seed=seed,
        precision="float32",
        epoch_steps=4,
        least_steps=150,
        patience=1000,
        learning_rate=0.005,
        average_decay=0.9,
        pooled_dropout=0.1,
        embedding_dropout=0.2,
        adversarial_norm=1.0,
        unlabelled_tokens=256,
    ).model_copy(update=weight)
    texts = _by_words(800, range(8), seed=seed + 100).rows
    network = _normalised(texts, config)
    train, validation = _by_words(20, range(3), seed=seed), _by_words(200, range(3, 8), seed=seed + 200)
    return loop.fit(network, train, validation, config, Silent(), unlabelled=texts).epochs[-1].score


def _by_words(size: int, words: Sequence[int], *, seed: int) -> Encoded:
    """Rows of four words of their class, tokens 2 to 9 or 10 to 17, among four of neither, tokens 18 to 25."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 2, size)
    rows = [
        rng.permutation(np.concatenate([2 + 8 * number + rng.choice(words, size=4), rng.integers(18, 26, size=4)]))
        for number in classes
    ]
    return Encoded(rows, one_hot(classes), "single-label")


def _normalised(rows: Sequence[np.ndarray], config: TrainingConfig) -> TrainedNetwork:
    torch.manual_seed(config.seed)
    shape = NetworkConfig(vocabulary_size=26, embedding_size=16, hidden_size=16, classes=2)
    return TrainedNetwork(shape, config, torch.from_numpy(np.bincount(np.concatenate(rows), minlength=26)).float())
