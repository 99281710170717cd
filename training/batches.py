"""Seeded token-budget batches of similar lengths."""

import random
from collections.abc import Sequence

from model import collate

# Rows are sorted by length plus up to this many tokens at random, so that an epoch's batches are not the last one's.
JITTER = 2.0


def epoch(lengths: Sequence[int], *, max_tokens: int, rng: random.Random) -> list[list[int]]:
    """Every row once: groups of rows of similar length, of at most `max_tokens` padded tokens, in random order."""
    keys = [length + JITTER * rng.random() for length in lengths]
    order = sorted(range(len(lengths)), key=keys.__getitem__)
    groups = list(collate.group(order, lengths, max_tokens=max_tokens))
    rng.shuffle(groups)
    return groups
