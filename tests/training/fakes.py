"""Stand-ins for what a training loop is given, by hand."""

import io

import pytest
import torch

from model.config import NetworkConfig
from model.network import Network, initialise
from training import precision
from training.loop import EpochResult

NEEDS_BFLOAT16 = pytest.mark.skipif(
    not precision.has_bfloat16(torch.device("cpu")), reason="this CPU has no AVX-512: torch has no LSTM in bfloat16"
)
SHAPE = NetworkConfig(vocabulary_size=6, embedding_size=8, hidden_size=8, classes=2)


def made(seed: int = 0) -> Network:
    """A small network with its starting values."""
    torch.manual_seed(seed)
    network = Network(SHAPE)
    initialise(network)
    return network


class Silent:
    """Progress that nobody watches."""

    def start(self, *, steps: int, done: int) -> None: ...
    def step(self, *, loss: float, tokens_per_s: float) -> None: ...
    def epoch(self, result: EpochResult) -> None: ...


class Memory:
    """Keeps a state after every step that it is due, as a file would: by value."""

    def __init__(self, *, due_every: int) -> None:
        self.due_every = due_every
        self.steps = 0
        self.kept: bytes | None = None

    def is_due(self) -> bool:
        self.steps += 1
        return self.steps % self.due_every == 0

    def save(self, state: dict[str, object]) -> None:
        file = io.BytesIO()
        torch.save(state, file)
        self.kept = file.getvalue()

    def load(self) -> dict[str, object] | None:
        return None if self.kept is None else torch.load(io.BytesIO(self.kept), weights_only=True)


class Killed(BaseException):
    """As kill -9: nothing runs after it."""
