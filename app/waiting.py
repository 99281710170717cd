"""What waits in a batcher: a request, and each of its texts."""

import asyncio
from collections.abc import Sequence

from model.classifier import Prediction, Row


class Request:
    """One client's texts. Lives on the event loop; the worker reads, and writes `given_up`, `waiting` and `work`."""

    __slots__ = ("answers", "arrived", "deadline", "ends", "future", "given_up", "left", "truncate", "waiting", "work")

    def __init__(
        self, texts: Sequence[str], work: Sequence[int], arrived: float, within_s: float, *, truncate: bool
    ) -> None:
        """`work` is each text's, in tokens as admission counts them."""
        loop = asyncio.get_running_loop()
        self.future: asyncio.Future[list[Prediction]] = loop.create_future()
        self.answers: list[Prediction | None] = [None] * len(texts)
        self.left = len(texts)
        self.work = sum(work)  # of those that wait
        self.waiting = {
            index: Text(self, index, text, its) for index, (text, its) in enumerate(zip(texts, work, strict=True))
        }
        self.arrived = arrived
        self.deadline = arrived + within_s
        self.ends = loop.time() + within_s  # the same, by the event loop's clock
        self.truncate = truncate
        self.given_up = False

    @property
    def abandoned(self) -> bool:
        """Answered, failed, or left by its client."""
        return self.given_up or self.future.done()


class Text:
    """One text of a request, and, once it was read, its row."""

    __slots__ = ("_tokens", "index", "request", "row", "text", "work")

    def __init__(self, request: Request, index: int, text: str, work: int) -> None:
        self.request = request
        self.index = index
        self.text = text
        self.work = work
        self.row: Row | None = None
        self._tokens = 0

    def read(self, row: Row) -> None:
        """It is this row."""
        self.row = row
        self._tokens = len(row)  # asked for several times a text

    def __len__(self) -> int:
        """Tokens, of a text that was read."""
        return self._tokens
