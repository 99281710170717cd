"""The figures of a run for the tools that draw them: event files of TensorBoard in the run's folder, and MLflow.

    tensorboard --logdir bundles       every run, as `.NAME.run` beside its bundle
    MLFLOW_TRACKING_URI=http://…       MLflow too; needs: pip install -e '.[mlflow]'

A tracker hears what the bar hears, and only puts it into queues, each emptied by a thread of its own: neither a full
disk nor a server that is away stops a training or slows it. A sink that fails is told of once, and left.
"""

import importlib.util
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console

from training import telling
from training.config import TrainingConfig
from training.loop import EpochResult, Interrupted

# Steps to a point of the training loss: a few hundred points a run, less than a kilobyte a second.
EVERY_STEPS = 50
# A run that is done waits so long for what is still in a queue; MLflow's first table takes some 10 s to be made.
PATIENCE_S = 20.0
EVENTS = "events.out.tfevents."
MLFLOW_RUN = "mlflow-run"
# Of a run that is taken up, the points that tell how far its figures go.
LAST_OF = ("validation/score", "folds/loss", "refit/loss")


class Sink(Protocol):
    """Where points go. Whatever a method raises, the sink is used no more."""

    name: str

    def begin(self, *, done: int) -> None:
        """A run starts at step `done`: 0 is a new one, more is one taken up; later points of it are void."""

    def points(self, step: int, values: Mapping[str, float]) -> None:
        """Figures by name, after `step` steps."""

    def end(self, status: str) -> None:
        """FINISHED, KILLED or FAILED: no more training; points of the report may follow."""


class TensorBoard:
    """Event files, one a start, made with the first point. Each point is on the disk before the next."""

    # tensorboardX's own writers put a queue of ten before a thread that a full disk ends: the eleventh point would
    # wait for ever. Its records are written directly here.
    name = "TensorBoard's files"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._purge: int | None = None
        self._writer: Any = None

    def begin(self, *, done: int) -> None:
        self._purge = done + 1 if done else None

    def points(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboardX.proto.summary_pb2 import Summary

        value = [Summary.Value(tag=name, simple_value=figure) for name, figure in values.items()]
        self._write(step=step, summary=Summary(value=value))

    def end(self, status: str) -> None:  # noqa: ARG002 - event files have no place for it
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, **content: Any) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Files are read in the order of their names, which have seconds only.
            self._writer = EventsWriter(str(self._folder / "events"), filename_suffix=f".{time.time_ns()}")
            if self._purge is not None:
                start = SessionLog(status=SessionLog.START)
                self._writer.write_event(Event(wall_time=time.time(), step=self._purge, session_log=start))
                self._purge = None
        self._writer.write_event(Event(wall_time=time.time(), **content))
        self._writer.flush()


class MLflow:
    """One MLflow run a training run, and the same one after a break: its id lies in the run's folder."""

    name = "MLflow"

    def __init__(self, folder: Path, name: str, config: TrainingConfig, connect: Callable[[], tuple[Any, Any]]) -> None:
        self._id_file = folder / MLFLOW_RUN
        self._name = name
        self._config = config
        self._connect = connect
        self._client: Any = None
        self._entities: Any = None
        self._run = ""
        self._last = -1  # the last step with points; a run taken up a little earlier comes to the same ones again

    def begin(self, *, done: int) -> None:
        self._client, self._entities = self._connect()
        if done and self._id_file.exists():
            self._run = self._id_file.read_text().strip()
            history = [point for name in LAST_OF for point in self._client.get_metric_history(self._run, name)]
            self._last = max((point.step for point in history), default=-1)
            self._client.update_run(self._run, status="RUNNING")
            return
        self._run = self._client.create_run(self._experiment(), run_name=self._name).info.run_id
        self._id_file.parent.mkdir(parents=True, exist_ok=True)
        self._id_file.write_text(self._run)
        params = [self._entities.Param(key, str(value)) for key, value in self._config.model_dump().items()]
        self._client.log_batch(self._run, params=params)

    def points(self, step: int, values: Mapping[str, float]) -> None:
        if step > self._last:
            now_ms = round(time.time() * 1000)
            metrics = [self._entities.Metric(key, value, now_ms, step) for key, value in values.items()]
            self._client.log_batch(self._run, metrics=metrics)

    def end(self, status: str) -> None:
        self._client.update_run(self._run, status=status)

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "lembra")
        known = self._client.get_experiment_by_name(name)
        return str(known.experiment_id if known is not None else self._client.create_experiment(name))


def _connect() -> tuple[Any, Any]:
    """A client, and the classes of what it takes."""
    # It reports usage to its makers otherwise.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    return mlflow.MlflowClient(), mlflow.entities


