"""app.protocol: what httptools would lose is not lost, and it is httptools all the same."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.protocol import MOST_HEAD, Protocol
from tests.fakes import PATIENCE_S

pytestmark = pytest.mark.anyio

OFFERS = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n",
    b"connection: upgrade\r\nUPGRADE: websocket\r\n",
)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """The body comes back, whole."""
    assert scope["type"] == "http"
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def post(body: bytes, headers: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\nHost: it\r\n%sContent-Length: %d\r\n\r\n%s" % (headers, len(body), body)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server that speaks it."""
    config = uvicorn.Config(echo, http=Protocol, lifespan="off", log_config=None, ws="none")
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Protocol(config, state, {}), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next one."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = [line.lower() for line in head.splitlines()]
    (length,) = (int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length"))
    return int(head.split()[1]), await reader.readexactly(length)


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("first", [0, 2])
async def test_the_body_of_a_request_that_offers_an_upgrade_is_read(offer: bytes, first: int) -> None:
    """Whether it is the first on its connection or comes after others, and those after it are answered as well."""
    async with connected() as (reader, writer):
        for number in range(first):
            writer.write(post(b"before %d" % number))
            assert await answer(reader) == (200, b"before %d" % number)
        for body in (b"offering", b"again"):
            writer.write(post(body, offer))
            assert await answer(reader) == (200, body)
        writer.write(post(b"after"))
        assert await answer(reader) == (200, b"after")


@pytest.mark.parametrize("offer", [b"", OFFERS[0]])
async def test_it_does_not_matter_how_the_bytes_arrive(offer: bytes) -> None:
    """One at a time, the offer and the end of the head among them; two requests in one piece."""
    async with connected() as (reader, writer):
        for byte in post(b"slowly", offer):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        assert await answer(reader) == (200, b"slowly")
        writer.write(post(b"one") + post(b"two"))
        assert [await answer(reader), await answer(reader)] == [(200, b"one"), (200, b"two")]


async def test_a_large_body_is_no_head() -> None:
    """Of a body nothing is looked at, whatever it says."""
    body = json.dumps({"input": "\r\nUpgrade: h2c\r\n" * 20_000}).encode() + b"\r\nUpgrade: h2c\r\n" * 20_000
    async with connected() as (reader, writer):
        for _ in range(2):
            writer.write(post(body))
            assert await answer(reader) == (200, body)


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
async def test_a_head_without_bounds_is_refused(end: bytes) -> None:
    """Whether its end comes or not: what a connection may hold of memory is limited."""
    async with connected() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: it\r\nX: " + b"x" * (2 * MOST_HEAD) + end)
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
