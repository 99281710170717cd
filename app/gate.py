"""POST /classify, ahead of FastAPI's road: refused where nothing more fits, else answered by the route itself.

A server that can do a thousand requests a second may be sent ten thousand: what a refusal costs is then most of its
work, so it comes before the body is read, ready made; where `app/protocol.py` reads the head, before there is an ASGI
request. And FastAPI's road costs as much as all else that the event loop does for a short text.
"""

from collections.abc import Sequence
from copy import copy
from functools import lru_cache
from typing import TypeAlias

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.batcher import LONGEST_RETRY_S
from app.errors import AppError, Overloaded, answer, unexpected
from app.routes import CLASSIFY, CLOSE, MOST_DIGITS, State, classify

# A body that is larger, or of which nobody knows how large it is, is not waited for.
READ_ON_BYTES = 64 * 1024
CLASSIFY_TARGET = CLASSIFY.encode()

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]


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
        return refused(request.app.state.lembra, request.scope["headers"]) or await classify(request)
    except AppError as error:
        return answer(CLASSIFY, error)
    except Exception as error:
        return unexpected(request, error)


def refused(state: State, headers: Headers) -> Response | None:
    """The refusal of a request with these headers; None where a model has room for its body as if it were one text."""
    size = _announced(headers)
    if (retry_s := _full_for(state, size or 0)) is None:
        return None
    state.metrics.refused.inc()
    made = _refusal(retry_s, close=not _is_read_on(size, headers))
    response = copy(made)
    response.raw_headers = list(made.raw_headers)  # what wraps the application may add to it
    return response


def refused_at_once(state: State, method: bytes, target: bytes, headers: Headers) -> tuple[bytes, bytes] | None:
    """`refused`, as headers and body to be sent. None for all else: other roads, and where the connection would end."""
    if method != b"POST" or target != CLASSIFY_TARGET:
        return None
    size = _announced(headers)
    if not _is_read_on(size, headers) or (retry_s := _full_for(state, size or 0)) is None:
        return None
    state.metrics.refused.inc()
    return _written(retry_s)


def _full_for(state: State, size: int) -> int | None:
    """In how many seconds to retry, where no model has room for a body of so many bytes."""
    batchers = [served.batcher for served in state.served.values()]
    if any(batcher.has_room(batcher.estimate(size)) for batcher in batchers):
        return None
    return max(batcher.retry_s for batcher in batchers)


def _is_read_on(size: int | None, headers: Headers) -> bool:
    """Whether the connection goes on behind the body. Who waits for "100 Continue" need not send it after a refusal
    (RFC 9110, 10.1.1).
    """
    return size is not None and size <= READ_ON_BYTES and not any(name == b"expect" for name, _ in headers)


def _announced(headers: Headers) -> int | None:
    """The body's bytes, as far as the client says."""
    for name, value in headers:
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


@lru_cache(maxsize=LONGEST_RETRY_S)
def _written(retry_s: int) -> tuple[bytes, bytes]:
    made = _refusal(retry_s, close=False)
    return b"".join(b"%s: %s\r\n" % header for header in made.raw_headers), bytes(made.body)
