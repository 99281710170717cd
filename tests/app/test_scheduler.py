"""app.scheduler: which of the waiting rows are computed next."""

from collections.abc import Sequence

import numpy as np
import pytest

from app.scheduler import CostModel, Fits, Flag, Number, Speed, form_batch, take_turns


def within(max_tokens: int) -> Fits:
    """So many tokens, with padding."""
    return lambda rows, longest, tokens: rows * longest <= max_tokens


def lengths_of(rows: Sequence[Sequence[int]]) -> list[int]:
    return [len(row) for row in rows]


@pytest.mark.parametrize("length", [1, 7, 50, 400])
@pytest.mark.parametrize("around", [0, 17, 30])
def test_a_batch_holds_the_row_that_it_is_made_around(length: int, around: int) -> None:
    """Rows that fit together better may not make it starve, not even one above the limit by itself."""
    rows = [[0] * 6] * 30
    batch = form_batch([*rows[:around], [0] * length, *rows[around:]], within(100), around=around)
    assert length in lengths_of(batch)


def test_a_short_row_is_not_computed_beside_a_long_one() -> None:
    """Whichever the batch is made around, and however much would fit: it would wait for the other's end."""
    rows = [[0] * length for length in (500, 40, 480, 20, 35)]
    short = form_batch(rows, within(10_000), around=3)
    long = form_batch(rows, within(10_000), around=0)
    assert (sorted(lengths_of(short)), sorted(lengths_of(long))) == ([20, 35, 40], [480, 500])


@pytest.mark.parametrize("max_tokens", [1, 40, 100, 1000])
def test_a_batch_stays_within_its_padded_tokens(max_tokens: int) -> None:
    """Padding counts: it is computed like text. A row above the limit goes alone."""
    rows = [[0] * length for length in (12, 3, 40, 12, 1, 90, 13, 11, 7)]
    batch = form_batch(rows, within(max_tokens))
    assert len(batch) == 1 or max(lengths_of(batch)) * len(batch) <= max_tokens


def test_a_batch_is_of_similar_lengths() -> None:
    """Of what waits, the rows nearest to the oldest in length are taken: least padding."""
    rows = [[0] * length for length in (12, 3, 40, 12, 1, 90, 13, 11, 7)]
    batch = form_batch(rows, within(13 * 4))
    assert sorted(lengths_of(batch)) == [11, 12, 12, 13]


def test_a_batch_is_in_the_order_of_its_rows() -> None:
    """Each once."""
    rows = [[number] * length for number, length in enumerate((5, 90, 5, 1, 80, 5, 2))]
    assert [row[0] for row in form_batch(rows, within(15))] == [0, 2, 5]


@pytest.mark.parametrize("limit", [5, 30, 200])
def test_what_fits_is_asked_of_rows_longest_and_tokens(limit: int) -> None:
    """Of the batch as it would be: of all rows, which needs no steps, and then of the nearest one, two and so on."""
    asked = []

    def fits(rows: Number, longest: Number, tokens: Number) -> Flag:
        asked.append(np.column_stack([rows, longest, tokens]).tolist())
        return tokens <= limit

    batch = form_batch([[0] * length for length in (4, 9, 4, 3, 70, 5)], fits)
    sizes = lengths_of(batch)
    assert sum(sizes) <= limit or len(sizes) == 1
    nearest = [[1, 4, 4], [2, 4, 8], [3, 4, 11], [4, 5, 16], [5, 9, 25], [6, 70, 95]]
    assert asked == ([[[6, 70, 95]]] if limit == 200 else [[[6, 70, 95]], nearest])


def test_a_row_that_fits_behind_one_that_does_not_is_not_taken() -> None:
    """A batch ends where it is full."""
    batch = form_batch([[0] * length for length in (4, 5, 6, 7, 300)], lambda rows, longest, tokens: rows != 3)
    assert lengths_of(batch) == [4, 5]


def test_costs_are_learnt_from_batches() -> None:
    """A call, a step and a token, from batches of different shapes."""
    costs = CostModel()
    assert costs.seconds(100, 1000) == 0
    for longest in (5, 20, 80, 300):
        for rows in (1, 7, 30):
            costs.observe(longest, longest * rows, 0.002 + 1e-4 * longest + 1e-5 * longest * rows)
    assert costs.seconds(50, 500) == pytest.approx(0.002 + 0.005 + 0.005, rel=0.02)


def test_what_costs_nothing_takes_no_time_off() -> None:
    """Noise must not make a longer batch a cheaper one."""
    costs = CostModel()
    for longest, seconds in ((10, 0.01), (20, 0.009), (40, 0.011), (80, 0.008), (160, 0.007)):
        costs.observe(longest, longest, seconds)
    assert costs.seconds(1000, 1000) >= costs.seconds(10, 10) > 0


def test_a_machine_that_has_become_slower_is_believed() -> None:
    """Batches of long ago count for little."""
    costs = CostModel()
    for seconds in [0.001] * 500 + [0.004] * 500:
        costs.observe(10, 100, seconds)
    assert costs.seconds(10, 100) == pytest.approx(0.004, rel=0.01)


def test_speed_is_of_late() -> None:
    """And unknown at first, which is no reason to refuse anybody."""
    speed = Speed()
    assert speed.seconds(100) == 0
    for work in [10] * 500 + [100] * 500:
        speed.observe(work, 2.0)
    assert speed.seconds(100) == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize(("most", "taken"), [(1, "a"), (4, "adeb"), (5, "adebf"), (9, "adebfc"), (0, "")])
def test_each_queue_has_its_turn(most: int, taken: str) -> None:
    """The first of each, then the second: never more than asked for, and never less while there is any."""
    assert "".join(take_turns(["abc", "d", "", "ef"], most)) == taken
