"""Where a run writes, what it keeps there until it is done, and how Ctrl-C stops it."""

import functools
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from filelock import FileLock, Timeout

from model import files
from model.bundle import is_encoder
from training.checkpoint import Checkpoints
from training.errors import TrainingError
from training.printable import utf_8

# Beside the bundle: of a run, and of a search.
RUN_FOLDER, TUNE_FOLDER, LOCK = "run", "tune", "lock"
What = Literal["bundle", "encoder"]
Given = TypeVar("Given")
Rest = ParamSpec("Rest")
Made = TypeVar("Made")
Making = Callable[Concatenate[Given, Path, Rest], Made]


class Stopped(TrainingError):
    """The run was stopped by Ctrl-C, and nothing was to be written."""

    def __init__(self) -> None:
        super().__init__("stopped before the end; --resume goes on")


def claims(what: What) -> Callable[[Making[Given, Rest, Made]], Making[Given, Rest, Made]]:
    """What makes its second argument, a bundle or an encoder, does so only where it may be, and no other process at the
    same time: both would write the same checkpoint. It has an argument `overwrite`. Raises: TrainingError.
    """

    def claiming(make: Making[Given, Rest, Made]) -> Making[Given, Rest, Made]:
        @functools.wraps(make)
        def claimed(given: Given, out: Path, /, *rest: Rest.args, **named: Rest.kwargs) -> Made:
            check_place(out, overwrite=bool(named.get("overwrite")), what=what)
            with _folders_above(out), _locked(out):
                return make(given, out, *rest, **named)

        return claimed

    return claiming


@contextmanager
def _folders_above(out: Path) -> Iterator[None]:
    """Inside they are there; what was made for nothing is gone afterwards."""
    missing = [folder for folder in out.absolute().parents if not folder.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"--out {out} can't be written: {error.strerror}") from None
    try:
        yield
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Inside, another process is refused; what this process makes in the course of it, as a search does, isn't.

    The system gives the lock back when the process ends, however it does.
    """
    path = beside(out, LOCK)
    lock = FileLock(path, timeout=0, is_singleton=True)
    _check_made(path, out)
    try:
        lock.acquire()
    except Timeout:
        raise TrainingError(f"another process is making {out} at this moment ({path} is locked)") from None
    except (OSError, NotImplementedError):
        pass  # a file system without locks is none to refuse a training for
    try:
        yield
    finally:
        if lock.lock_counter <= 1:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        lock.release()


def _check_made(lock: Path, out: Path) -> None:
    """Raises: TrainingError where the lock can't be made, which FileLock would tell as one that is taken."""
    try:
        lock.touch()
    except OSError as error:
        if not os.path.lexists(lock):
            raise TrainingError(f"--out {out} can't be written: {lock}: {error.strerror}") from None


def check_place(out: Path, *, overwrite: bool, what: What = "bundle") -> None:
    """Before hours of training: may the bundle, or encoder, be written there? Raises: TrainingError."""
    if out.name.startswith(".") or not out.name:
        raise TrainingError(f"--out {out}: a {what}'s name can't begin with a dot, as servers pass over such folders")
    if utf_8(out.name) != out.name:
        raise TrainingError(
            f"--out {utf_8(str(out))}: a {what}'s name must be UTF-8, as the manifest has it; this isn't"
        )
    try:
        exists = out.exists()
        for name in (RUN_FOLDER, TUNE_FOLDER, LOCK):  # a few letters longer: hours later they may be too long
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
    return "encoder" if is_encoder(out) else "bundle"


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


def part(out: Path, identity: Mapping[str, Any] | None, name: str, *, overwrite: bool, resume: bool) -> Checkpoints:
    """Where a part of the run of `out` keeps its state, a file of that name; what is there is taken up, or refused.

    Without an `identity` this run has no such part: what an earlier run kept is only to be deleted, at once with
    `overwrite` alone, else when the bundle is written. Raises: TrainingError.
    """
    kept = Checkpoints(beside(out, RUN_FOLDER), identity or {}, name=name)
    if identity is not None:
        return take_up(out, kept, overwrite=overwrite, resume=resume)
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
