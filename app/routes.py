"""What the server answers, as a FastAPI application. What a request to classify means is in `app/classify.py`."""

import asyncio
import time
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import ClientDisconnect

from app.classify import State, begin, finish
from app.errors import AppError, BodyTooLarge, BodyTooSlow, Overloaded, UnsupportedType, problem
from app.schemas import ClassifyRequest, ClassifyResponse, Health, ModelList, Problem

CLASSIFY = "/classify"
JSON = "application/json"
CLIENT_LEFT = 499  # nginx's word for it
PAGE = Path(__file__).parent / "page"
# Of a length that is announced; Python refuses to read thousands of them, which may be zeros.
MOST_DIGITS = 20
# So many of the largest may be in memory before they are requests: a slow client holds its own for the deadline.
BODIES = 16
CLOSE = {"Connection": "close"}  # the rest of a body that was not read is still on it

router = APIRouter()


class ClientLeft(Exception):
    """The client closed its connection before its answer was there."""


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in (
        (400, "The body isn't JSON, isn't UTF-8, or is large and of another shape than a request"),
        (404, "No such model is served"),
        (408, "The body did not arrive within the deadline"),
        (413, "The body has too many bytes"),
        (415, "The body isn't application/json"),
        (422, "A field or a text can't be used, or there are too many texts"),
        (429, "Too much is waiting; Retry-After says when to come back"),
        (500, "The batch of this request could not be computed"),
        (503, "Shutting down, or not answered within the deadline"),
    )
}
BODY = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": ClassifyRequest.model_json_schema()}}}
}


@router.post(CLASSIFY, response_model=ClassifyResponse, responses=ERRORS, openapi_extra=BODY)
async def classify(request: Request) -> Response:
    """Label and probabilities for one text, or for each of a list."""
    state: State = request.app.state.lembra
    started = time.perf_counter()
    status = CLIENT_LEFT
    try:
        content = await read_body(request, state)
        work = begin(state, content, spent_s=time.perf_counter() - started)
        await unless_client_leaves(request, work.predictions)
        answer = await asyncio.to_thread(finish, work) if work.is_large else finish(work)
        status = 200
        return Response(answer, media_type=JSON)
    except (ClientDisconnect, ClientLeft):
        return Response(status_code=CLIENT_LEFT)
    except AppError as error:
        status = error.status
        raise
    except Exception:
        status = 500
        raise
    finally:
        state.metrics.answered(status, time.perf_counter() - started)


@router.get("/models")
async def models(request: Request) -> ModelList:
    """What is served here."""
    state: State = request.app.state.lembra
    return ModelList(data=[served.card for served in state.served.values()])


@router.head("/health/live", include_in_schema=False)
@router.get("/health/live")
async def live() -> Health:
    """The process answers."""
    return Health(status="live")


@router.head("/health/ready", include_in_schema=False, response_model=Health)
@router.get("/health/ready", response_model=Health, responses={503: {"model": Problem}})
async def ready(request: Request) -> Any:
    """Requests that are sent now will be answered."""
    state: State = request.app.state.lembra
    if not state.ready:
        reason = "shutting down" if state.draining else "an engine has stopped"
        return problem(request.scope["path"], 503, f"not ready: {reason}", slug="not-ready")
    return Health(status="ready")


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    state: State = request.app.state.lembra
    return Response(state.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


@router.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
async def page() -> FileResponse:
    """A page to try it on."""
    return FileResponse(PAGE / "index.html")


async def read_body(request: Request, state: State) -> bytes:
    """The body, never more than the limit of it. Raises: UnsupportedType, BodyTooLarge, BodyTooSlow, Overloaded."""
    deadline_s = state.settings.deadline_s
    kind = request.headers.get("content-type", "")
    if not is_json(kind):
        raise UnsupportedType(f"content-type is {_media_type(kind) or 'missing'!r}; it must be {JSON!r}", headers=CLOSE)
    try:
        async with asyncio.timeout(deadline_s):
            return await _receive(request, state)
    except TimeoutError:
        raise BodyTooSlow(f"no whole body within the deadline of {deadline_s:g} s", headers=CLOSE) from None


async def _receive(request: Request, state: State) -> bytes:
    limit = state.settings.max_body_bytes
    header = request.headers.get("content-length", "0")
    announced, body = int(header) if header.isdecimal() and len(header) <= MOST_DIGITS else 0, bytearray()
    if announced <= limit:
        try:
            async for chunk in request.stream():
                body += chunk
                state.arriving_bytes += len(chunk)
                _check_arriving(state)
                if len(body) > limit:
                    break
        finally:
            state.arriving_bytes -= len(body)
    if (size := max(announced, len(body))) > limit:
        raise BodyTooLarge(f"the body has at least {size:,} bytes; the limit is {limit:,}", headers=CLOSE)
    return bytes(body)


def _check_arriving(state: State) -> None:
    most = BODIES * state.settings.max_body_bytes
    if state.arriving_bytes > most:
        raise Overloaded(
            f"bodies of {state.arriving_bytes:,} bytes are arriving; the limit is {most:,}: retry in 1 s",
            headers={"Retry-After": "1", **CLOSE},
        )


def is_json(content_type: str) -> bool:
    """Whether a body of this type is read."""
    return _media_type(content_type) == JSON


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


async def unless_client_leaves(request: Request, answer: asyncio.Future[Any]) -> None:
    """Wait for `answer`, whatever becomes of it; when the client leaves first, it is cancelled. Raises: ClientLeft."""
    leaving = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait((answer, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientLeft
    finally:
        answer.cancel()
        leaving.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
