"""FastAPI, with the network called by each request: what a tutorial does.

The network is loaded in the lifespan (https://fastapi.tiangolo.com/advanced/events/), and the endpoint is a plain
`def`, which FastAPI runs in its thread pool (https://fastapi.tiangolo.com/async/).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from pydantic import BaseModel

from benchmarks.serving.rivals import network


class Text(BaseModel):
    """The body of a request."""

    input: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the network."""
    app.state.classify = network.load()
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/classify")
def classify(text: Text, request: Request) -> network.Answer:
    """One text alone."""
    (answer,) = request.app.state.classify([text.input])
    found: network.Answer = answer
    return found
