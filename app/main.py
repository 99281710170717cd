"""The application: load, check, warm up, serve, drain.

python -m app                  settings from LEMBRA_*; SIGTERM ends it with exit code 0
uvicorn app.main:app           the same under uvicorn's own parser; --http h11 where clients offer HTTP/2
"""

import asyncio
import gc
import logging
import multiprocessing
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import errors, routes, settings
from app.batcher import Batcher, Limits
from app.classify import Served, State
from app.errors import SettingsError
from app.gate import ClassifyDesk, Gate
from app.metrics import Metrics, clear_up
from app.protocol import DESK
from app.schemas import ModelCard
from app.settings import Settings
from model.bundle import Bundle
from model.errors import BundleError, ModelError
from model.files import MANIFEST

logger = logging.getLogger("lembra")

# Answers where several bundles are served and no setting names one: adding a bundle mustn't break a client.
USUAL_DEFAULT = "sentiment-en"
# The event loop and the engine's thread take turns on the interpreter: after so long one that has it must let the other
# have it. At Python's own 5 ms an engine waits for as long whenever it has computed beside a busy loop.
SWITCH_S = 0.0005
# The root of a volume has one, which is no bundle.
LOST_AND_FOUND = "lost+found"
DESCRIPTION = "Text classification with an LSTM of your own. Errors are RFC 9457 problem details."


def create_app(chosen: Settings | None = None) -> FastAPI:
    """The application, with settings from the environment unless given. Raises: SettingsError."""
    found = chosen if chosen is not None else settings.load()
    app = Gate(title="lembra", version=metadata.version("lembra"), description=DESCRIPTION, lifespan=_lifespan(found))
    errors.install(app)
    app.include_router(routes.router)
    app.add_middleware(_PlainStartError)
    app.mount("/page", StaticFiles(directory=routes.PAGE), name="page")
    return app


def _lifespan(found: Settings) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, ClassifyDesk]]:
        async with AsyncExitStack() as stack:
            state = await load(found, stack)
            app.state.lembra = state
            with _drain_before_closing(state), _end_with_supervisor(), _collected():
                yield {DESK: ClassifyDesk(state)}

    return lifespan


