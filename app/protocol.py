"""HTTP/1.1 by httptools, in a few bytes of ours: what uvicorn's own leaves open.

It reads four requests in the time that h11 needs for one, but drops the body of a request that offers `Upgrade: h2c`,
as Java's HttpClient does (uvicorn#2722), and sets no bound to a head.

Where the application's lifespan left a desk under DESK, that is asked before there is a task or an ASGI message, which
take most of what a short request costs: to refuse it at its head, or to answer its body.
"""

import asyncio
import time
import typing
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

DESK = "lembra.desk"

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
Reply: TypeAlias = Callable[[int, bytes, bytes], None]  # a status, its headers, each with its line's end, and the body


class Desk(typing.Protocol):
    """What may answer instead of the application. Its answers tell their length, and don't end the connection."""

    @property
    def closing(self) -> bool:
        """Whether the server will end soon: then each answer tells that its connection ends with it."""

    def refuse(self, method: bytes, target: bytes, headers: Headers) -> tuple[bytes, bytes] | None:
        """None, or the headers and the body of a 429. Only for requests whose headers tell the length of their body:
        where none can be made out llhttp ends the connection later.
        """

    def takes(self, method: bytes, target: bytes, headers: Headers) -> bool:
        """Whether `answer` is to have the body; only for bodies that may be kept in memory. The target is a path."""

    def answer(self, body: bytes, since: float, reply: Reply) -> Callable[[], object]:
        """Begin to answer a request whose head was read at `since`, by `time.perf_counter`; `reply` is called once, in
        a later turn of the loop. Returns what to call where the client leaves before.
        """


# Bytes of a request line and headers (trailers too), and bytes without anything that could be handed on.
MOST_HEAD = 64 * 1024
# Requests behind one that isn't answered yet, and refusals in a turn of the loop, in which uvloop may read many times:
# a read may hold ten thousand, and each costs more than its bytes. What comes behind these is not read.
MOST_AHEAD = 32
# A body for the desk that takes longer is the application's, which has a deadline for it.
BODY_S = 0.05
# For a head, the first one from when the connection was made: who says nothing would hold a socket for ever.
HEAD_S = 30.0


