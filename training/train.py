"""The trainings of a run, as a person follows them: the one by which all is chosen, and the one of all rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from rich.console import Console

from training import build, loop, place, refit
from training.build import Built
from training.checkpoint import Kept
from training.config import TrainingConfig
from training.data import Splits
from training.pretraining.encoder import Encoder
from training.progress import TerminalProgress, Together
from training.refit import Refitted
from training.rival import Rival
from training.teacher import Lessons
from training.telling import say
from training.tracking import RefitTracker, Tracker


@dataclass(frozen=True)
class Trainer:
    """What the trainings of a run have in common. `offer` asks whether the best so far becomes the bundle."""

    config: TrainingConfig
    device: torch.device
    encoder: Encoder | None
    linear: Rival | None
    unlabelled: Sequence[str]  # that a step learns from beside its labelled rows
    lessons: Lessons | None  # what it learns beside labels
    console: Console
    tracked: Tracker
    kept: Kept
    offer: Callable[[], bool]

    def train(self, splits: Splits, whole: Splits | None) -> tuple[Built, Refitted | None]:
        """The classifier by which all is chosen, and the one of all rows: None where there is no `whole`, or where it
        was stopped by Ctrl-C and the first classifier taken.

        Raises: place.Stopped on Ctrl-C, if the offer is declined.
        """
        try:
            with self.tracked, place.interruption() as stopped:
                first = self._first(splits, stopped)
                if whole is None or first.stopped:
                    return first, None
                again = self._again(first, whole, stopped)
        except loop.Interrupted:
            raise place.Stopped from None
        return (first, again) if again is not None else (replace(first, stopped=True), None)

    def _first(self, splits: Splits, stopped: Callable[[], bool]) -> Built:
        with TerminalProgress(self.console) as bar:
            return build.build(
                splits,
                self.config,
                Together(bar, self.tracked),
                device=self.device,
                encoder=self.encoder,
                partner=self.linear if self.config.ngrams else None,
                unlabelled=self.unlabelled,
                lessons=self.lessons,
                keeper=self.kept.first,
                stopped=stopped,
                keep_best=lambda: self._ask(bar),
            )

    def _again(self, first: Built, whole: Splits, stopped: Callable[[], bool]) -> Refitted | None:
        rows, epochs = len(whole.train), first.fitted.best.epoch
        say(self.console, f"training once more on all {rows:,} rows, the held-out ones too; epochs: {epochs:,}")
        with TerminalProgress(self.console, title="training once more", validated=False) as bar:
            try:
                return refit.refit(
                    first,
                    whole,
                    self.config,
                    Together(bar, RefitTracker(self.tracked)),
                    device=self.device,
                    encoder=self.encoder,
                    linear=self.linear,
                    unlabelled=self.unlabelled,
                    lessons=self.lessons,
                    keeper=self.kept.again,
                    stopped=stopped,
                )
            except loop.Interrupted:
                if not self._ask(bar):
                    raise
        return None

    def _ask(self, bar: TerminalProgress) -> bool:
        bar.stop()
        say(self.console, "stopped; the same command with --resume goes on from here")
        return self.offer()
