"""POST /classify, ahead of FastAPI's road: refused where nothing more fits, else answered by `app/classify.py`.

Two ways lead here. `Gate` is an application like any other, for whatever server. `ClassifyDesk` is asked by
`app/protocol.py` before there is an ASGI request: FastAPI's road, and ASGI's messages with a task for each request,
cost more than all else that a short text needs.
A server that can do a thousand requests a second may be sent ten thousand: what a refusal costs is then most of its
work, so it comes before the body is read, ready made, from either of them.
"""

import asyncio
import time
from collections.abc import Callable
from copy import copy
from functools import lru_cache, partial
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app import classify, routes
from app.batcher import LONGEST_RETRY_S
from app.classify import State, Work
from app.errors import PROBLEM, AppError, Overloaded, answer, unexpected
from app.protocol import Headers, Reply
from app.routes import CLASSIFY, CLIENT_LEFT, CLOSE, JSON, MOST_DIGITS, is_json
from model.classifier import Prediction

# A body that is larger, or of which nobody knows how large it is, is not waited for.
READ_ON_BYTES = 64 * 1024
CLASSIFY_TARGET = CLASSIFY.encode()
HEAD_OF_200 = b"content-length: %d\r\ncontent-type: " + JSON.encode() + b"\r\n"


class Gate(FastAPI):
    """FastAPI, but for requests to classify: these take none of its layers, nor any middleware that is added to it."""

    def openapi(self) -> dict[str, Any]:
        """FastAPI's, which knows one type of content for all answers of a road, with errors as what they are."""
        found = super().openapi()
        roads = (road for methods in found["paths"].values() for road in methods.values())
        for status, answered in (pair for road in roads for pair in road["responses"].items()):
            if int(status) >= 400 and JSON in answered.get("content", {}):
                answered["content"] = {PROBLEM: answered["content"][JSON]}
        return found

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
        return refused(request.app.state.lembra, request.scope["headers"]) or await routes.classify(request)
    except Exception as error:
        return _response_to(error)


class ClassifyDesk:
    """Answers requests to classify that a connection has read. What the protocol asks of it is `protocol.Desk`."""

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def closing(self) -> bool:
        """Whether the server will end soon."""
        return self._state.draining

    def refuse(self, method: bytes, target: bytes, headers: Headers) -> tuple[bytes, bytes] | None:
        """`refused`, as headers and body. None for all else: other roads, and where the connection would end."""
        if method != b"POST" or target != CLASSIFY_TARGET:
            return None
        size = _announced(headers)
        if not _is_read_on(size, headers) or (retry_s := _full_for(self._state, size or 0)) is None:
            return None
        self._state.metrics.refused.inc()
        return _refusal_written(retry_s)

    def takes(self, method: bytes, target: bytes, headers: Headers) -> bool:
        """Whether `answer` is the road of such a request: one whose body is JSON, not large, and has room."""
        if method != b"POST" or target != CLASSIFY_TARGET:
            return False
        size, kind = _announced(headers), next((value for name, value in headers if name == b"content-type"), b"")
        if size is None or size > self._state.settings.max_body_bytes or not _is_read_on(size, headers):
            return False
        return is_json(kind.decode("latin-1")) and _full_for(self._state, size) is None

    def answer(self, body: bytes, since: float, reply: Reply) -> Callable[[], object]:
        """Have the answer to that body sent in a later turn of the loop. What is returned is for a client that left."""
        return _Call(self._state, since, reply).begin(body)


class _Call:
    """A request at the desk, from its body to its answer."""

    def __init__(self, state: State, since: float, reply: Reply) -> None:
        self._state = state
        self._since = since
        self._reply = reply

    def begin(self, body: bytes) -> Callable[[], object]:
        try:
            work = classify.begin(self._state, body, spent_s=time.perf_counter() - self._since)
        except Exception as error:
            asyncio.get_running_loop().call_soon(self._fail, error)
            return lambda: None
        work.predictions.add_done_callback(partial(self._predicted, work))
        return work.predictions.cancel

    def _predicted(self, work: Work, predictions: asyncio.Future[list[Prediction]]) -> None:
        if predictions.cancelled():
            self._count(CLIENT_LEFT)
        elif work.is_large:
            writing = asyncio.get_running_loop().run_in_executor(None, classify.finish, work)
            writing.add_done_callback(lambda content: self._finish(content.result))
        else:
            self._finish(partial(classify.finish, work))

    def _finish(self, content: Callable[[], bytes]) -> None:
        try:
            body = content()
        except Exception as error:
            self._fail(error)
        else:
            self._count(200)
            self._reply(200, HEAD_OF_200 % len(body), body)

    def _fail(self, error: Exception) -> None:
        response = _response_to(error)
        self._count(response.status_code)
        self._reply(response.status_code, *_written(response))

    def _count(self, status: int) -> None:
        self._state.metrics.answered(status, time.perf_counter() - self._since)


def _response_to(error: Exception) -> Response:
    return answer(CLASSIFY, error) if isinstance(error, AppError) else unexpected("POST", CLASSIFY, error)


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
def _refusal_written(retry_s: int) -> tuple[bytes, bytes]:
    return _written(_refusal(retry_s, close=False))


def _written(made: Response) -> tuple[bytes, bytes]:
    return b"".join(b"%s: %s\r\n" % header for header in made.raw_headers), bytes(made.body)
