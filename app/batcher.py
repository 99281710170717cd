"""Texts of many requests to batches of one engine, and their answers back.

One worker thread computes; the event loop admits, and sets the answers. No waiting window: the worker, when it is
free, takes what waits. What the two sides share is behind one lock.
"""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from app.errors import DeadlineExceeded, EngineFailed, Overloaded, ShuttingDown
from app.metrics import Metrics
from model.classifier import Classifier, Prediction, Row

logger = logging.getLogger("lembra")

# English and Portuguese words with their space have five to six characters: three overestimates the tokens.
CHARACTERS_PER_TOKEN = 3
# Waiting rows among which a batch's rows of similar length are chosen.
LOOK_AHEAD = 2048
# Share of the newest batch in the running mean of tokens a second.
SMOOTHING = 0.2
LONGEST_RETRY_S = 60


@dataclass(frozen=True, slots=True)
class Limits:
    """What one batcher takes on."""

    waiting_tokens: int
    batch_tokens: int
    deadline_s: float


class _Request:
    """One client's texts. Lives on the event loop; the worker only reads `abandoned` and `deadline`."""

    __slots__ = ("answers", "deadline", "future", "left")

    def __init__(self, size: int, deadline: float) -> None:
        self.future: asyncio.Future[list[Prediction]] = asyncio.get_running_loop().create_future()
        self.answers: list[Prediction | None] = [None] * size
        self.left = size
        self.deadline = deadline

    @property
    def abandoned(self) -> bool:
        """Answered, failed, or left by its client."""
        return self.future.done()


@dataclass(frozen=True, slots=True)
class _Row:
    request: _Request
    index: int
    read: Row

    def __len__(self) -> int:
        return len(self.read)


