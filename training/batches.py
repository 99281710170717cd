"""Seeded token-budget batches of similar lengths."""

import random
from collections.abc import Sequence
from typing import TypeAlias

from model import collate
from model.collate import Batch, Row
from training.config import TrainingConfig

# Of every epoch the groups of rows, in the order of its steps.
Plan: TypeAlias = list[list[list[int]]]

# Rows are sorted by length plus up to this many tokens at random, so that an epoch's batches are not the last one's.
JITTER = 2.0


def plan(rows: Sequence[Row], config: TrainingConfig, *, epochs: int | None = None) -> Plan:
    """The batches of a training, drawn by its seed; of so many epochs, or of as many as the settings say."""
    rng = random.Random(config.seed)
    lengths = [len(row) for row in rows]
    max_tokens = min(config.batch_tokens, max(1, sum(lengths) // config.epoch_steps))
    made: Plan = []
    while len(made) < (epochs or config.epochs) or (epochs is None and sum(map(len, made)) < config.least_steps):
        made.append(epoch(lengths, max_tokens=max_tokens, rng=rng))
    return made


def epoch(lengths: Sequence[int], *, max_tokens: int, rng: random.Random) -> list[list[int]]:
    """Every row once: groups of rows of similar length, of at most `max_tokens` padded tokens, in random order."""
    keys = [length + JITTER * rng.random() for length in lengths]
    order = sorted(range(len(lengths)), key=keys.__getitem__)
    groups = list(collate.group(order, lengths, max_tokens=max_tokens))
    rng.shuffle(groups)
    return groups


class Cycle:
    """Rows without labels in batches, one a step: all of them, then all again in other groups, for `steps` steps.

    Which one a step reads follows from its number and the seed alone.
    """

    def __init__(self, rows: Sequence[Row], *, max_tokens: int, steps: int, seed: int) -> None:
        self._rows = rows
        self._groups: list[list[int]] = []
        lengths, rng = [len(row) for row in rows], random.Random(seed)
        while len(self._groups) < steps:
            self._groups += epoch(lengths, max_tokens=max_tokens, rng=rng)

    def batch(self, step: int) -> Batch:
        """What the step of this number, from 0, reads."""
        return collate.collate(self._rows, self._groups[step])
