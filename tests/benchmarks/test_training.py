"""benchmarks.training: what is compared is the same network, and reads the same rows."""

import json
import random
from pathlib import Path

import pytest
import torch

from benchmarks import rivals, training
from benchmarks.training import PackedNetwork, Way
from training import config
from training.network import TrainedNetwork

AGREEMENT = 1e-5


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = random.Random(1)
    texts = [" ".join(rng.choices(["a", "b", "c", "d", "e", "f", "g"], k=rng.randrange(1, 12))) for _ in range(200)]
    path = tmp_path / "train.jsonl"
    path.write_text(
        "".join(json.dumps({"text": f"{at} {text}", "label": "xy"[at % 2]}) + "\n" for at, text in enumerate(texts))
    )
    return path


@pytest.fixture
def ways(source: Path) -> list[Way]:
    settings = config.load("debug", ["threads=1", "epochs=2"], seed=0)
    parts = rivals.read(source)
    return [Way(network, parts, settings, epochs=2) for network in (TrainedNetwork, PackedNetwork)]


def test_both_are_the_same_network(ways: list[Way]) -> None:
    """The same logits of the same rows, whatever their lengths, from the same starting values."""
    lengths = torch.tensor([3, 9, 1, 6])
    ids = torch.randint(2, 9, (4, 9)) * (torch.arange(9) < lengths[:, None])
    ours, packed = (way.network.eval()(ids, lengths) for way in ways)
    assert torch.allclose(ours, packed, rtol=0, atol=AGREEMENT)


def test_both_read_every_row_once_an_epoch(ways: list[Way]) -> None:
    """In arrival order the batches are of as many tokens as the largest of ours, and no more."""
    ours, packed = (list(way._groups) for way in ways)
    rows = ways[0]._train.rows
    for groups in (ours, packed):
        assert sorted(row for group in groups for row in group) == sorted([*range(len(rows))] * 2)
    most = max(sum(len(rows[row]) for row in group) for group in ours)
    assert max(sum(len(rows[row]) for row in group) for group in packed) <= most


def test_it_measures(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table, then one JSON line."""
    few = ["--rounds", "1", "--steps", "4", "--epochs", "1"]
    training.main(["--data", str(source), "--small", str(source), *few])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["training"]
    assert found["ratio"] > 0
    assert 0 <= found["packed_accuracy"] <= 100
