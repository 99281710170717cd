"""The trials of a search, one after another, until there is no time for another one and the final run."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import optuna
import torch
from optuna.trial import FrozenTrial, Trial, TrialState
from rich.console import Console

from model.errors import ModelError
from model.ngrams import Ngrams
from training import data, evaluate, folds, loop, place, rival
from training.build import Built, Setup
from training.config import TrainingConfig
from training.data import Splits
from training.errors import ConfigError, TrainingError
from training.loop import EpochResult
from training.telling import say
from training.tuning import budget, space, trials
from training.tuning.budget import Budget
from training.tuning.table import Row, TrialTable
from training.tuning.trials import Trials

Clock: TypeAlias = Callable[[], float]  # seconds

# The final run may take so much longer than its trial: other work on the machine.
SLACK = 1.15
# Writing the bundle, loading it and replaying its probes.
WRITING_S = 3.0
# When a trial's whole time can be told: by 20 steps of TREC-6 on a busy machine it was three times too long.
TIMED_STEPS = 20
TIMED_SHARE = 0.05
# Patience ends most trainings before their plan; until one has shown where, by half of it.
EARLY_SHARE = 0.5
# Of the middle trial's time, that a small network or a pruned one may do with; a larger one ends when that shows.
QUICK_SHARE = 0.4
# After so many trials in a row that failed with none before that didn't, or that were over the budget, it ends.
MOST_FAILURES = 5
MOST_OVER = 100


@dataclass(frozen=True, slots=True)
class Limits:
    """When a search ends, final run included, and what its classifier may cost. `trials` None is no limit."""

    minutes: float
    trials: int | None = None
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        """Raises: ConfigError for no time at all."""
        if not self.minutes > 0:
            raise ConfigError(f"--minutes is {self.minutes:g}; it must be greater than 0")


class OutOfTime(Exception):
    """A trial that was begun would not leave time for its bundle. `seconds` is what its whole plan would take."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"would take {seconds:.0f} s")
        self.seconds = seconds


class Builder(Protocol):
    """build.build, as far as it is used here."""

    def __call__(
        self,
        splits: Splits,
        config: TrainingConfig,
        progress: loop.Progress,
        setup: Setup,
        *,
        stopped: Callable[[], bool],
    ) -> Built: ...


