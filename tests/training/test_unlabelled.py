"""A run that learns from text without labels too, through the `lembra` command."""

import io
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

import cli
from model.bundle import Bundle
from tests.training.files import write, write_rows
from training import config, place, run
from training.data import read
from training.errors import ConfigError
from training.reading import Columns
from training.tuning import autotune
from training.tuning.search import Limits

ROWS = [(f"{word} number {number}", label) for number in range(40) for word, label in (("good", "up"), ("bad", "down"))]
SETTINGS = (
    "threads=1",
    "precision=float32",
    "virtual_weight=1",
    "entropy_weight=0.1",
    "unlabelled_tokens=64",
    "rival=false",
    "find_label_errors=false",
)
TRAIN = ("--recipe", "debug", "--device", "cpu", "--no-track", *(part for one in SETTINGS for part in ("--set", one)))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Labelled rows; unlabelled ones with a word more, one of test's among them, whose words nothing else has."""
    folder = tmp_path / "data"
    folder.mkdir()
    write_rows(folder, "train.jsonl", ROWS)
    write_rows(folder, "test.jsonl", [("secret secret", "up"), ("bad secret", "down")])
    texts = [f"splendid number {number}" for number in range(30)] + ["Secret  secret", "good number 1"]
    write(folder, "unlabelled.csv", "text\n" + "".join(f"{text}\n" for text in texts))
    return folder


def lembra(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def vocabulary(out: Path) -> str:
    return (out / "tokenizer.json").read_text()


def test_a_run_reads_the_texts_of_train_and_unlabelled(data: Path, tmp_path: Path) -> None:
    """Each once, and none that is held out; their words are known, and the recipe repeats the run."""
    out = tmp_path / "bundle"
    done = lembra("train", data, "--out", out, *TRAIN)
    assert done.exit_code == 0, done.output
    found = Bundle.open(out)
    rows = found.report["data"]["splits"]["train"]["rows"]
    assert f"texts read without labels, those of train among them: {rows + 30}" in done.stderr
    assert '"splendid"' in vocabulary(out)
    assert '"secret"' not in vocabulary(out)
    given = ("--recipe", out / "recipe.toml", "--device", "cpu", "--no-track")
    assert lembra("train", data, "--out", tmp_path / "again", *given).exit_code == 0
    assert Bundle.open(tmp_path / "again").manifest.version == found.manifest.version


def test_train_alone_is_read_where_there_is_no_other_text(data: Path, tmp_path: Path) -> None:
    """Its labels count and its texts do."""
    (data / "unlabelled.csv").unlink()
    done = lembra("train", data, "--out", tmp_path / "bundle", *TRAIN)
    assert done.exit_code == 0, done.output
    rows = Bundle.open(tmp_path / "bundle").report["data"]["splits"]["train"]["rows"]
    assert f"those of train among them: {rows}\n" in done.stderr


def test_without_a_weight_nothing_is_read(data: Path, tmp_path: Path) -> None:
    """The file may be there: the bundle is the one that it would be without."""
    plain = (*TRAIN, "--set", "virtual_weight=0", "--set", "entropy_weight=0")
    done = lembra("train", data, "--out", tmp_path / "beside", *plain)
    assert (done.exit_code, "without labels" in done.stderr) == (0, False), done.output
    (data / "unlabelled.csv").unlink()
    assert lembra("train", data, "--out", tmp_path / "without", *plain).exit_code == 0
    beside, without = (Bundle.open(tmp_path / name).manifest.files for name in ("beside", "without"))
    assert beside["weights.safetensors"] == without["weights.safetensors"]


def test_it_pretrains_on_the_same_text_and_goes_on(data: Path, tmp_path: Path) -> None:
    """Both at once: the encoder's words are the run's."""
    small = ("pretrain_epochs=1", "pretrain_streams=2", "pretrain_chunk=8", "pretrain_drawn=8")
    given = (*TRAIN, *(part for setting in small for part in ("--set", setting)))
    done = lembra("train", data, "--out", tmp_path / "bundle", *given)
    assert done.exit_code == 0, done.output
    assert "pretrained: on held-out text" in done.stderr
    assert '"splendid"' in vocabulary(tmp_path / "bundle")


class Interrupting(Console):
    """A console where Ctrl-C is pressed after the first epoch."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*objects, **options)
        if "epoch 1 " in str(objects):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_run_is_not_taken_up_over_other_text(data: Path, tmp_path: Path) -> None:
    """What it read without labels counts: another file is refused; the same goes on, to the same weights."""
    out, settings = tmp_path / "bundle", config.load("debug", SETTINGS)
    with pytest.raises(place.Stopped):
        run.run(
            read(data, Columns()), out, settings, device="cpu", console=Interrupting(file=io.StringIO()), track=False
        )
    content = (data / "unlabelled.csv").read_text()
    write(data, "unlabelled.csv", content + "one more\n")
    refused = lembra("train", data, "--out", out, *TRAIN, "--resume")
    assert (refused.exit_code, "unlabelled was" in refused.stderr) == (2, True), refused.output
    write(data, "unlabelled.csv", content)
    done = lembra("train", data, "--out", out, *TRAIN, "--resume")
    assert (done.exit_code, "epoch 1 " in done.stderr) == (0, False), done.output
    assert lembra("train", data, "--out", tmp_path / "whole", *TRAIN).exit_code == 0
    assert len({Bundle.open(path).manifest.version for path in (out, tmp_path / "whole")}) == 1


def test_a_search_reads_no_text_without_labels(data: Path, tmp_path: Path) -> None:
    """It is refused before the first trial."""
    with pytest.raises(ConfigError, match="virtual_weight and entropy_weight must be 0"):
        autotune.autotune(
            read(data, Columns()),
            tmp_path / "bundle",
            config.load("debug", SETTINGS),
            device="cpu",
            console=Console(quiet=True),
            limits=Limits(1.0),
        )
