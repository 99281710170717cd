"""The trainings of a run, as a person follows them: the one that chooses, those of folds, and the one of all rows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from rich.console import Console

from training import build, folds, loop, place, refit, rival
from training.build import Built, Setup
from training.checkpoint import Kept
from training.config import TrainingConfig
from training.data import Splits
from training.errors import Diverged
from training.folds import Chosen
from training.progress import TerminalProgress, Together
from training.refit import Refitted
from training.rival import Rival
from training.telling import say, warn
from training.tracking import LaterTracker, Tracker


@dataclass(frozen=True)
class Trainer:
    """What the trainings of a run have in common. `offer` asks whether the best so far becomes the bundle."""

    config: TrainingConfig
    setup: Setup
    linear: Rival | None
    console: Console
    tracked: Tracker
    kept: Kept
    offer: Callable[[], bool]

    def train(self, splits: Splits, all_rows: Splits | None) -> tuple[Built, Refitted | None]:
        """The classifier by which all is chosen, and the one of all rows: None where there is no `all_rows`, where its
        training diverged, or was stopped by Ctrl-C and the first classifier taken.

        Raises: Diverged if the first one's training did; place.Stopped on Ctrl-C, if the offer is declined.
        """
        try:
            with self.tracked, place.interruption() as stopped:
                first = self._first(splits, stopped)
                if all_rows is None or first.stopped:
                    return first, None
                return self._later(first, all_rows, stopped)
        except loop.Interrupted:
            raise place.Stopped from None

    def _first(self, splits: Splits, stopped: Callable[[], bool]) -> Built:
        with TerminalProgress(self.console) as bar:
            return build.build(
                splits,
                self.config,
                Together(bar, self.tracked),
                self.setup,
                partner=self._partner(splits),
                keeper=self.kept.first,
                stopped=stopped,
                keep_best=lambda: self._ask(bar),
            )

    def _partner(self, splits: Splits) -> Rival | None:
        """What is mixed with the network: it learns what that does, of teachers too."""
        if self.linear is None or not self.config.ngrams:
            return None
        lessons = self.setup.lessons
        return rival.taught(self.linear, splits, self.config, lessons) if lessons is not None else self.linear

    def _later(self, first: Built, all_rows: Splits, stopped: Callable[[], bool]) -> tuple[Built, Refitted | None]:
        """A classifier is there by now: what goes wrong in later trainings doesn't take it away."""
        try:
            return first, self._refit(first, all_rows, self._chosen(first, all_rows, stopped), stopped)
        except loop.Interrupted:
            if not self._ask():
                raise
            return replace(first, stopped=True), None
        except Diverged as why:
            warn(self.console, f"the first classifier is served, which learnt from no held-out row: {why}")
            return first, None

    def _chosen(self, first: Built, all_rows: Splits, stopped: Callable[[], bool]) -> Chosen | None:
        """None where the first classifier's mixture and calibration stay."""
        if (judged := folds.judged(all_rows, self.config)) is None:
            return None
        rows = len(judged.train)
        say(self.console, f"mixture and calibration are chosen by all {rows:,} rows, in {folds.FOLDS} folds")
        try:
            return self._choose(first, judged, stopped)
        except Diverged as why:
            warn(self.console, f"mixture and calibration stay as the held-out rows have them: in a fold {why}")
            return None

    def _choose(self, first: Built, judged: Splits, stopped: Callable[[], bool]) -> Chosen:
        return folds.choose(
            first,
            judged,
            self.config,
            self.setup,
            self._listen,
            linear=self.linear if self.config.ngrams else None,
            keeper=self.kept.folds,
            stopped=stopped,
        )

    @contextmanager
    def _listen(self, fold: int) -> Iterator[Together]:
        title = f"fold {fold + 1} of {folds.FOLDS}"
        with TerminalProgress(self.console, title=title, validated=False, epochs=False) as bar:
            yield Together(bar, LaterTracker(self.tracked, "folds"))

    def _refit(self, first: Built, all_rows: Splits, chosen: Chosen | None, stopped: Callable[[], bool]) -> Refitted:
        rows, epochs = len(all_rows.train), first.fitted.best.epoch
        say(self.console, f"training once more on all {rows:,} rows, the held-out ones too; epochs: {epochs:,}")
        with TerminalProgress(self.console, title="training once more", validated=False) as bar:
            return refit.refit(
                first,
                all_rows,
                self.config,
                Together(bar, LaterTracker(self.tracked, "refit")),
                self.setup,
                linear=self.linear,
                keeper=self.kept.refit,
                stopped=stopped,
                chosen=chosen,
            )

    def _ask(self, bar: TerminalProgress | None = None) -> bool:
        if bar is not None:
            bar.stop()
        say(self.console, "stopped; the same command with --resume goes on from here")
        return self.offer()
