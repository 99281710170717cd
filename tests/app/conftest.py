"""The server on the tiny bundle, in this process, and a client that speaks HTTP to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from tests.app.serving import app_of, client_of


@pytest.fixture
def app(tiny_bundle: Path) -> FastAPI:
    return app_of(tiny_bundle)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of that app while it runs."""
    async with client_of(app) as client:
        yield client
