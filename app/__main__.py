"""Serve: `python -m app`, settings from LEMBRA_*."""

import math
import os
import signal
import sys
import tempfile
from types import FrameType

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app import settings
from app.errors import SettingsError
from app.metrics import FOLDER
from app.protocol import Protocol
from app.settings import Settings
from model.engine import cores, cuda_is_here

# A folder in memory.
MEMORY = "/dev/shm"


def serve() -> None:
    """Listen until SIGTERM or SIGINT; what is queued is answered first.

    Exits 2 where the settings can't be used, 3 where the server can't start, else 0.
    """
    try:
        chosen = settings.load()
    except SettingsError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None

    # uvicorn raises the signal again once it has ended in good order: that is a success.
    def ended(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, ended)
    signal.signal(signal.SIGINT, ended)
    # A terminal that is closed, unless nohup said otherwise. Of several processes the supervisor replaces one by one.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    workers = processes(chosen)
    config = uvicorn.Config(
        "app.main:app",
        host=chosen.host,
        port=chosen.port,
        workers=workers,
        http=Protocol,
        ws="none",
        access_log=False,  # /metrics counts; a line a request costs more than a short text
        log_config=LOGGING,
        server_header=False,
        # A client that never ends its request must not keep the process from ending.
        timeout_graceful_shutdown=math.ceil(chosen.deadline_s),
    )
    if workers == 1:
        uvicorn.Server(config).run()
    else:
        _run_processes(config, threads=chosen.threads or max(1, cores() // workers))


def processes(chosen: Settings) -> int:
    """How many: for "auto" one a core, as the event loop and the engine take turns on it; one where a GPU computes."""
    if chosen.workers != "auto":
        return chosen.workers
    gpu = chosen.device == "cuda" or (chosen.device == "auto" and cuda_is_here())
    return 1 if gpu else cores()


def _run_processes(config: uvicorn.Config, *, threads: int) -> None:
    """What `uvicorn.run` does, which ends with 0 even where the workers could not start."""
    os.environ["LEMBRA_THREADS"] = str(threads)
    # In memory where there is such a place: a container that is read-only has no other.
    shared = MEMORY if os.access(MEMORY, os.W_OK) else None
    try:
        folder = tempfile.TemporaryDirectory(prefix="lembra-metrics-", dir=shared)
    except OSError as error:
        sys.stderr.write(f"error: several processes share their metrics in a folder, and there is no place: {error}\n")
        raise SystemExit(STARTUP_FAILURE) from None
    with folder as os.environ[FOLDER]:
        supervisor = _Supervisor(config, sockets=[config.bind_socket()])
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise SystemExit(STARTUP_FAILURE)


class _Supervisor(Multiprocess):
    """uvicorn's, which keeps its own hold of the socket to the end: clients would wait on it for nobody."""

    def terminate_all(self) -> None:
        """End the processes, and take no more connections."""
        super().terminate_all()
        for listening in self.sockets:
            listening.close()


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"level": "INFO", "handlers": ["stderr"]},
}


if __name__ == "__main__":
    serve()
