"""What the server answers. A request's road is `classify`, read downwards."""

import asyncio
import reprlib
import secrets
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.requests import ClientDisconnect

from app.batcher import Batcher
from app.errors import (
    AppError,
    BodyTooLarge,
    BodyTooSlow,
    InvalidRequest,
    MalformedBody,
    UnknownModel,
    UnsupportedType,
    problem,
)
from app.metrics import Metrics
from app.protocol import LEFT
from app.schemas import (
    ClassifyRequest,
    ClassifyResponse,
    Health,
    ModelCard,
    ModelList,
    Problem,
)
from app.settings import Settings
from model.classifier import Prediction
from model.errors import TextError

CLASSIFY = "/classify"
PAGE = Path(__file__).parent / "page"
# float32 has seven digits; more would be noise that looks like precision.
DIGITS = 7
# Faults of one body that are described one by one; describing a million would hold the event loop for seconds.
MOST_FAULTS = 100
# Scores of an answer that the event loop writes itself, in about a millisecond. A thousand texts over a hundred labels
# take a second, in which it has others to serve; a thread, which costs 0.1 ms, does those.
ANSWERED_AT_ONCE = 1000
# Of a length that is announced; Python refuses to read thousands of them, which may be zeros.
MOST_DIGITS = 20
CLOSE = {"Connection": "close"}  # the rest of a body that was not read is still on it

Answer = TypeVar("Answer")
router = APIRouter()


@dataclass(frozen=True)
class Served:
    """One bundle, its batcher, and what /models says of it."""

    card: ModelCard
    batcher: Batcher


@dataclass
class State:
    """What the routes share; made in the lifespan."""

    settings: Settings
    metrics: Metrics
    served: dict[str, Served]
    default: str | None
    draining: bool = False

    @property
    def ready(self) -> bool:
        return not self.draining and all(served.batcher.alive for served in self.served.values())


class ClientLeft(Exception):
    """The client closed its connection before its answer was there."""


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text, "content": {"application/problem+json": {}}}
    for status, text in (
        (400, "The body isn't JSON, or isn't UTF-8"),
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
    status = "499"  # nginx's word for a client that left
    try:
        body = parse(await read_body(request, state.settings))
        served = _served(state, body.model)
        check_texts(body, state.settings)
        left_s = state.settings.deadline_s - (time.perf_counter() - started)
        work = served.batcher.classify(body.texts, truncate=body.truncate, deadline_s=left_s)
        predictions = await unless_client_leaves(request, work)
        if len(predictions) * len(served.card.labels) <= ANSWERED_AT_ONCE:
            content = answer(served.card, predictions, top_k=body.top_k)
        else:
            content = await asyncio.to_thread(answer, served.card, predictions, top_k=body.top_k)
        status = "200"
        return Response(content, media_type="application/json")
    except (ClientDisconnect, ClientLeft):
        return Response(status_code=499)
    except TextError as error:
        status = "422"
        raise invalid([(body.pointer(error.index), f"{error} (`truncate` is false)")]) from None
    except AppError as error:
        status = str(int(error.status))
        raise
    except Exception:
        status = "500"
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


async def read_body(request: Request, settings: Settings) -> bytes:
    """The body, never more than the limit of it. Raises: UnsupportedType, BodyTooLarge, BodyTooSlow."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedType(f"content-type is {kind or 'missing'!r}; it must be 'application/json'", headers=CLOSE)
    try:
        async with asyncio.timeout(settings.deadline_s):
            return await _receive(request, limit=settings.max_body_bytes)
    except TimeoutError:
        raise BodyTooSlow(f"no whole body within the deadline of {settings.deadline_s:g} s", headers=CLOSE) from None


async def _receive(request: Request, *, limit: int) -> bytes:
    header = request.headers.get("content-length", "0")
    announced, body = int(header) if header.isdecimal() and len(header) <= MOST_DIGITS else 0, bytearray()
    if announced <= limit:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                break
    if (size := max(announced, len(body))) > limit:
        raise BodyTooLarge(f"the body has at least {size:,} bytes; the limit is {limit:,}", headers=CLOSE)
    return bytes(body)


def parse(body: bytes) -> ClassifyRequest:
    """Raises: MalformedBody for what isn't JSON, InvalidRequest for what isn't a request."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body isn't UTF-8: byte 0x{body[error.start]:02x} at position {error.start}") from None
    try:
        return ClassifyRequest.model_validate_json(body)
    except ValidationError as error:
        if error.error_count() > MOST_FAULTS:
            raise invalid([("", f"{error.error_count():,} fields can't be used")]) from None
        found = error.errors(include_url=False, include_context=False)
    if found[0]["type"] == "json_invalid":
        raise MalformedBody(f"the body isn't JSON: {found[0]['msg'].removeprefix('Invalid JSON: ')}")
    raise invalid([(_pointer(one["loc"]), _said(one)) for one in found])


