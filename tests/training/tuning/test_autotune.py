"""training.autotune: a search ends in a bundle no worse than the base recipe's, or in one clear message."""

import io
import itertools
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

import cli
from model.bundle import Bundle
from tests.training.fakes import Silent
from training import build, config, data, loop, place
from training.build import Built
from training.checkpoint import Checkpoints
from training.config import TrainingConfig
from training.errors import TrainingError
from training.loop import EpochResult, Fitted
from training.reading import Columns
from training.tuning import autotune, budget, trials
from training.tuning.budget import Budget
from training.tuning.search import Limits

ROWS = [(f"{word} number {number}", label) for number in range(30) for word, label in (("good", "up"), ("bad", "down"))]
QUICK = (
    "embedding_size=16",
    "hidden_size=16",
    "epochs=2",
    "epoch_steps=6",
    "least_steps=12",
    "threads=1",
    "precision=float32",
    "rival=false",
    "folds_below=0",
)
# More than enough for a dozen trials of a second each.
AMPLE = 60.0


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rows.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS))
    return path


@pytest.fixture(scope="module")
def base() -> TrainingConfig:
    return config.load(None, QUICK)


@pytest.fixture(scope="module")
def built(rows: Path, base: TrainingConfig) -> Built:
    """A classifier for builders that don't build."""
    splits = data.split(data.read(rows, Columns()), base)
    return build.build(splits, base, Silent(), build.Setup(torch.device("cpu")))


class Builder:
    """Comes to a score by the settings alone, at once; does `act(n)` in the middle of the nth trial, from 1."""

    def __init__(self, built: Built, act: Callable[[int], None] = lambda number: None) -> None:
        self.built = built
        self.act = act
        self.configs: list[TrainingConfig] = []

    def __call__(
        self,
        splits: data.Splits,
        config: TrainingConfig,
        progress: loop.Progress,
        setup: build.Setup,
        *,
        stopped: Callable[[], bool],
    ) -> Built:
        self.configs.append(config)
        result = EpochResult(1, 1.0, 1.0, score=1 - config.pooled_dropout, tokens_per_s=1.0, best=True)
        progress.start(steps=1, done=0)
        progress.step(loss=1.0, tokens_per_s=1.0)
        self.act(len(self.configs))
        if stopped():
            raise loop.Interrupted(Fitted({}, [], planned=1))
        progress.epoch(result)
        return replace(self.built, fitted=Fitted({}, [result], planned=1))


def search(
    rows: Path,
    out: Path,
    base: TrainingConfig,
    builder: Builder | None = None,
    *,
    minutes: float = AMPLE,
    count: int | None = None,
    limit: Budget | None = None,
    console: Console | None = None,
    **others: Any,
) -> autotune.Outcome:
    return autotune.autotune(
        data.read(rows, Columns()),
        out,
        base,
        device="cpu",
        console=console or Console(quiet=True),
        limits=Limits(minutes, count, limit or Budget()),
        **others,
        **({} if builder is None else {"builder": builder}),
    )


class Interrupting(Console):
    """As Ctrl-C when the final run begins."""

    def print(self, *objects: Any, **options: Any) -> None:
        if "run again for the bundle" in str(objects):
            raise KeyboardInterrupt
        super().print(*objects, **options)


def trials_of(rows: Path, out: Path, base: TrainingConfig, builder: Builder, **others: Any) -> str:
    """A search that is cut off before its final run; what it said."""
    console = Interrupting(file=io.StringIO(), record=True, width=500)
    with pytest.raises(KeyboardInterrupt):
        search(rows, out, base, builder, console=console, **others)
    return console.export_text()


def journal(out: Path, base: TrainingConfig) -> list[dict[str, Any]]:
    """The settings that were tried, in order, as the search's own file has them."""
    folder = out.with_name(f".{out.name}.tune")
    events = [json.loads(line) for line in (folder / trials.JOURNAL).read_text().splitlines()]
    identity = next(event["user_attr"]["identity"] for event in events if "identity" in event.get("user_attr", {}))
    return [trial.params for trial in trials.Trials(folder, base, identity).finished]


