"""The server in this process, on the tiny bundle, with limits that a test can reach."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from uvicorn import Config
from uvicorn.server import ServerState

from app.batcher import Batcher, Limits
from app.classify import Served, State
from app.main import create_app
from app.protocol import Protocol
from app.settings import Settings
from tests import tiny
from tests.fakes import PATIENCE_S, FakeEngine, classifier_on

ROOT = Path(__file__).parents[2]
LIMITS: dict[str, Any] = {
    "device": "cpu",
    "threads": 1,
    "max_body_bytes": 4000,
    "max_texts": 5,
    "max_characters": 300,
    "max_waiting_tokens": 200,
    "max_batch_tokens": 100,
}


def app_of(bundles: Path, **settings: Any) -> FastAPI:
    """The app on a bundle, or a folder of them."""
    return create_app(Settings(bundles=bundles, **LIMITS | settings))


def environment(**settings: object) -> dict[str, str]:
    """This one, with these LEMBRA_ settings and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith("LEMBRA_")}
    return inherited | {name: str(value) for name, value in settings.items()}


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Start the app, talk HTTP to it, end it."""
    # A 500 is an answer to be looked at, as it is over a socket.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://it") as client:
        yield client


@asynccontextmanager
async def connected(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The same over a socket, by our own protocol, as `python -m app` has it."""
    config = Config(app, interface="asgi3", ws="none", lifespan="off", access_log=False, log_config=None)
    config.load()
    async with app.router.lifespan_context(app) as state:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Protocol(config, ServerState(), dict(state)), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
            yield client


@asynccontextmanager
async def engine_replaced(app: FastAPI, engine: FakeEngine) -> AsyncIterator[Batcher]:
    """While it lasts, the running app's tiny bundle computes on `engine`."""
    state: State = app.state.lembra
    limits = Limits(waiting_tokens=15, batch_tokens=100, deadline_s=PATIENCE_S)
    before = state.served[tiny.NAME]
    batcher = Batcher(tiny.NAME, classifier_on(engine), limits, state.metrics)
    state.served[tiny.NAME] = Served(before.card, batcher)
    try:
        yield batcher
    finally:
        state.served[tiny.NAME] = before
        engine.release.set()
        await batcher.close()
