"""benchmarks.table: rows, what is a win, and the table's place in a page."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import sets, table
from benchmarks.sets import Figures

LOW: dict[str, Figures] = {"linear": {"accuracy": 0.5, "macro_f1": 0.5, "micro_f1": 0.5}}


def run(accuracy: float, macro_f1: float = 0.9, **other: Any) -> dict[str, Any]:
    test = {"accuracy": accuracy, "micro_f1": accuracy, "macro_f1": macro_f1, "ece": 0.02, "rows": 500}
    return {"metrics": {"test": test}, "seconds": 10.0, "device": "cpu", **other}


@pytest.mark.parametrize(
    ("accuracies", "won"),
    [((0.93, 0.94, 0.95), True), ((0.93, 0.94, 0.98), False), ((0.90, 0.90, 0.90), False), ((0.92, 0.93), None)],
)
def test_a_win_is_above_the_best_rival_by_more_than_the_spread(accuracies: tuple[float, ...], won: bool | None) -> None:
    """TREC-6's best rival has 91.0; with a run missing nothing is decided."""
    found = table.row("trec6", [run(accuracy) for accuracy in accuracies], 3, {})
    assert found.won is won
    assert found.best == {"accuracy": (0.91, "linear†")}


@pytest.mark.parametrize(("macro_f1", "won"), [(0.99, True), (0.97, False)])
def test_where_two_metrics_count_both_must_win(macro_f1: float, won: bool) -> None:
    """SMS Spam's best rival has a macro-F1 of 97.81."""
    assert table.row("sms_spam", [run(0.995, macro_f1)], 1, {}).won is won


def test_the_higher_figure_of_a_rival_counts() -> None:
    """Tuned here or on the page: a rival that fell short here makes no win easier."""
    measured = {"linear": {"accuracy": 0.95}, "NB-SVM": {"accuracy": 0.4}}
    published = {"linear": {"accuracy": 0.91}, "NB-SVM": {"accuracy": 0.908}}
    assert table.best_rivals(["accuracy"], measured, published) == {"accuracy": (0.95, "linear")}
    assert table.best_rivals(["accuracy"], {}, published) == {"accuracy": (0.91, "linear†")}
    assert table.best_rivals(["accuracy"], {}, {}) == {}


def test_a_row_has_a_text_for_every_column() -> None:
    """Figures in %, mean and spread; the seconds of a resumed run are not known."""
    runs = [run(0.5), run(0.51, resumed=True) | {"seconds": 1.0}]
    cells = dict(zip(table.COLUMNS, table.row("mine", runs, 2, LOW).cells(), strict=True))
    assert (cells["ours"], cells["best rival"], cells["win"]) == ("50.50 ± 1.00", "50.00 (linear)", "no")
    assert (cells["s a run"], cells["device"], cells["recipe"]) == ("10", "cpu", "–")
    assert table.row("mine", [run(0.5, recipe="short")], 1, {}).cells()[-1] == "short"


def test_a_set_without_runs_has_a_row() -> None:
    """Only the rivals were run."""
    found = table.row("trec6", [], 0, LOW)
    cells = dict(zip(table.COLUMNS, found.cells(), strict=True))
    assert (found.won, cells["seeds"], cells["ours"], found.as_json()["ours"]) == (None, "0", "–", {})


def test_wins_are_counted_and_open_ones_told() -> None:
    """Under the table."""
    rows = [table.row("mine", [run(0.9)], asked, LOW) for asked in (1, 1, 3)]
    assert table.tally(rows) == "2 of 3 won, 1 not decided"


def test_the_thirteen_sets_have_rivals_in_every_metric_that_counts() -> None:
    """By the page: a row without one could never be won."""
    assert len(sets.METRICS) == 13
    for name, metrics in sets.METRICS.items():
        assert set(table.best_rivals(metrics, {}, sets.published(name))) == set(metrics)
    assert table.best_rivals(sets.metrics("goemotions"), {}, sets.published("goemotions"))["macro_f1"] == (
        pytest.approx(0.468),
        "linear + char, a threshold a label†",
    )


def test_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    """And nothing else, however often."""
    page = tmp_path / "page.md"
    page.write_text(f"above\n\n{table.BEGIN}\n\nold\n\n{table.END}\n\nbelow\n")
    for content in ("first", r"| \1 | ± |"):
        table.replace(page, content)
        assert page.read_text() == f"above\n\n{table.BEGIN}\n\n{content}\n\n{table.END}\n\nbelow\n"


@pytest.mark.parametrize("text", ["", f"{table.BEGIN}\n", f"{table.END}\n{table.BEGIN}\n"])
def test_a_page_without_its_place_is_left_alone(text: str, tmp_path: Path) -> None:
    """One mark alone, or both in the wrong order, are none."""
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(table.NoMarkers, match="no place for the table"):
        table.replace(page, "new")
    assert page.read_text() == text


def test_the_results_have_a_place_for_the_table(tmp_path: Path) -> None:
    """docs/results.md, as it is."""
    page = tmp_path / "results.md"
    page.write_text((Path(__file__).parents[2] / "docs" / "results.md").read_text())
    table.replace(page, table.markdown([table.row("trec6", [run(0.9)], 1, {})], "python -m x", "a machine"))
    assert "| trec6 | accuracy | 1 | 90.00 ± 0.00 |" in page.read_text()