def test_a_search_ends_in_a_bundle_and_its_recipe(rows: Path, tmp_path: Path) -> None:
    """With real trials: the best one is replayed to the same figures, and the recipe alone repeats the bundle."""
    out = tmp_path / "tuned"
    settings = [part for setting in QUICK for part in ("--set", setting)]
    arguments = ["autotune", rows, "--out", out, "--minutes", AMPLE, "--trials", 3, "--device", "cpu", *settings]
    arguments += ["--set", "rival=true"]
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary.keys() == {
        *("bundle", "version", "metrics", "trials", "best_trial", "validation", "baseline_validation", "seconds")
    }
    assert summary["trials"] == 3
    assert summary["validation"] >= summary["baseline_validation"]
    assert "warning" not in result.stderr
    assert "trial 0" in result.stderr
    again = ["train", rows, "--out", tmp_path / "again", "--recipe", out / "recipe.toml", "--device", "cpu"]
    assert CliRunner().invoke(cli.app, [str(argument) for argument in again]).exit_code == 0
    assert Bundle.open(tmp_path / "again").manifest.version == summary["version"]


def test_the_first_trial_is_the_base_and_the_best_one_wins(
    rows: Path, tmp_path: Path, base: TrainingConfig, built: Built
) -> None:
    """The bundle has the settings of the highest validation score."""
    builder = Builder(built)
    found = search(rows, tmp_path / "tuned", base, builder, count=6)
    assert builder.configs[0] == base
    best = min(builder.configs, key=lambda tried: tried.pooled_dropout)
    assert builder.configs[found.best_trial] == best
    assert config.load(tmp_path / "tuned" / "recipe.toml", []) == best
    assert found.baseline_validation == 1 - base.pooled_dropout


def test_a_replay_that_comes_to_something_else_is_told(
    rows: Path, tmp_path: Path, base: TrainingConfig, built: Built
) -> None:
    """The builder's scores are made up, so the final run can't have them; its own one is given."""
    console = Console(record=True, width=300, stderr=True)
    found = search(rows, tmp_path / "tuned", base, Builder(built), count=1, console=console)
    assert "warning: run again, trial 0 came to" in console.export_text()
    history = Bundle.open(tmp_path / "tuned").report["history"]
    assert found.validation == max(epoch["score"] for epoch in history)


class Killed(BaseException):
    """As kill -9: nothing runs after it."""


def test_a_search_that_was_cut_off_goes_on_as_if_it_had_not_been(
    rows: Path, tmp_path: Path, base: TrainingConfig, built: Built
) -> None:
    """The seed and what was found decide what is tried; another seed tries other settings."""

    def kill(number: int) -> None:
        if number in (3, 5):
            raise Killed

    whole, cut, other = tmp_path / "whole", tmp_path / "cut", tmp_path / "other"
    trials_of(rows, whole, base, Builder(built), count=9)
    builder = Builder(built, kill)
    for resume in (False, True):
        with pytest.raises(Killed):
            search(rows, cut, base, builder, count=9, resume=resume)
    with pytest.raises(TrainingError, match=r"was begun: --resume goes on with it"):
        search(rows, cut, base, builder, count=9)
    trials_of(rows, cut, base, builder, count=9, resume=True)
    assert journal(cut, base) == journal(whole, base)
    elsewhere = base.model_copy(update={"seed": 1})
    trials_of(rows, other, elsewhere, Builder(built), count=3)
    assert journal(other, elsewhere)[1:] != journal(whole, base)[1:3]


