"""cli: what a command does around what the packages do."""

from pathlib import Path

from typer.testing import CliRunner, Result

import cli
from tests.training.files import CSV, write, zipped


def lembra(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_classify_refuses_other_data_than_it_reads(tiny_bundle: Path, tmp_path: Path) -> None:
    """In one line, rather than to answer a text a line of it."""
    refused = lembra("classify", tiny_bundle, write(tmp_path, "a.csv.gz", zipped(CSV)))
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "a.csv.gz has the ending .csv.gz, which can't be read: .jsonl, .jsonl.gz, .csv" in refused.stderr
