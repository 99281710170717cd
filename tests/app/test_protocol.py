"""What a connection reads: messages as they were sent, however the stream is cut, and never without end."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from app import protocol
from app.protocol import BODY_S, DESK, MOST_AHEAD, MOST_HEAD, Desk, Protocol, Reply
from tests.fakes import until

pytestmark = pytest.mark.anyio

OFFERS = (
    b"",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n",
    b"UPGRADE: websocket\r\nconnection: keep-alive, upgrade\r\n",
    b"Upgrade: h2c\r\n",
)
# Bodies that look like what stands around them.
PIECES = b"abc \r\n:{}GET / HTTP/1.1\r\n\r\n"


class Message(NamedTuple):
    """What an application is given of a request."""

    path: str
    mark: bytes
    body: bytes


class Transport(asyncio.Transport):
    """A socket of which nothing is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Connection:
    """A protocol, and an application that writes down what it is given."""

    def __init__(self, *, answers: bool = True, desk: Desk | None = None) -> None:
        self.seen: list[Message] = []
        self.left = 0
        self._answers = answers
        config = Config(self._answer, interface="asgi3", ws="none", lifespan="off", access_log=False, log_config=None)
        config.load()
        self.transport = Transport()
        self.protocol = Protocol(config, ServerState(), {} if desk is None else {DESK: desk})
        self.protocol.connection_made(self.transport)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.seen.append(Message(scope["path"], dict(scope["headers"])[b"mark"], body))
        while not self._answers:
            if (await receive())["type"] == "http.disconnect":
                self.left += 1
                return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def answered(self) -> list[Message]:
        """What was seen once all is done that can be."""
        for _ in range(200):
            await asyncio.sleep(0)
        return self.seen


def drawn(rng: random.Random) -> tuple[Message, bytes]:
    """A request, and its bytes: with an offer or without, its body by length or in chunks."""
    message = Message(
        f"/{rng.random()}", str(rng.random()).encode(), bytes(rng.choices(PIECES, k=rng.choice([0, 9, 300])))
    )
    head = b"POST %s HTTP/1.1\r\nHost: here\r\nMark: %s\r\n%s" % (
        message.path.encode(),
        message.mark,
        rng.choice(OFFERS),
    )
    if rng.random() < 0.5:
        return message, b"%sContent-Length: %d\r\n\r\n%s" % (head, len(message.body), message.body)
    cut = rng.randrange(len(message.body) + 1)
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (message.body[:cut], message.body[cut:]) if part]
    return message, b"%sTransfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n" % (head, b"".join(chunks))


@pytest.mark.parametrize("seed", range(50))
async def test_every_message_is_read_as_it_was_sent(seed: int) -> None:
    """Several on one connection, some with offers of another protocol, cut anywhere; each is answered once."""
    rng = random.Random(seed)
    messages, parts = zip(*(drawn(rng) for _ in range(rng.randrange(1, 6))), strict=True)
    stream, connection = b"".join(parts), Connection()
    while stream:
        size = rng.choice([1, 3, 50, 1000, 100_000])
        connection.protocol.data_received(stream[:size])
        stream = stream[size:]
        if rng.random() < 0.3:
            await asyncio.sleep(0)
    assert await connection.answered() == list(messages)
    assert connection.transport.written.count(b"HTTP/1.1 200") == len(messages)
    assert not connection.transport.closed


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"POST /", b"x" * 10_000),
        (b"POST / HTTP/1.1\r\n", b"x" * 10_000),
        (b"POST / HTTP/1.1\r\nA: ", b"x" * 10_000),
        (b"POST / HTTP/1.1\r\n", b"a: b\r\n" * 1000),
        (b"POST / HTTP/1.1\r\nMark: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n" * 1000),
        (b"POST / HTTP/1.1\r\nMark: 1\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x" * 10_000),
    ],
    ids=["path", "name", "value", "headers", "trailers", "chunk extension"],
)
async def test_what_never_ends_is_refused(begin: bytes, more: bytes) -> None:
    """With 400 and the end of the connection, before twice the limit was read."""
    connection = Connection()
    read = 0
    for part in (begin, *[more] * 20):
        connection.protocol.data_received(part)
        read += len(part)
        if connection.transport.closed:
            break
    assert connection.transport.written.startswith(b"HTTP/1.1 400")
    assert read < 2 * MOST_HEAD
    await connection.answered()


