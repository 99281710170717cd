"""What tests of several packages share."""

import os
import shutil
from pathlib import Path

import pytest

from tests import tiny


def pytest_configure() -> None:
    """One thread for torch, before anything imports it.

    Tiny networks gain nothing from two, which wait for one another in a spin: where other work holds the cores, a test
    of a second took minutes.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Coroutine tests run on asyncio, the loop that the server has."""
    return "asyncio"


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with random weights. Read it only: it is the same for all tests."""
    path = tmp_path_factory.mktemp("bundles") / tiny.NAME
    tiny.write(path)
    return path


@pytest.fixture
def tiny_copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """The same, for one test to damage."""
    return shutil.copytree(tiny_bundle, tmp_path / tiny.NAME)
