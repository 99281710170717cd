"""Servers to be measured: each in processes of its own, on cores of its own, and ended at the end."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120  # Ray starts a dozen processes, here on one core
POLL_S = 0.01
TICKS = os.sysconf("SC_CLK_TCK")
JSON = {"Content-Type": "application/json"}
LOST = (OSError, http.client.HTTPException)  # what `ask` raises where there is no answer
# What tells a process from a later one of the same number: the number, and when it was started.
Process: TypeAlias = tuple[int, int]


class NotStartedError(Exception):
    """A server ended, or wasn't ready in time. Says what it said last."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a server is started: arguments of Python, and what is in its environment; `{port}` in either is its port."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    python: str = sys.executable
    ready: tuple[str, str, str | None] = ("GET", "/health/ready", None)  # answered with 200 once it can serve


OURS = Recipe("lembra", ("-m", "app"), {"LEMBRA_PORT": "{port}", "LEMBRA_DEVICE": "cpu"})
UVICORN = ("-m", "uvicorn", "--port", "{port}", "--log-level", "warning", "--no-access-log")
NOOP = Recipe("no-op FastAPI", (*UVICORN, "benchmarks.serving.noop:app"))


@dataclass(frozen=True, slots=True)
class Server:
    """A running one."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    ready_s: float  # from its start

    @property
    def memory_mb(self) -> float:
        """Resident, of all its processes, in 10^6 bytes; what they share counts in each."""
        return sum(_resident(pid) for pid, _ in family(self.process.pid)) / 1e6

    def cpu_share(self, seconds: float) -> float:
        """Of one core, over so many seconds from now, of all its processes."""
        before = self._cpu_s()
        time.sleep(seconds)
        return (self._cpu_s() - before) / seconds

    def _cpu_s(self) -> float:
        fields = [_stat(pid) for pid, _ in family(self.process.pid)]
        return sum(int(one[11]) + int(one[12]) for one in fields if one) / TICKS


@contextmanager
def running(recipe: Recipe, cores: Sequence[int], **settings: object) -> Iterator[Server]:
    """One on these cores, ready; `settings` are LEMBRA_ variables. Raises: NotStartedError."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.upper().startswith("LEMBRA_")}
    given = {**recipe.environment, **{f"LEMBRA_{name.upper()}": str(value) for name, value in settings.items()}}
    # Sockets, logs and sessions that some leave behind are gone with the folder.
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        (Path(folder) / "stderr").open("wb") as said,
    ):
        started = time.perf_counter()
        process = subprocess.Popen(
            [*on(cores), recipe.python, *(argument.format(port=port) for argument in recipe.arguments)],
            cwd=ROOT,
            env=clean | {"TMPDIR": folder} | {name: value.format(port=port) for name, value in given.items()},
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        try:
            _wait(process, port, recipe, Path(folder) / "stderr")
            yield Server(recipe.name, port, process, time.perf_counter() - started)
        finally:
            _end(process)


def end_on_sigterm() -> None:
    """Have SIGTERM raise SystemExit, so that a benchmark that is told to end ends its server first."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def ask(port: int, method: str, path: str, body: str | None) -> tuple[int, bytes]:
    """Status and body of one answer. Raises: LOST."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, JSON)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def on(cores: Sequence[int]) -> list[str]:
    """In front of a command: it runs on these."""
    return ["taskset", "--cpu-list", ",".join(map(str, cores))]


def family(pid: int) -> list[Process]:
    """A process and all that came of it, as long as those between them live."""
    found = {int(path.name): _stat(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdecimal()}
    members = [pid]
    for member in members:  # it grows
        members += [child for child, fields in found.items() if fields and int(fields[1]) == member]
    return [(member, int(fields[19])) for member in members if (fields := found.get(member))]


def _stat(pid: int) -> list[str]:
    """What /proc says of a process, from its state on (proc(5) counts that as the third field); nothing of none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return []


def _resident(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[21]) * os.sysconf("SC_PAGE_SIZE") if fields else 0


def _wait(process: subprocess.Popen[bytes], port: int, recipe: Recipe, said: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        if _answers(port, *recipe.ready):
            return
        time.sleep(POLL_S)
    code = process.poll()
    what = f"was not ready in {PATIENCE_S} s" if code is None else f"ended at its start with {code}"
    lines = said.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"]
    raise NotStartedError(f"{recipe.name} {what}: {lines[-1].strip()}")


def _answers(port: int, method: str, path: str, body: str | None) -> bool:
    try:
        return ask(port, method, path, body)[0] == 200
    except LOST:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """It may end in good order; what is left of its family is killed."""
    members = family(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid, started in members:
        if (fields := _stat(pid)) and int(fields[19]) == started:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):  # those that came of it at the last, or lived on when it had died
        os.killpg(process.pid, signal.SIGKILL)
