"""POST /classify, ahead of FastAPI's road: refused where nothing more fits, else answered by the route itself.

A server that can do a thousand requests a second may be sent ten thousand: what a refusal costs is then most of its
work, so it comes before the body is read. And FastAPI's routing costs as much as all else that the event loop does for
a short text.
"""

import time

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import AppError, Overloaded, answer
from app.routes import CLASSIFY, CLOSE, State, classify

# A body that is larger, or of which nobody knows how large it is, is not waited for.
READ_ON_BYTES = 64 * 1024


class Gate:
    """Around the application; looks at requests to classify alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer it, or pass it on."""
        if scope["type"] != "http" or scope["path"] != CLASSIFY or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            _refuse_if_full(request)
            response = await classify(request)
        except AppError as error:
            response = answer(request, error)
        await response(scope, receive, send)


def _refuse_if_full(request: Request) -> None:
    """As if the body were one text. Raises: Overloaded where no model has room for it."""
    started = time.perf_counter()
    state: State = request.app.state.lembra
    announced = request.headers.get("content-length", "")
    size = int(announced) if announced.isdecimal() else None
    refusals = []
    for served in state.served.values():
        try:
            served.batcher.check_room(served.batcher.estimate(size or 0))
        except Overloaded as error:
            refusals.append(error)
    if len(refusals) == len(state.served):
        # Who waits for "100 Continue" need not send the body after this (RFC 9110, 10.1.1).
        if size is None or size > READ_ON_BYTES or "expect" in request.headers:
            refusals[0].headers.update(CLOSE)
        state.metrics.answered(str(int(Overloaded.status)), time.perf_counter() - started)
        raise refusals[0]
