"""app.batcher: each of these was a fault of a server that people use."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import uvloop

from app.batcher import LONGEST_BATCH_S, LOOK_AHEAD, OVERTAKEN_S, READ_CHARACTERS
from app.errors import DeadlineExceeded, EngineFailed, Overloaded, ShuttingDown
from model.calibration import Calibration, Floats
from model.classifier import BATCH_TOKENS, Classifier, Row
from model.errors import TextError
from tests import tiny
from tests.app.batching import IDS, LIMITS, A, B, C, ask, busy, outcomes, queued, serving
from tests.fakes import PATIENCE_S, FakeClock, FakeEngine, until

pytestmark = pytest.mark.anyio

# The same rows in a batch of another shape: float32 sums in another order.
AGREEMENT = 1e-6


async def test_a_lone_request_does_not_wait() -> None:
    """There is no waiting window: a text is computed with nothing behind it, and with a clock that stands still."""
    engine = FakeEngine()
    async with serving(engine) as batcher, asyncio.timeout(PATIENCE_S):
        assert len(await batcher.submit([A])) == 1
    assert engine.batches == [[IDS[A]]]


async def test_what_waits_is_computed_together() -> None:
    """Requests that came while the engine was busy are one batch."""
    engine = FakeEngine()
    async with serving(engine) as batcher:
        async with busy(engine, batcher) as first:
            others = [ask(batcher, A), ask(batcher, A)]
            await queued(batcher, 2)
        await outcomes(first, *others)
    assert [len(batch) for batch in engine.batches] == [1, 2]


async def test_what_comes_in_one_turn_is_computed_together() -> None:
    """A free worker isn't woken by the first of them alone."""
    engine = FakeEngine()
    async with serving(engine) as batcher:
        await outcomes(*[batcher.submit([text]) for text in (A, B, C)])
    assert [len(batch) for batch in engine.batches] == [3]


async def test_answers_come_in_the_callers_order() -> None:
    """Rows are sorted by length and cut into batches on the way; the caller sees nothing of it."""
    engine = FakeEngine()
    texts = [C, A, B, C, B, A]
    async with serving(engine, limits=replace(LIMITS, batch_tokens=4)) as batcher:
        answers = await batcher.submit(texts)
    assert len(engine.batches) > 1
    assert [answer.tokens for answer in answers] == [len(IDS[text]) for text in texts]


async def test_an_answer_in_a_batch_equals_the_answer_alone() -> None:
    """Neighbours, and the padding that they bring, change nothing: the tiny bundle's own engine."""
    whole = tiny.classifier()
    texts = ["good", "the film was not good and not bad", "dull", "a very very long and slow film", "unheard"]
    async with serving(FakeEngine(), classifier=whole) as batcher:
        together = await batcher.submit(texts)
        alone = [(await batcher.submit([text]))[0] for text in texts]
    assert np.allclose([a.probs for a in together], [a.probs for a in alone], rtol=0, atol=AGREEMENT)
    assert [a.label for a in together] == [a.label for a in alone]


async def test_a_leaving_client_does_not_touch_its_neighbours() -> None:
    """Its rows are not computed; those before and behind it in the queue are."""
    engine = FakeEngine()
    async with serving(engine) as batcher:
        async with busy(engine, batcher) as first:
            before, leaving, behind = ask(batcher, B), ask(batcher, A, A), ask(batcher, C)
            await queued(batcher, 4)
            leaving.cancel()
            await outcomes(leaving)
        answers = await outcomes(first, before, behind)
    assert [answer[0].tokens for answer in answers] == [1, 2, 3]
    assert sorted(engine.rows) == sorted([IDS[A], IDS[B], IDS[C]])


async def test_a_client_may_leave_while_it_is_computed() -> None:
    """The answer to nobody is dropped; another request of the same batch has its own."""
    engine = FakeEngine()
    async with serving(engine) as batcher:
        async with busy(engine, batcher) as leaving:
            leaving.cancel()
            staying = ask(batcher, B)
            await queued(batcher, 1)
        (answer,) = await outcomes(staying)
    assert answer[0].tokens == 2