def _pointer(location: tuple[int | str, ...]) -> str:
    """RFC 6901, of a field's location; a name that a client made up is shown to 80 characters."""
    # In second place pydantic names the shape of `input`: text, or texts.
    parts = [str(part)[:80] for part in location[:1] + location[2:]]
    return "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in parts)


def _said(one: Any) -> str:
    if one["type"] == "missing":
        return "is missing"
    if one["type"] == "extra_forbidden":
        return f"there is no such field; there are {', '.join(ClassifyRequest.model_fields)}"
    return f"{one['msg']}; it is {reprlib.repr(one['input'])}"


def check_texts(body: ClassifyRequest, settings: Settings) -> None:
    """Raises: InvalidRequest that points at every text that can't be used."""
    texts = body.texts
    if len(texts) > settings.max_texts:
        raise invalid([("/input", f"{len(texts):,} texts; the limit is {settings.max_texts:,}")])
    wrong = [(body.pointer(index), why) for index, text in enumerate(texts) if (why := _why_not(text, settings))]
    if wrong:
        raise invalid(wrong)


def _why_not(text: str, settings: Settings) -> str | None:
    if len(text) > settings.max_characters:
        return f"the text has {len(text):,} characters; the limit is {settings.max_characters:,}"
    if not text.strip():
        return f"the text is {'empty' if not text else 'white space only'}"
    if "\0" in text:
        return f"the text has a NUL at character {text.index(chr(0))}"
    return None


def invalid(wrong: list[tuple[str, str]]) -> InvalidRequest:
    """An error for these pointers and reasons; its detail is the first of them."""
    pointer, why = wrong[0]
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    errors = [{"pointer": f"#{at}", "detail": reason} for at, reason in wrong[:MOST_FAULTS]]
    return InvalidRequest(f"{pointer.lstrip('/').replace('/', '.') or 'the body'}: {why}{more}", errors=errors)


def _served(state: State, name: str | None) -> Served:
    wanted = name if name is not None else state.default
    known = ", ".join(state.served)
    if wanted is None:
        raise invalid([("/model", f"several models are served and none is the default; name one of {known}")])
    if wanted not in state.served:
        raise UnknownModel(f"there is no model {wanted[:80]!r} here; there are {known}")
    return state.served[wanted]


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """The result of `work`; when the client leaves first, the work is cancelled. Raises: ClientLeft."""
    task = asyncio.current_task()
    assert task is not None, "a request is a task"
    waiting = True

    def cancel(left: asyncio.Future[None]) -> None:
        # Not where it left in the turn in which the answer came: what is done with that is not to be cancelled.
        if waiting and not left.cancelled():
            task.cancel()

    told = request.scope.get("extensions", {}).get(LEFT)
    leaving: asyncio.Future[None] = told["future"] if told else asyncio.ensure_future(_disconnect(request))
    leaving.add_done_callback(cancel)
    try:
        return await work
    except asyncio.CancelledError:
        if leaving.done() and not leaving.cancelled():
            task.uncancel()
            raise ClientLeft from None
        raise
    finally:
        waiting = False
        leaving.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def answer(card: ModelCard, predictions: list[Prediction], *, top_k: int | None) -> bytes:
    """The body of a 200: a ClassifyResponse, of plain dicts, as its models would take longer than HTTP itself."""
    tokens = sum(prediction.tokens for prediction in predictions)
    return to_json(
        {
            "id": f"classify-{secrets.token_hex(16)}",  # a UUID takes twice as long
            "object": "list",
            "created": int(time.time()),
            "model": card.id,
            "model_version": card.version,
            "data": [_classification(index, found, card.labels, top_k) for index, found in enumerate(predictions)],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
        }
    )


def _classification(index: int, found: Prediction, labels: list[str], top_k: int | None) -> dict[str, Any]:
    probs = [round(value, DIGITS) for value in found.probs]
    ranked = sorted(range(len(labels)), key=found.probs.__getitem__, reverse=True)[:top_k]
    return {
        "index": index,
        "label": found.label,
        "score": round(found.score, DIGITS),
        "labels": found.labels,
        "probs": probs,
        "num_classes": len(labels),
        "scores": [{"label": labels[number], "score": probs[number]} for number in ranked],
        "tokens": found.tokens,
        "truncated": found.truncated,
    }
