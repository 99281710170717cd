"""How a run tells a person how far it is: a live bar on a terminal, a line an epoch elsewhere. On stderr."""

import math
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from training.checks import DataCheck, Suspect
from training.evaluate import Report
from training.findings import Severity
from training.loop import EpochResult

# A confusing wall of rows otherwise; the report in the bundle has every class.
MOST_CLASSES_SHOWN = 40
MOST_SCRIPTS_SHOWN = 3
# Characters of a suspect's text: a line on a terminal.
EXCERPT = 100
STYLES: dict[Severity, str] = {"serious": "bold red", "warning": "yellow", "note": "dim"}


class TerminalProgress:
    """A bar with loss, validation score, tokens a second and the time left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TextColumn("validation {task.fields[score]}"),
            TextColumn("{task.fields[speed]:,.0f} tokens/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "TerminalProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def start(self, *, steps: int, done: int) -> None:
        self._task = self._bar.add_task("", total=steps, completed=done, loss=math.nan, score="–", speed=0)

    def step(self, *, loss: float, tokens_per_s: float) -> None:
        if self._task is not None:
            self._bar.update(self._task, advance=1, loss=loss, speed=tokens_per_s)

    def epoch(self, result: EpochResult) -> None:
        if self._task is not None:
            self._bar.update(self._task, score=_shown(result.score))
        self._console.print(
            f"epoch {result.epoch}  loss {result.loss:.4f}  validation loss {result.validation_loss:.4f}"
            f"  score {_shown(result.score)}  {result.tokens_per_s:,.0f} tokens/s"
            f"{'  best' if result.best else ''}",
            highlight=False,
            soft_wrap=True,
        )


def _shown(score: float) -> str:
    """A score selected by loss is that loss with a minus; every other is a share."""
    return f"{score:.2%}" if score >= 0 else f"{score:.4f}"


def show_report(console: Console, report: Report, *, title: str) -> None:
    """A table a class, with the averages below."""
    table = Table(title=title, title_justify="left")
    table.add_column("class")
    for name in ("precision", "recall", "F1", "rows"):
        table.add_column(name, justify="right")
    for score in report.classes[:MOST_CLASSES_SHOWN]:
        figures = (f"{100 * value:.2f}" for value in (score.precision, score.recall, score.f1))
        table.add_row(score.label, *figures, f"{score.rows:,}")
    if len(report.classes) > MOST_CLASSES_SHOWN:
        table.add_row(f"… {len(report.classes) - MOST_CLASSES_SHOWN} more in the report", "", "", "", "")
    console.print(table)
    micro = "" if report.confusion is not None else f"   micro-F1 {report.micro_f1:.2%}"
    low, high = report.ece_interval
    console.print(
        f"accuracy {report.accuracy:.2%}{micro}   macro-F1 {report.macro_f1:.2%}"
        f"   ECE {report.ece:.4f} ({low:.4f} to {high:.4f})   {report.rows:,} rows, {report.truncated:,} cut",
        highlight=False,
        soft_wrap=True,
    )


def show_check(console: Console, check: DataCheck, *, title: str = "data, as it was read") -> None:
    """A line a part, then the findings, the serious ones first."""
    table = Table(title=title, title_justify="left")
    table.add_column("part")
    for name in ("rows", "classes", "empty", "characters", "95 %", "longest"):
        table.add_column(name, justify="right")
    table.add_column("scripts")
    for part in check.parts:
        figures = (len(part.labels), part.empty, part.characters.median, part.characters.p95, part.characters.longest)
        scripts = ", ".join(f"{name} {share:.1%}" for name, share in list(part.scripts.items())[:MOST_SCRIPTS_SHOWN])
        table.add_row(part.name, f"{part.rows:,}", *(f"{figure:,.0f}" for figure in figures), scripts)
    console.print(table)
    for finding in check.findings:
        line = Text(f"{finding.severity}: ", style=STYLES[finding.severity])
        console.print(line.append(f"{finding.title}: {finding.detail}", style="default"), soft_wrap=True)


def show_suspects(console: Console, suspects: Sequence[Suspect]) -> None:
    """Rows of train whose labels look wrong, a line each, the worst first."""
    for found in suspects:
        labels, suggested = (", ".join(names) or "no label" for names in (found.labels, found.suggested))
        text = " ".join((found.text or "").split())[:EXCERPT]
        line = f"row {found.row:,}: {labels} → {suggested}? ({found.score:.3f})  {text}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def show_rival(console: Console, rival: Mapping[str, Any]) -> None:
    """The verdict."""
    console.print(rival["verdict"], highlight=False, soft_wrap=True)
