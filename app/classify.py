"""A request's road from its body to its answer's, read downwards: `begin`, the batcher's predictions, `finish`.

It knows no HTTP but its errors: who reads the one body and sends the other is in `app/routes.py` and `app/gate.py`.
"""

import asyncio
import re
import reprlib
import secrets
import time
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from app.batcher import Batcher
from app.errors import InvalidRequest, MalformedBody, UnknownModel
from app.metrics import Metrics
from app.schemas import ClassifyRequest, ModelCard
from app.settings import Settings
from model.classifier import Prediction
from model.errors import TextError

# Probabilities are told in ten-millionths: float32 has seven digits, and more would be noise that looks like precision.
PARTS = 10**7
# Faults of one body that are described one by one; describing a million would hold the event loop for seconds.
MOST_FAULTS = 100
# Of a body, that pydantic may see whatever is in it. It makes every value before it finds a fault: a million lists, one
# in another, held the event loop for five seconds, and took a gigabyte.
LOOKED_AT = 1 << 14
# What any request is like, and nothing that takes long to read: an object of few fields, each a text, a number or a
# word, or one list of these. No step back: what was read is never tried in another way.
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_ITEM = rb"(?:" + _STRING + rb"|[-+.\w]++)"
_LIST = rb"\[(?:\s*+" + _ITEM + rb"\s*+,?)*+\s*+\]"
_FIELD = rb"\s*+" + _STRING + rb"\s*+:\s*+(?:" + _ITEM + rb"|" + _LIST + rb")\s*+,?"
FLAT = re.compile(rb"\s*+\{(?:" + _FIELD + rb"){0,16}+\s*+\}\s*+", re.DOTALL)
# Scores of an answer that the event loop writes itself, in about a millisecond. A thousand texts over a hundred labels
# take a second, in which it has others to serve; a thread, which costs 0.1 ms, does those.
ANSWERED_AT_ONCE = 1000


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
    arriving_bytes: int = 0  # of bodies that aren't whole yet

    @property
    def ready(self) -> bool:
        return not self.draining and all(served.batcher.alive for served in self.served.values())


@dataclass(frozen=True, slots=True)
class Work:
    """A request that was let in. To cancel `predictions` is to leave."""

    served: Served
    body: ClassifyRequest
    predictions: asyncio.Future[list[Prediction]]

    @property
    def is_large(self) -> bool:
        """Whether to write its answer would hold the event loop up."""
        return len(self.body.texts) * len(self.served.card.labels) > ANSWERED_AT_ONCE


def begin(state: State, content: bytes, *, spent_s: float = 0.0) -> Work:
    """Let a request in, of whose deadline so much is spent. Raises: AppError."""
    body = parse(content)
    served = _served(state, body.model)
    check_texts(body, state.settings)
    left_s = state.settings.deadline_s - spent_s
    return Work(served, body, served.batcher.submit(body.texts, truncate=body.truncate, deadline_s=left_s))


def finish(work: Work) -> bytes:
    """The body of a 200, once the predictions are there. Raises: AppError."""
    try:
        predictions = work.predictions.result()
    except TextError as error:
        raise invalid([(work.body.pointer(error.index), f"{error} (`truncate` is false)")]) from None
    return response_body(work.served.card, predictions, top_k=work.body.top_k)


def parse(body: bytes) -> ClassifyRequest:
    """Raises: MalformedBody for what isn't JSON, or is large and of another shape than any request; InvalidRequest for
    what else isn't one.
    """
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body isn't UTF-8: byte 0x{body[error.start]:02x} at position {error.start}") from None
    if len(body) > LOOKED_AT and not FLAT.fullmatch(body):
        fields = ", ".join(ClassifyRequest.model_fields)
        raise MalformedBody(
            f"it is no JSON object of {fields}, of which `input` alone may be a list, of texts; from {LOOKED_AT:,} "
            "bytes on a body isn't looked at more closely"
        )
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


def response_body(card: ModelCard, predictions: list[Prediction], *, top_k: int | None) -> bytes:
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


def _told(value: float) -> float:
    """A probability as an answer has it."""
    return int(value * PARTS + 0.5) / PARTS  # `round` takes four times as long


def _classification(index: int, found: Prediction, labels: list[str], top_k: int | None) -> dict[str, Any]:
    probs = [_told(value) for value in found.probs]
    ranked = sorted(range(len(labels)), key=found.probs.__getitem__, reverse=True)[:top_k]
    return {
        "index": index,
        "label": found.label,
        "score": _told(found.score),
        "labels": found.labels,
        "probs": probs,
        "num_classes": len(labels),
        "scores": [{"label": labels[number], "score": probs[number]} for number in ranked],
        "tokens": found.tokens,
        "truncated": found.truncated,
    }
