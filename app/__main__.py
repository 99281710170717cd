"""Serve: `python -m app`, settings from LEMBRA_*."""

import signal
import sys
from types import FrameType

import uvicorn

from app import settings
from app.errors import SettingsError


def serve(*, workers: int = 1) -> None:
    """Listen until SIGTERM or SIGINT; what is queued is answered first. Exits 2 where the settings can't be used."""
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
    uvicorn.run(
        "app.main:app",
        host=chosen.host,
        port=chosen.port,
        workers=workers,
        access_log=False,  # /metrics counts; a line a request costs more than a short text
        log_config=LOGGING,
        server_header=False,
    )


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"level": "INFO", "handlers": ["stderr"]},
}


if __name__ == "__main__":
    serve()