def test_a_search_goes_on_only_as_the_same(rows: Path, tmp_path: Path, base: TrainingConfig, built: Built) -> None:
    """Another base or budget would make its trials mean something else; --force starts over."""

    def kill(number: int) -> None:
        if number == 2:
            raise Killed

    with pytest.raises(Killed):
        search(rows, tmp_path / "tuned", base, Builder(built, kill))
    wider = base.model_copy(update={"hidden_size": 32})
    with pytest.raises(TrainingError, match="hidden_size was 16, is 32"):
        search(rows, tmp_path / "tuned", wider, Builder(built), count=1, resume=True)
    trials_of(rows, tmp_path / "tuned", wider, Builder(built), count=1, overwrite=True)
    assert len(journal(tmp_path / "tuned", wider)) == 1


@pytest.mark.parametrize("accepted", [True, False])
def test_ctrl_c_ends_the_search_and_offers_the_best(
    rows: Path, tmp_path: Path, base: TrainingConfig, built: Built, *, accepted: bool
) -> None:
    """Declined, nothing is written but the search, which goes on with the trial that was cut off."""

    def interrupt(number: int) -> None:
        if number == 3:
            os.kill(os.getpid(), signal.SIGINT)

    out = tmp_path / "tuned"
    builder = Builder(built, interrupt)
    if accepted:
        assert search(rows, out, base, builder, offer=lambda: True).trials == 2
        return
    with pytest.raises(place.Stopped):
        search(rows, out, base, builder)
    assert not out.exists()
    trials_of(rows, out, base, builder, count=3, resume=True)
    assert builder.configs[3] == builder.configs[2]


def test_a_final_run_that_was_cut_off_is_taken_up(
    rows: Path, tmp_path: Path, base: TrainingConfig, built: Built
) -> None:
    """No more trials are made then, whatever time is left."""
    builder = Builder(built)
    trials_of(rows, tmp_path / "tuned", base, builder, count=2)
    assert search(rows, tmp_path / "tuned", base, builder, resume=True).trials == 2


def test_a_search_is_not_gone_on_with_where_another_run_was_cut_off(
    rows: Path, tmp_path: Path, base: TrainingConfig, built: Built
) -> None:
    """The final run would find its folder taken, after all the trials; --force drops it."""

    def kill(number: int) -> None:
        raise Killed

    out = tmp_path / "tuned"
    with pytest.raises(Killed):
        search(rows, out, base, Builder(built, kill))
    Checkpoints(place.beside(out, place.RUN_FOLDER), {"seed": 7}).save({})
    builder = Builder(built)
    with pytest.raises(TrainingError, match=r"a run of .* was cut off"):
        search(rows, out, base, builder, count=2, resume=True)
    assert builder.configs == []


def test_a_trial_that_fails_is_passed_over(rows: Path, tmp_path: Path, base: TrainingConfig, built: Built) -> None:
    """Whether training or torch gives up; the reason stands in the list of trials."""

    def fail(number: int) -> None:
        if number == 2:
            raise TrainingError("the loss became nan")
        if number == 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB\nmore about that")

    shown = trials_of(rows, tmp_path / "tuned", base, Builder(built, fail), count=4)
    assert "trial 3  complete" in shown
    assert "trial 1  failed: the loss became nan" in shown
    assert "trial 2  failed: CUDA out of memory. Tried to allocate 2 GiB" in shown


def test_a_search_of_failures_only_ends(rows: Path, tmp_path: Path, base: TrainingConfig, built: Built) -> None:
    """With the last reason, and nothing written."""

    def fail(number: int) -> None:
        raise TrainingError("the loss became nan")

    with pytest.raises(TrainingError, match="none of 5 trials came to its end; the last one: failed: the loss became"):
        search(rows, tmp_path / "tuned", base, Builder(built, fail))
    assert list(tmp_path.iterdir()) == []


