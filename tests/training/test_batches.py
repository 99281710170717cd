"""training.batches: an epoch's order."""

import random

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
