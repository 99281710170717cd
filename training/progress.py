"""How far a run is: a live bar on a terminal, a line a minute and an epoch elsewhere. On stderr."""

import math
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from training.loop import EpochResult
from training.loop import Progress as Listener
from training.telling import say, shown_score

# Between two lines of a log, which nobody sees being written.
LINE_EVERY_S = 60.0
SPEED_OVER_S = 300.0  # by which the time left is told: a step may take a minute
Clock = Callable[[], float]


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

    Off a terminal it is a line each minute; in both one an epoch, if it tells of `epochs`.
    """

    def __init__(
        self,
        console: Console,
        *,
        title: str = "training",
        validated: bool = True,
        epochs: bool = True,
        clock: Clock = time.monotonic,
    ) -> None:
        self._console = console
        self._clock = clock
        self._title = title
        self._validated = validated
        self._epochs = epochs
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
            self._bar.update(self._task, score=shown_score(result.score))
        if not self._epochs:
            return
        validation = f"  validation loss {result.validation_loss:.4f}  score {shown_score(result.score)}"
        say(
            self._console,
            f"epoch {result.epoch}  loss {result.loss:.4f}{validation if self._validated else ''}"
            f"  {result.tokens_per_s:,.0f} tokens/s{'  best' if result.best else ''}",
        )
