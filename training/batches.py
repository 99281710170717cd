"""Seeded token-budget batches of similar lengths."""

import random
from collections.abc import Sequence

from model import collate
from model.collate import Batch, Row

# Rows are sorted by length plus up to this many tokens at random, so that an epoch's batches are not the last one's.
JITTER = 2.0


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
