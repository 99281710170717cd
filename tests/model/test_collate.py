"""model.collate: padding and grouping."""

import numpy as np
import pytest

from model import collate
from model.tokenization import PAD


def rows(*lengths: int) -> list[np.ndarray]:
    return [np.full(length, 7, dtype=np.int64) for length in lengths]


def test_rows_are_padded_at_the_right() -> None:
    """A shorter row ends in PAD, and its length is kept."""
    batch = collate.collate(rows(1, 3), [0, 1])
    assert batch.ids_BT.tolist() == [[7, PAD, PAD], [7, 7, 7]]
    assert batch.lengths_B.tolist() == [1, 3]


@pytest.mark.parametrize("max_tokens", [1, 10, 64, 10_000])
def test_every_row_is_in_one_batch(max_tokens: int) -> None:
    """Batches by length hold every row once, whatever the budget."""
    lengths = [5, 1, 30, 2, 2, 9, 30, 1]
    found = [index for batch in collate.by_length(rows(*lengths), max_tokens=max_tokens) for index in batch.indices]
    assert sorted(found) == list(range(len(lengths)))


def test_padded_tokens_stay_in_the_budget() -> None:
    """Only a row that is longer than the budget by itself goes beyond it, and goes alone."""
    batches = list(collate.by_length(rows(*range(1, 50), 200), max_tokens=100))
    assert all(batch.ids_BT.size <= 100 for batch in batches[:-1])
    assert batches[-1].indices == [49]
