"""training.batches: an epoch's order."""

import random
from itertools import pairwise

import numpy as np

from training import batches

LENGTHS = [random.Random(0).randint(1, 60) for _ in range(500)]


def test_an_epoch_has_every_row_once_within_the_budget() -> None:
    """Nothing is left out, and padding counts."""
    groups = batches.epoch(LENGTHS, max_tokens=256, rng=random.Random(1))
    assert sorted(index for group in groups for index in group) == list(range(500))
    assert all(max(LENGTHS[index] for index in group) * len(group) <= 256 for group in groups)


def test_little_is_padding() -> None:
    """Rows of a batch are of similar length: under a tenth of what is computed is padding."""
    groups = batches.epoch(LENGTHS, max_tokens=256, rng=random.Random(1))
    padded = sum(max(LENGTHS[index] for index in group) * len(group) for group in groups)
    assert padded < 1.1 * sum(LENGTHS)


def test_the_generator_alone_decides_the_order() -> None:
    """Equal seeds, equal epochs; the next epoch is another."""
    one, again = random.Random(1), random.Random(1)
    first = batches.epoch(LENGTHS, max_tokens=256, rng=one)
    assert first == batches.epoch(LENGTHS, max_tokens=256, rng=again)
    assert first != batches.epoch(LENGTHS, max_tokens=256, rng=one)


def test_a_cycle_reads_every_row_once_a_round() -> None:
    """Within the budget, and the next round in other groups."""
    rows = [np.full(length, number, dtype=np.int32) for number, length in enumerate(LENGTHS)]
    cycle = batches.Cycle(rows, max_tokens=256, steps=1000, seed=1)
    seen = [cycle.batch(step).indices for step in range(1000)]
    ends = [step for step in range(1, 1000) if sum(map(len, seen[:step])) % 500 == 0]
    rounds = [seen[start:end] for start, end in pairwise([0, *ends])]
    assert len(rounds) >= 3
    assert all(sorted(index for group in groups for index in group) == list(range(500)) for groups in rounds)
    assert rounds[0] != rounds[1]
    assert all(cycle.batch(step).ids_BT.size <= 256 for step in range(1000))


def test_the_step_alone_decides_what_a_cycle_reads() -> None:
    """Not how many there are, nor what was read before; another seed has another order."""
    rows = [np.ones(length, dtype=np.int32) for length in LENGTHS]
    short, long = (batches.Cycle(rows, max_tokens=256, steps=steps, seed=1) for steps in (90, 400))
    assert [short.batch(step).indices for step in (89, 0)] == [long.batch(step).indices for step in (89, 0)]
    assert batches.Cycle(rows, max_tokens=256, steps=1, seed=2).batch(0).indices != short.batch(0).indices
