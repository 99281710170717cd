"""app.batcher.form_batch: which of the waiting rows are computed next."""

from collections.abc import Sequence

import pytest

from app.batcher import form_batch


def lengths_of(rows: Sequence[Sequence[int]]) -> list[int]:
    return [len(row) for row in rows]


@pytest.mark.parametrize("oldest", [1, 7, 50, 400])
def test_a_batch_holds_the_oldest_row(oldest: int) -> None:
    """Rows that fit together better may not make an old one starve, not even one above the limit by itself."""
    batch, _ = form_batch([[0] * oldest, *[[0] * 6] * 30], max_tokens=100)
    assert len(batch[0]) == oldest


@pytest.mark.parametrize("max_tokens", [1, 40, 100, 1000])
def test_a_batch_stays_within_its_padded_tokens(max_tokens: int) -> None:
    """Padding counts: it is computed like text. A row above the limit goes alone."""
    rows = [[0] * length for length in (12, 3, 40, 12, 1, 90, 13, 11, 7)]
    batch, _ = form_batch(rows, max_tokens=max_tokens)
    assert len(batch) == 1 or max(lengths_of(batch)) * len(batch) <= max_tokens


def test_a_batch_is_of_similar_lengths() -> None:
    """Of what waits, the rows nearest to the oldest in length are taken: least padding."""
    rows = [[0] * length for length in (12, 3, 40, 12, 1, 90, 13, 11, 7)]
    batch, _ = form_batch(rows, max_tokens=13 * 4)
    assert sorted(lengths_of(batch)) == [11, 12, 12, 13]


def test_what_is_left_keeps_its_order() -> None:
    """No row is lost or taken twice, and the next batch begins with the row that is the oldest then."""
    rows = [[number] * length for number, length in enumerate((5, 90, 5, 1, 80, 5, 2))]
    batch, rest = form_batch(rows, max_tokens=15)
    assert [row[0] for row in batch] == [0, 2, 5]
    assert [row[0] for row in rest] == [1, 3, 4, 6]


def test_nothing_waiting_is_no_batch() -> None:
    """All that waited may have left."""
    assert form_batch([], max_tokens=10) == ([], [])
