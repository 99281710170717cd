"""Prometheus instruments. The batcher and the routes write, `/metrics` reads.

Where there are several processes each writes files of its own in the folder of `FOLDER`, and any of them reads all.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

# The library's own word: it looks for it when it is imported, so a process is started with it.
FOLDER = "PROMETHEUS_MULTIPROC_DIR"

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True, slots=True)
class ModelMetrics:
    """What a batcher writes."""

    texts: Counter
    tokens: Counter
    padding: Counter
    truncated: Counter
    abandoned: Counter
    late: Counter
    batch_rows: Histogram
    failures: Counter
    waiting: Gauge
    tokenize_seconds: Histogram
    compute_seconds: Histogram


class Metrics:
    """Counts are of texts unless their name says requests, tokens or batches."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        model = ("model",)
        self.requests = Counter(
            "lembra_requests", "Answers of /classify by status", ("status",), registry=self.registry
        )
        self.refused = self.requests.labels("429")  # looked up once: it is counted when there is no time
        self.seconds = Histogram(
            "lembra_request_seconds",
            "Seconds from the headers to the answer, of requests that were let in",
            registry=self.registry,
            buckets=SECONDS,
        )
        self.stage_seconds = Histogram(
            "lembra_stage_seconds", "Seconds in each stage", ("stage",), registry=self.registry, buckets=SECONDS
        )
        self.texts = Counter("lembra_texts", "Texts answered", model, registry=self.registry)
        self.tokens = Counter("lembra_tokens", "Tokens computed, padding not counted", model, registry=self.registry)
        self.padding = Counter("lembra_padding_tokens", "Padding computed", model, registry=self.registry)
        self.truncated = Counter("lembra_truncated", "Texts that were cut", model, registry=self.registry)
        self.dropped = Counter(
            "lembra_dropped",
            "Texts not computed: past the deadline, or abandoned (the client left, or its request failed)",
            ("model", "reason"),
            registry=self.registry,
        )
        self.batch_rows = Histogram("lembra_batch_rows", "Rows a batch", model, registry=self.registry, buckets=ROWS)
        self.failures = Counter("lembra_batch_failures", "Batches that failed", model, registry=self.registry)
        self.waiting = Gauge(
            "lembra_waiting_tokens",
            "Tokens admitted and not answered",
            model,
            registry=self.registry,
            multiprocess_mode="livesum",
        )

    def answered(self, status: int, seconds: float) -> None:
        """A request to classify has its answer."""
        self.requests.labels(str(int(status))).inc()
        self.seconds.observe(seconds)

    def of(self, model: str) -> ModelMetrics:
        """The instruments of one model, looked up once."""
        return ModelMetrics(
            texts=self.texts.labels(model),
            tokens=self.tokens.labels(model),
            padding=self.padding.labels(model),
            truncated=self.truncated.labels(model),
            abandoned=self.dropped.labels(model, "abandoned"),
            late=self.dropped.labels(model, "deadline"),
            batch_rows=self.batch_rows.labels(model),
            failures=self.failures.labels(model),
            waiting=self.waiting.labels(model),
            tokenize_seconds=self.stage_seconds.labels("tokenize"),
            compute_seconds=self.stage_seconds.labels("compute"),
        )

    def exposition(self) -> bytes:
        """The text format of Prometheus: of this process, or of all that share a folder."""
        if (folder := os.environ.get(FOLDER)) is None:
            return generate_latest(self.registry)
        _forget_the_dead(Path(folder))
        registry = CollectorRegistry()
        registry.register(_Shared(Path(folder)))
        return generate_latest(registry)


class _Shared(Collector):
    """What all processes have counted, in the files of a folder. Raises: ValueError where there is none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._library = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call]  # its own gap

    def collect(self) -> Iterable[Metric]:
        """The library's own way fails on a file that a process is just making: it is empty for a moment."""
        files = [str(file) for file in self._folder.glob("*.db") if _begun(file)]
        return self._library.merge(files)  # type: ignore[no-untyped-call, no-any-return]


def _begun(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:  # of a process that is gone
        return False


def clear_up() -> None:
    """Delete what this process and those that are gone have counted, and the last of them the folder, where nobody is
    left to do so behind them.
    """
    if (folder := os.environ.get(FOLDER)) is None:
        return
    for file in Path(folder).glob("*.db"):
        if _process_of(file) == os.getpid() or _is_gone(_process_of(file)):
            file.unlink(missing_ok=True)
    with suppress(OSError):  # others are still there
        Path(folder).rmdir()


def _forget_the_dead(folder: Path) -> None:
    """What a process that was killed held waiting waits no more; what it has counted stays."""
    for file in folder.glob("gauge_live*_*.db"):
        if _is_gone(_process_of(file)):
            with suppress(FileNotFoundError):  # another process was sooner
                mark_process_dead(_process_of(file), str(folder))  # type: ignore[no-untyped-call]


def _process_of(file: Path) -> int:
    return int(file.stem.rpartition("_")[2])


def _is_gone(process: int) -> bool:
    if os.name == "nt":  # where a signal of 0 is Ctrl-C
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it lives, as somebody else's
        pass
    return False
