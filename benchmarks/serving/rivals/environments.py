"""An environment of its own for each rival: made when it is first asked for, and again when its requirements change.

In `.cache/rivals`, which git ignores; each has torch, so together they take some 6 GB.
"""

import hashlib
import importlib.metadata
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.serving.servers import ROOT

REQUIREMENTS = Path(__file__).parent
CACHE = ROOT / ".cache" / "rivals"
# What a figure may depend on, besides the framework.
UNDER = ("torch", "numpy", "tokenizers", "starlette", "uvicorn", "uvloop", "httptools")
MADE = "made"  # a file that is there once all is installed
PATIENCE_S = 1800


class NotMadeError(Exception):
    """An environment can't be made. Says why, in pip's words."""


def make(place: Path, requirements: Path) -> None:
    """A virtual environment with these. Raises: NotMadeError."""
    python = str(place / "bin" / "python")
    for command in (
        [sys.executable, "-m", "venv", str(place)],
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)],
    ):
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S)
        except subprocess.CalledProcessError as error:
            said = [line for line in error.stderr.splitlines() if "ERROR" in line] or ["it said nothing"]
            raise NotMadeError(f"{requirements.name} can't be installed: {said[0].strip()}") from error
        except subprocess.TimeoutExpired as error:
            raise NotMadeError(f"{requirements.name} wasn't installed in {PATIENCE_S} s") from error


def python(
    framework: str,
    *,
    cache: Path = CACHE,
    requirements: Path = REQUIREMENTS,
    make: Callable[[Path, Path], None] = make,
) -> Path:
    """The interpreter of its environment. Raises: NotMadeError."""
    file = requirements / f"{framework}.txt"
    place = cache / f"{framework}-{key(file)}"
    if not (place / MADE).exists():
        for old in cache.glob(f"{framework}-*"):  # of other requirements, or cut off
            shutil.rmtree(old)
        print(f"{framework}: its environment", file=sys.stderr)
        make(place, file)
        (place / MADE).touch()
    return place / "bin" / "python"


def key(requirements: Path) -> str:
    """What an environment depends on, in twelve digits: Python, and all that pip would read."""
    read = hashlib.sha256(platform.python_version().encode())
    for file in _files(requirements):
        read.update(b"\0" + file.read_bytes())
    return read.hexdigest()[:12]


def versions(python: Path, framework: str) -> dict[str, str]:
    """What is in its environment of the framework and of what is under it."""
    folders = [str(folder) for folder in python.parents[1].glob("lib/python*/site-packages")]
    found = importlib.metadata.distributions(path=folders)
    return {one.name: one.version for one in found if one.name in {framework, *UNDER}}


def _files(requirements: Path) -> Iterator[Path]:
    """This one, and those that its lines name."""
    yield requirements
    for line in requirements.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            yield from _files(requirements.parent / line[3:].strip())