class Search:
    """Trials one after another, until there is no time for another one and the final run."""

    def __init__(
        self,
        splits: Splits,
        kept: Trials,
        limits: Limits,
        *,
        ngrams: Ngrams | None,
        device: torch.device,
        console: Console,
        clock: Clock,
        builder: Builder,
    ) -> None:
        self._splits = splits
        self._all_rows = data.all_rows(splits, kept.base)
        self._afterwards = _afterwards(splits, self._all_rows, kept.base)
        self._kept = kept
        self._limits = limits
        self._ngrams = ngrams
        self._device = device
        self._console = console
        self._clock = clock
        self._builder = builder
        self._shares: list[float] = []  # of their plans, that trials came to
        self._deadline = 0.0
        self._overhead_s = 0.0

    def run(self, *, deadline: float, reading_s: float, offer: Callable[[], bool]) -> None:
        """Fill the trials, one of them complete at least. `reading_s`: what the final run takes to read and check data.

        Raises: TrainingError if no trial came to its end; place.Stopped.
        """
        self._deadline = deadline
        self._overhead_s = reading_s + WRITING_S
        with TrialTable(self._console) as table, place.interruption() as stopped:
            while not stopped() and self._may_go_on():
                self._trial(table, stopped)
        if stopped():
            say(self._console, "stopped; the same command with --resume goes on from here")
            if self._kept.best is None or not offer():
                raise place.Stopped
        if self._kept.best is None:
            raise self._without_result()

    def _may_go_on(self) -> bool:
        finished = self._kept.finished
        if self._limits.trials is not None and len(finished) >= self._limits.trials:
            return False
        return not self._is_hopeless(finished) and self._has_time()

    def _is_hopeless(self, finished: list[FrozenTrial]) -> bool:
        """Whether nothing but failures, or nothing within the budget, came of the last trials."""
        failed = len(finished) >= MOST_FAILURES and all(
            trial.state is TrialState.FAIL for trial in finished[-MOST_FAILURES:]
        )
        over = len(finished) >= MOST_OVER and all(_why(trial) == trials.OVER for trial in finished[-MOST_OVER:])
        return over or (failed and self._kept.best is None)

    def _has_time(self) -> bool:
        """Whether there is room for a quick trial, and for the final run after it."""
        complete = self._kept.complete
        if not complete:
            return self._clock() < self._deadline
        middle_s = float(statistics.median(trial.user_attrs["seconds"] for trial in complete))
        return self._clock() + middle_s * QUICK_SHARE + self._final_s(self._best_s()) <= self._deadline

    def _best_s(self) -> float:
        best = self._kept.best
        return float(best.user_attrs["seconds"]) if best is not None else 0.0

    def _final_s(self, trial_s: float) -> float:
        """Of the final run of a trial that took `trial_s`."""
        return trial_s * (1 + self._afterwards) * SLACK + self._overhead_s

    def _trial(self, table: TrialTable, stopped: Callable[[], bool]) -> None:
        trial = self._kept.next()
        config = self._kept.settings(trial)
        row = Row(trial.number, changes=space.shown(self._kept.base, config))
        table.add(row)
        started = self._clock()
        try:
            self._run_trial(trial, config, row, started, stopped)
        except optuna.TrialPruned:
            row.state = "pruned"
            self._kept.tell_pruned(trial)
        except loop.Interrupted:
            row.state = "cut off"
            self._kept.cut_off(trial.number)
        except OutOfTime as error:
            row.state = f"no time: {error}"
            self._kept.tell_failed(trial, row.state)
            if config == self._kept.base:
                raise self._too_short(error.seconds) from None
        except (TrainingError, ModelError, MemoryError, RuntimeError) as error:  # torch's lack of memory is the last
            row.state = f"failed: {error}".splitlines()[0]
            self._kept.tell_failed(trial, row.state)
        row.seconds = self._clock() - started
        table.done(row)

    def _run_trial(
        self, trial: Trial, config: TrainingConfig, row: Row, started: float, stopped: Callable[[], bool]
    ) -> None:
        cost = budget.cost(self._splits, config, self._ngrams)
        row.mb, row.us_per_text = cost.mb, cost.us_per_text
        if not self._kept.tell_cost(trial, cost, self._limits.budget.excess(cost)):
            row.state = trials.OVER
            return
        watch = Watch(trial, row, self._clock, self._fits)
        built = self._builder(self._splits, config, watch, Setup(self._device), stopped=stopped)
        best = built.fitted.best
        watch.fill()
        self._shares.append(watch.share)
        seconds = self._clock() - started
        self._kept.tell_complete(trial, score=best.score, loss=best.validation_loss, seconds=seconds)
        row.state, row.score = "complete", best.score
        if len(self._kept.complete) == 1:
            self._overhead_s += self._judging_s(built)

    def _fits(self, spent_s: float, plan_s: float) -> bool:
        """Whether a trial that has taken `spent_s` seconds, and would take `plan_s` if nothing ended it early, leaves
        time for the bundle, by it or by the best.
        """
        share = statistics.median(self._shares) if self._shares else EARLY_SHARE
        whole_s = max(spent_s, plan_s * share)
        left_s = self._deadline - self._clock() - self._final_s(max(whole_s, self._best_s()))
        return whole_s - spent_s <= left_s

    def _judging_s(self, built: Built) -> float:
        """Seconds to judge the bundle, by how long the validation rows take, and to fit its rival."""
        started = self._clock()
        evaluate.report(evaluate.answer(built.classifier, self._splits.validation))
        judged = self._clock()
        if self._kept.base.rival or self._kept.base.ngrams:
            fitted = rival.fit(self._splits, self._kept.base)
            if self._all_rows is not None:
                rival.refit(fitted, self._all_rows, self._kept.base)
        test = self._splits.test
        rows = len(self._splits.validation) + (len(test) if test is not None else 0)
        return (judged - started) * rows / len(self._splits.validation) + self._clock() - judged

    def _too_short(self, trial_s: float) -> TrainingError:
        self._kept.delete()
        final_s = self._final_s(trial_s)
        needed = (trial_s + final_s) / 60
        return TrainingError(
            f"--minutes {self._limits.minutes:g} is too few: the base recipe takes up to {trial_s:.0f} s here, and its "
            f"bundle {final_s:.0f} s; that alone is {needed:.1f} minutes, and a search is several times as long"
        )

    def _without_result(self) -> TrainingError:
        finished = self._kept.finished
        self._kept.delete()
        over = [trial for trial in finished if trial.user_attrs.get("why") == trials.OVER]
        if over:
            mb, us = (min(trial.user_attrs[name] for trial in over) for name in ("mb", "us_per_text"))
            return TrainingError(
                f"none of {len(finished):,} trials kept within {self._limits.budget}; "
                f"the least that was seen: {mb:.2f} MB, and {us:.0f} µs a text"
            )
        if finished:
            return TrainingError(
                f"none of {len(finished):,} trials came to its end; the last one: {_why(finished[-1])}"
            )
        return TrainingError(f"--minutes {self._limits.minutes:g} is too few: the data took longer to read")


