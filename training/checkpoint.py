"""What a run that was cut off needs to go on as if it had not been.

A checkpoint is one file in the run's folder, replaced whole: weights, optimizer, schedule, moving average, the state
of torch's generators, the best weights so far, and the place in the plan. The plan itself is made anew from the seed.
"""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.errors import TrainingError

FORMAT = 1
NAME = "checkpoint.pt"
# A checkpoint is a few times the network's size and takes well under a second: this loses a minute of work at most.
EVERY_S = 60.0


class Checkpoints:
    """Keeps the state of one run in a folder. `identity` is what must be the same for going on to mean the same."""

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        *,
        name: str = NAME,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._identity = dict(identity)
        self._name = name
        self._every_s = every_s
        self._clock = clock
        self._saved_at = clock()

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def exists(self) -> bool:
        return (self._folder / self._name).exists()

    def is_due(self) -> bool:
        """Whether the last save is long enough ago."""
        return self._clock() - self._saved_at >= self._every_s

    def save(self, state: dict[str, Any]) -> None:
        """Write to a file beside, then rename: a kill at any moment leaves the old one or the new one.

        Raises: TrainingError if the disk is full or can't be written; the old one stays.
        """
        unfinished = self._folder / f"{self._name}.tmp"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                torch.save({"format": FORMAT, "identity": self._identity, "state": state}, file)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self._folder / self._name)
        except (OSError, RuntimeError) as error:  # torch, closing its archive, makes the second kind of the first
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise TrainingError(f"{self._folder / self._name} can't be written: {_reason(error)}") from error
        self._saved_at = self._clock()

    def load(self) -> dict[str, Any] | None:
        """The state that was saved last, or None if none was. Reads tensors and plain values only, no code.

        Raises: TrainingError if the file can't be read, or belongs to a run with other settings or data.
        """
        path = self._folder / self._name
        if not path.exists():
            return None
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch and zipfile raise many kinds
            raise TrainingError(f"{path} can't be read: {_unread(path, error)}; --force starts over") from error
        if found.get("format") != FORMAT:
            raise TrainingError(f"{path} is of another version; --force starts over")
        self._refuse_other(path, found["identity"])
        state: dict[str, Any] = found["state"]
        return state

    def delete(self) -> None:
        """Forget the run: it is done, or starts over. What else lies in its folder stays."""
        for name in (self._name, f"{self._name}.tmp"):
            (self._folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # there are events of TensorBoard in it, or it was never made
            self._folder.rmdir()

    def _refuse_other(self, path: Path, identity: dict[str, Any]) -> None:
        names = sorted(name for name in {*identity, *self._identity} if identity.get(name) != self._identity.get(name))
        if names:
            shown = ", ".join(f"{name} was {identity.get(name)!r}, is {self._identity.get(name)!r}" for name in names)
            raise TrainingError(f"{path} is of another run: {shown}; --force starts over")


def _unread(path: Path, error: Exception) -> str:
    """Of a file that ends at once torch's error says nothing."""
    return "it is empty" if not path.stat().st_size else str(error) or type(error).__name__


def _reason(error: BaseException) -> str:
    """What the system said, be it behind another error."""
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, OSError):
            return at.strerror or str(at)
        at = at.__cause__ or at.__context__
    return str(error).partition("\n")[0]


def generators() -> dict[str, Any]:
    """The states of torch's generators, which dropout draws from."""
    on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": on_gpu}


def restore_generators(states: dict[str, Any]) -> None:
    """Put back what `generators` gave."""
    torch.set_rng_state(states["cpu"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])


@dataclass(frozen=True)
class Kept:
    """The checkpoints of all that a run trains."""

    first: Checkpoints
    folds: Checkpoints
    refit: Checkpoints
    pretraining: Checkpoints

    def delete(self) -> None:
        """In this order: without what came before it, what is kept of a later training would be another run's."""
        for checkpoints in (self.refit, self.folds, self.first, self.pretraining):
            checkpoints.delete()
