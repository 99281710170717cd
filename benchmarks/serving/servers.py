"""Servers to be measured: each a process of its own on cores of its own, and ended at the end."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a server is started: arguments of Python, `{port}` among them, and what is in its environment."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


OURS = Recipe("lembra", ("-m", "app"), {"LEMBRA_PORT": "{port}", "LEMBRA_DEVICE": "cpu"})
UVICORN = (
    "-m",
    "uvicorn",
    "benchmarks.serving.noop:app",
    "--port",
    "{port}",
    "--log-level",
    "warning",
    "--no-access-log",
)
NOOP = Recipe("no-op FastAPI", UVICORN)


@dataclass(frozen=True, slots=True)
class Server:
    """A running one."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    ready_s: float  # from its start

    @property
    def memory_mb(self) -> float:
        """Resident, in 10^6 bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024 / 1e6

    def cpu_share(self, seconds: float) -> float:
        """Of one core, over so many seconds from now."""
        before = self._cpu_s()
        time.sleep(seconds)
        return (self._cpu_s() - before) / seconds

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def running(recipe: Recipe, cores: Sequence[int], **settings: object) -> Iterator[Server]:
    """One on these cores, ready; `settings` are LEMBRA_ variables."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.upper().startswith("LEMBRA_")}
    given = {**recipe.environment, **{f"LEMBRA_{name.upper()}": str(value) for name, value in settings.items()}}
    started = time.perf_counter()
    process = subprocess.Popen(
        [*on(cores), sys.executable, *(argument.format(port=port) for argument in recipe.arguments)],
        cwd=ROOT,
        env=clean | {name: value.format(port=port) for name, value in given.items()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(process, port)
        yield Server(recipe.name, port, process, time.perf_counter() - started)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def on(cores: Sequence[int]) -> list[str]:
    """In front of a command: it runs on these."""
    return ["taskset", "--cpu-list", ",".join(map(str, cores))]


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        try:
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.01)
        finally:
            connection.close()
    raise RuntimeError("a server was not ready in time" if process.poll() is None else "a server ended at its start")
