"""training.search and training.budget: when a trial ends, and what a classifier costs."""

import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import optuna
import pytest
import torch
from rich.console import Console

from model.bundle import Bundle
from tests.training.files import write_rows
from training import build, data
from training.config import TrainingConfig
from training.loop import EpochResult
from training.reading import Columns
from training.tuning import budget
from training.tuning.budget import Budget, Cost
from training.tuning.search import Limits, OutOfTime, Search, Watch
from training.tuning.table import Row, TrialTable
from training.tuning.trials import Trials


def result(score: float) -> EpochResult:
    return EpochResult(1, 1.0, 1.0, score=score, tokens_per_s=1.0, best=True)


def run_trial(kept: Trials, scores: Sequence[float], *, steps: int = 10) -> dict[int, float]:
    """A trial with an epoch a step; what it reported."""
    trial = kept.next()
    watch = Watch(trial, Row(trial.number), lambda: 0.0, lambda spent_s, plan_s: True)
    watch.start(steps=steps, done=0)
    for score in scores:
        watch.step(loss=1.0, tokens_per_s=1.0)
        watch.epoch(result(score))
    watch.fill()
    kept.tell_complete(trial, score=max(scores), loss=1.0, seconds=1.0)
    return kept[trial.number].intermediate_values


def test_a_trial_reports_its_best_at_each_tenth(tmp_path: Path) -> None:
    """Whatever the length of its epochs; one that ended early has its best from then on."""
    kept = Trials(tmp_path, TrainingConfig(), {})
    assert run_trial(kept, [0.25, 0.75, 0.5], steps=5) == {
        **dict.fromkeys((10, 20), 0.25),
        **dict.fromkeys(range(30, 101, 10), 0.75),
    }


def test_a_trial_worse_than_half_of_the_others_is_pruned(tmp_path: Path) -> None:
    """From the third tenth on."""
    kept = Trials(tmp_path, TrainingConfig(), {})
    for score in (0.5, 0.6, 0.7):
        run_trial(kept, [score] * 10)
    run_trial(kept, [0.1, 0.1, *[0.65] * 8])
    with pytest.raises(optuna.TrialPruned):
        run_trial(kept, [0.5] * 10)


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("steps", "expected"), [(100, 100), (200, 20), (1000, 50)])
def test_a_trial_that_would_take_too_long_ends_when_that_shows(tmp_path: Path, steps: int, expected: int) -> None:
    """At 1 s a step, 200 steps leave no time for the bundle in 300 s, and 100 do."""
    clock, done = Clock(), 0
    watch = Watch(
        Trials(tmp_path, TrainingConfig(), {}).next(), Row(0), clock, lambda spent_s, plan_s: 2 * plan_s <= 300
    )
    watch.start(steps=steps, done=0)
    with suppress(OutOfTime):
        for done in range(1, steps + 1):
            clock.now = float(done)
            watch.step(loss=1.0, tokens_per_s=1.0)
    assert done == expected


@pytest.mark.parametrize(
    ("refit_below", "folds_below", "seconds"),
    [(0, 1000, 115), (1000, 60, 115 * (1 + 60 / 52)), (1000, 61, 115 * (1 + (2 + 1) * 60 / 52))],
)
def test_the_final_run_has_time_for_its_later_trainings(
    tmp_path: Path, refit_below: int, folds_below: int, seconds: float
) -> None:
    """A trial of 100 s is run again, with some slack, and then all rows are; of three folds each learns from two
    thirds of them.
    """
    path = write_rows(tmp_path, "train.jsonl", [(f"text {number}", "ab"[number % 2]) for number in range(60)])
    base = TrainingConfig(refit_below=refit_below, folds_below=folds_below, least_held_out=0)
    splits = data.split(data.read(path.parent, Columns()), base)
    assert len(splits.train) == 52
    search = Search(
        splits,
        Trials(tmp_path / "tune", base, {}),
        Limits(minutes=1.0),
        ngrams=None,
        device=torch.device("cpu"),
        console=Console(quiet=True),
        clock=Clock(),
        builder=build.build,
    )
    assert search._final_s(100.0) == pytest.approx(seconds)


class Ticking:
    """Stands still but where it is told: a round of requests is as long as the next of `rounds`, in seconds."""

    def __init__(self, rounds: Sequence[float]) -> None:
        self.times = iter([time for seconds in rounds for time in (0.0, seconds)])

    def __call__(self) -> float:
        return next(self.times)


def test_a_disturbed_round_doesnt_count(tiny_bundle: Path) -> None:
    """Microseconds a text, by the median round."""
    classifier = Bundle.open(tiny_bundle).classifier(device="cpu")
    clock = Ticking([0.002, 0.9, 0.002, 0.002, 0.002])
    assert budget.us_per_text(classifier, ["one text", "another"], clock) == pytest.approx(1000)


def test_a_budget_says_what_is_over() -> None:
    """Bytes by how much, speed by yes or no; without limits nothing is."""
    cost = Cost(mb=3.0, us_per_text=500.0)
    assert Budget().excess(cost) == {}
    assert Budget(max_mb=2.0, max_us_per_text=400.0).excess(cost) == {"mb": 0.5, "us_per_text": 1.0}
    assert all(share <= 0 for share in Budget(max_mb=3.0, max_us_per_text=500.0).excess(cost).values())


def test_the_table_has_the_last_trials_and_the_best() -> None:
    """On a terminal; what differs from the base is shown as it is, brackets too."""
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    with TrialTable(console) as table:
        table.add(Row(0, "complete", score=0.875, mb=1.5, us_per_text=250.0, seconds=9.0))
        for number in range(1, 40):
            table.add(Row(number, "failed: [red]", score=0.5, changes="hidden_size=32"))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    rows = [line.split() for line in shown.splitlines() if "hidden_size=32" in line or "complete" in line]
    assert ["0", "87.50%", "1.50", "250", "9", "complete"] in rows
    assert ["39", "50.00%", "failed:", "[red]", "hidden_size=32"] in rows
    assert not any(row[0] == "20" for row in rows)