class Watch:
    """Hears a trial's training: reports its epochs, and ends it where it can't be the best or there is no time."""

    def __init__(
        self, trial: Trial, row: Row, clock: Callable[[], float], fits: Callable[[float, float], bool]
    ) -> None:
        self._trial = trial
        self._row = row
        self._clock = clock
        self._fits = fits
        self._started = clock()
        self._steps = 0
        self._done = 0
        self._tenth = 0
        self._best = float("-inf")

    def start(self, *, steps: int, done: int) -> None:
        self._steps, self._done = steps, done

    def step(self, *, loss: float, tokens_per_s: float) -> None:  # noqa: ARG002 - what a bar shows
        self._done += 1
        self._row.state = f"running, {self.share:.0%}"
        if self._done < max(TIMED_STEPS, TIMED_SHARE * self._steps):
            return
        spent_s = self._clock() - self._started
        plan_s = spent_s / self._done * self._steps
        if not self._fits(spent_s, plan_s):
            raise OutOfTime(plan_s)

    def epoch(self, result: EpochResult) -> None:
        self._best = max(self._best, result.score)
        self._row.score = self._best
        if self._report(10 * self._done // self._steps) and self._trial.should_prune():
            raise optuna.TrialPruned

    @property
    def share(self) -> float:
        """Of the planned steps, that are done."""
        return self._done / self._steps

    def fill(self) -> None:
        """A trial that ended early had its best from then on: the later ones are compared with it there too."""
        self._report(10)

    def _report(self, tenth: int) -> bool:
        """The best so far at each tenth of the steps, as epochs are of different lengths; whether one was passed."""
        passed = range(self._tenth + 1, tenth + 1)
        for number in passed:
            self._trial.report(self._best, 10 * number)
        self._tenth = max(self._tenth, tenth)
        return len(passed) > 0


def _afterwards(splits: Splits, all_rows: Splits | None, config: TrainingConfig) -> float:
    """What the trainings after the first one take, as a share of it: they have more rows, and no more epochs. In folds
    each row is learnt from in all but one of them. It reads all texts.
    """
    if all_rows is None:
        return 0.0
    trainings = 1 if folds.judged(all_rows, config) is None else folds.FOLDS
    return trainings * len(all_rows.train) / len(splits.train)


def _why(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("why", ""))
