"""training.pretrain, through the `lembra` command: an encoder or one clear message, and where a classifier starts."""

import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner, Result

import cli
from model.bundle import Bundle
from tests.training.files import write, write_rows
from training import config, place, precision, pretrain, run
from training.data import read
from training.pretraining.encoder import Encoder
from training.reading import Columns
from training.tuning import autotune
from training.tuning.search import Limits

ROWS = [(f"{word} number {number}", label) for number in range(40) for word, label in (("good", "up"), ("bad", "down"))]
SMALL = (
    "threads=1",
    "embedding_size=8",
    "hidden_size=8",
    "pretrain_epochs=2",
    "pretrain_streams=2",
    "pretrain_chunk=8",
    "pretrain_drawn=8",
)
QUICK = ("--recipe", "debug", "--device", "cpu", *(part for setting in SMALL for part in ("--set", setting)))
TRAIN = (*QUICK, "--set", "rival=false", "--set", "find_label_errors=false", "--no-track")
GIVEN = (*TRAIN, "--set", "pretrain_epochs=0", "--encoder")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled rows, and a word more in the unlabelled ones."""
    folder = tmp_path_factory.mktemp("data")
    write_rows(folder, "train.jsonl", ROWS)
    write(folder, "unlabelled.csv", "text\n" + "".join(f"splendid {word} {n}\n" for n in range(20) for word in "abc"))
    return folder


@pytest.fixture(scope="module")
def pretrained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("encoders") / "first"
    result = lembra("pretrain", data, "--out", out, *QUICK)
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    return out, json.loads(line)


def lembra(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_the_last_line_is_the_summary(pretrained: tuple[Path, dict[str, Any]]) -> None:
    """Its figures are those of the encoder's report; nothing but the encoder is left in the folder."""
    out, summary = pretrained
    report = json.loads((out / "report.json").read_text())
    assert summary["encoder"] == str(out)
    assert summary["version"] == Encoder.open(out).version == report["version"]
    assert summary["held_out"] == report["held_out"]
    assert report["held_out"]["after"]["perplexity"] < report["held_out"]["before"]["perplexity"]
    assert set(report["data"]["files"]) == {"train.jsonl", "unlabelled.csv"}
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_its_recipe_repeats_it(data: Path, pretrained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """From `recipe.toml` alone, to the byte."""
    given = ("--recipe", pretrained[0] / "recipe.toml", "--device", "cpu")
    assert lembra("pretrain", data, "--out", tmp_path / "again", *given).exit_code == 0
    assert Encoder.open(tmp_path / "again").version == pretrained[1]["version"]


def test_its_recipe_says_what_auto_came_to(pretrained: tuple[Path, dict[str, Any]]) -> None:
    """As a bundle's does: the precision that this machine took, in the report too."""
    taken = precision.takes_bfloat16(torch.device("cpu"), config.load("debug", SMALL))
    found = config.load(str(pretrained[0] / "recipe.toml"), [])
    assert found.precision == ("bfloat16" if taken else "float32")
    assert json.loads((pretrained[0] / "report.json").read_text())["settings"] == found.model_dump()


def test_a_classifier_starts_from_it(data: Path, pretrained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Its sizes win and are in the recipe, words of its own are known, and the report names it; the bundle loads."""
    out = tmp_path / "bundle"
    done = lembra("train", data, "--out", out, "--set", "hidden_size=30", *GIVEN, pretrained[0])
    assert done.exit_code == 0, done.output
    bundle = Bundle.open(out)
    assert bundle.report["encoder"]["version"] == pretrained[1]["version"]
    settings = config.load(out / "recipe.toml", [])
    assert (bundle.config.network.hidden_size, settings.hidden_size, settings.pretrain_epochs) == (8, 8, 0)
    assert '"splendid"' in (out / "tokenizer.json").read_text()
    bundle.classifier(device="cpu")


def test_over_an_encoder_the_dropout_is_another(
    data: Path, pretrained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """encoder_dropout decides the weights, and embedding_dropout doesn't."""

    def version(name: str, setting: str) -> str:
        done = lembra("train", data, "--out", tmp_path / name, "--set", setting, *GIVEN, pretrained[0])
        assert done.exit_code == 0, done.output
        return str(json.loads(done.stdout.splitlines()[-1])["version"])

    first = version("first", "embedding_dropout=0.1")
    assert version("second", "embedding_dropout=0.6") == first
    assert version("third", "encoder_dropout=0.6") != first


def test_an_encoder_that_learnt_from_judging_texts_is_told(
    data: Path, pretrained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Rows that the run holds out of a train file which the encoder has read: by split, in a line and in the report."""
    out = tmp_path / "bundle"
    done = lembra("train", data, "--out", out, *GIVEN, pretrained[0])
    assert done.exit_code == 0, done.output
    report = Bundle.open(out).report
    seen, splits = report["encoder"]["seen"], report["data"]["splits"]
    assert set(seen) == {"validation", "calibration"}
    # The encoder held a text out of its own training, which may be one of them.
    assert sum(seen.values()) >= splits["validation"]["rows"] + splits["calibration"]["rows"] - 1
    (line,) = (line for line in done.stderr.splitlines() if "may flatter" in line)
    assert line.startswith(f"warning: {pretrained[0]} learnt from texts that judge this classifier")
    assert line.endswith(f": validation {seen['validation']}, calibration {seen['calibration']}")


def test_an_encoder_of_a_folder_with_valid_and_test_has_seen_none_of_them(tmp_path: Path) -> None:
    """Though its train file repeats some: they were left out, and nothing is warned of."""
    for name, rows in (("train", ROWS), ("valid", ROWS[:12]), ("test", ROWS[12:20])):
        write_rows(tmp_path, f"{name}.jsonl", rows)
    assert lembra("pretrain", tmp_path, "--out", tmp_path / "encoder", *QUICK).exit_code == 0
    done = lembra("train", tmp_path, "--out", tmp_path / "bundle", *GIVEN, tmp_path / "encoder")
    assert (done.exit_code, "may flatter" in done.stderr) == (0, False), done.output
    seen = Bundle.open(tmp_path / "bundle").report["encoder"]["seen"]
    assert seen == {"validation": 0, "calibration": 0, "test": 0}


def test_an_encoder_that_is_given_takes_the_place_of_one_to_be_made(
    data: Path, pretrained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Though the recipe would make one; the bundle's recipe says that there was none."""
    out = tmp_path / "bundle"
    done = lembra("train", data, "--out", out, *TRAIN, "--encoder", pretrained[0])
    assert (done.exit_code, "pretrained:" in done.stderr) == (0, False), done.output
    assert Bundle.open(out).report["encoder"]["version"] == pretrained[1]["version"]
    assert config.load(out / "recipe.toml", []).pretrain_epochs == 0


def test_an_encoder_is_no_bundle(pretrained: tuple[Path, dict[str, Any]]) -> None:
    """Whatever would open it as one says what it is."""
    refused = lembra("inspect", pretrained[0])
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert f"{pretrained[0]} is an encoder, which `lembra train --encoder` starts from, not a bundle" in refused.stderr


def test_the_recipe_that_is_printed_has_the_encoders_sizes(data: Path, pretrained: tuple[Path, dict[str, Any]]) -> None:
    """As the run that it speaks of would."""
    given = ("train", data, "--recipe", "debug", "--print-recipe", "--encoder")
    printed = lembra(*given, pretrained[0])
    assert printed.exit_code == 0, printed.output
    assert {"embedding_size = 8", "hidden_size = 8", "pretrain_epochs = 0"} <= set(printed.stdout.splitlines())
    refused = lembra(*given, data)
    assert (refused.exit_code, refused.stdout, "manifest.json is missing" in refused.stderr) == (2, "", True)


def test_a_run_pretrains_by_itself(data: Path, tmp_path: Path) -> None:
    """Where the recipe says so; its recipe repeats it to the byte, and nothing is left beside the bundle."""
    out = tmp_path / "bundle"
    done = lembra("train", data, "--out", out, *TRAIN)
    assert done.exit_code == 0, done.output
    assert "pretrained: on held-out text perplexity" in done.stderr
    found = Bundle.open(out)
    assert found.report["encoder"]["held_out"]["after"]["words"] > 0
    assert found.report["encoder"]["seen"] == {"validation": 0, "calibration": 0}
    assert "may flatter" not in done.stderr
    given = ("--recipe", out / "recipe.toml", "--device", "cpu", "--no-track")
    assert lembra("train", data, "--out", tmp_path / "again", *given).exit_code == 0
    assert Bundle.open(tmp_path / "again").manifest.version == found.manifest.version
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "bundle"]


class Interrupting(Console):
    """A console where Ctrl-C is pressed after the n-th line that says `word`."""

    def __init__(self, word: str, count: int) -> None:
        super().__init__(file=io.StringIO(), width=200)
        self.word, self.left = word, count

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*objects, **options)
        if self.word in str(objects):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGINT)


