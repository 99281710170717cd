"""Stand-ins for collaborators, by hand."""

import asyncio
import threading
from collections.abc import Callable

import numpy as np

from model.calibration import Calibration, Floats
from model.classifier import Classifier
from model.collate import Batch
from tests import tiny

# Against a test that hangs; nothing is measured with it.
PATIENCE_S = 120


async def until(true: Callable[[], bool]) -> None:
    """Let the event loop run until `true()`."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110 - what is waited for sets no event: it would be there for tests alone
            await asyncio.sleep(0)


class FakeEngine:
    """Logits that depend on a row's ids alone. It keeps what it computed, and does what a test asks of it."""

    name = "fake"
    tolerance = 0.0

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []  # ids, without padding, of every batch
        self.failures: list[BaseException] = []  # raised by the next calls, first to last
        self.extra_rows = 0  # in each answer
        self.entered = threading.Semaphore(0)  # once a call
        self.release = threading.Event()  # calls wait for it
        self.release.set()

    def scores(self, batch: Batch) -> Floats:
        rows = [ids[:length].tolist() for ids, length in zip(batch.ids_BT, batch.lengths_B, strict=True)]
        self.batches.append(rows)
        self.entered.release()
        assert self.release.wait(PATIENCE_S)
        if self.failures:
            raise self.failures.pop(0)
        logits_BC = np.asarray([[sum(row), row[0], len(row)] for row in rows], dtype=np.float32) / 10
        return np.resize(logits_BC, (len(rows) + self.extra_rows, len(tiny.LABELS)))

    async def begins(self) -> None:
        """Wait until the engine is in its next batch."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=PATIENCE_S)

    @property
    def rows(self) -> list[list[int]]:
        """Every row that was computed, in order."""
        return [row for batch in self.batches for row in batch]


class FakeClock:
    """Seconds that pass only by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def classifier_on(engine: FakeEngine, *, max_tokens: int = tiny.MAX_TOKENS) -> Classifier:
    """The tiny bundle's classifier on another engine."""
    config = tiny.CONFIG.model_copy(update={"max_tokens": max_tokens})
    return Classifier(config, tiny.tokenization(max_tokens=max_tokens), engine, Calibration())
