"""What can go wrong for a client, and the answer it gets: RFC 9457 problem details.

    SettingsError               the server does not start
    AppError
    ├── MalformedBody       400 not JSON, not UTF-8, or large and of another shape
    ├── UnknownModel        404 no such bundle is served
    ├── BodyTooSlow         408
    ├── BodyTooLarge        413
    ├── UnsupportedType     415 not application/json
    ├── InvalidRequest      422 a field or a text can't be used; `errors` points at each
    ├── Overloaded          429 too much is waiting; Retry-After says when to come back
    ├── EngineFailed        500 the batch that this request was in could not be computed
    ├── ShuttingDown        503
    └── DeadlineExceeded    503

Clients never see internal text; the log has the traceback, and never a client's text.
"""

import json
import logging
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

logger = logging.getLogger("lembra")

PROBLEM = "application/problem+json"


class SettingsError(Exception):
    """The server can't start with these settings."""


class AppError(Exception):
    """Base of what a client is told; the message is the problem's `detail`."""

    status: ClassVar[HTTPStatus]
    slug: ClassVar[str]

    def __init__(
        self,
        detail: str,
        *,
        errors: list[dict[str, str]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.errors = errors or []
        self.headers = headers or {}


class MalformedBody(AppError):
    status, slug = HTTPStatus.BAD_REQUEST, "malformed-body"


class UnknownModel(AppError):
    status, slug = HTTPStatus.NOT_FOUND, "unknown-model"


class BodyTooSlow(AppError):
    status, slug = HTTPStatus.REQUEST_TIMEOUT, "body-too-slow"


class BodyTooLarge(AppError):
    status, slug = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body-too-large"


class UnsupportedType(AppError):
    status, slug = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-type"


class InvalidRequest(AppError):
    status, slug = HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request"


class Overloaded(AppError):
    status, slug = HTTPStatus.TOO_MANY_REQUESTS, "overloaded"


class EngineFailed(AppError):
    status, slug = HTTPStatus.INTERNAL_SERVER_ERROR, "engine-failed"


class ShuttingDown(AppError):
    status, slug = HTTPStatus.SERVICE_UNAVAILABLE, "shutting-down"


class DeadlineExceeded(AppError):
    status, slug = HTTPStatus.SERVICE_UNAVAILABLE, "deadline-exceeded"


def problem(
    instance: str,
    status: int,
    detail: str,
    *,
    slug: str | None = None,
    errors: list[dict[str, str]] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """An `application/problem+json` answer to a request of the path `instance`."""
    body: dict[str, Any] = {
        "type": f"urn:lembra:problem:{slug}" if slug else "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": instance,
    }
    if errors:
        body["errors"] = errors
    # Escaped to ASCII: what a client sent comes back whole, even where it is no character.
    return Response(json.dumps(body), status, headers, media_type=PROBLEM)


def answer(instance: str, error: AppError) -> Response:
    """What a client is told of it."""
    return problem(instance, error.status, str(error), slug=error.slug, errors=error.errors, headers=error.headers)


def unexpected(method: str, path: str, error: Exception) -> Response:
    """What a client is told of an error that nobody foresaw; the log has its traceback."""
    logger.error("unexpected error in %s %s", method, path, exc_info=error)
    return problem(path, 500, "the server met an error that it did not expect; its log has it")


def install(app: FastAPI) -> None:
    """Make every error of the app a problem."""

    async def app_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, AppError)
        return answer(request.scope["path"], error)

    async def unforeseen(request: Request, error: Exception) -> Response:
        return unexpected(request.method, request.scope["path"], error)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        detail = f"{request.method} {request.url.path}: {error.detail}"
        return problem(request.scope["path"], error.status_code, detail, headers=dict(error.headers or {}))

    app.add_exception_handler(AppError, app_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, unforeseen)
