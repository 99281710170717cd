"""How a run tells a person how far it is: a live bar on a terminal, a line a minute and an epoch elsewhere. On stderr.

Labels, texts and names are a stranger's: they are shown by `_plain`, never as rich's markup.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from training.checks.check import DataCheck, Suspect
from training.checks.findings import Severity
from training.evaluate import Report
from training.loop import EpochResult
from training.loop import Progress as Listener
from training.printable import one_line

# A confusing wall of rows otherwise; the report in the bundle has every class.
MOST_CLASSES_SHOWN = 40
MOST_TRIALS_SHOWN = 15
MOST_SCRIPTS_SHOWN = 3
# Between two lines of a log, which nobody sees being written.
LINE_EVERY_S = 60.0
SPEED_OVER_S = 300.0  # by which the time left is told: a step may take a minute
# Characters of a suspect's text: a line on a terminal.
EXCERPT = 100
Clock = Callable[[], float]
STYLES: dict[Severity, str] = {"serious": "bold red", "warning": "yellow", "note": "dim"}


def say(console: Console, line: str, *, style: str = "") -> None:
    """One line, as it is: no markup is read, no number is coloured, and it isn't wrapped."""
    console.print(_plain(line), style=style, highlight=False, soft_wrap=True)


class Together:
    """Listeners of one training, as one."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def start(self, *, steps: int, done: int) -> None:
        for listener in self._listeners:
            listener.start(steps=steps, done=done)

    def step(self, *, loss: float, tokens_per_s: float) -> None:
        for listener in self._listeners:
            listener.step(loss=loss, tokens_per_s=tokens_per_s)

    def epoch(self, result: EpochResult) -> None:
        for listener in self._listeners:
            listener.epoch(result)


class TerminalProgress:
    """A bar with loss, validation score, tokens a second and the time left; without a score if not `validated`.

    Off a terminal it is a line each minute, and one an epoch in both.
    """

    def __init__(
        self, console: Console, *, title: str = "training", validated: bool = True, clock: Clock = time.monotonic
    ) -> None:
        self._console = console
        self._clock = clock
        self._title = title
        self._validated = validated
        self._told_at = clock()
        self._bar = Progress(
            TextColumn(title),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("loss {task.fields[loss]:.4f}"),
            *([TextColumn("validation {task.fields[score]}")] if validated else []),
            TextColumn("{task.fields[speed]:,.0f} tokens/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            speed_estimate_period=SPEED_OVER_S,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "TerminalProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Leave the bar as it is: it would be drawn over a question."""
        self._bar.stop()

    def start(self, *, steps: int, done: int) -> None:
        self._task = self._bar.add_task("", total=steps, completed=done, loss=math.nan, score="–", speed=0)

    def step(self, *, loss: float, tokens_per_s: float) -> None:
        if self._task is not None:
            self._bar.update(self._task, advance=1, loss=loss, speed=tokens_per_s)
            if not self._console.is_terminal and self._clock() - self._told_at >= LINE_EVERY_S:
                self._tell(self._bar.tasks[self._task], loss, tokens_per_s)

    def _tell(self, task: Task, loss: float, tokens_per_s: float) -> None:
        self._told_at = self._clock()
        left = f"{task.time_remaining / 60:,.0f} min left" if task.time_remaining is not None else "…"
        done = f"{self._title} {task.percentage:.0f}%  loss {loss:.4f}  {tokens_per_s:,.0f} tokens/s  {left}"
        say(self._console, done, style="dim")

    def epoch(self, result: EpochResult) -> None:
        if self._task is not None:
            self._bar.update(self._task, score=_shown(result.score))
        validation = f"  validation loss {result.validation_loss:.4f}  score {_shown(result.score)}"
        say(
            self._console,
            f"epoch {result.epoch}  loss {result.loss:.4f}{validation if self._validated else ''}"
            f"  {result.tokens_per_s:,.0f} tokens/s{'  best' if result.best else ''}",
        )


@dataclass
class Row:
    """A trial as its row shows it."""

    number: int
    state: str = "running"
    score: float | None = None
    mb: float | None = None
    us_per_text: float | None = None
    seconds: float | None = None
    changes: str = ""


