"""Real data: floors with a seed. Skipped where ../shared/data isn't at hand."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cli

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the real sets are not at {DATA}"),
]


def test_trec6_reaches_its_floor(tmp_path: Path) -> None:
    """The default recipe, seed 0: what it reached when the floor was set, less what threads and versions move."""
    arguments = ["train", str(DATA / "trec6"), "--out", str(tmp_path / "trec6"), "--seed", "0", "--device", "cpu"]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["metrics"]["test"]["accuracy"] >= 0.89
    assert "11 of 500 test texts are also in train" in " ".join(result.stderr.split())


def test_the_default_bundle_is_as_good_as_its_report(tmp_path: Path) -> None:
    """Measured again on the test rows, `sentiment-en` has the accuracy that it claims, and no less than it had once."""
    bundle = Path(cli.__file__).parent / "bundles" / "sentiment-en"
    result = CliRunner().invoke(cli.app, ["evaluate", str(bundle), str(DATA / "sst2" / "test.jsonl.gz"), "--json"])
    claimed = json.loads((bundle / "report.json").read_text())["metrics"]["test"]["accuracy"]
    found = json.loads(result.stdout)["accuracy"]
    assert found == pytest.approx(claimed, abs=0.001)
    assert found >= 0.865
