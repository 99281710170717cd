"""The server on the tiny bundle, in this process, and a client that speaks HTTP to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from tests.app.serving import app_of, client_of, connected


@pytest.fixture
def app(tiny_bundle: Path) -> FastAPI:
    return app_of(tiny_bundle)


@pytest.fixture(params=[client_of, connected], ids=["asgi", "socket"])
async def client(app: FastAPI, request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    """A client of that app while it runs, on each of the roads to it."""
    async with request.param(app) as client:
        yield client
