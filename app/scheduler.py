"""Which of the waiting rows are computed next, and what that will cost.

Both are decided by rows' lengths alone; nothing here knows of requests, threads or clocks.
"""

from collections.abc import Callable, Iterable, Sequence, Sized
from typing import Any, TypeAlias, TypeVar

import numpy as np

Anything = TypeVar("Anything")
Item = TypeVar("Item", bound=Sized)
# Of one batch, or of as many as an array has.
Number: TypeAlias = Any  # int, float, or an array of them
Flag: TypeAlias = Any  # bool, or an array
# (rows, tokens of the longest, tokens of all) of a batch -> whether it may be computed as one.
Fits = Callable[[Number, Number, Number], Flag]

# The longest row of a batch has at most so many times the shortest one's tokens, and so many more: a short text must
# not wait for the end of a long one's thousand steps because it happened to wait beside it. With 32 more, batches were
# so small that everybody waited longer.
LIKE_TIMES, LIKE_MORE = 2, 160
# Weight of a batch, by each one that came after it: what a machine was like 200 batches ago says little.
FORGETTING = 0.98
# How far from 0 a factor must be shown to be. The first batch is laid to its tokens alone: to believe that a batch of
# any size takes as long would be the dearer mistake.
PRIOR = np.diag([1e-3, 1e-3, 1e-9])


class CostModel:
    """Seconds of a batch = c + a · the longest row's tokens + b · all rows' tokens, none of them negative.

    c is what a call costs, a what a step of the recurrence does however many rows take it, b the arithmetic. Fitted by
    least squares to the batches of late.
    """

    def __init__(self) -> None:
        self._products = np.zeros((3, 3))
        self._targets = np.zeros(3)
        self._factors: tuple[float, float, float] | None = (0.0, 0.0, 0.0)  # None: to be fitted

    def observe(self, longest: int, tokens: int, seconds: float) -> None:
        """Learn from a batch that was computed."""
        features = np.asarray([1.0, longest, tokens])
        self._products = FORGETTING * self._products + np.outer(features, features)
        self._targets = FORGETTING * self._targets + seconds * features
        self._factors = None

    def seconds(self, longest: Number, tokens: Number) -> Number:
        """What such a batch takes; 0 before anything was seen."""
        # Fitted when it is asked for: of a text that was alone, whose answer would wait for it, nobody asks.
        if self._factors is None:
            self._factors = self._fitted()
        c, a, b = self._factors
        return c + a * longest + b * tokens

    def _fitted(self) -> tuple[float, float, float]:
        """Without the most negative factor, until none is."""
        used = [0, 1, 2]
        while True:
            found = np.linalg.solve((self._products + PRIOR)[np.ix_(used, used)], self._targets[used])
            if len(used) == 1 or found.min() >= 0:
                break
            used.pop(int(found.argmin()))
        factors = np.zeros(3)
        factors[used] = found.clip(min=0.0)
        return float(factors[0]), float(factors[1]), float(factors[2])


class Speed:
    """Work done in a second of late: what an answer cost, all that there is to do for it included."""

    def __init__(self) -> None:
        self._work = self._seconds = 0.0

    def observe(self, work: float, seconds: float) -> None:
        """Learn from what was done."""
        self._work = FORGETTING * self._work + work
        self._seconds = FORGETTING * self._seconds + seconds

    def seconds(self, work: float) -> float:
        """What so much work takes; 0 before any was seen."""
        done = self._work
        return work * self._seconds / done if done else 0.0


def take_turns(queues: Iterable[Iterable[Anything]], most: int) -> list[Anything]:
    """The first of each queue, then the second of each, and so on: so many, or all that there are."""
    taken: list[Anything] = []
    left = [iter(queue) for queue in queues]
    while left and len(taken) < most:
        going = []
        for queue in left:
            for item in queue:
                taken.append(item)
                going.append(queue)
                break
        left = going
    return taken[:most]


def form_batch(rows: Sequence[Item], fits: Fits, *, around: int = 0) -> list[Item]:
    """The row of that number with those nearest to it in length, as many as are alike and fit; in their order.

    That row itself is taken whether it fits or not, so that none waits for ever.
    """
    lengths = [len(row) for row in rows]
    shortest, longest = min(lengths), max(lengths)
    if _alike(shortest, longest) and fits(len(rows), longest, sum(lengths)):
        return list(rows)  # what the steps below would come to, or more
    lengths_N = np.asarray(lengths)
    distance_N = abs(lengths_N - lengths_N[around])
    distance_N[around] = -1
    order_N = np.lexsort((lengths_N, distance_N))  # of two as near the shorter, of two as long the one that came first
    # Of the nearest one, two, three rows, and so on; all at once, as Python would take a microsecond a row.
    nearest_N = lengths_N[order_N]
    shortest_N, longest_N = np.minimum.accumulate(nearest_N), np.maximum.accumulate(nearest_N)
    may_N = _alike(shortest_N, longest_N) & fits(np.arange(1, len(rows) + 1), longest_N, nearest_N.cumsum())
    count = 1 + int(np.logical_and.accumulate(may_N[1:]).sum())
    return [rows[index] for index in sorted(order_N[:count].tolist())]


def _alike(shortest: Number, longest: Number) -> Flag:
    return longest <= LIKE_TIMES * shortest + LIKE_MORE
