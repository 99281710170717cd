"""Texts of many requests to batches of one engine, and their answers back.

One worker thread reads texts and computes; the event loop admits, and sets the answers. No waiting window: the worker,
when it is free, takes what waits, of each request in turn. What the two sides share is behind one lock.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from app.alarm import Alarm
from app.errors import DeadlineExceeded, EngineFailed, Overloaded, ShuttingDown
from app.metrics import Metrics
from app.scheduler import CostModel, Flag, Number, Speed, form_batch, take_turns
from app.waiting import Request, Text
from model.classifier import Classifier, Prediction, Row

logger = logging.getLogger("lembra")

# English and Portuguese words with their space have five to six characters: three overestimates the tokens.
CHARACTERS_PER_TOKEN = 3
# Waiting texts among which a batch's rows of similar length are chosen.
LOOK_AHEAD = 2048
# Of these so many characters are tokenized before a batch is computed: some 10 ms, so that a huge request, which may
# have 8 MB, holds nobody up for longer.
READ_CHARACTERS = 1 << 16
# A batch is cut where it would take longer: who comes then waits for its end. A batch of 20 ms is as fast a text as one
# of a second.
LONGEST_BATCH_S = 0.02
# A row that takes longer by itself may have others beside it, for so many times what it takes.
LONGEST_TIMES = 2
# More is refused where what waits would take longer than this share of the deadline: who is admitted late is computed
# for nothing.
QUEUE_SHARE = 0.8
# Short texts go before long ones; where the oldest has waited for so long, it has every other batch. With 50 ms the
# longer ones of a full server were late: a p99 of 2 s, at times, where it is 50 ms.
OVERTAKEN_S = 0.01
# … and all of them where half of the machine would be too little for what was admitted.
SHARES = 2
LONGEST_RETRY_S = 60


@dataclass(frozen=True, slots=True)
class Limits:
    """What one batcher takes on."""

    waiting_tokens: int
    batch_tokens: int
    deadline_s: float


class Batcher:
    """Serves one classifier. `submit` is for the event loop that made the batcher."""

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
        self._most_tokens = classifier.config.max_tokens
        self._limits = limits
        self._metrics = metrics.of(name)
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._new: list[Request] = []  # of this turn of the loop; on the event loop only
        self._wake = threading.Condition()
        self._arrived: list[Request] = []
        self._ended = ""  # why no more is taken on
        self._requests: list[Request] = []  # the worker's, in the order in which they came
        self._oldest_next = True  # the worker's
        self._waiting_tokens = 0  # on the event loop only
        self._counted = False  # since the gauge was set; on the event loop only
        self._pending: set[Request] = set()  # on the event loop only
        self._alarm = Alarm(self._loop, self._end_late)
        self._costs = CostModel()  # the worker's
        self._speed = Speed()  # in tokens as admission counts them; the worker's, which the event loop asks
        self._computing_since: float | None = None
        self._worker = threading.Thread(target=self._work, name=f"engine-{name}", daemon=True)
        self._worker.start()

    @property
    def alive(self) -> bool:
        """Whether a request that is sent now can be answered: not where a batch has been computed for too long."""
        since = self._computing_since
        hangs = since is not None and self._clock() - since > self._limits.deadline_s
        return self._worker.is_alive() and not self._ended and not hangs

    def submit(
        self, texts: Sequence[str], *, truncate: bool = True, deadline_s: float | None = None
    ) -> asyncio.Future[list[Prediction]]:
        """The answers to come, in the order of the texts: all of them, or an error. To cancel it is to leave.

        `deadline_s` is what is left of the limit, where some of it was spent before.
        Raises: Overloaded, ShuttingDown.
        The future's: TextError if a text would have to be cut and `truncate` is false, DeadlineExceeded, EngineFailed,
        ShuttingDown.
        """
        if not self.alive:
            raise self._refusal()
        within_s = self._limits.deadline_s if deadline_s is None else deadline_s
        work = [self.estimate(len(text)) for text in texts]
        estimate = sum(work)
        self.check_room(estimate)
        request = Request(texts, work, self._clock(), within_s, truncate=truncate)
        self._count(estimate)
        self._pending.add(request)
        request.future.add_done_callback(partial(self._done, request, estimate))
        self._alarm.watch(request.ends)
        if not self._new:
            self._loop.call_soon(self._hand_over)
        self._new.append(request)
        return request.future

    async def close(self) -> None:
        """Answer what is queued, then end the worker: an engine that hangs is waited for `deadline_s`, no longer."""
        self._hand_over()
        with self._wake:
            self._ended = self._ended or "the server is shutting down"
            self._wake.notify()
        await asyncio.to_thread(self._worker.join, self._limits.deadline_s)
        self._fail(self._pending, self._refusal)
        self._alarm.cancel()

    # Admission, on the event loop.

    def check_room(self, tokens: int) -> None:
        """Raises: Overloaded where there is no room for so many more."""
        if not self.has_room(tokens):
            limits, longest_s = self._limits, QUEUE_SHARE * self._limits.deadline_s
            raise Overloaded(
                f"about {self._waiting_tokens:,} tokens are waiting and this request has about {tokens:,}, "
                f"{self._speed.seconds(self._waiting_tokens + tokens):.0f} s of work; the limits are "
                f"{limits.waiting_tokens:,} tokens and {longest_s:g} s: retry in {self.retry_s} s",
                headers={"Retry-After": str(self.retry_s)},
            )

    def has_room(self, tokens: int) -> bool:
        """Whether so many more are not too much; a lone request always fits."""
        then, limits = self._waiting_tokens + tokens, self._limits
        in_time = self._speed.seconds(then) <= QUEUE_SHARE * limits.deadline_s
        return not self._waiting_tokens or (then <= limits.waiting_tokens and in_time)

    @property
    def retry_s(self) -> int:
        """In so many seconds what waits now is done."""
        return min(max(1, math.ceil(self._speed.seconds(self._waiting_tokens))), LONGEST_RETRY_S)

    def estimate(self, characters: int) -> int:
        """Tokens of a text, before any work is done."""
        return min(characters // CHARACTERS_PER_TOKEN + 1, self._most_tokens)

    def _count(self, tokens: int) -> None:
        self._waiting_tokens += tokens
        # The gauge is set once a turn of the loop, not twice a request; who is let go after its end has none.
        if not self._counted and not self._loop.is_closed():
            self._counted = True
            self._loop.call_soon(self._tell)

    def _tell(self) -> None:
        self._counted = False
        self._metrics.waiting.set(self._waiting_tokens)

    def _refusal(self) -> ShuttingDown:
        return ShuttingDown(f"model {self._name!r} takes no more requests: {self._ended or 'its engine hangs'}")

    def _hand_over(self) -> None:
        """Give the worker all that came in a turn of the loop: woken by the first, it would compute that one alone."""
        new, self._new = self._new, []
        with self._wake:
            if not self._ended:
                self._arrived += new
                self._wake.notify()
                return
        self._fail(new, self._refusal)

    def _done(self, request: Request, estimate: int, _future: asyncio.Future[list[Prediction]]) -> None:
        self._pending.discard(request)
        self._count(-estimate)

    def _end_late(self, until: float) -> float | None:
        """Tell those whose time is up, whatever the engine does; when the next one's is."""
        self._fail([request for request in self._pending if request.ends <= until], self._late)
        return min((request.ends for request in self._pending if request.ends > until), default=None)

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"no answer within the deadline of {self._limits.deadline_s:g} s")

    # The worker thread.

    def _work(self) -> None:
        try:
            self._serve()
        except BaseException:  # SystemExit too: nobody else would hear of it in a thread
            logger.critical("model %s: the worker died; /health/ready says so", self._name, exc_info=True)
            with self._wake:
                self._ended = "its engine has stopped"
                self._arrived.clear()
            # Not the queue alone: rows that the worker had already taken are waited for as well.
            self._post(self._fail, self._pending, lambda: EngineFailed("the engine stopped working"))

    def _serve(self) -> None:
        while True:
            with self._wake:
                while not self._arrived and not self._requests and not self._ended:
                    self._wake.wait()
                self._requests += self._arrived
                self._arrived.clear()
            if not self._requests:
                return
            try:
                self._round()
            except Exception:  # of ours: those at hand are told so, and whoever comes then is served
                logger.exception("model %s: a round of the engine failed", self._name)
                self._metrics.failures.inc()
                self._post(self._fail, self._requests, lambda: EngineFailed("the engine failed at this request"))
                self._requests, self._computing_since = [], None

    def _round(self) -> None:
        """One batch of what waits. A method, so that nothing of it is held while the next is waited for."""
        started = self._computing_since = self._clock()
        self._requests = self._live()
        texts = take_turns([request.waiting.values() for request in self._requests], LOOK_AHEAD)
        self._read(texts)
        gone = {request for request in self._requests if request.abandoned}
        batch = self._next([text for text in texts if text.row is not None and text.request not in gone])
        work = 0
        for text in batch:
            del text.request.waiting[text.index]
            text.request.work -= text.work
            work += text.work
        if batch:
            self._compute(batch)
        self._speed.observe(work, self._clock() - started)
        self._computing_since = None

    def _live(self) -> list[Request]:
        """Those that still want an answer, of which something is left to compute; those whose deadline is past are told
        so.
        """
        live: list[Request] = []
        expired: list[Request] = []
        now = self._clock()
        for request in self._requests:
            # The deadline first: a client that was told so has its future done as well.
            if request.deadline <= now:
                expired.append(request)
                self._metrics.late.inc(len(request.waiting))
            elif request.abandoned:
                self._metrics.abandoned.inc(len(request.waiting))
            elif request.waiting:
                live.append(request)
        if expired:
            self._post(self._fail, expired, self._expired)
        return live

    def _expired(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"not computed within the deadline of {self._limits.deadline_s:g} s")

    def _read(self, texts: list[Text]) -> None:
        """Tokenize the oldest of those that aren't rows yet, together."""
        unread: list[Text] = []
        characters = 0
        for text in texts:
            if text.row is None and characters < READ_CHARACTERS:
                unread.append(text)
                characters += len(text.text)
        if unread:
            self._tokenize(unread)

    def _tokenize(self, texts: list[Text]) -> None:
        """Give each its row. One that would be cut, and may not be, fails its request; a fault fails those of all."""
        started = self._clock()
        try:
            rows = self._classifier.encode([text.text for text in texts])
        except Exception:
            self._tokenize_apart(texts)
            return
        for text, row in zip(texts, rows, strict=True):
            text.read(row)
            if row.tokens.truncated and not text.request.truncate and not text.request.abandoned:
                self._give_up([text], partial(self._classifier.too_long, text.index))
        self._metrics.tokenize_seconds.observe(self._clock() - started)

    def _tokenize_apart(self, texts: list[Text]) -> None:
        """After a fault: each request's by themselves, so that it reaches that one's alone."""
        by_request: dict[Request, list[Text]] = {}
        for text in texts:
            by_request.setdefault(text.request, []).append(text)
        if len(by_request) > 1:
            for its in by_request.values():
                self._tokenize(its)
            return
        logger.exception("model %s: %d texts could not be tokenized", self._name, len(texts))
        self._give_up(texts, lambda: EngineFailed("the texts of this request could not be read"))

    def _give_up(self, texts: Sequence[Text], error: Callable[[], Exception]) -> None:
        """Compute nothing more of these texts' requests, and have them told so."""
        for text in texts:
            text.request.given_up = True
        self._post(self._fail, [text.request for text in texts], error)

    def _next(self, texts: list[Text]) -> list[Text]:
        """The next batch of these, which are rows: around the shortest, or around the oldest request's next one.

        That has every other batch once it has waited for long, not all: a list of thousands is the oldest for long. But
        what was admitted is to be answered in time, whoever comes then.
        """
        if not texts:
            return []
        overtaken = self._clock() - texts[0].request.arrived > OVERTAKEN_S
        oldest = overtaken and (self._oldest_next or self._hurried())
        self._oldest_next = not oldest
        around = 0 if oldest else min(range(len(texts)), key=lambda number: len(texts[number]))
        return form_batch(texts, self._fits, around=around)

    def _hurried(self) -> bool:
        """Whether a request would miss its deadline if others had their share of the machine until then."""
        now, work = self._clock(), 0
        for request in self._requests:
            work += request.work
            if SHARES * self._speed.seconds(work) > request.deadline - now:
                return True
        return False

    def _fits(self, rows: Number, longest: Number, tokens: Number) -> Flag:
        alone_s, its_s = self._costs.seconds(longest, longest), self._costs.seconds(longest, tokens)
        in_time = (its_s <= LONGEST_BATCH_S) | (its_s <= LONGEST_TIMES * alone_s)
        return in_time & (rows * longest <= self._limits.batch_tokens)

    def _compute(self, batch: list[Text]) -> None:
        """Score one batch and post the answers. Whatever goes wrong reaches the batch's rows, and no others."""
        started = self._clock()
        rows = [text.row for text in batch if text.row is not None]
        try:
            probs_NC = self._classifier.score(rows, batch_tokens=self._limits.batch_tokens)
            answers = self._classifier.predictions(rows, probs_NC)
        except Exception:
            logger.exception("model %s: a batch of %d rows failed", self._name, len(batch))
            self._metrics.failures.inc()
            self._give_up(batch, lambda: EngineFailed("the batch of this request could not be computed"))
            return
        self._record(batch, rows, self._clock() - started)
        self._post(self._deliver, batch, answers)

    def _record(self, batch: list[Text], rows: list[Row], seconds: float) -> None:
        lengths = [len(text) for text in batch]
        longest, tokens = max(lengths), sum(lengths)
        self._costs.observe(longest, tokens, seconds)
        self._metrics.compute_seconds.observe(seconds)
        self._metrics.batch_rows.observe(len(rows))
        self._metrics.texts.inc(len(rows))
        self._metrics.tokens.inc(tokens)
        self._metrics.padding.inc(longest * len(rows) - tokens)
        self._metrics.truncated.inc(sum(row.tokens.truncated for row in rows))

    def _post(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # the loop is closed: nobody is left to be answered
            logger.warning("model %s: answers came after the server's end", self._name)

    # Answers, on the event loop.

    def _deliver(self, batch: list[Text], answers: list[Prediction]) -> None:
        for text, answer in zip(batch, answers, strict=True):
            request = text.request
            request.answers[text.index] = answer
            request.left -= 1
            if not request.left and not request.future.done():
                request.future.set_result([found for found in request.answers if found is not None])

    def _fail(self, requests: Iterable[Request], error: Callable[[], Exception]) -> None:
        for request in requests:
            if not request.future.done():
                request.future.set_exception(error())
