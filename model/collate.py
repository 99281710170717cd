"""Rows of token ids to padded batches. The only place that pads.

B rows, T tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from model.tokenization import PAD, Ids

# Of any width: much text is kept in less than a batch needs.
Row: TypeAlias = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows padded to the longest of them."""

    ids_BT: Ids
    lengths_B: Ids
    indices: list[int]  # which of the caller's rows these are


def collate(rows: Sequence[Row], indices: Sequence[int]) -> Batch:
    """Pad the rows named by `indices` with PAD, at the right."""
    lengths_B = np.asarray([len(rows[index]) for index in indices], dtype=np.int64)
    ids_BT = np.full((len(indices), int(lengths_B.max())), PAD, dtype=np.int64)
    for row, index in enumerate(indices):
        ids_BT[row, : lengths_B[row]] = rows[index]
    return Batch(ids_BT=ids_BT, lengths_B=lengths_B, indices=list(indices))


def group(order: Sequence[int], lengths: Sequence[int], *, max_tokens: int) -> Iterator[list[int]]:
    """Cut `order` into groups of at most `max_tokens` padded tokens; a longer row is a group by itself."""
    members: list[int] = []
    longest = 0
    for index in order:
        longest = max(longest, lengths[index])
        if members and longest * (len(members) + 1) > max_tokens:
            yield members
            members, longest = [], lengths[index]
        members.append(index)
    if members:
        yield members


def by_length(rows: Sequence[Row], *, max_tokens: int) -> Iterator[Batch]:
    """All rows, in batches of similar length of at most `max_tokens` padded tokens each."""
    lengths = [len(row) for row in rows]
    order = sorted(range(len(rows)), key=lengths.__getitem__)
    for indices in group(order, lengths, max_tokens=max_tokens):
        yield collate(rows, indices)
