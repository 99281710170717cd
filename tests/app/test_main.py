"""app.main: what is loaded, what is refused, and what serving does without."""

import asyncio
import gc
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import SettingsError
from app.main import bundle_paths, choose_default
from app.protocol import DESK
from model.bundle import Bundle
from model.engine import cuda_is_here
from model.errors import BundleError, DeviceError
from tests import tiny
from tests.app.serving import ROOT, app_of, client_of, engine_replaced, environment
from tests.fakes import PATIENCE_S, FakeEngine

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tiny_copy: Path) -> Path:
    """Two bundles, beside what isn't one."""
    shutil.copytree(tiny_copy, tiny_copy.with_name("other"))
    for name in (".tiny.k2x9", ".git"):
        tiny_copy.with_name(name).mkdir()
    tiny_copy.with_name("README.md").touch()
    return tiny_copy.parent


def test_a_folder_of_bundles_is_served_whole(folder: Path) -> None:
    """Files, hidden folders and bundles that are being written are passed over."""
    assert [path.name for path in bundle_paths(folder)] == ["other", "tiny"]


async def test_a_protocol_has_a_desk_to_ask(tiny_bundle: Path) -> None:
    """It is where uvicorn puts what a lifespan leaves, and refuses nothing while there is room."""
    app, engine = app_of(tiny_bundle), FakeEngine()
    ask = (b"POST", b"/classify", [(b"content-length", b"60")])
    async with app.router.lifespan_context(app) as left, engine_replaced(app, engine) as batcher:
        assert left is not None
        assert left[DESK].refuse(*ask) is None
        engine.release.clear()
        first = asyncio.ensure_future(batcher.submit(["good film"] * 4))
        await engine.begins()
        refused = left[DESK].refuse(*ask)
        engine.release.set()
        await first
    assert refused is not None
    assert b"retry-after" in refused[0]


def test_one_bundle_may_be_served(tiny_bundle: Path) -> None:
    """The setting may name the bundle itself."""
    assert bundle_paths(tiny_bundle) == [tiny_bundle]


def test_a_link_is_served_under_its_own_name(tiny_bundle: Path, tmp_path: Path) -> None:
    """Clients name `current`, whatever it points to."""
    (tmp_path / "current").symlink_to(tiny_bundle)
    assert [path.name for path in bundle_paths(tmp_path)] == ["current"]
    assert Bundle.open(tmp_path / "current").name == "current"


def test_a_folder_without_bundles_is_refused(tmp_path: Path) -> None:
    """The error says how to make one."""
    with pytest.raises(BundleError, match=r"holds no bundle.*lembra train"):
        bundle_paths(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    """The error names it, and the setting that it came from."""
    with pytest.raises(BundleError, match=r"nowhere is no directory \(LEMBRA_BUNDLES\)"):
        bundle_paths(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("names", "wanted", "chosen"),
    [
        (["a"], None, "a"),
        (["a", "b"], "b", "b"),
        (["a", "sentiment-en"], None, "sentiment-en"),
        (["a", "b"], None, None),
    ],
)
def test_the_default_model(names: list[str], wanted: str | None, chosen: str | None) -> None:
    """The one that is set, else the only one, else the usual one, else none."""
    assert choose_default(names, wanted) == chosen


def test_an_unknown_default_is_refused() -> None:
    """The error says which there are."""
    with pytest.raises(SettingsError, match="LEMBRA_DEFAULT_MODEL = 'c'; there are a, b"):
        choose_default(["a", "b"], "c")


async def test_several_models_are_served_by_name(folder: Path) -> None:
    """Without a default a request has to choose, and the refusal lists the names."""
    async with client_of(app_of(folder)) as client:
        named = await client.post("/classify", json={"input": "good", "model": "other"})
        unnamed = await client.post("/classify", json={"input": "good"})
    assert named.json()["model"] == "other"
    assert unnamed.status_code == 422
    assert "other, tiny" in unnamed.json()["detail"]


async def test_a_default_answers_for_those_who_name_none(folder: Path) -> None:
    """/models says which it is."""
    async with client_of(app_of(folder, default_model="other")) as client:
        unnamed = await client.post("/classify", json={"input": "good"})
        cards = (await client.get("/models")).json()["data"]
    assert unnamed.json()["model"] == "other"
    assert {card["id"]: card["default"] for card in cards} == {"other": True, "tiny": False}


async def test_what_was_loaded_is_collected_no_more(tiny_bundle: Path) -> None:
    """A collection in the midst of requests passes over it; when the server has ended it counts again."""
    before = gc.get_freeze_count()
    async with client_of(app_of(tiny_bundle)):
        assert gc.get_freeze_count() > before
    assert gc.get_freeze_count() == 0


async def test_one_damaged_bundle_keeps_the_server_from_starting(folder: Path) -> None:
    """Rather than to serve the rest, and to answer 404 for one that was there yesterday."""
    (folder / "tiny" / "weights.safetensors").unlink()
    with pytest.raises(BundleError, match=r"weights\.safetensors is missing"):
        async with client_of(app_of(folder)):
            pass


async def test_a_folder_without_a_manifest_is_a_damaged_bundle(folder: Path) -> None:
    """It is named, not passed over."""
    (folder / "tiny" / "manifest.json").unlink()
    with pytest.raises(BundleError, match=r"tiny/manifest\.json is missing"):
        async with client_of(app_of(folder)):
            pass


async def test_the_lost_and_found_of_a_volume_is_no_bundle(folder: Path) -> None:
    """Its root has one."""
    (folder / "lost+found").mkdir()
    assert folder / "lost+found" not in bundle_paths(folder)


@pytest.mark.skipif(cuda_is_here(), reason="there is a CUDA device")
async def test_a_device_that_is_not_there_keeps_the_server_from_starting(tiny_bundle: Path) -> None:
    """Rather than to serve slowly on another."""
    with pytest.raises(DeviceError, match="cuda"):
        async with client_of(app_of(tiny_bundle, device="cuda")):
            pass


async def test_after_the_end_nothing_is_ready(tiny_bundle: Path) -> None:
    """The engines are joined, and the state says so to whoever still asks."""
    app = app_of(tiny_bundle)
    async with client_of(app):
        state = app.state.lembra
        assert state.ready
    assert not state.ready
    assert not state.served[tiny.NAME].batcher.alive


SERVE_ONCE = """
import asyncio, sys

class Absent:
    names = {"torch", "training", "onnx", "sklearn", "pyarrow", "scipy", "rich", "typer", "pandas"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"{name} is not here", name=name)

sys.meta_path.insert(0, Absent())

import app.main
import httpx

async def main():
    server = app.main.create_app()
    async with server.router.lifespan_context(server):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(server), base_url="http://it") as client:
            print((await client.post("/classify", json={"input": "the film was good"})).text)

asyncio.run(main())
assert not Absent.names & set(sys.modules)
"""


def test_serving_needs_no_torch(tiny_bundle: Path) -> None:
    """Where torch, training and its libraries can't be imported, a CPU server answers a whole request."""
    command = [sys.executable, "-W", "error", "-c", SERVE_ONCE]
    env = environment(LEMBRA_BUNDLES=tiny_bundle, LEMBRA_DEVICE="cpu")
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    assert '"label":' in done.stdout