def test_a_pretraining_that_was_stopped_goes_on(
    data: Path, pretrained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """With --resume, to the same version; without it it is refused, and with other settings too."""
    out, settings = tmp_path / "stopped", config.load("debug", SMALL)
    with pytest.raises(place.Stopped):
        pretrain.pretrain(data, out, settings, columns=Columns(), device="cpu", console=Interrupting("epoch 1 ", 1))
    assert not out.exists()
    refused = lembra("pretrain", data, "--out", out, *QUICK)
    assert (refused.exit_code, "was cut off: --resume" in refused.stderr) == (2, True)
    other = lembra("pretrain", data, "--out", out, *QUICK, "--resume", "--set", "pretrain_chunk=9")
    assert (other.exit_code, "pretrain_chunk was 8, is 9" in other.stderr) == (2, True)
    done = lembra("pretrain", data, "--out", out, *QUICK, "--resume")
    assert done.exit_code == 0, done.output
    assert "epoch 1 " not in done.stderr
    assert json.loads(done.stdout)["version"] == pretrained[1]["version"]


@pytest.mark.parametrize("count", [1, 3])
def test_a_run_that_was_stopped_while_it_pretrained_or_after_goes_on(data: Path, tmp_path: Path, count: int) -> None:
    """The lines of epochs are two of pretraining, then those of training: to the same weights in both cases."""
    given = [*SMALL, "rival=false", "find_label_errors=false"]
    out, console = tmp_path / "stopped", Interrupting("epoch ", count)
    with pytest.raises(place.Stopped):
        run.run(read(data, Columns()), out, config.load("debug", given), device="cpu", console=console, track=False)
    assert lembra("train", data, "--out", out, *TRAIN).exit_code == 2
    assert lembra("train", data, "--out", out, *TRAIN, "--resume").exit_code == 0
    assert lembra("train", data, "--out", tmp_path / "whole", *TRAIN).exit_code == 0
    versions = {Bundle.open(path).manifest.version for path in (out, tmp_path / "whole")}
    assert len(versions) == 1


@pytest.mark.parametrize("option", ["--force", "--resume"])
def test_what_an_abandoned_pretraining_left_goes(data: Path, tmp_path: Path, option: str) -> None:
    """When a bundle of that name is written without pretraining; with --force before the training begins."""
    left = tmp_path / ".bundle.run" / pretrain.CHECKPOINT
    left.parent.mkdir()
    left.write_bytes(b"of another run")
    settings = config.load("debug", [*SMALL, "rival=false", "find_label_errors=false", "pretrain_epochs=0"])
    parts, out, force = read(data, Columns()), tmp_path / "bundle", option == "--force"
    console = Interrupting("epoch 1 ", 1)
    with pytest.raises(place.Stopped):
        run.run(parts, out, settings, device="cpu", console=console, overwrite=force, resume=not force, track=False)
    assert left.exists() != force
    assert lembra("train", data, "--out", out, *TRAIN, "--set", "pretrain_epochs=0", "--resume").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_an_empty_checkpoint_is_refused_with_the_reason(data: Path, tmp_path: Path) -> None:
    """A disk that was full may leave one."""
    left = tmp_path / ".encoder.run" / pretrain.CHECKPOINT
    left.parent.mkdir()
    left.touch()
    refused = lembra("pretrain", data, "--out", tmp_path / "encoder", *QUICK, "--resume")
    assert (refused.exit_code, "can't be read: it is empty; --force" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "words\nx\n", "no column 'text'"),
        ("a.jsonl", '{"text": 3}\n', "line 1: 'text' is 3, not a string"),
        ("a.txt", b"caf\xe9\n", "line 1: invalid UTF-8"),
        ("a.txt", "one\none\n", "at least 2 are needed"),
        ("a.txt", "one\ntwo\nthree\n", "fewer than two words come 2 times"),
    ],
)
def test_bad_text_is_refused_in_one_line(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    """With exit code 2, and nothing is written."""
    path = write(tmp_path, name, content)
    result = lembra("pretrain", path, "--out", tmp_path / "encoder", *QUICK)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr
    assert [found.name for found in tmp_path.iterdir()] == [name]


def test_an_encoder_never_replaces_a_bundle(
    data: Path, tiny_copy: Path, pretrained: tuple[Path, dict[str, Any]]
) -> None:
    """Nor a bundle an encoder, --force or not; and a bundle isn't started from."""
    refused = lembra("pretrain", data, "--out", tiny_copy, *QUICK, "--force")
    assert (refused.exit_code, "is no encoder" in refused.stderr) == (2, True)
    refused = lembra("train", data, "--out", pretrained[0], *TRAIN, "--force")
    assert (refused.exit_code, "is no bundle" in refused.stderr) == (2, True)
    refused = lembra("train", data, "--out", tiny_copy.parent / "new", *GIVEN, tiny_copy)
    assert (refused.exit_code, "is a bundle; an encoder is" in refused.stderr) == (2, True)


def test_a_search_does_not_pretrain(data: Path, tmp_path: Path) -> None:
    """Each of its trials would; what it makes says so."""
    said = io.StringIO()
    autotune.autotune(
        read(data, Columns()),
        tmp_path / "bundle",
        config.load("debug", [*SMALL, "find_label_errors=false"]),
        device="cpu",
        console=Console(file=said, width=200),
        limits=Limits(1.0, trials=1),
    )
    assert "pretrain_epochs is 0 in it" in said.getvalue()
    assert config.load(tmp_path / "bundle" / "recipe.toml", []).pretrain_epochs == 0
