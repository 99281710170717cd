"""cli: what a command does around what the packages do."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import cli
from model import bundle
from tests import tiny
from tests.training.files import CSV, write, zipped


def lembra(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_classify_refuses_other_data_than_it_reads(tiny_bundle: Path, tmp_path: Path) -> None:
    """In one line, rather than to answer a text a line of it."""
    refused = lembra("classify", tiny_bundle, write(tmp_path, "a.csv.gz", zipped(CSV)))
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "a.csv.gz has the ending .csv.gz, which can't be read: .jsonl, .jsonl.gz, .csv" in refused.stderr


@pytest.fixture
def chinese(tmp_path: Path) -> Path:
    """A bundle whose labels Latin-1 doesn't have."""
    config = tiny.CONFIG.model_copy(update={"labels": ["坏", "中", "好"]})
    path = tmp_path / "chinese"
    bundle.write(path, replace(tiny.parts(), config=config), created=tiny.CREATED, commit=None)
    return path


@pytest.mark.parametrize(
    "command",
    [
        ["classify", "BUNDLE", "lines.txt"],
        ["inspect", "BUNDLE", "--json"],
        ["inspect", "BUNDLE"],
        ["evaluate", "BUNDLE", "rows.csv", "--json"],
        ["check", "rows.csv", "--json"],
    ],
)
def test_json_is_utf_8_whatever_the_locale_says(chinese: Path, command: list[str]) -> None:
    """As a program takes it that reads the answers."""
    write(chinese.parent, "lines.txt", "good\n")
    write(chinese.parent, "rows.csv", "text,label\n" + "good,好\nbad,坏\n" * 3)
    given = [str(chinese) if argument == "BUNDLE" else argument for argument in command]
    ran = subprocess.run(
        [sys.executable, "-m", "cli", *given],
        cwd=chinese.parent,
        env=os.environ | {"PYTHONIOENCODING": "latin-1", "PYTHONPATH": str(Path(cli.__file__).parent)},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert "Error" not in ran.stderr.decode()
    assert "好" in str(json.loads(ran.stdout.decode()))