async def test_a_body_may_be_larger_than_any_head() -> None:
    """It is the application that bounds bodies."""
    body = b"x" * (5 * MOST_HEAD)
    connection = Connection()
    connection.protocol.data_received(b"POST / HTTP/1.1\r\nMark: 1\r\nContent-Length: %d\r\n\r\n" % len(body))
    for start in range(0, len(body), 10_000):
        connection.protocol.data_received(body[start : start + 10_000])
    assert await connection.answered() == [Message("/", b"1", body)]


@pytest.mark.parametrize("line", [b"CONNECT here:80 HTTP/1.1", b"no request", b"POST / HTTP/3.9", b"GET \xff HTTP/1.1"])
async def test_what_is_no_request_of_ours_is_refused(line: bytes) -> None:
    """A request to a proxy, and what isn't HTTP."""
    connection = Connection()
    connection.protocol.data_received(line + b"\r\nHost: here\r\n\r\n")
    assert connection.transport.written.startswith(b"HTTP/1.1 400")
    assert connection.transport.closed
    assert await connection.answered() == []


async def test_who_asks_on_without_waiting_for_answers_is_cut_off() -> None:
    """One read may hold ten thousand requests; some ahead are usual, and answered, and the last of them says that the
    connection ends behind it (RFC 9112, 9.3.2).
    """
    connection = Connection()
    connection.protocol.data_received(b"GET / HTTP/1.1\r\nMark: 1\r\n\r\n" * 20)
    assert len(await connection.answered()) == 20
    for _ in range(3):  # what is sent still is no more than thrown away
        connection.protocol.data_received(b"GET / HTTP/1.1\r\nMark: 1\r\n\r\n" * 2 * MOST_AHEAD)
    assert len(await connection.answered()) == 20 + MOST_AHEAD + 1
    assert connection.transport.closed
    *_, last = connection.transport.written.split(b"HTTP/1.1 200")
    assert connection.transport.written.count(b"HTTP/1.1 200") == 20 + MOST_AHEAD + 1
    assert connection.transport.written.count(b"connection: close") == last.count(b"connection: close") == 1


async def test_a_trailer_is_no_header() -> None:
    """What a proxy in front has filtered from the head doesn't come in behind the body."""
    connection = Connection()
    head = b"POST / HTTP/1.1\r\nMark: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.protocol.data_received(head + b"1\r\nx\r\n0\r\nMark: 2\r\n\r\n")
    assert await connection.answered() == [Message("/", b"1", b"x")]


async def test_a_400_is_never_taken_for_the_answer_that_is_owed() -> None:
    """Garbage behind a request whose answer isn't there yet ends the connection without a word, once that is."""
    connection = Connection()
    connection.protocol.data_received(b"GET / HTTP/1.1\r\nMark: 1\r\n\r\ngarbage\r\n\r\n")
    assert connection.transport.written == b""
    assert await connection.answered() == [Message("/", b"1", b"")]
    assert connection.transport.closed
    assert connection.transport.written.count(b"HTTP/1.1") == connection.transport.written.count(b"HTTP/1.1 200") == 1


async def test_what_is_ahead_of_a_body_that_cannot_be_read_is_answered() -> None:
    """And it isn't: nobody knows what it would have been."""
    connection = Connection()
    chunked = b"POST /bad HTTP/1.1\r\nMark: 1\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n"
    connection.protocol.data_received(b"GET /good HTTP/1.1\r\nMark: 1\r\n\r\n" * 2 + chunked)
    assert await connection.answered() == 2 * [Message("/good", b"1", b"")]
    assert connection.transport.closed
    assert b"400" not in connection.transport.written