@contextmanager
def _collected() -> Iterator[None]:
    """Inside, Python's collector passes over what is there already: to walk that takes 30 ms, for nobody's good.

    It is the whole process' collector: where several applications live in one, the first to end gives it all back.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def load(found: Settings, stack: AsyncExitStack) -> State:
    """Load and check every bundle before the first request. Raises: BundleError, DeviceError, SettingsError."""
    sys.setswitchinterval(SWITCH_S)
    paths = bundle_paths(found.bundles)
    default = choose_default([path.name for path in paths], found.default_model)
    metrics = Metrics()
    served: dict[str, Served] = {}
    limits = Limits(
        waiting_tokens=found.max_waiting_tokens, batch_tokens=found.max_batch_tokens, deadline_s=found.deadline_s
    )
    for path in paths:
        bundle = Bundle.open(path)
        classifier = bundle.classifier(device=found.device, threads=found.threads, eight_bits=found.eight_bits)
        batcher = Batcher(bundle.name, classifier, limits, metrics)
        stack.push_async_callback(batcher.close)
        served[bundle.name] = Served(_card(bundle, classifier.engine.name, default == bundle.name), batcher)
        logger.info("serving %s %s on %s", bundle.name, bundle.manifest.version, classifier.engine.name)
    return State(settings=found, metrics=metrics, served=served, default=default)


def bundle_paths(folder: Path) -> list[Path]:
    """The bundle that `folder` is, or the bundles in it. Raises: BundleError if there is none."""
    folder = folder.absolute()
    if not folder.is_dir():
        raise BundleError(f"{folder} is no directory (LEMBRA_BUNDLES)")
    if (folder / MANIFEST).exists():
        return [folder]
    # A folder without a manifest is a damaged bundle, and is refused as one, rather than passed over. A hidden one is
    # being written.
    paths = sorted(path for path in folder.iterdir() if path.is_dir() and not _is_passed_over(path.name))
    if not paths:
        raise BundleError(f"{folder} holds no bundle (LEMBRA_BUNDLES); `lembra train --out {folder}/NAME` makes one")
    return paths


def _is_passed_over(name: str) -> bool:
    return name.startswith(".") or name == LOST_AND_FOUND


def choose_default(names: list[str], wanted: str | None) -> str | None:
    """The model that answers where a request names none. Raises: SettingsError."""
    if wanted is not None:
        if wanted not in names:
            raise SettingsError(f"LEMBRA_DEFAULT_MODEL = {wanted!r}; there are {', '.join(names)}")
        return wanted
    if len(names) == 1:
        return names[0]
    return USUAL_DEFAULT if USUAL_DEFAULT in names else None


def _card(bundle: Bundle, engine: str, default: bool) -> ModelCard:
    reported: dict[str, dict[str, Any]] = bundle.report.get("metrics", {})
    return ModelCard(
        id=bundle.name,
        version=bundle.manifest.version,
        created=bundle.manifest.created,
        default=default,
        kind=bundle.config.kind,
        labels=bundle.config.labels,
        max_tokens=bundle.config.max_tokens,
        engine=engine,
        metrics={
            split: {name: value for name, value in figures.items() if isinstance(value, int | float)}
            for split, figures in reported.items()
        },
    )


@contextmanager
def _drain_before_closing(state: State) -> Iterator[None]:
    """On SIGTERM say "not ready" first, and hand the signal on to the server after `drain_s`.

    uvicorn closes the socket at once; a load balancer that has not looked yet would still send requests.
    """
    previous = _servers_own_handler()
    loop = asyncio.get_running_loop()
    if previous is None:
        yield
        return

    def drain(number: int, frame: FrameType | None) -> None:
        state.draining = True
        loop.call_soon_threadsafe(lambda: loop.call_later(state.settings.drain_s, previous, number, frame))

    signal.signal(signal.SIGTERM, drain)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _servers_own_handler() -> Callable[[int, FrameType | None], Any] | None:
    """What ends the server at SIGTERM; None where signals aren't ours: in a test, or in a program that embeds the app
    and handles them itself.
    """
    handler = signal.getsignal(signal.SIGTERM)
    in_main_thread = threading.current_thread() is threading.main_thread()
    return handler if in_main_thread and callable(handler) else None


@contextmanager
def _end_with_supervisor() -> Iterator[None]:
    """Of several processes: a supervisor that was killed can't end this one any more, which would keep the port, nor
    clear up behind it.
    """
    supervisor = multiprocessing.parent_process()
    if supervisor is None or _servers_own_handler() is None:
        yield
        return
    loop, gone = asyncio.get_running_loop(), supervisor.sentinel

    def end() -> None:
        loop.remove_reader(gone)
        logger.error("the supervisor is gone: this process ends too")
        signal.raise_signal(signal.SIGTERM)

    loop.add_reader(gone, end)
    try:
        yield
    finally:
        # It isn't read any more once it was found ready.
        if not loop.remove_reader(gone):
            clear_up()


class _PlainStartError:
    """What keeps a server from starting is told in one line; starlette would have the server log a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_plainly(message: Message) -> None:
            error = sys.exception()
            if message["type"] == "lifespan.startup.failed" and isinstance(error, ModelError | SettingsError):
                message["message"] = f"error: {error}"
            await send(message)

        await self._app(scope, receive, send_plainly if scope["type"] == "lifespan" else send)


def __getattr__(name: str) -> Any:
    """`app` is made when a server asks for it, so that importing this module reads no environment."""
    if name != "app":
        raise AttributeError(name)
    try:
        return create_app()
    except SettingsError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None
