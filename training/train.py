"""The trainings of a run, as a person follows them: those of an ensemble that teaches, where there is one, the one by
which all is chosen, and the one of all rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from rich.console import Console

from training import build, ensemble, loop, place, refit
from training.build import Built
from training.config import TrainingConfig
from training.data import Splits
from training.loop import Keeper, Progress
from training.pretraining.encoder import Encoder
from training.progress import TerminalProgress, Together, say
from training.refit import Refitted
from training.rival import Rival
from training.teacher import Lessons
from training.tracking import RefitTracker, Tracker


@dataclass(frozen=True)
class Keepers:
    """Where each of the trainings keeps its state."""

    members: Sequence[Keeper]  # of the ensemble
    first: Keeper
    again: Keeper


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
    keepers: Keepers
    offer: Callable[[], bool]

    def train(self, splits: Splits, whole: Splits | None) -> tuple[Built, Refitted | None]:
        """The classifier by which all is chosen, and the one of all rows: None where there is no `whole`, or where it
        was stopped by Ctrl-C and the first classifier taken.

        Raises: place.Stopped on Ctrl-C, if the offer is declined.
        """
        try:
            with self.tracked, place.interruption() as stopped:
                its = self._taught(splits, whole or splits, stopped)
                first = its._first(splits, stopped)
                if whole is None or first.stopped:
                    return first, None
                again = its._again(first, whole, stopped)
        except loop.Interrupted:
            raise place.Stopped from None
        return (first, again) if again is not None else (replace(first, stopped=True), None)

    def _taught(self, splits: Splits, learnt: Splits, stopped: Callable[[], bool]) -> "Trainer":
        """The same, that learns from an ensemble too where it is to have one: of `splits`, asked about all `learnt`."""
        networks = len(self.keepers.members)
        if not networks:
            return self

        def member(number: int, config: TrainingConfig, keeper: Keeper) -> Built:
            title = f"teacher {number} of {networks}"
            with TerminalProgress(self.console, title=title) as bar:
                return self._build(splits, config, bar, keeper, stopped)

        say(self.console, f"training {networks} networks first, whose mean answers the one that is served learns too")
        return replace(self, lessons=ensemble.teach(member, self.config, self.keepers.members, learnt))

    def _first(self, splits: Splits, stopped: Callable[[], bool]) -> Built:
        with TerminalProgress(self.console) as bar:
            seen = Together(bar, self.tracked)
            return self._build(splits, self.config, seen, self.keepers.first, stopped, lambda: self._ask(bar))

    def _build(
        self,
        splits: Splits,
        config: TrainingConfig,
        seen: Progress,
        keeper: Keeper,
        stopped: Callable[[], bool],
        keep_best: Callable[[], bool] = lambda: False,
    ) -> Built:
        return build.build(
            splits,
            config,
            seen,
            device=self.device,
            encoder=self.encoder,
            partner=self.linear if self.config.ngrams else None,
            unlabelled=self.unlabelled,
            lessons=self.lessons,
            keeper=keeper,
            stopped=stopped,
            keep_best=keep_best,
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
                    keeper=self.keepers.again,
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
