"""training.tracking: points are where they belong, and nothing that happens to them touches a training."""

import threading
from collections import namedtuple
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from tests.training.events import points
from training import tracking
from training.config import TrainingConfig
from training.loop import EpochResult, Interrupted
from training.tracking import MLflow, Outlet, TensorBoard, Tracker


def epoch(number: int, score: float = 0.5) -> EpochResult:
    return EpochResult(number, loss=1.0, validation_loss=0.75, score=score, tokens_per_s=10.0, best=True)


def steps(tracker: Tracker, count: int) -> None:
    for _ in range(count):
        tracker.step(loss=0.25, tokens_per_s=10.0)


def board(folder: Path) -> Tracker:
    return Tracker([Outlet(TensorBoard(folder), pytest.fail)], folder)


def test_event_files_have_every_point(tmp_path: Path) -> None:
    """Of steps, epochs and the report, each at its step; nothing before the first."""
    with board(tmp_path / "run") as tracker:
        tracker.start(steps=100, done=0)
        assert not (tmp_path / "run").exists()
        steps(tracker, 60)
        tracker.epoch(epoch(1))
        steps(tracker, 40)
        tracker.epoch(epoch(2, score=0.75))
    tracker.result({"test": {"accuracy": 0.5, "rows": 8}})
    assert points(tmp_path / "run", "training/loss") == [(50, 0.25), (100, 0.25)]
    assert points(tmp_path / "run", "validation/score") == [(60, 0.5), (100, 0.75)]
    assert points(tmp_path / "run", "test/accuracy") == [(100, 0.5)]


def test_a_run_taken_up_has_no_point_twice(tmp_path: Path) -> None:
    """Points after the checkpoint are void; a new run leaves none of the old one."""
    with board(tmp_path) as first:
        first.start(steps=100, done=0)
        steps(first, 50)
        first.epoch(epoch(1, score=0.25))
        steps(first, 50)
        first.epoch(epoch(2, score=0.5))
    with board(tmp_path) as again:
        again.start(steps=150, done=60)
        steps(again, 40)
        again.epoch(epoch(2, score=0.5))
        steps(again, 50)
        again.epoch(epoch(3, score=0.75))
    assert points(tmp_path, "validation/score") == [(50, 0.25), (100, 0.5), (150, 0.75)]
    assert [step for step, _ in points(tmp_path, "training/loss")] == [50, 100, 150]
    with board(tmp_path) as new:
        new.start(steps=10, done=0)
        new.epoch(epoch(1))
    assert points(tmp_path, "validation/score") == [(0, 0.5)]


def test_a_run_that_isnt_followed_leaves_the_older_ones_points(tmp_path: Path) -> None:
    """--no-track writes nothing, and deletes nothing."""
    with board(tmp_path) as first:
        first.start(steps=10, done=0)
        first.epoch(epoch(1))
    with Tracker([], tmp_path) as silent:
        silent.start(steps=10, done=0)
    assert points(tmp_path, "validation/score") == [(0, 0.5)]


class Sink:
    """Fails, or waits, at its first point."""

    name = "the sink"

    def __init__(self, *, wait: threading.Event | None = None) -> None:
        self.wait = wait
        self.calls = 0

    def begin(self, *, done: int) -> None: ...
    def end(self, status: str) -> None: ...
    def points(self, step: int, values: Mapping[str, float]) -> None:
        self.calls += 1
        if self.wait is None:
            raise OSError("No space left on device")
        self.wait.wait()


def test_a_sink_that_fails_is_told_of_once(tmp_path: Path) -> None:
    """It gets no more points; the others get all."""
    said: list[str] = []
    broken = Sink()
    with Tracker([Outlet(broken, said.append), Outlet(TensorBoard(tmp_path), pytest.fail)], tmp_path) as tracker:
        tracker.start(steps=10, done=0)
        for number in range(5):
            tracker.epoch(epoch(number))
    assert broken.calls == 1
    assert len(said) == 1
    assert "No space left on device" in said[0]
    assert len(points(tmp_path, "validation/score")) == 5


def test_a_sink_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    """A thousand points wait for it in vain, and so does the end, but not for long."""
    said: list[str] = []
    release = threading.Event()
    with Tracker([Outlet(Sink(wait=release), said.append)], tmp_path, patience_s=0.05) as tracker:
        tracker.start(steps=10, done=0)
        for number in range(1000):
            tracker.epoch(epoch(number))
    tracker.result({"test": {"accuracy": 0.5}})
    release.set()
    assert len(said) == 1
    assert "no answer" in said[0]


Param = namedtuple("Param", "key value")
Metric = namedtuple("Metric", "key value timestamp step")


class Client:
    """What is used of an MlflowClient."""

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}
        self.metrics: list[tuple[str, float, int]] = []
        self.status: list[str] = []
        self.runs = 0

    def get_experiment_by_name(self, name: str) -> None: ...
    def create_experiment(self, name: str) -> str:
        return f"id of {name}"

    def create_run(self, experiment_id: str, *, run_name: str) -> Any:
        self.runs += 1
        return SimpleNamespace(info=SimpleNamespace(run_id=f"{experiment_id}/{run_name}"))

    def update_run(self, run_id: str, *, status: str) -> None:
        self.status.append(status)

    def log_batch(self, run_id: str, *, metrics: Sequence[Metric] = (), params: Sequence[Param] = ()) -> None:
        self.params |= {param.key: param.value for param in params}
        self.metrics += [(metric.key, metric.value, metric.step) for metric in metrics]

    def get_metric_history(self, run_id: str, key: str) -> list[Any]:
        return [SimpleNamespace(step=step) for name, _, step in self.metrics if name == key]


def test_mlflow_gets_one_run_that_a_break_doesnt_split(tmp_path: Path) -> None:
    """Settings, figures and a status; taken up, the same run goes on and no point comes twice."""
    client = Client()
    entities = SimpleNamespace(Param=Param, Metric=Metric)
    config = TrainingConfig(seed=5)

    def opened() -> Tracker:
        return Tracker([Outlet(MLflow(tmp_path, "trec6", config, lambda: (client, entities)), pytest.fail)], tmp_path)

    def stopped_run() -> None:
        with opened() as tracker:
            tracker.start(steps=4, done=0)
            for number in (1, 2):
                tracker.step(loss=0.5, tokens_per_s=1.0)
                tracker.epoch(epoch(number))
            raise Interrupted(None)  # type: ignore[arg-type]

    with pytest.raises(Interrupted):
        stopped_run()
    with opened() as tracker:
        tracker.start(steps=4, done=1)
        for number in (2, 3):
            tracker.step(loss=0.5, tokens_per_s=1.0)
            tracker.epoch(epoch(number))
    tracker.result({"test": {"accuracy": 0.5}})
    assert client.runs == 1
    assert client.params == {name: str(value) for name, value in config.model_dump().items()}
    assert client.status == ["KILLED", "RUNNING", "FINISHED", "FINISHED"]
    assert [step for key, _, step in client.metrics if key == "validation/score"] == [1, 2, 3]
    assert ("test/accuracy", 0.5, 3) in client.metrics


def test_a_missing_mlflow_is_said_clearly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is set, the package isn't there: a warning with the command, and the run is followed without."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:1")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    console = Console(record=True, quiet=False, width=200)
    tracking.tracker(tmp_path, "run", TrainingConfig(), console, on=True)
    assert "mlflow isn't installed: pip install -e '.[mlflow]'" in console.export_text()
