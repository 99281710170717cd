"""A batcher in a test's hands: when its engine is busy, what waits, and what became of each request."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from app.batcher import Batcher, Limits
from app.metrics import Metrics
from model.classifier import Classifier, Prediction
from tests import tiny
from tests.fakes import PATIENCE_S, FakeClock, FakeEngine, classifier_on, until

LIMITS = Limits(waiting_tokens=10_000, batch_tokens=1000, deadline_s=PATIENCE_S)
# Texts of one, two and three tokens, and their ids.
A, B, C = "good", "bad film", "a long film"
IDS = {text: [tiny.WORDS.index(word) for word in text.split()] for text in (A, B, C)}


@asynccontextmanager
async def serving(
    engine: FakeEngine, *, limits: Limits = LIMITS, clock: FakeClock | None = None, classifier: Classifier | None = None
) -> AsyncIterator[Batcher]:
    """A batcher that is closed at the end, whatever became of the test."""
    batcher = Batcher("tiny", classifier or classifier_on(engine), limits, Metrics(), clock=clock or FakeClock())
    try:
        yield batcher
    finally:
        engine.release.set()
        await batcher.close()


async def queued(batcher: Batcher, texts: int) -> None:
    """So many texts wait behind the batch that is being computed."""
    await until(lambda: sum(len(one.waiting) for one in [*batcher._requests, *batcher._arrived]) == texts)


def ask(batcher: Batcher, *texts: str) -> asyncio.Task[list[Prediction]]:
    """A client: what it is refused for is its outcome too."""

    async def answers() -> list[Prediction]:
        return await batcher.submit(texts, deadline_s=PATIENCE_S)

    return asyncio.ensure_future(answers())


@asynccontextmanager
async def busy(engine: FakeEngine, batcher: Batcher, text: str = A) -> AsyncIterator[asyncio.Task[list[Prediction]]]:
    """The engine computes `text`, and goes on at the end: all that comes meanwhile is queued."""
    engine.release.clear()
    task = ask(batcher, text)
    await engine.begins()
    yield task
    engine.release.set()


async def outcomes(*tasks: Awaitable[object]) -> list[object]:
    """What came of each: an answer, or its error."""
    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.gather(*tasks, return_exceptions=True)