def test_a_budget_of_bytes_is_kept(rows: Path, tmp_path: Path, base: TrainingConfig, built: Built) -> None:
    """Trials over it aren't trained; the bundle's files are within it."""
    splits = data.split(data.read(rows, Columns()), base)
    own = budget.cost(splits, base, budget.largest_ngrams(splits, base) if base.ngrams else None)
    limit = Budget(max_mb=own.mb + 0.005)
    builder = Builder(built)
    out = tmp_path / "tuned"
    found = search(rows, out, base, builder, count=8, limit=limit)
    assert len(builder.configs) < found.trials == 8
    assert sum(path.stat().st_size for path in out.iterdir()) / 1e6 <= own.mb + 0.005


def test_a_budget_too_small_for_ngrams_goes_without(
    rows: Path, tmp_path: Path, base: TrainingConfig, built: Built
) -> None:
    """The network fits, and is searched for; that there will be no n-grams is said."""
    splits = data.split(data.read(rows, Columns()), base)
    limit = Budget(max_mb=budget.cost(splits, base, None).mb + 0.001)
    builder, console = Builder(built), Console(file=io.StringIO(), width=500)
    with_ngrams = base.model_copy(update={"ngrams": True})
    search(rows, tmp_path / "tuned", with_ngrams, builder, count=2, limit=limit, console=console)
    assert not any(config.ngrams for config in builder.configs)
    assert "it goes without" in console.file.getvalue()


@pytest.mark.parametrize("limit", [Budget(max_mb=0.01), Budget(max_us_per_text=0.1)], ids=["size", "speed"])
def test_a_budget_that_nothing_keeps_is_an_error(
    rows: Path, tmp_path: Path, base: TrainingConfig, built: Built, limit: Budget
) -> None:
    """With the least that was seen; nothing is trained, and nothing written."""
    builder = Builder(built)
    with pytest.raises(TrainingError, match=rf"none of 3 trials kept within {limit}; the least .* MB, and .* µs a"):
        search(rows, tmp_path / "tuned", base, builder, count=3, limit=limit)
    assert builder.configs == []
    assert list(tmp_path.iterdir()) == []


class Clock:
    """So many seconds have passed whenever it is looked at."""

    def __init__(self, tick_s: float) -> None:
        self.seconds = itertools.count(step=tick_s)

    def __call__(self) -> float:
        return float(next(self.seconds))


def test_too_little_time_for_the_base_is_said_at_once(rows: Path, tmp_path: Path, base: TrainingConfig) -> None:
    """With what is needed; nothing is written."""
    longer = base.model_copy(update={"least_steps": 60})
    with pytest.raises(
        TrainingError, match=r"--minutes 0\.5 is too few: the base recipe .* that alone is \d\.\d minutes"
    ):
        search(rows, tmp_path / "tuned", longer, minutes=0.5, clock=Clock(10))
    assert list(tmp_path.iterdir()) == []


def test_the_search_ends_in_time_for_the_final_run(
    rows: Path, tmp_path: Path, base: TrainingConfig, built: Built
) -> None:
    """By its clock there is room for some trials, not for any number."""
    found = search(rows, tmp_path / "tuned", base, Builder(built), minutes=10, clock=Clock(20))
    assert 2 <= found.trials <= 10
    assert found.seconds <= 600


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.csv"], "nowhere.csv doesn't exist"),
        (["ROWS", "--label-column", "lable"], "no column 'lable'"),
        (["ROWS", "--set", "epoch=3"], "no setting 'epoch'"),
        (["ROWS", "--max-mb", "0"], "--max-mb is 0; it must be greater than 0"),
        (["ROWS", "--max-us-per-text", "-1"], "--max-us-per-text is -1; it must be greater than 0"),
        (["ROWS", "--minutes", "0"], "--minutes is 0; it must be greater than 0"),
    ],
)
def test_a_refusal_is_one_line_and_leaves_nothing(
    rows: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    """Before any search begins."""
    given = [str(rows) if argument == "ROWS" else argument for argument in arguments]
    result = CliRunner().invoke(cli.app, ["autotune", "--out", str(tmp_path / "tuned"), "--minutes", "1", *given])
    assert (result.exit_code, message in result.stderr) == (2, True)
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
