"""The trials of a search, as a person follows them."""

from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from training.telling import plain, say, shown_score

MOST_TRIALS_SHOWN = 15


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
                table.add_row(*map(plain, shown), style="bold" if row is best else "")
        return table


def _cells(row: Row) -> list[str]:
    """Score, size, speed and time, with their units; empty where not known."""
    return [
        "" if row.score is None else shown_score(row.score),
        "" if row.mb is None else f"{row.mb:.2f} MB",
        "" if row.us_per_text is None else f"{row.us_per_text:.0f} µs/text",
        "" if row.seconds is None else f"{row.seconds:.0f} s",
    ]
