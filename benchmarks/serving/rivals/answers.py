"""What a server says of texts, next to what ours says of them: one that answers otherwise isn't measured."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.serving import servers

# Of probabilities. Our engine, in integers of 16 bits, is within 1e-4 of torch's float32 on AG News' test rows.
TOLERANCE = 1e-3
CLIENTS = 32  # at once, so that batches are made, and an answer that goes to another's request is seen


class WrongAnswerError(Exception):
    """A server's answer isn't ours, or isn't one at all. Says which."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one text: its best label, and the probability of each."""

    label: str
    probs: dict[str, float]


def ask(port: int, bodies: Sequence[str]) -> list[Answer]:
    """The answers to these, in their order. Raises: WrongAnswerError."""

    def one(body: str) -> Answer:
        try:
            status, content = servers.ask(port, "POST", "/classify", body)
        except servers.LOST as error:
            raise WrongAnswerError(f"no answer: {error}") from error
        if status != 200:
            raise WrongAnswerError(f"status {status}")
        return read(content)

    with ThreadPoolExecutor(CLIENTS) as threads:
        return list(threads.map(one, bodies))


def read(content: bytes) -> Answer:
    """An answer as ours writes it, which has a list under "data", or a rival's: alone, or in a list of one.

    Raises: WrongAnswerError.
    """
    try:
        found = json.loads(content)
        if "data" in found:
            found = found["data"]
        (one,) = found if isinstance(found, list) else [found]
        return Answer(one["label"], {score["label"]: score["score"] for score in one["scores"]})
    except (ValueError, KeyError, TypeError) as error:
        raise WrongAnswerError(f"not an answer: {content[:80]!r}") from error


def check(theirs: Sequence[Answer], ours: Sequence[Answer]) -> None:
    """Raises: WrongAnswerError where a label or a probability is another."""
    for number, (found, expected) in enumerate(zip(theirs, ours, strict=True)):
        if not _agree(found, expected):
            raise WrongAnswerError(f"text {number}: {found}; ours is {expected}, the tolerance is {TOLERANCE:g}")


def _agree(found: Answer, expected: Answer) -> bool:
    if found.probs.keys() != expected.probs.keys() or found.label not in found.probs:
        return False
    near = all(abs(found.probs[label] - prob) <= TOLERANCE for label, prob in expected.probs.items())
    # Of labels that are as probable as each other, to within the tolerance, either may be the best.
    return near and expected.probs[found.label] >= expected.probs[expected.label] - 2 * TOLERANCE
