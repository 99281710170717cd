"""Loads, each of which ends by itself: closed loops by wrk, and an open loop of our own.

In an open loop requests arrive when they arrive, whatever has become of those before (Poisson arrivals); a latency is
counted from the moment at which its request should have been sent.
"""

import asyncio
import gc
import json
import math
import os
import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import uvloop

from benchmarks.serving.servers import on

Figures: TypeAlias = dict[str, float]
Arrival: TypeAlias = tuple[float, str, str]  # second, kind, body

SCRIPT = Path(__file__).parent / "wrk.lua"
PATIENCE_S = 60
END = b"\r\n\r\n"
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
LAST_CHUNK = b"\r\n0\r\n\r\n"  # Ray Serve tells no length
LOST = b"HTTP/1.1 000"  # in place of the head of an answer
RETRY_AFTER = re.compile(rb"retry-after: (\d+)", re.IGNORECASE)


def body(texts: str | Sequence[str]) -> str:
    """Of a request."""
    return json.dumps({"input": texts if isinstance(texts, str) else list(texts)})


def closed(port: int, bodies: Sequence[str], *, connections: int, seconds: float, cores: Sequence[int]) -> Figures:
    """What wrk found: requests, seconds, refused, failed (refused ones too), latencies in ms; `req_s` were answered.

    wrk counts a request once it has an answer: what was refused is among them, a lost connection isn't.
    """
    if shutil.which("wrk") is None:
        raise SystemExit("error: wrk is not installed: apt-get install wrk")
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write("".join(f"{one}\n" for one in bodies))
        file.flush()
        asked = ["wrk", "-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s", "--timeout", "30s", "-s", str(SCRIPT)]
        done = subprocess.run(
            [*on(cores), *asked, f"http://127.0.0.1:{port}"],
            env=os.environ | {"BODIES": file.name},
            capture_output=True,
            text=True,
            check=True,
        )
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return {**found, "req_s": (found["requests"] - found["refused"]) / found["seconds"]}


@dataclass(frozen=True, slots=True)
class Answered:
    """One request of an open loop."""

    kind: str
    status: int  # 0 where the connection was lost
    latency_s: float  # from when it should have been sent
    retry_after_s: int | None
    sent: bytes


class Connection(asyncio.Protocol):
    """One request at a time: as little as a client can be, so that the server is what is measured."""

    def __init__(self) -> None:
        self.waiting: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none of its children

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self.waiting and not self.waiting.done() and (end := answer_ends(self._data)) >= 0:
            self.waiting.set_result(self._data[:end])
            self._data = b""

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self.waiting and not self.waiting.done():
            self.waiting.set_exception(error or ConnectionResetError())

    def close(self) -> None:
        """Where it isn't yet."""
        if self._transport is not None:
            self._transport.close()

    async def ask(self, request: bytes) -> bytes:
        """The head of the answer. Raises: ConnectionError."""
        if self._transport is None:
            raise ConnectionResetError
        self.waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self.waiting
        except asyncio.CancelledError:  # nobody waits any more, and what comes late must not answer the next
            self.close()
            raise


def open_loop(port: int, arrivals: Sequence[Arrival], *, cores: Sequence[int]) -> list[Answered]:
    """What became of all, sent from these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    gc.disable()  # a collection among thousands of tasks takes 0.1 s, which every latency would have in it
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(opened(port, arrivals))
    finally:
        gc.enable()
        os.sched_setaffinity(0, before)


def p99_ms(answers: Sequence[Answered]) -> float:
    """Of the latencies. Who got no answer, or a refusal, waits for ever; so it is where nothing was sent."""
    waited = sorted(answer.latency_s if answer.status == 200 else math.inf for answer in answers)
    return 1000 * waited[int(0.99 * len(waited))] if waited else math.inf


def finite(value: Any) -> Any:
    """Figures as JSON can say them: an infinite one, or none, is null."""
    if isinstance(value, dict):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def highest(passes: Callable[[float], bool], *, guess: float, steps: int) -> float:
    """The highest rate that was found to pass, or 0, where `guess` is the first of so many that are tried.

    Half as much again while all pass, half as much while none does, then half way between the two nearest.
    """
    low, high, rate = 0.0, math.inf, guess
    for _ in range(steps):
        if passes(rate):
            low = rate
        else:
            high = rate
        rate = 1.5 * low if high == math.inf else (low + high) / 2
    return low


def answer_ends(data: bytes) -> int:
    """Where the head of an answer ends, or -1 while it isn't there with the whole of its body."""
    end = data.find(END)
    if end < 0:
        return -1
    length = LENGTH.search(data, 0, end)
    if length:
        return end if len(data) >= end + len(END) + int(length[1]) else -1
    return end if data.endswith(LAST_CHUNK) else -1


async def opened(port: int, arrivals: Sequence[Arrival], *, most_connections: int = 4000) -> list[Answered]:
    """Send each (second, kind, body) at its time; what became of all. A connection is made where none is free."""
    loop = asyncio.get_running_loop()
    free: list[Connection] = []
    limit = asyncio.Semaphore(most_connections)
    start = loop.time()

    async def sent(request: bytes) -> bytes:
        """The head of the answer. A server closes what was idle for some seconds: then on another connection."""
        while free:
            connection = free.pop()
            try:
                head = await connection.ask(request)
            except ConnectionError:
                continue
            free.append(connection)
            return head
        try:
            _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
            head = await connection.ask(request)
        except ConnectionError:
            return LOST
        free.append(connection)
        return head

    async def one(second: float, kind: str, content: str) -> Answered:
        request = _request(content)
        async with limit:
            try:
                head = await asyncio.wait_for(sent(request), PATIENCE_S)
            except (OSError, TimeoutError):  # no more sockets, or a server that says nothing
                head = LOST
        retry = RETRY_AFTER.search(head)
        latency = loop.time() - start - second
        return Answered(kind, int(head[9:12]), latency, int(retry[1]) if retry else None, request)

    tasks = []
    for second, kind, content in arrivals:
        if (wait := start + second - loop.time()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.ensure_future(one(second, kind, content)))
    found = list(await asyncio.gather(*tasks))
    for connection in free:
        connection.close()
    await asyncio.sleep(0)
    return found


def poisson(
    kinds: Sequence[tuple[str, float, Sequence[str]]], *, rate: float, seconds: float, seed: int
) -> list[Arrival]:
    """Arrivals at `rate` a second, each of a kind drawn by its share, with the bodies of a kind in turn."""
    draw, now = random.Random(seed), 0.0
    sent = dict.fromkeys((name for name, _, _ in kinds), 0)
    found = []
    while (now := now + draw.expovariate(rate)) < seconds:
        name, _, bodies = draw.choices(kinds, weights=[share for _, share, _ in kinds])[0]
        found.append((now, name, bodies[sent[name] % len(bodies)]))
        sent[name] += 1
    return found


def _request(content: str) -> bytes:
    data = content.encode()
    head = (
        f"POST /classify HTTP/1.1\r\nHost: it\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data
