"""The table of accuracies: rows, what is a win, and its place in a page."""

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import sets
from benchmarks.runs import Found
from benchmarks.sets import Figures

BEGIN, END = "<!-- accuracy -->", "<!-- /accuracy -->"
NAMES = {"accuracy": "accuracy", "micro_f1": "micro-F1", "macro_f1": "macro-F1"}
COLUMNS = ("set", "metric", "seeds", "ours", "ECE", "best rival", "win", "s a run", "device", "recipe")
NUMBERS = ("seeds", "ours", "ECE", "best rival", "s a run")
# Behind a rival's name: the figure is the data page's.
PUBLISHED = "†"
CAPTION = (
    f"Figures on test in %, ours the mean over the seeds ± the distance of the extremes; {PUBLISHED} a rival's figure "
    "from the data's page; a win is a mean above the best rival by more than that distance, on every metric named."
)


class NoMarkers(Exception):
    """The page has no place for the table."""


@dataclass(frozen=True, slots=True)
class Row:
    """One set. Figures are shares of 1, by the name of the metric; `ours` has one for each finished run."""

    name: str
    metrics: tuple[str, ...]
    ours: Mapping[str, Sequence[float]]
    ece: Sequence[float]
    best: Mapping[str, tuple[float, str]]  # the highest figure of a rival, and whose
    seconds: Sequence[float]
    device: str
    recipe: str
    complete: bool  # every seed that was asked for has its run

    @property
    def won(self) -> bool | None:
        """Whether ours is above the best rival by more than its spread, on every metric; None: not known."""
        if not self.complete or not set(self.metrics) <= set(self.best):
            return None
        return all(statistics.mean(self.ours[m]) - self.best[m][0] > spread(self.ours[m]) for m in self.metrics)

    def cells(self) -> list[str]:
        """A text for each of COLUMNS."""
        best = [self.best.get(metric) for metric in self.metrics]
        return [
            self.name,
            " / ".join(NAMES[metric] for metric in self.metrics),
            str(len(self.ours[self.metrics[0]])),
            " / ".join(_mean(self.ours[metric]) for metric in self.metrics),
            f"{statistics.mean(self.ece):.3f}" if self.ece else "–",
            " / ".join(f"{100 * found[0]:.2f} ({found[1]})" if found else "–" for found in best),
            {True: "yes", False: "no", None: "–"}[self.won],
            f"{statistics.mean(self.seconds):,.0f}" if self.seconds else "–",
            self.device,
            self.recipe,
        ]

    def as_json(self) -> dict[str, Any]:
        """All that is in the row, and the mean and the spread of each figure."""
        ours = {
            metric: {"values": list(values), "mean": statistics.mean(values), "spread": spread(values)}
            for metric, values in self.ours.items()
            if values
        }
        return {
            "metrics": self.metrics,
            "ours": ours,
            "ece": list(self.ece),
            "best_rival": {metric: {"figure": figure, "name": name} for metric, (figure, name) in self.best.items()},
            "won": self.won,
            "complete": self.complete,
            "seconds": list(self.seconds),
            "device": self.device,
            "recipe": self.recipe,
        }


def spread(values: Sequence[float]) -> float:
    """The distance of the extremes."""
    return max(values) - min(values)


def row(name: str, runs: Sequence[Found], asked: int, measured: Mapping[str, Figures]) -> Row:
    """The row of a set from its finished runs, `asked` of which there should be, and the rivals that were run."""
    tests = [run["metrics"]["test"] for run in runs]
    return Row(
        name=name,
        metrics=sets.metrics(name),
        ours={metric: [test[metric] for test in tests] for metric in NAMES},
        ece=[test["ece"] for test in tests],
        best=best_rivals(sets.metrics(name), measured, sets.published(name)),
        # Of a run that was cut off and resumed only the last part's time is known.
        seconds=[run["seconds"] for run in runs if not run.get("resumed")],
        device=of_all(run.get("device") for run in runs),
        recipe=of_all(run.get("recipe") for run in runs),
        complete=len(runs) == asked > 0,
    )


def best_rivals(
    metrics: Sequence[str], measured: Mapping[str, Figures], published: Mapping[str, Figures]
) -> dict[str, tuple[float, str]]:
    """For each metric the highest figure and its rival's name; of a rival that has both, the higher one counts.

    A rival that was tuned here and fell short of what the page knows of it must not make a win easier.
    """
    known = {**measured, **{f"{name}{PUBLISHED}": found for name, found in published.items()}}
    figures = {
        metric: [(found[metric], name) for name, found in known.items() if metric in found] for metric in metrics
    }
    return {metric: max(found, key=lambda pair: pair[0]) for metric, found in figures.items() if found}


def tally(rows: Sequence[Row]) -> str:
    """How many are won, and how many of them can't be told yet."""
    won, open_ = sum(found.won is True for found in rows), sum(found.won is None for found in rows)
    return f"{won} of {len(rows)} won" + (f", {open_} not decided" if open_ else "")


def show(rows: Sequence[Row]) -> None:
    """For people, on stdout."""
    table = Table(title="on test, ours the mean over the seeds ± the distance of the extremes", title_justify="left")
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in NUMBERS else "left")
    for found in rows:
        table.add_row(*found.cells())
    Console(width=180).print(table)
    print(tally(rows))


def markdown(rows: Sequence[Row], command: str, machine: str) -> str:
    """The same as a page has it."""
    rules = ("---:" if name in NUMBERS else "---" for name in COLUMNS)
    lines = [COLUMNS, tuple(rules), *(found.cells() for found in rows)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{table}\n\n**{tally(rows)}.** {CAPTION}\n\n`{command}`; {machine}."


def replace(page: Path, content: str) -> None:
    """Put the table between the two marks of the page. Raises: NoMarkers."""
    text = page.read_text(encoding="utf-8")
    place = re.compile(f"(?<={re.escape(BEGIN)}\n).*?(?={re.escape(END)})", re.DOTALL)
    if len(place.findall(text)) != 1:
        raise NoMarkers(f"{page} has no place for the table: one line {BEGIN}, and one {END} below it")
    page.write_text(place.sub(lambda _: f"\n{content}\n\n", text), encoding="utf-8")


def _mean(values: Sequence[float]) -> str:
    return f"{100 * statistics.mean(values):.2f} ± {100 * spread(values):.2f}" if values else "–"


def of_all(values: Any) -> str:
    """The different ones, in order of their appearance."""
    return ", ".join(dict.fromkeys(value for value in values if value)) or "–"