async def test_a_failing_engine_fails_its_batch_and_the_next_succeeds() -> None:
    """Every request of the batch gets an error that says nothing of the inside; the worker goes on."""
    engine = FakeEngine()
    engine.failures.append(RuntimeError("CUDA out of memory"))
    async with serving(engine) as batcher:
        async with busy(engine, batcher) as failing:
            behind = ask(batcher, B)
            await queued(batcher, 1)
        failed, answered = await outcomes(failing, behind)
        assert batcher.alive
    assert isinstance(failed, EngineFailed)
    assert "CUDA" not in str(failed)
    assert answered[0].tokens == 2


@pytest.mark.parametrize("extra", [-2, -1, 1])
async def test_a_wrong_row_count_is_an_error(extra: int) -> None:
    """Answers that can't be matched to their texts are not given, even where numpy would stretch one row to three."""
    engine = FakeEngine()
    engine.extra_rows = extra
    async with serving(engine) as batcher:
        (failed,) = await outcomes(ask(batcher, A, A, A))
    assert isinstance(failed, EngineFailed)


async def test_a_full_queue_refuses_at_once() -> None:
    """The refusal comes while the engine is busy, says the limit, and when to come back in whole seconds."""
    engine = FakeEngine()
    async with serving(engine, limits=replace(LIMITS, waiting_tokens=5)) as batcher:
        async with busy(engine, batcher, B) as first:
            (refused,) = await outcomes(ask(batcher, C))
            assert not first.done()
        await outcomes(first)
    assert isinstance(refused, Overloaded)
    assert "the limits are 5 tokens and" in str(refused)
    assert int(refused.headers["Retry-After"]) >= 1


async def test_a_list_is_admitted_whole_or_not_at_all() -> None:
    """Of a list that doesn't fit nothing is computed, even if its first texts would have fitted."""
    engine = FakeEngine()
    async with serving(engine, limits=replace(LIMITS, waiting_tokens=8)) as batcher:
        async with busy(engine, batcher) as first:
            (refused,) = await outcomes(ask(batcher, A, A, A, A, A))
        await outcomes(first)
    assert isinstance(refused, Overloaded)
    assert engine.rows == [IDS[A]]


async def test_a_lone_huge_request_is_admitted_on_an_empty_queue() -> None:
    """A limit below one list must not refuse that list for ever."""
    engine = FakeEngine()
    async with serving(engine, limits=replace(LIMITS, waiting_tokens=2, batch_tokens=2)) as batcher:
        assert len(await batcher.submit([C] * 50)) == 50


@pytest.mark.parametrize("ending", ["answered", "failed", "left", "refused text"])
async def test_what_has_ended_counts_no_more_as_waiting(ending: str) -> None:
    """The place in the queue is free again, however a request ends."""
    engine = FakeEngine()
    async with serving(engine, limits=replace(LIMITS, waiting_tokens=2)) as batcher:
        async with busy(engine, batcher) as first:
            engine.failures += [RuntimeError()] if ending == "failed" else []
            if ending == "left":
                first.cancel()
        await outcomes(first)
        if ending == "refused text":
            await outcomes(batcher.submit(["long " * 99], truncate=False))
        assert len(await batcher.submit([C])) == 1


async def test_an_expired_row_is_never_computed() -> None:
    """A request whose deadline passed in the queue gets an error, and the engine never sees it."""
    engine, clock = FakeEngine(), FakeClock()
    async with serving(engine, clock=clock) as batcher:
        async with busy(engine, batcher) as first:
            late = ask(batcher, B)
            await queued(batcher, 1)
            clock.now_s += LIMITS.deadline_s
            in_time = ask(batcher, C)
            await queued(batcher, 2)
        _, expired, answered = await outcomes(first, late, in_time)
    assert isinstance(expired, DeadlineExceeded)
    assert answered[0].tokens == 3
    assert engine.rows == [IDS[A], IDS[C]]


