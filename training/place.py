"""Where a run writes, what it keeps there until it is done, and how Ctrl-C stops it."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Literal

from model import files
from model.bundle import CONFIG
from training.checkpoint import Checkpoints
from training.errors import TrainingError
from training.pretraining.encoder import KIND as ENCODER

# Beside the bundle: of a run, and of a search.
RUN_FOLDER, TUNE_FOLDER = "run", "tune"
What = Literal["bundle", "encoder"]


class Stopped(TrainingError):
    """The run was stopped by Ctrl-C, and nothing was to be written."""

    def __init__(self) -> None:
        super().__init__("stopped before the end; --resume goes on")


def check_place(out: Path, *, overwrite: bool, what: What = "bundle") -> None:
    """Before hours of training: may the bundle, or encoder, be written there? Raises: TrainingError."""
    if out.name.startswith(".") or not out.name:
        raise TrainingError(f"--out {out}: a {what}'s name can't begin with a dot, as servers pass over such folders")
    try:
        exists = out.exists()
        for name in (RUN_FOLDER, TUNE_FOLDER):  # a few letters longer: hours later they may be too long
            beside(out, name).exists()
    except OSError as error:
        raise TrainingError(f"--out {out} can't be written: {error.strerror}") from None
    if exists and not overwrite:
        raise TrainingError(f"{out} exists; choose another --out, or --force to replace it")
    if exists and what != _what(out):
        raise TrainingError(f"{out} exists and is no {what}; it won't be replaced")
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise TrainingError(f"--out {out} can't be written: {above} is no folder that you may write to")


def _what(out: Path) -> What | None:
    """What lies there, be it damaged."""
    if not (out / files.MANIFEST).exists():
        return None
    try:
        return "encoder" if json.loads((out / CONFIG).read_bytes())["kind"] == ENCODER else "bundle"
    except (OSError, ValueError, KeyError, TypeError):
        return "bundle"


def beside(out: Path, name: str) -> Path:
    """A folder for what a bundle needs only until it is there."""
    return out.with_name(f".{out.name}.{name}")


def take_up(out: Path, kept: Checkpoints, *, overwrite: bool, resume: bool) -> Checkpoints:
    """What an earlier run of `out` kept, if it may be gone on with; with `overwrite` alone it is forgotten.

    Raises: TrainingError, before minutes of checks, where it can't be read or is of another run.
    """
    if kept.exists and not resume:
        if not overwrite:
            raise TrainingError(f"a run of {out} was cut off: --resume goes on with it, --force starts over")
        kept.delete()
    kept.load()
    return kept


def leave(kept: Checkpoints, *, overwrite: bool, resume: bool) -> Checkpoints:
    """Of a part that this run doesn't have: what an earlier run kept is only to be deleted, at once with `overwrite`
    alone, else when the bundle is written.
    """
    if overwrite and not resume:
        kept.delete()
    return kept


@contextmanager
def interruption() -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C is only noted, and the given function says so; the second one is Python's own."""
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted.is_set
        return
    previous = signal.getsignal(signal.SIGINT)

    def note(_number: int, _frame: FrameType | None) -> None:
        noted.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted.is_set
    finally:
        signal.signal(signal.SIGINT, previous)
