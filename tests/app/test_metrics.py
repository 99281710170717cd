"""app.metrics: what Prometheus reads."""

import asyncio
import json
import os
import struct
import subprocess
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.parser import text_string_to_metric_families

from app.metrics import FOLDER, Metrics
from tests import tiny

# How the library keeps no values: the bytes in use, and room for more.
EMPTY = struct.pack("ii", 8, 0)

pytestmark = pytest.mark.anyio


async def read(client: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    """Every sample, by its name and the values of its labels."""
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(response.text)
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


async def test_answers_are_counted(client: httpx.AsyncClient) -> None:
    """Requests by status, texts, tokens, padding, cut texts and batches."""
    await client.post("/classify", json={"input": ["good", "a long film", "bad " * (tiny.MAX_TOKENS + 1)]})
    await client.post("/classify", json={"input": ""})
    await client.post("/classify", content=b"?")
    found = await read(client)
    assert found["lembra_requests_total", "200"] == 1
    assert found["lembra_requests_total", "422"] == 1
    assert found["lembra_requests_total", "415"] == 1
    assert found["lembra_texts_total", tiny.NAME] == 3
    assert found["lembra_tokens_total", tiny.NAME] == 1 + 3 + tiny.MAX_TOKENS
    assert found["lembra_truncated_total", tiny.NAME] == 1
    assert found["lembra_request_seconds_count",] == 3
    assert found["lembra_stage_seconds_count", "compute"] == found["lembra_batch_rows_count", tiny.NAME] >= 1


async def test_an_idle_server_has_nothing_waiting(client: httpx.AsyncClient) -> None:
    """The gauge comes back to zero after answers and refusals, a turn of the event loop later."""
    await client.post("/classify", json={"input": ["good"] * 5})
    await client.post("/classify", json={"input": "good " * 50, "truncate": False})
    await asyncio.sleep(0)
    assert (await read(client))["lembra_waiting_tokens", tiny.NAME] == 0


async def test_only_classify_is_counted(client: httpx.AsyncClient) -> None:
    """Probes and scrapes would drown the requests."""
    await client.get("/health/ready")
    await client.get("/metrics")
    assert (await read(client))["lembra_request_seconds_count",] == 0


def test_what_a_dead_process_held_waiting_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has counted is not, and the living keep theirs."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    dead = subprocess.Popen(["true"])
    dead.wait()
    kept = [tmp_path / f"gauge_livesum_{os.getpid()}.db", tmp_path / f"counter_{dead.pid}.db"]
    gone = tmp_path / f"gauge_livesum_{dead.pid}.db"
    for file in (*kept, gone):
        file.write_bytes(EMPTY)
    Metrics().exposition()
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_process_that_is_just_starting_spoils_no_scrape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is there before there is anything in it; what the others have counted is told."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    key = json.dumps(["lembra_refusals", "lembra_refusals_total", {}, "of somebody"])
    with closing(MmapedDict(str(tmp_path / "counter_1.db"))) as other:
        other.write_value(key, 3.0, 0.0)
    (tmp_path / "counter_2.db").touch()
    assert b"lembra_refusals_total 3.0" in Metrics().exposition()


def test_a_folder_that_is_gone_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All counts gone is a fault that somebody has to see."""
    monkeypatch.setenv(FOLDER, str(tmp_path / "gone"))
    with pytest.raises(ValueError, match="directory"):
        Metrics().exposition()