async def test_a_request_may_have_less_time_left() -> None:
    """What it has spent before it came here counts."""
    engine = FakeEngine()
    async with serving(engine) as batcher, busy(engine, batcher), asyncio.timeout(PATIENCE_S / 2):
        with pytest.raises(DeadlineExceeded):
            await batcher.submit([B], deadline_s=0.01)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_every_deadline_is_kept_in_any_order(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """One that is past, some that are too near for uvloop's clock, and later ones before and behind them."""

    async def all_late() -> list[object]:
        engine = FakeEngine()
        engine.release.clear()
        async with serving(engine) as batcher:
            within_s = (0.3, 0.0002, 0.25, 0.0, 0.1, 0.0004, 0.05, 0.1003, 0.3)
            return await outcomes(*(batcher.submit([A], deadline_s=seconds) for seconds in within_s))

    with asyncio.Runner(loop_factory=loop) as runner:
        found = runner.run(all_late())
    assert [type(one) for one in found] == [DeadlineExceeded] * 9


async def test_short_texts_go_first_until_a_long_one_has_waited_long() -> None:
    """A long one is overtaken for some moments, and not for ever."""
    engine, clock = FakeEngine(), FakeClock()
    async with serving(engine, limits=replace(LIMITS, batch_tokens=1), clock=clock) as batcher:
        async with busy(engine, batcher) as first:
            others = [ask(batcher, text) for text in (C, A, B)]
            await queued(batcher, 3)
        await outcomes(first, *others)
        async with busy(engine, batcher) as first:
            others = [ask(batcher, text) for text in (C, A, B)]
            await queued(batcher, 3)
            clock.now_s += 2 * OVERTAKEN_S
        await outcomes(first, *others)
    assert engine.rows == [IDS[text] for text in (A, A, B, C, A, C, A, B)]


@pytest.mark.parametrize(
    ("slow", "order"),
    [(False, (A, C, A, C, B, C, C, C)), (True, (A, C, C, C, C, C))],
    ids=["in time", "late at half speed"],
)
async def test_a_long_list_shares_the_engine_unless_it_would_be_late(slow: bool, order: tuple[str, ...]) -> None:
    """The oldest for as long as it takes, it has every other batch; all of them where it was admitted and is late."""
    engine, clock = FakeEngine(), FakeClock()
    async with serving(engine, limits=replace(LIMITS, batch_tokens=1), clock=clock) as batcher:
        async with busy(engine, batcher) as first:
            others = [ask(batcher, *[C] * 5), ask(batcher, A), ask(batcher, B)]
            await queued(batcher, 7)
            if slow:
                batcher._speed.observe(1, 100 * PATIENCE_S)
            clock.now_s += 2 * OVERTAKEN_S
        await outcomes(first, *others)
    assert engine.rows[: len(order)] == [IDS[text] for text in order]
    assert len(engine.rows) == 8


async def test_those_who_come_after_a_long_list_are_looked_at() -> None:
    """Though it has more texts than are looked at together; and what came first has the end of the work to itself."""
    engine = FakeEngine()
    async with serving(engine) as batcher:
        async with busy(engine, batcher):
            many = ask(batcher, *[A] * (LOOK_AHEAD + 50))
            await queued(batcher, LOOK_AHEAD + 50)
            last = ask(batcher, "bad")
            await queued(batcher, LOOK_AHEAD + 51)
        await outcomes(many, last)
    assert engine.rows.index([tiny.WORDS.index("bad")]) < LOOK_AHEAD


async def test_a_text_that_would_be_cut_is_refused_by_its_index() -> None:
    """`truncate=False` reaches the tokenizer, and the engine computes nothing of that list."""
    engine = FakeEngine()
    async with serving(engine) as batcher:
        with pytest.raises(TextError) as caught:
            await batcher.submit([A, "long " * (tiny.MAX_TOKENS + 1)], truncate=False)
    assert caught.value.index == 1
    assert engine.rows == []


class Reading(Classifier):
    """The tiny classifier, which keeps what it was given to read together, and fails where a text says so."""

    def __init__(self, engine: FakeEngine) -> None:
        super().__init__(tiny.CONFIG, tiny.tokenization(), engine, Calibration())
        self.together: list[int] = []

    def encode(self, texts: Sequence[str], *, truncate: bool = True) -> list[Row]:
        self.together.append(len(texts))
        if "broken" in texts:
            raise RuntimeError("broken")
        return super().encode(texts, truncate=truncate)


async def test_texts_are_read_together() -> None:
    """Those of all requests that wait, at once."""
    engine = FakeEngine()
    reading = Reading(engine)
    async with serving(engine, classifier=reading) as batcher:
        async with busy(engine, batcher) as first:
            others = [ask(batcher, A, B), ask(batcher, C)]
            await queued(batcher, 3)
        await outcomes(first, *others)
    assert reading.together == [1, 3]


async def test_a_huge_request_is_read_in_parts() -> None:
    """Between which batches are computed: nobody waits until all of it is tokenized."""
    engine = FakeEngine()
    reading = Reading(engine)
    async with serving(engine, classifier=reading) as batcher:
        await batcher.submit(["good " * (READ_CHARACTERS // 8)] * 6)
    assert reading.together == [2, 2, 2]
    assert len(engine.batches) == 3


async def test_a_fault_in_reading_reaches_what_was_read_with_it_and_no_other() -> None:
    """An error that says nothing of the inside; the worker goes on."""
    engine = FakeEngine()
    async with serving(engine, classifier=Reading(engine)) as batcher:
        (failed,) = await outcomes(ask(batcher, "broken"))
        (answered,) = await outcomes(ask(batcher, A))
        assert batcher.alive
    assert isinstance(failed, EngineFailed)
    assert "broken" not in str(failed)
    assert len(answered) == 1


async def test_a_fault_in_reading_reaches_its_request_alone() -> None:
    """Though texts of others were read with it."""
    engine = FakeEngine()
    async with serving(engine, classifier=Reading(engine)) as batcher:
        async with busy(engine, batcher) as first:
            others = [ask(batcher, A), ask(batcher, B, "broken"), ask(batcher, C)]
            await queued(batcher, 4)
        _, before, failed, behind = await outcomes(first, *others)
    assert isinstance(failed, EngineFailed)
    assert [len(before), len(behind)] == [1, 1]


async def test_where_a_row_alone_takes_long_it_has_others_beside_it() -> None:
    """What a call costs is shared, and so is a step: batches of one would never end a queue."""
    engine, clock = FakeEngine(), FakeClock()

    class Constant(Reading):
        def score(self, rows: Sequence[Row], *, batch_tokens: int = BATCH_TOKENS) -> Floats:
            clock.now_s += 1.5 * LONGEST_BATCH_S
            return super().score(rows, batch_tokens=batch_tokens)

    async with serving(engine, clock=clock, classifier=Constant(engine)) as batcher:
        for _ in range(5):
            await outcomes(ask(batcher, A))
        await outcomes(ask(batcher, *[A] * 200))
    assert len(engine.batches) < 5 + 20


async def test_what_could_not_be_done_before_its_deadline_is_refused() -> None:
    """By the speed of late; Retry-After says when what waits is done."""
    engine, clock = FakeEngine(), FakeClock()

    class Slow(Reading):
        def score(self, rows: Sequence[Row], *, batch_tokens: int = BATCH_TOKENS) -> Floats:
            clock.now_s += 1.0 * len(rows)
            return super().score(rows, batch_tokens=batch_tokens)

    limits = replace(LIMITS, deadline_s=100)
    async with serving(engine, limits=limits, clock=clock, classifier=Slow(engine)) as batcher:
        await outcomes(ask(batcher, A))
        await engine.begins()
        async with busy(engine, batcher) as first:
            waiting = ask(batcher, *[A] * 20)
            await queued(batcher, 20)
            (refused,) = await outcomes(ask(batcher, *[A] * 70))
        await outcomes(first, waiting)
    assert isinstance(refused, Overloaded)
    assert refused.headers["Retry-After"] == "21"


async def test_a_batch_is_cut_where_it_would_take_too_long() -> None:
    """By what batches of late took, and be it one: a row of a tenth of the limit, so ten are one batch."""
    engine, clock = FakeEngine(), FakeClock()

    class Timed(Reading):
        def score(self, rows: Sequence[Row], *, batch_tokens: int = BATCH_TOKENS) -> Floats:
            clock.now_s += LONGEST_BATCH_S / 10 * len(rows)
            return super().score(rows, batch_tokens=batch_tokens)

    async with serving(engine, clock=clock, classifier=Timed(engine)) as batcher:
        await outcomes(ask(batcher, A))
        await outcomes(ask(batcher, *[A] * 35))
    sizes = [len(batch) for batch in engine.batches]
    assert sum(sizes) == 36
    assert max(sizes) in {9, 10}


async def test_shutdown_answers_what_is_queued() -> None:
    """What was admitted before the end has its answer; what comes after is refused."""
    engine = FakeEngine()
    async with serving(engine) as batcher:
        async with busy(engine, batcher) as first:
            behind = ask(batcher, B)
            await queued(batcher, 1)
            closing = asyncio.ensure_future(batcher.close())
            await asyncio.sleep(0)
            (refused,) = await outcomes(ask(batcher, C))
        computed, answered, _ = await outcomes(first, behind, closing)
    assert isinstance(refused, ShuttingDown)
    assert [len(computed), len(answered)] == [1, 1]


async def test_shutdown_leaves_no_future_pending() -> None:
    """An engine that never comes back is waited for to the limit; those who still wait then are told."""
    engine = FakeEngine()
    async with serving(engine, limits=replace(LIMITS, deadline_s=0.01)) as batcher, busy(engine, batcher) as first:
        behind = ask(batcher, B)
        await queued(batcher, 1)
        async with asyncio.timeout(PATIENCE_S / 2):
            await batcher.close()
        errors = await outcomes(first, behind)
    assert all(isinstance(error, ShuttingDown) for error in errors)


async def test_an_engine_that_hangs_is_not_alive() -> None:
    """Nobody is sent to wait behind it; when it comes back after all, it serves again."""
    engine, clock = FakeEngine(), FakeClock()
    async with serving(engine, clock=clock) as batcher:
        async with busy(engine, batcher) as first:
            assert batcher.alive
            clock.now_s += LIMITS.deadline_s + 1
            assert not batcher.alive
            with pytest.raises(ShuttingDown, match="its engine hangs"):
                await batcher.submit([A])
        await outcomes(first)
        await until(lambda: batcher.alive)
        assert len(await batcher.submit([A])) == 1


async def test_after_the_end_requests_are_refused() -> None:
    """At once, and as what it is."""
    engine = FakeEngine()
    async with serving(engine) as batcher:
        await batcher.close()
        assert not batcher.alive
        with pytest.raises(ShuttingDown, match="the server is shutting down"):
            await batcher.submit([A])


async def test_what_comes_in_the_turn_of_the_end_is_answered_still() -> None:
    """It was let in; where the worker has ended in that turn, it is refused after all."""
    async with serving(FakeEngine()) as batcher:
        last = batcher.submit([A])
        await batcher.close()
        assert len(await last) == 1
    async with serving(FakeEngine()) as batcher:
        late = batcher.submit([A])
        batcher._ended = "its engine has stopped"
        with pytest.raises(ShuttingDown, match="its engine has stopped"):
            await late


class Forgetful(Classifier):
    """The tiny classifier, which makes a row too few where a text says so: nobody expects that."""

    def encode(self, texts: Sequence[str], *, truncate: bool = True) -> list[Row]:
        rows = super().encode(texts, truncate=truncate)
        return rows[:-1] if B in texts else rows


async def test_a_fault_that_nobody_expected_is_not_the_end_of_the_engine() -> None:
    """Whoever waits is told so, and the next is served."""
    engine = FakeEngine()
    classifier = Forgetful(tiny.CONFIG, tiny.tokenization(), engine, Calibration())
    async with serving(engine, classifier=classifier) as batcher:
        (failed,) = await outcomes(batcher.submit([A, B]))
        assert batcher.alive
        assert len(await batcher.submit([A])) == 1
    assert isinstance(failed, EngineFailed)


async def test_a_dying_worker_fails_what_waits() -> None:
    """What it was computing and what is queued get an error, `alive` turns false, and later requests are refused."""
    engine = FakeEngine()
    async with serving(engine) as batcher:
        async with busy(engine, batcher) as first:
            engine.failures.append(SystemExit())
            behind = ask(batcher, B)
            await queued(batcher, 1)
        errors = await outcomes(first, behind)
        assert not batcher.alive
        (refused,) = await outcomes(ask(batcher, C))
    assert all(isinstance(error, EngineFailed) for error in errors)
    assert isinstance(refused, ShuttingDown)
    assert "its engine has stopped" in str(refused)