class Outlet:
    """A sink behind a queue and a thread: `post` returns at once."""

    def __init__(self, sink: Sink, warn: Callable[[str], None]) -> None:
        self._sink = sink
        self._warn = warn
        self._works = True
        self._jobs: queue.SimpleQueue[Callable[[Sink], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def post(self, job: Callable[[Sink], None]) -> None:
        """Have `job` done, after those before it."""
        if not self._works:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"tracking by {self._sink.name}", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def drain(self, *, patience_s: float) -> None:
        """Wait for what was posted; no longer than `patience_s`, after which it is left to itself."""
        if self._thread is None:
            return
        self._jobs.put(None)
        self._thread.join(patience_s)
        if self._thread.is_alive():
            self._give_up(f"no answer for {patience_s:.0f} s")
        self._thread = None

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                if self._works:
                    job(self._sink)
            except Exception as error:  # whatever it is, the training matters more
                self._give_up(f"{type(error).__name__}: {error}")

    def _give_up(self, why: str) -> None:
        self._works = False
        self._warn(f"{self._sink.name} failed and gets no more points; the training goes on ({why})")


class Tracker:
    """A listener of the training loop, around it as a context; afterwards `result` adds the figures of the report."""

    def __init__(self, outlets: list[Outlet], folder: Path, *, patience_s: float = PATIENCE_S) -> None:
        self._outlets = outlets
        self._folder = folder
        self._patience_s = patience_s
        self._step = 0

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stopped = kind is not None and issubclass(kind, (Interrupted, KeyboardInterrupt))
        status = "FINISHED" if kind is None else "KILLED" if stopped else "FAILED"
        self._post(lambda sink: sink.end(status))
        self._drain()

    def start(self, *, steps: int, done: int) -> None:  # noqa: ARG002 - a bar needs the steps
        if done == 0 and self._outlets:  # a run that nobody follows leaves what others were told
            _forget(self._folder)
        self._step = done
        self._post(lambda sink: sink.begin(done=done))

    def step(self, *, loss: float, tokens_per_s: float) -> None:
        self.count({"training/loss": loss, "training/tokens_per_s": tokens_per_s})

    def epoch(self, result: EpochResult) -> None:
        self._points(
            {
                "training/epoch_loss": result.loss,
                "validation/loss": result.validation_loss,
                "validation/score": result.score,
            }
        )

    def go_on(self, *, done: int) -> None:
        """A later training begins, of which `done` steps are done; its steps are counted on from those before."""
        self._step += done
        if done:
            step = self._step
            self._post(lambda sink: sink.begin(done=step))

    def count(self, values: Mapping[str, float]) -> None:
        """One step more, with figures that every so many steps are points."""
        self._step += 1
        if self._step % EVERY_STEPS == 0:  # that step's own loss: a mean would be another after a break
            self._points(values)

    def result(self, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Figures of each split, at the last step."""
        self._points({f"{split}/{name}": float(v) for split, figures in metrics.items() for name, v in figures.items()})
        self._post(lambda sink: sink.end("FINISHED"))
        self._drain()

    def _points(self, values: Mapping[str, float]) -> None:
        step = self._step
        self._post(lambda sink: sink.points(step, values))

    def _post(self, job: Callable[[Sink], None]) -> None:
        for outlet in self._outlets:
            outlet.post(job)

    def _drain(self) -> None:
        for outlet in self._outlets:
            outlet.drain(patience_s=self._patience_s)


class LaterTracker:
    """A listener of a later training, for the sinks of the first: names of its own, and nothing of validation."""

    def __init__(self, tracker: Tracker, name: str) -> None:
        self._tracker = tracker
        self._name = name

    def start(self, *, steps: int, done: int) -> None:  # noqa: ARG002 - a bar needs the steps
        self._tracker.go_on(done=done)

    def step(self, *, loss: float, tokens_per_s: float) -> None:
        self._tracker.count({f"{self._name}/loss": loss, f"{self._name}/tokens_per_s": tokens_per_s})

    def epoch(self, result: EpochResult) -> None:
        """Nothing that its steps didn't tell."""


def tracker(folder: Path, name: str, config: TrainingConfig, console: Console, *, on: bool) -> Tracker:
    """What follows a run whose folder this is. Nothing is written before the run starts."""
    warn = partial(telling.warn, console)
    sinks: list[Sink] = []
    if on:
        sinks.append(TensorBoard(folder))
    if on and os.environ.get("MLFLOW_TRACKING_URI"):
        if importlib.util.find_spec("mlflow") is not None:
            sinks.append(MLflow(folder, name, config, _connect))
        else:
            warn("MLFLOW_TRACKING_URI is set, but mlflow isn't installed: pip install -e '.[mlflow]'")
    return Tracker([Outlet(sink, warn) for sink in sinks], folder)


def _forget(folder: Path) -> None:
    """Drop what an older run of this name left, or its points would be taken for the new one's."""
    with suppress(OSError):
        for path in [*folder.glob(f"{EVENTS}*"), folder / MLFLOW_RUN]:
            path.unlink(missing_ok=True)
