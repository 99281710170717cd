"""One timer for many deadlines: a timeout for each request costs 7 µs, and hardly any is ever needed."""

import asyncio
import math
from collections.abc import Callable

# A time that is so near has come: uvloop's clock has milliseconds, and whoever is rung for looks at all that wait.
NEAR_S = 0.005


class Alarm:
    """Rings at the earliest of the times that it watches, by the event loop's clock. For that loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[float], float | None]) -> None:
        """`ring` ends all whose time is up to what it is given, and says which time is next."""
        self._loop = loop
        self._call = ring
        self._handle: asyncio.Handle | None = None
        self._rings = math.inf  # when; uvloop's handles don't all know it

    def watch(self, at: float) -> None:
        """Ring at that time, if not before."""
        if at < self._rings:
            self.cancel()
            self._handle, self._rings = self._loop.call_at(at, self._ring), at

    def cancel(self) -> None:
        """Watch nothing."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle, self._rings = None, math.inf

    def _ring(self) -> None:
        self.cancel()
        following = self._call(self._loop.time() + NEAR_S)
        if following is not None:
            self.watch(following)