class Batcher:
    """Serves one classifier. `classify` is for the event loop that made the batcher."""

    def __init__(
        self,
        name: str,
        classifier: Classifier,
        limits: Limits,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._classifier = classifier
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._tokenizing = ThreadPoolExecutor(max_workers=2, thread_name_prefix=f"tokenize-{name}")
        self._wake = threading.Condition()
        self._rows: deque[_Row] = deque()
        self._ended = ""  # why no more is taken on
        self._waiting_tokens = 0  # on the event loop only
        self._pending: set[_Request] = set()  # on the event loop only
        self._tokens_per_s = 0.0
        self._computing_since: float | None = None
        self._worker = threading.Thread(target=self._work, name=f"engine-{name}", daemon=True)
        self._worker.start()

    @property
    def alive(self) -> bool:
        """Whether a request that is sent now can be answered: not where a batch has been computed for too long."""
        since = self._computing_since
        hangs = since is not None and self._clock() - since > self._limits.deadline_s
        return self._worker.is_alive() and not self._ended and not hangs

    async def classify(
        self, texts: Sequence[str], *, truncate: bool = True, deadline_s: float | None = None
    ) -> list[Prediction]:
        """The answers, in the order of the texts: all of them, or an error.

        `deadline_s` is what is left of the limit, where some of it was spent before.
        Raises: Overloaded at once if too much is waiting, TextError if a text would have to be cut and `truncate` is
        false, DeadlineExceeded, EngineFailed, ShuttingDown.
        """
        if not self.alive:
            raise self._refusal()
        within_s = self._limits.deadline_s if deadline_s is None else deadline_s
        deadline = self._clock() + within_s
        estimate = self._admit(texts)
        try:
            async with asyncio.timeout(within_s):
                started = time.perf_counter()
                rows = await self._loop.run_in_executor(
                    self._tokenizing, lambda: self._classifier.encode(texts, truncate=truncate)
                )
                self._metrics.stage_seconds.labels("tokenize").observe(time.perf_counter() - started)
                return await self._enqueue(rows, deadline)
        except TimeoutError:
            raise DeadlineExceeded(f"no answer within the deadline of {self._limits.deadline_s:g} s") from None
        finally:
            self._count(-estimate)

    async def close(self) -> None:
        """Answer what is queued, then end the worker: an engine that hangs is waited for `deadline_s`, no longer."""
        with self._wake:
            self._ended = self._ended or "the server is shutting down"
            self._wake.notify()
        await asyncio.to_thread(self._worker.join, self._limits.deadline_s)
        self._fail(self._pending, self._refusal)
        self._tokenizing.shutdown(wait=False)

    # Admission, on the event loop.

    def _admit(self, texts: Sequence[str]) -> int:
        """Tokens counted for these texts, estimated before any work is done; a lone request always fits."""
        longest = self._classifier.config.max_tokens
        estimate = sum(min(len(text) // CHARACTERS_PER_TOKEN + 1, longest) for text in texts)
        if self._waiting_tokens and self._waiting_tokens + estimate > self._limits.waiting_tokens:
            retry_s = self._retry_after_s()
            raise Overloaded(
                f"about {self._waiting_tokens:,} tokens are waiting and this request has about {estimate:,}; "
                f"the limit is {self._limits.waiting_tokens:,}: retry in {retry_s} s",
                headers={"Retry-After": str(retry_s)},
            )
        self._count(estimate)
        return estimate

    def _count(self, tokens: int) -> None:
        self._waiting_tokens += tokens
        self._metrics.waiting.labels(self._name).set(self._waiting_tokens)

    def _retry_after_s(self) -> int:
        """Whole seconds until what waits is done at the speed of late; 1 before anything was measured."""
        if not self._tokens_per_s:
            return 1
        return min(max(1, math.ceil(self._waiting_tokens / self._tokens_per_s)), LONGEST_RETRY_S)

    def _refusal(self) -> ShuttingDown:
        return ShuttingDown(f"model {self._name!r} takes no more requests: {self._ended or 'its engine hangs'}")

    async def _enqueue(self, rows: list[Row], deadline: float) -> list[Prediction]:
        request = _Request(len(rows), deadline)
        with self._wake:
            if self._ended:
                raise self._refusal()
            self._rows.extend(_Row(request, index, row) for index, row in enumerate(rows))
            self._wake.notify()
        self._pending.add(request)
        try:
            return await request.future
        finally:
            self._pending.discard(request)

    # The worker thread.

    def _work(self) -> None:
        try:
            self._serve()
        except BaseException:  # SystemExit too: nobody else would hear of it in a thread
            logger.critical("model %s: the worker died; /health/ready says so", self._name, exc_info=True)
            with self._wake:
                self._ended = "its engine has stopped"
                self._rows.clear()
            # Not the queue alone: rows that the worker had already taken are waited for as well.
            self._post(self._fail, self._pending, lambda: EngineFailed("the engine stopped working"))

    def _serve(self) -> None:
        while True:
            with self._wake:
                while not self._rows and not self._ended:
                    self._wake.wait()
                if not self._rows:
                    return
                live, expired = self._live_rows()
                batch, rest = form_batch(live, max_tokens=self._limits.batch_tokens)
                self._rows.extendleft(reversed(rest))
            if expired:
                self._post(self._fail, [row.request for row in expired], self._expired)
            if batch:
                self._computing_since = self._clock()
                self._compute(batch)
                self._computing_since = None

    def _live_rows(self) -> tuple[list[_Row], list[_Row]]:
        """The first rows that still want an answer, taken from the queue; and those whose deadline is past."""
        live: list[_Row] = []
        expired: list[_Row] = []
        left = 0
        now = self._clock()
        while self._rows and len(live) < LOOK_AHEAD:
            row = self._rows.popleft()
            # The deadline first: a client that was told so has its future done as well.
            if row.request.deadline <= now:
                expired.append(row)
            elif row.request.abandoned:
                left += 1
            else:
                live.append(row)
        for reason, count in (("abandoned", left), ("deadline", len(expired))):
            self._metrics.dropped.labels(self._name, reason).inc(count)
        return live, expired

    def _expired(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"not computed within the deadline of {self._limits.deadline_s:g} s")

    def _compute(self, batch: list[_Row]) -> None:
        """Score one batch and post the answers. Whatever goes wrong reaches the batch's rows, and no others."""
        started = time.perf_counter()
        try:
            probs_NC = self._classifier.score([row.read for row in batch], batch_tokens=self._limits.batch_tokens)
            answers = [
                self._classifier.prediction(row.read.tokens, probs) for row, probs in zip(batch, probs_NC, strict=True)
            ]
        except Exception:
            logger.exception("model %s: a batch of %d rows failed", self._name, len(batch))
            self._metrics.failures.labels(self._name).inc()
            requests = [row.request for row in batch]
            self._post(self._fail, requests, lambda: EngineFailed("the batch of this request could not be computed"))
            return
        self._record(batch, time.perf_counter() - started)
        self._post(self._deliver, batch, answers)

    def _record(self, batch: list[_Row], seconds: float) -> None:
        lengths = [len(row) for row in batch]
        tokens = sum(lengths)
        speed = tokens / max(seconds, 1e-9)
        self._tokens_per_s += (SMOOTHING if self._tokens_per_s else 1.0) * (speed - self._tokens_per_s)
        self._metrics.stage_seconds.labels("compute").observe(seconds)
        self._metrics.batch_rows.labels(self._name).observe(len(batch))
        self._metrics.texts.labels(self._name).inc(len(batch))
        self._metrics.tokens.labels(self._name).inc(tokens)
        self._metrics.padding.labels(self._name).inc(max(lengths) * len(lengths) - tokens)
        self._metrics.truncated.labels(self._name).inc(sum(row.read.tokens.truncated for row in batch))

    def _post(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # the loop is closed: nobody is left to be answered
            logger.warning("model %s: answers came after the server's end", self._name)

    # Answers, on the event loop.

    def _deliver(self, batch: list[_Row], answers: list[Prediction]) -> None:
        for row, answer in zip(batch, answers, strict=True):
            request = row.request
            request.answers[row.index] = answer
            request.left -= 1
            if not request.left and not request.future.done():
                request.future.set_result([found for found in request.answers if found is not None])

    def _fail(self, requests: Iterable[_Request], error: Callable[[], Exception]) -> None:
        for request in requests:
            if not request.future.done():
                request.future.set_exception(error())


def form_batch(rows: list[_Row], *, max_tokens: int) -> tuple[list[_Row], list[_Row]]:
    """The oldest row with those nearest to it in length, of at most `max_tokens` padded; and the rest, in order."""
    if not rows:
        return [], []
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    first = last = order.index(0)
    while True:
        shorter = order[first - 1] if first > 0 else None
        longer = order[last + 1] if last + 1 < len(order) else None
        oldest = len(rows[0])
        take_shorter = longer is None or (
            shorter is not None and oldest - len(rows[shorter]) <= len(rows[longer]) - oldest
        )
        candidate = shorter if take_shorter else longer
        if candidate is None or _padded(rows, order[last], candidate, last - first + 2) > max_tokens:
            break
        first, last = (first - 1, last) if take_shorter else (first, last + 1)
    chosen = set(order[first : last + 1])
    batch = [row for index, row in enumerate(rows) if index in chosen]
    return batch, [row for index, row in enumerate(rows) if index not in chosen]


def _padded(rows: list[_Row], longest: int, candidate: int, count: int) -> int:
    return max(len(rows[longest]), len(rows[candidate])) * count
