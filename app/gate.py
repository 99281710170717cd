"""Refuses where nothing more fits, before a body is read or a route is looked for.

A server that can do a thousand requests a second may be sent ten thousand: what a refusal costs is then most of its
work.
"""

import time

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import Overloaded, answer
from app.routes import CLASSIFY, CLOSE, State

# A body that is larger, or of which nobody knows how large it is, is not waited for.
READ_ON_BYTES = 64 * 1024


class Gate:
    """Around the application; looks at requests to classify alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, or answer 429."""
        if scope["type"] == "http" and scope["path"] == CLASSIFY and scope["method"] == "POST":
            started = time.perf_counter()
            state: State = scope["app"].state.lembra
            announced = Headers(scope=scope).get("content-length", "")
            size = int(announced) if announced.isdecimal() else None
            try:
                _check_room(state, size or 0)
            except Overloaded as error:
                if size is None or size > READ_ON_BYTES:
                    error.headers.update(CLOSE)
                await answer(Request(scope), error)(scope, receive, send)
                state.metrics.answered(str(int(error.status)), time.perf_counter() - started)
                return
        await self._app(scope, receive, send)


def _check_room(state: State, size: int) -> None:
    """As if the body, of so many bytes, were one text. Raises: Overloaded where no model has room for it."""
    refusals = []
    for served in state.served.values():
        try:
            served.batcher.check_room(served.batcher.estimate(size))
        except Overloaded as error:
            refusals.append(error)
    if len(refusals) == len(state.served):
        raise refusals[0]