class TrialTable:
    """The trials of a search: a live table on a terminal, a line a trial elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: list[Row] = []
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=2)

    def __enter__(self) -> "TrialTable":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def add(self, row: Row) -> None:
        """A row that may go on changing, until it is given to `done`."""
        self._rows.append(row)

    def done(self, row: Row) -> None:
        if not self._console.is_terminal:
            cells = [f"trial {row.number}", row.state, *filter(None, _cells(row)), row.changes]
            say(self._console, "  ".join(cells))

    def _table(self) -> Table:
        table = Table(box=None)
        for name in ("trial", "validation", "MB", "µs a text", "s"):
            table.add_column(name, justify="right")
        table.add_column("")
        # A line a trial, or the one that runs is below the end of the screen.
        table.add_column("settings that differ from the base's", no_wrap=True, overflow="ellipsis")
        best = max((row for row in self._rows if row.state == "complete"), key=lambda row: row.score or 0, default=None)
        for row in self._rows:
            if row is best or row in self._rows[-MOST_TRIALS_SHOWN:]:
                score, size, speed, seconds = (cell.split(" ")[0] for cell in _cells(row))
                shown = (str(row.number), score, size, speed, seconds, row.state, row.changes)
                table.add_row(*map(_plain, shown), style="bold" if row is best else "")
        return table


def _plain(text: str) -> Text:
    """On one line, without what a terminal obeys; `[` begins no markup."""
    return Text(one_line(text))


def _cells(row: Row) -> list[str]:
    """Score, size, speed and time, with their units; empty where not known."""
    return [
        "" if row.score is None else _shown(row.score),
        "" if row.mb is None else f"{row.mb:.2f} MB",
        "" if row.us_per_text is None else f"{row.us_per_text:.0f} µs/text",
        "" if row.seconds is None else f"{row.seconds:.0f} s",
    ]


def _shown(score: float) -> str:
    """A score selected by loss is that loss with a minus; every other is a share."""
    return f"{score:.2%}" if score >= 0 else f"{score:.4f}"


def show_report(console: Console, report: Report, *, title: str) -> None:
    """A table a class, with the averages below."""
    table = Table(title=_plain(title), title_justify="left")
    table.add_column("class")
    for name in ("precision", "recall", "F1", "rows"):
        table.add_column(name, justify="right")
    for score in report.classes[:MOST_CLASSES_SHOWN]:
        figures = (f"{100 * value:.2f}" for value in (score.precision, score.recall, score.f1))
        table.add_row(_plain(score.label), *figures, f"{score.rows:,}")
    if len(report.classes) > MOST_CLASSES_SHOWN:
        table.add_row(f"… {len(report.classes) - MOST_CLASSES_SHOWN} more in the report", "", "", "", "")
    console.print(table)
    micro = "" if report.confusion is not None else f"   micro-F1 {report.micro_f1:.2%}"
    low, high = report.ece_interval
    say(
        console,
        f"accuracy {report.accuracy:.2%}{micro}   macro-F1 {report.macro_f1:.2%}"
        f"   {report.rows:,} rows, {report.truncated:,} cut",
    )
    say(console, f"ECE {report.ece:.4f}, 95 % interval {low:.4f} to {high:.4f}; chance alone {report.ece_floor:.4f}")


def show_check(console: Console, check: DataCheck, *, title: str = "data, as it was read") -> None:
    """A line a part, then the findings, the serious ones first."""
    table = Table(title=_plain(title), title_justify="left")
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
        said = one_line(f"{finding.title}: {finding.detail}")
        console.print(line.append(said, style="default"), soft_wrap=True)


def show_suspects(console: Console, suspects: Sequence[Suspect]) -> None:
    """Rows of train whose labels look wrong, a line each, the worst first."""
    for found in suspects:
        labels, suggested = (", ".join(names) or "no label" for names in (found.labels, found.suggested))
        text = " ".join((found.text or "").split())[:EXCERPT]
        line = f"row {found.row:,}: {labels} → {suggested}? ({found.score:.3f})  {text}"
        say(console, line)


def show_eight_bits(console: Console, found: Mapping[str, Any]) -> None:
    """Whether a server may compute so."""
    compared = (
        f"the same labels for {found['same_labels']:.2%} of {found['rows']:,} rows, "
        f"accuracy {100 * found['accuracy_gained']:+.2f} points"
    )
    verdict = "a server computes in them" if found["agree"] else "too far from float32, a server computes in 16"
    say(console, f"in integers of 8 bits: {compared}: {verdict}")


def show_rival(console: Console, rival: Mapping[str, Any]) -> None:
    """The verdict."""
    say(console, rival["verdict"])