class Protocol(HttpToolsProtocol):
    """A connection. No other protocol is spoken here, so an offer of one is a header like any other (RFC 9110, 7.8)."""

    _head = 0  # bytes of this message's head so far
    _in_head = True
    _running: RequestResponseCycle | None = None
    _begun = 0.0  # when its turn came
    _held: RequestResponseCycle | None = None  # the same, where the desk waits for its body
    _held_until: asyncio.TimerHandle | None = None
    _leave: Callable[[], object] | None = None  # of the desk's answer to it
    _silent = 0  # bytes since the parser told anything
    _refused = False  # this message, whose body is passed over
    _refusals = 0  # in this turn of the loop
    _has_refused = False  # any message
    _head_until: asyncio.TimerHandle | None = None
    _reads = True  # False: the connection ends behind the answers that are owed

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own
        """uvicorn's, and a bound to how long the first head may take."""
        super().connection_made(transport)
        self._bound_the_head()

    def data_received(self, data: bytes) -> None:
        """A piece of the stream; what can't be read is answered with 400, and ends the connection. Answers that are
        owed to requests ahead of it are given, and then no 400, which would be taken for one of them.
        """
        if not self._reads:
            return
        self._unset_keepalive_if_required()
        self._silent += len(data)
        try:
            self._feed(data)
            if self._silent > MOST_HEAD:
                raise httptools.HttpParserError("a line without an end")
        except httptools.HttpParserError:
            if (last := self._last_to_answer()) is not None:
                self._reads = last.keep_alive = False
            else:
                self.send_400_response(f"No HTTP/1.1 request, or more than {MOST_HEAD:,} bytes of headers.")
            return
        self._bound_the_wait()
        if self._in_head:
            self._bound_the_head()
        answered = self._running.response_complete if self._running else self._has_refused
        if answered and not self.transport.is_closing():
            # What was sent after the answer is no request yet; uvicorn would wait for the rest for ever.
            later = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = later

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered, which uvicorn does only where none came behind it."""
        super().connection_lost(exc)
        self._bound_no_head()
        self.pipeline.clear()
        if self._running and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        self._pass_on()  # who leaves in a body is the application's to count
        if self._leave:
            self._leave()

    def on_response_complete(self) -> None:
        """uvicorn's: it gives the next request of this connection its turn, of which the body may still be to come."""
        super().on_response_complete()
        self._bound_the_wait()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """uvicorn's, where a request's turn comes: its head is read, and all ahead of it is answered. What the desk
        takes gets no task.
        """
        self._running, self._begun = cycle, time.perf_counter()
        desk: Desk | None = self.app_state.get(DESK)
        if desk is not None and desk.closing:
            cycle.keep_alive = False
            cycle.scope["headers"] = [*cycle.scope["headers"], CLOSE_HEADER]  # by which uvicorn tells so too
        method, path, headers = cycle.scope["method"].encode(), cycle.scope["raw_path"], list(cycle.scope["headers"])
        # Where answers aren't read, none is written: the application waits. And uvicorn may have another one for it.
        if desk is None or self.flow.write_paused or app is not self.app or not desk.takes(method, path, headers):
            super()._start_asgi_task(cycle, app)
        elif cycle.more_body:
            self._held = cycle
        else:
            self._ask(desk, cycle)

    def _ask(self, desk: Desk, cycle: RequestResponseCycle) -> None:
        self._hold_no_more()
        body, cycle.body = bytes(cycle.body), bytearray()
        self._leave = desk.answer(body, self._begun, partial(self._reply, cycle))

    def _reply(self, cycle: RequestResponseCycle, status: int, headers: bytes, body: bytes) -> None:
        if cycle.disconnected:
            return
        self._leave = None
        ends = b"" if cycle.keep_alive else b"connection: close\r\n"
        self._write(status, headers + ends, body)
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _write(self, status: int, headers: bytes, body: bytes) -> None:
        defaults = [b"%s: %s\r\n" % header for header in self.server_state.default_headers]
        self.transport.write(b"".join([STATUS_LINE[status], *defaults, headers, b"\r\n", body]))

    def _last_to_answer(self) -> RequestResponseCycle | None:
        """Of the requests that were read to their ends; one whose body can't be is passed over."""
        if self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()
        if self.pipeline:
            return self.pipeline[0][0]
        running = self._running
        return running if running and not running.response_complete and not running.more_body else None

    def _bound_the_wait(self) -> None:
        if self._held and not self._held_until:
            self._held_until = self.loop.call_later(BODY_S, self._pass_on)

    def _pass_on(self) -> None:
        """Leave what is held to the application."""
        held = self._held
        self._hold_no_more()
        if held:
            super()._start_asgi_task(held, self.app)

    def _hold_no_more(self) -> None:
        self._held = None
        if self._held_until:
            self._held_until.cancel()
            self._held_until = None

    def _feed(self, data: bytes) -> None:
        rest = memoryview(data)
        while True:
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as offer:
                # The parser stops behind the head, for what follows might be of the other protocol. It isn't: the same
                # head is read again without the offer, by a new parser, and the stream goes on where that stopped.
                head = self._head_without_offer()
                rest = rest[offer.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
                self.parser.feed_data(head)

    def _head_without_offer(self) -> bytes:
        line = b" ".join([self.parser.get_method(), self.url, b"HTTP/" + self.parser.get_http_version().encode()])
        headers = [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([line, *headers, b"", b""])

    # httptools' callbacks.

    def on_message_begin(self) -> None:
        self._told()
        self._head, self._in_head, self._refused = 0, True, False
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(": ") + len(value) + len("\r\n"))
        if self._in_head:  # a trailer must not pass for a header (RFC 9110, 6.5.1)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._told()
        self._bound_no_head()
        self._in_head = False
        if len(self.pipeline) >= MOST_AHEAD:
            raise ValueError(f"more than {MOST_AHEAD} requests ahead of their answers")
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise ValueError("CONNECT is for proxies")
        elif not self._refuse():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._told()
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._told()
        if not self.parser.should_upgrade() and not self._refused:
            super().on_message_complete()
            if self._held:
                self._ask(self.app_state[DESK], self._held)

    def _refuse(self) -> bool:
        """Refuse this request, if it is to be, and nothing is ahead of it or unread by its client."""
        desk: Desk | None = self.app_state.get(DESK)
        busy = self._running is not None and not self._running.response_complete
        goes_on = self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive()
        if desk is None or desk.closing or busy or self.flow.write_paused or not goes_on:
            return False
        if self._refusals >= MOST_AHEAD:
            return False
        if (made := desk.refuse(self.parser.get_method(), self.url, self.headers)) is None:
            return False
        self._write(429, *made)
        self.server_state.total_requests += 1
        if not self._refusals:
            self.loop.call_soon(self._next_turn)
        self._refusals += 1
        self._refused = self._has_refused = True
        return True

    def _next_turn(self) -> None:
        self._refusals = 0

    def _bound_the_head(self) -> None:
        if not self._head_until:
            self._head_until = self.loop.call_later(HEAD_S, self._end_half_a_head)

    def _end_half_a_head(self) -> None:
        self._head_until = None
        if self._running and not self._running.response_complete:
            self._bound_the_head()  # an answer is due first
        else:
            self.transport.close()

    def _bound_no_head(self) -> None:
        if self._head_until:
            self._head_until.cancel()
            self._head_until = None

    def _told(self) -> None:
        self._silent = 0

    def _count(self, size: int) -> None:
        self._told()
        self._head += size
        if self._head > MOST_HEAD:
            raise ValueError(f"a head of more than {MOST_HEAD:,} bytes")
