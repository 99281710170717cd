"""POST /classify, ahead of FastAPI's road: refused where nothing more fits, else answered by the route itself.

A server that can do a thousand requests a second may be sent ten thousand: what a refusal costs is then most of its
work, so it comes before the body is read, ready made. And FastAPI's road costs as much as all else that the event loop
does for a short text.
"""

from copy import copy
from functools import lru_cache

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.batcher import LONGEST_RETRY_S
from app.errors import AppError, Overloaded, answer, unexpected
from app.routes import CLASSIFY, CLOSE, MOST_DIGITS, State, classify

# A body that is larger, or of which nobody knows how large it is, is not waited for.
READ_ON_BYTES = 64 * 1024


class Gate(FastAPI):
    """FastAPI, but for requests to classify: these take none of its layers, nor any middleware that is added to it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer it, or pass it on."""
        if scope["type"] != "http" or scope["path"] != CLASSIFY or scope["method"] != "POST":
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        response = await _answer(Request(scope, receive))
        await response(scope, receive, send)


async def _answer(request: Request) -> Response:
    try:
        return refuse_if_full(request.app.state.lembra, request.scope) or await classify(request)
    except AppError as error:
        return answer(CLASSIFY, error)
    except Exception as error:
        return unexpected(request, error)


def refuse_if_full(state: State, scope: Scope) -> Response | None:
    """The refusal, where no model has room for the body as if it were one text."""
    size = _announced(scope)
    batchers = [served.batcher for served in state.served.values()]
    if any(batcher.has_room(batcher.estimate(size or 0)) for batcher in batchers):
        return None
    state.metrics.refused.inc()
    # Who waits for "100 Continue" need not send the body after this (RFC 9110, 10.1.1).
    expects = any(name == b"expect" for name, _ in scope["headers"])
    close = size is None or size > READ_ON_BYTES or expects
    made = _refusal(max(batcher.retry_s for batcher in batchers), close=close)
    response = copy(made)
    response.raw_headers = list(made.raw_headers)  # what wraps the application may add to it
    return response


def _announced(scope: Scope) -> int | None:
    """The body's bytes, as far as the client says."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and len(value) <= MOST_DIGITS:
            return int(value)
    return None


@lru_cache(maxsize=2 * LONGEST_RETRY_S)
def _refusal(retry_s: int, *, close: bool) -> Response:
    error = Overloaded(
        f"too much is waiting: about {retry_s} s of work. Retry in {retry_s} s",
        headers={"Retry-After": str(retry_s)} | (CLOSE if close else {}),
    )
    return answer(CLASSIFY, error)