async def test_a_broken_body_is_refused() -> None:
    """That 400 is for the request that it belongs to."""
    connection = Connection()
    head = b"POST / HTTP/1.1\r\nMark: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.protocol.data_received(head + b"no number\r\n")
    assert connection.transport.written.startswith(b"HTTP/1.1 400")
    connection.protocol.connection_lost(None)
    await connection.answered()


async def test_a_client_that_leaves_is_noticed_whatever_it_sent_behind() -> None:
    """The request that is being answered hears of it."""
    connection = Connection(answers=False)
    connection.protocol.data_received(b"GET / HTTP/1.1\r\nMark: 1\r\n\r\n" * 2)
    assert len(await connection.answered()) == 1
    connection.protocol.connection_lost(None)
    await connection.answered()
    assert connection.left == 1


async def test_a_connection_that_says_half_a_request_is_not_kept_for_ever() -> None:
    """After an answer, the time of keep-alive counts from the last byte."""
    connection = Connection()
    connection.protocol.timeout_keep_alive = 0
    connection.protocol.data_received(b"GET / HTTP/1.1\r\nMark: 1\r\n\r\n")
    await connection.answered()
    connection.transport.closed = False
    connection.protocol.data_received(b"G")
    await connection.answered()
    assert connection.transport.closed


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nMark: 1\r\n"])
async def test_a_first_head_that_does_not_come_is_not_waited_for(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that says nothing, or half a head, is ended; one that has sent its head has all the time."""
    monkeypatch.setattr(protocol, "HEAD_S", 0.05)
    silent, asking = Connection(), Connection(answers=False)
    if sent:
        silent.protocol.data_received(sent)
    asking.protocol.data_received(b"GET / HTTP/1.1\r\nMark: 1\r\n\r\n")
    await until(lambda: silent.transport.closed)
    assert not asking.transport.closed


async def test_half_a_head_behind_an_answer_is_not_waited_for_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a byte of it comes."""
    monkeypatch.setattr(protocol, "HEAD_S", 0.05)
    connection = Connection()
    connection.protocol.data_received(b"GET / HTTP/1.1\r\nMark: 1\r\n\r\n")
    await connection.answered()
    connection.protocol.data_received(b"GET / HT")
    await until(lambda: connection.transport.closed)


class Doorkeeper:
    """Refuses while it is told to, with an answer of its own."""

    def __init__(self) -> None:
        self.closing = False
        self.full = True
        self.asked: list[tuple[bytes, bytes, bytes]] = []

    def refuse(
        self, method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]
    ) -> tuple[bytes, bytes] | None:
        self.asked.append((method, target, dict(headers)[b"mark"]))
        return (b"content-length: 4\r\nretry-after: 2\r\n", b"full") if self.full else None

    def takes(self, method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        return False

    def answer(self, body: bytes, since: float, reply: Reply) -> Callable[[], object]:
        raise AssertionError("it takes nothing")


POST = b"POST /%b HTTP/1.1\r\nMark: 1\r\nContent-Length: 3\r\n\r\n"
REFUSED = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\nretry-after: 2\r\n\r\nfull"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_what_is_refused_never_reaches_the_application(size: int) -> None:
    """The answer comes with the head, the body is passed over however it is cut, and the next request is read."""
    door = Doorkeeper()
    connection = Connection(desk=door)
    sent = POST % b"first" + b"GET" + POST % b"second" + b"abc"
    for start in range(0, len(sent), size):
        connection.protocol.data_received(sent[start : start + size])
    assert connection.transport.written == 2 * REFUSED
    door.full = False
    connection.protocol.data_received(POST % b"third" + b"xyz")
    assert await connection.answered() == [Message("/third", b"1", b"xyz")]
    assert door.asked == [(b"POST", target, b"1") for target in (b"/first", b"/second", b"/third")]
    assert not connection.transport.closed


async def test_a_refusal_overtakes_no_answer() -> None:
    """Behind a request that isn't answered yet the application itself refuses, in its turn."""
    door = Doorkeeper()
    connection = Connection(desk=door)
    door.full = False
    connection.protocol.data_received(POST % b"first" + b"abc")
    door.full = True
    connection.protocol.data_received(POST % b"second" + b"abc")
    assert [message.path for message in await connection.answered()] == ["/first", "/second"]
    assert b"429" not in connection.transport.written


async def test_who_reads_no_refusals_is_not_sent_any_more() -> None:
    """They would be kept without end: the application waits until its client reads."""
    connection = Connection(desk=Doorkeeper())
    connection.protocol.pause_writing()
    connection.protocol.data_received((POST % b"first" + b"abc") * 2 * MOST_AHEAD)
    await connection.answered()
    assert connection.transport.written == b""
    connection.protocol.connection_lost(None)
    assert len(await connection.answered()) <= 1


async def test_refusals_of_one_turn_are_bounded() -> None:
    """One client mustn't have the loop for as long as it can send: beyond some, the application answers."""
    connection = Connection(desk=Doorkeeper())
    for _ in range(3):  # reads of one turn
        connection.protocol.data_received((POST % b"first" + b"abc") * 1000)
    assert connection.transport.written == MOST_AHEAD * REFUSED
    assert len(await connection.answered()) == MOST_AHEAD + 1
    assert connection.transport.closed


async def test_turn_by_turn_there_is_no_bound() -> None:
    """A client that waits for its answers may be refused for ever."""
    connection = Connection(desk=Doorkeeper())
    for _ in range(2 * MOST_AHEAD):
        connection.protocol.data_received(POST % b"first" + b"abc")
        await asyncio.sleep(0)
    assert connection.transport.written == 2 * MOST_AHEAD * REFUSED


@pytest.mark.parametrize(
    "head",
    [
        POST.replace(b"1.1", b"1.0"),
        POST.replace(b"1.1", b"1.0").replace(b"Mark", b"Connection: keep-alive\r\nMark"),
        POST.replace(b"Mark", b"Connection: close\r\nMark"),
    ],
)
async def test_a_connection_that_ends_is_the_applications(head: bytes) -> None:
    """Nothing is to be gained there: the next request needs another one."""
    connection = Connection(desk=Doorkeeper())
    connection.protocol.data_received(head % b"first" + b"abc")
    assert len(await connection.answered()) == 1
    assert connection.transport.closed


@pytest.mark.parametrize("rest", [b"", b"abcPOST", b"abc" + (POST % b"second")[:-1]], ids=["body", "line", "head"])
async def test_what_comes_behind_a_refusal_is_not_waited_for_without_end(rest: bytes) -> None:
    """The time of keep-alive counts from the last byte, be it of the body or of half a request."""
    connection = Connection(desk=Doorkeeper())
    connection.protocol.timeout_keep_alive = 0
    connection.protocol.data_received(POST % b"first" + rest)
    assert not connection.transport.closed
    await connection.answered()
    assert connection.transport.closed


class Clerk(Doorkeeper):
    """Takes what is for /desk, and answers in a later turn, or when the test does."""

    def __init__(self, *, at_once: bool = True) -> None:
        super().__init__()
        self.full = False
        self.bodies: list[bytes] = []
        self.replies: list[Reply] = []
        self.left = 0
        self._at_once = at_once

    def takes(self, method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        return target == b"/desk"

    def answer(self, body: bytes, since: float, reply: Reply) -> Callable[[], object]:
        self.bodies.append(body)
        self.replies.append(reply)
        if self._at_once:
            asyncio.get_running_loop().call_soon(reply, 200, b"content-length: 4\r\n", b"done")
        return self._leave

    def _leave(self) -> None:
        self.left += 1


DONE = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone"
OF_APPLICATION = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("offer", OFFERS)
async def test_the_desk_answers_what_it_takes(size: int, offer: bytes) -> None:
    """However the stream is cut and whatever is offered, each body is the desk's, and the others the application's."""
    clerk = Clerk()
    connection = Connection(desk=clerk)
    post = POST.replace(b"Mark", offer + b"Mark")
    for sent in (post % b"desk" + b"abc", post % b"else" + b"def", post % b"desk" + b"ghi"):
        for start in range(0, len(sent), size):
            connection.protocol.data_received(sent[start : start + size])
        await connection.answered()
    assert clerk.bodies == [b"abc", b"ghi"]
    assert connection.seen == [Message("/else", b"1", b"def")]
    assert connection.transport.written == DONE + OF_APPLICATION + DONE
    assert not connection.transport.closed


async def test_answers_of_desk_and_application_are_in_the_order_of_their_requests() -> None:
    """Requests that come in one read wait for those ahead of them, on both roads."""
    connection = Connection(desk=Clerk())
    paths = [b"desk", b"desk", b"else", b"desk", b"else", b"else", b"desk"]
    connection.protocol.data_received(b"".join(POST % path + b"abc" for path in paths))
    assert connection.transport.written == b""
    await connection.answered()
    assert connection.transport.written == b"".join(DONE if path == b"desk" else OF_APPLICATION for path in paths)


@pytest.mark.parametrize("path", [b"desk", b"else"])
@pytest.mark.parametrize("full", [False, True])
async def test_who_asks_a_server_that_will_end_is_told_that_the_connection_does(path: bytes, *, full: bool) -> None:
    """By desk and application alike; nothing is refused at the head, as a refusal goes on."""
    clerk = Clerk()
    clerk.closing, clerk.full = True, full
    connection = Connection(desk=clerk)
    connection.protocol.data_received(POST % path + b"abc")
    await until(lambda: connection.transport.closed)
    head, _, _ = connection.transport.written.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in head.split(b"\r\n")


async def test_a_flood_for_the_desk_is_cut_off() -> None:
    """It has a bound of requests ahead like any other."""
    clerk = Clerk()
    connection = Connection(desk=clerk)
    connection.protocol.data_received((POST % b"desk" + b"abc") * 2 * MOST_AHEAD)
    await connection.answered()
    assert connection.transport.closed
    assert len(clerk.bodies) == MOST_AHEAD + 1
    assert connection.transport.written.count(b"connection: close") == 1


async def test_a_body_that_the_desk_would_wait_for_is_the_applications() -> None:
    """That has a deadline for it; what has come, and what comes still, is one body."""
    clerk = Clerk()
    connection = Connection(desk=clerk)
    connection.protocol.data_received(POST % b"desk" + b"a")
    await asyncio.sleep(2 * BODY_S)
    connection.protocol.data_received(b"bc")
    assert await connection.answered() == [Message("/desk", b"1", b"abc")]
    assert clerk.bodies == []
    assert connection.transport.written == OF_APPLICATION
    connection.protocol.data_received(POST % b"desk" + b"abc")
    await connection.answered()
    assert connection.transport.written == OF_APPLICATION + DONE


async def test_the_desk_is_told_that_a_client_left() -> None:
    """Once, and only where its answer is outstanding; who has left is sent nothing."""
    clerk = Clerk(at_once=False)
    connection = Connection(desk=clerk)
    for _ in range(2):
        connection.protocol.data_received(POST % b"desk" + b"abc")
        if len(clerk.replies) == 1:
            clerk.replies[0](200, b"content-length: 4\r\n", b"done")
    assert clerk.left == 0
    connection.protocol.connection_lost(None)
    assert clerk.left == 1
    clerk.replies[1](200, b"content-length: 4\r\n", b"done")
    assert connection.transport.written == DONE


async def test_who_leaves_in_a_body_for_the_desk_is_the_applications() -> None:
    """It may count it; the desk has begun nothing."""
    clerk = Clerk()
    connection = Connection(answers=False, desk=clerk)
    connection.protocol.data_received(POST % b"desk" + b"a")
    connection.protocol.connection_lost(None)
    await connection.answered()
    assert (connection.left, clerk.bodies, clerk.left) == (1, [], 0)


async def test_the_desk_hears_nothing_of_a_client_that_leaves_with_its_answer() -> None:
    """It has done its part."""
    clerk = Clerk()
    connection = Connection(desk=clerk)
    connection.protocol.data_received(POST % b"desk" + b"abc")
    await connection.answered()
    connection.protocol.connection_lost(None)
    assert (connection.transport.written, clerk.left) == (DONE, 0)


async def test_a_body_that_trickles_is_not_waited_for_at_the_desk() -> None:
    """Each byte gives it no more time."""
    clerk = Clerk()
    connection = Connection(desk=clerk)
    connection.protocol.data_received(POST % b"desk")
    for byte in (b"a", b"b", b"c"):
        await asyncio.sleep(BODY_S / 2)
        connection.protocol.data_received(byte)
    assert await connection.answered() == [Message("/desk", b"1", b"abc")]
    assert clerk.bodies == []


@pytest.mark.parametrize("first", [b"desk", b"else"])
async def test_a_body_whose_turn_comes_late_is_not_waited_for_at_the_desk(first: bytes) -> None:
    """Half a request behind a whole one, in one read: the time counts from its turn."""
    clerk = Clerk()
    connection = Connection(desk=clerk)
    connection.protocol.data_received(POST % first + b"abc" + POST % b"desk")
    await connection.answered()
    await asyncio.sleep(2 * BODY_S)
    connection.protocol.data_received(b"def")
    assert (await connection.answered())[-1] == Message("/desk", b"1", b"def")
    assert b"def" not in clerk.bodies


@pytest.mark.parametrize(
    "head", [POST.replace(b"1.1", b"1.0"), POST.replace(b"Mark", b"Connection: close\r\nMark")], ids=["1.0", "close"]
)
async def test_the_desk_ends_a_connection_where_that_is_wanted(head: bytes) -> None:
    """With a word of it, behind the answer."""
    connection = Connection(desk=Clerk())
    connection.protocol.data_received(head % b"desk" + b"abc")
    await connection.answered()
    assert connection.transport.written == DONE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    assert connection.transport.closed


@pytest.mark.parametrize("sent", [b"a", b"abc"], ids=["in its body", "in its answer"])
async def test_a_server_that_ends_answers_at_the_desk(sent: bytes) -> None:
    """uvicorn tells each connection; one that owes an answer ends behind it."""
    connection = Connection(desk=Clerk())
    connection.protocol.data_received(POST % b"desk" + sent)
    connection.protocol.shutdown()
    assert not connection.transport.closed
    connection.protocol.data_received(b"abc"[len(sent) :])
    await connection.answered()
    assert b"connection: close" in connection.transport.written
    assert connection.transport.closed


async def test_who_reads_no_answers_is_left_to_the_application() -> None:
    """That waits until its client reads; the desk would write on."""
    clerk = Clerk()
    connection = Connection(desk=clerk)
    connection.protocol.pause_writing()
    connection.protocol.data_received(POST % b"desk" + b"abc")
    assert len(await connection.answered()) == 1
    assert (connection.transport.written, clerk.bodies) == (b"", [])
    connection.protocol.connection_lost(None)
    await connection.answered()


async def test_a_connection_is_kept_alive_for_its_time_behind_the_desks_answer() -> None:
    """As behind the application's."""
    connection = Connection(desk=Clerk())
    connection.protocol.timeout_keep_alive = 0
    connection.protocol.data_received(POST % b"desk" + b"abc")
    assert not connection.transport.closed
    await connection.answered()
    assert connection.transport.closed
