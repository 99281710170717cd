"""training.run, through the `lembra` command: a bundle or one clear message, never something between."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

import cli
from model.bundle import Bundle
from tests.training.events import points
from training import config, place, run
from training.data import read
from training.reading import Columns

ROOT = Path(__file__).resolve().parents[2]
ROWS = [(f"{word} number {number}", label) for number in range(40) for word, label in (("good", "up"), ("bad", "down"))]
QUICK = (
    "--recipe",
    "debug",
    "--set",
    "threads=1",
    "--set",
    "precision=float32",
    "--set",
    "epochs=15",
    "--device",
    "cpu",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rows.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS))
    return path


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("bundles") / "first"
    result = lembra("train", data, "--out", out, *QUICK)
    assert result.exit_code == 0, result.output
    return out, json.loads(result.stdout.splitlines()[-1])


def lembra(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_the_last_line_is_the_summary(trained: tuple[Path, dict[str, Any]]) -> None:
    """Its figures are those of the bundle's report, and stdout has nothing else."""
    out, summary = trained
    bundle = Bundle.open(out)
    assert summary["bundle"] == str(out)
    assert summary["version"] == bundle.manifest.version
    assert set(summary["metrics"]) == {"valid", "test"}
    assert summary["metrics"]["test"]["accuracy"] == bundle.report["metrics"]["test"]["accuracy"]
    assert {"accuracy", "macro_f1", "ece"} <= set(summary["metrics"]["test"])
    assert summary["seconds"] > 0
    assert summary["tokens_per_s"] > 0


def test_what_was_trained_answers(trained: tuple[Path, dict[str, Any]]) -> None:
    """The bundle loads, replays its probes, and has learnt the one word that matters."""
    classifier = Bundle.open(trained[0]).classifier(device="cpu")
    assert [found.label for found in classifier.predict(["good number 3", "bad number 99"])] == ["up", "down"]


def test_one_seed_fixes_everything(data: Path, trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Two runs give the same weights and tokenizer; another seed gives others."""
    assert lembra("train", data, "--out", tmp_path / "again", *QUICK).exit_code == 0
    assert lembra("train", data, "--out", tmp_path / "other", *QUICK, "--seed", "1").exit_code == 0
    first, again, other = (Bundle.open(path).manifest for path in (trained[0], tmp_path / "again", tmp_path / "other"))
    for name in ("weights.safetensors", "tokenizer.json", "network.onnx", "calibration.json"):
        assert first.files[name] == again.files[name], name
    assert first.version == again.version
    assert first.files["weights.safetensors"] != other.files["weights.safetensors"]


def test_a_bundles_recipe_repeats_it(data: Path, trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """From `recipe.toml` alone, to the byte; and what --print-recipe prints is the same recipe."""
    recipe = trained[0] / "recipe.toml"
    assert lembra("train", data, "--out", tmp_path / "again", "--recipe", recipe, "--device", "cpu").exit_code == 0
    first, again = (Bundle.open(path).manifest.files for path in (trained[0], tmp_path / "again"))
    for name in ("weights.safetensors", "tokenizer.json", "calibration.json", "recipe.toml"):
        assert first[name] == again[name], name
    assert lembra("train", *QUICK, "--print-recipe").stdout == recipe.read_text()


def test_the_events_of_a_run_stay_beside_its_bundle(
    data: Path, trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Without its checkpoint, with the report's figures; none with --no-track, and the same weights."""
    out, summary = trained
    folder = out.with_name(f".{out.name}.run")
    assert all(path.name.startswith("events.out.tfevents.") for path in folder.iterdir())
    ((_, accuracy),) = points(folder, "test/accuracy")
    assert accuracy == pytest.approx(summary["metrics"]["test"]["accuracy"])
    assert len(points(folder, "validation/score")) == len(Bundle.open(out).report["history"])
    assert lembra("train", data, "--out", tmp_path / "silent", *QUICK, "--no-track").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["silent"]
    assert Bundle.open(tmp_path / "silent").manifest.version == summary["version"]


def test_the_report_says_where_it_came_from(trained: tuple[Path, dict[str, Any]], data: Path) -> None:
    """Hashes and counts of the data, every setting, the seed."""
    report = Bundle.open(trained[0]).report
    assert set(report["data"]["files"]) == {data.name}
    assert sum(split["rows"] for split in report["data"]["splits"].values()) == len(ROWS)
    assert report["settings"]["epochs"] == 15
    assert report["seed"] == 0


def test_the_report_is_described_key_by_key(trained: tuple[Path, dict[str, Any]]) -> None:
    """In docs/bundle.md, and nothing is described that isn't there."""
    described = (ROOT / "docs" / "bundle.md").read_text(encoding="utf-8").partition("## report.json")[2]
    rows = [row.split("|")[1] for row in described.splitlines() if row.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", "".join(rows))) == sorted(Bundle.open(trained[0]).report)


def test_the_report_is_a_page_too(trained: tuple[Path, dict[str, Any]]) -> None:
    """Listed in the manifest, with the figures of the summary on it."""
    out, summary = trained
    page = (out / "report.html").read_text()
    assert "report.html" in Bundle.open(out).manifest.files
    assert f"{summary['metrics']['test']['accuracy']:.1%}" in page


def test_a_recipe_of_the_bundle_repeats_the_run(
    data: Path, trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """To the byte, with no other setting given."""
    recipe = trained[0] / "recipe.toml"
    assert lembra("train", data, "--out", tmp_path / "again", "--recipe", recipe, "--device", "cpu").exit_code == 0
    first, again = (Bundle.open(path).manifest.files for path in (trained[0], tmp_path / "again"))
    for name in ("weights.safetensors", "tokenizer.json", "calibration.json", "recipe.toml"):
        assert first[name] == again[name], name


def test_texts_stay_in_the_house_when_told(data: Path, tmp_path: Path) -> None:
    """keep_texts=false: no text of the data is in any file of the bundle."""
    out = tmp_path / "bundle"
    assert lembra("train", data, "--out", out, *QUICK, "--set", "keep_texts=false").exit_code == 0
    for path in out.iterdir():
        assert b"number 1" not in path.read_bytes(), path.name


def test_the_report_has_the_checks_and_the_rival(trained: tuple[Path, dict[str, Any]]) -> None:
    """What is wrong with the data, and what a linear model makes of it."""
    report = Bundle.open(trained[0]).report
    assert [part["rows"] for part in report["checks"]["parts"]] == [len(ROWS)]
    assert report["rival"]["split"] == "test"
    assert report["rival"]["accuracy"] == 1.0
    assert report["rival"]["verdict"].startswith("The linear model alone is as good")


def test_the_checks_that_cost_and_the_rival_can_be_left_out(data: Path, tmp_path: Path) -> None:
    """By their settings; what is quick is always looked at. No n-grams either: then there is no linear model at all."""
    off = [part for name in ("rival", "ngrams", "find_label_errors") for part in ("--set", f"{name}=false")]
    off += ["--set", "epochs=1"]
    result = lembra("train", data, "--out", tmp_path / "quick", *QUICK, *off)
    assert result.exit_code == 0, result.output
    report = Bundle.open(tmp_path / "quick").report
    assert (report["rival"], report["checks"]["suspected"], report["checks"]["suspects"]) == (None, None, [])
    assert "linear model" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.csv"], "nowhere.csv doesn't exist"),
        (["DATA", "--label-column", "lable"], "no column 'lable'; did you mean 'label'"),
        (["DATA", "--set", "epoch=3"], "no setting 'epoch'; did you mean epochs"),
        (["DATA", "--recipe", "nothing"], "no recipe 'nothing'"),
    ],
)
def test_a_refusal_is_one_line_and_leaves_nothing(
    data: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    """Exit code 2, the message on stderr, and an empty folder."""
    given = [str(data) if argument == "DATA" else argument for argument in arguments]
    result = lembra("train", *given, "--out", tmp_path / "bundle")
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_leaves_no_room_for_the_runs_folder_is_refused(data: Path, tmp_path: Path) -> None:
    """Before anything is read: a bundle of 253 letters may be, `.NAME.run` may not."""
    result = lembra("train", data, "--out", tmp_path / ("x" * 253), *QUICK)
    assert (result.exit_code, "File name too long" in result.stderr, result.stderr.count("\n")) == (2, True, 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc")
def test_a_place_where_nothing_can_be_made_is_no_other_process(data: Path) -> None:
    """Whatever the rights of its folder say."""
    result = lembra("train", data, "--out", "/proc/new", *QUICK)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "--out /proc/new can't be written: /proc" in result.stderr


def test_a_name_that_is_not_utf_8_is_refused(data: Path, tmp_path: Path) -> None:
    """Before anything is learnt: no manifest can hold it."""
    result = lembra("train", data, "--out", tmp_path / os.fsdecode(b"n\xe9"), *QUICK)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert r"n\xe9: a bundle's name must be UTF-8" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_data_of_a_name_that_is_not_utf_8_is_learnt_from(data: Path, tmp_path: Path) -> None:
    """Its name stands escaped in the report, and so does the command."""
    named = shutil.copy(data, tmp_path / os.fsdecode(b"caf\xe9.csv"))
    command = [sys.executable, "-m", "cli", "train", named, "--out", tmp_path / "new", *QUICK, "--set", "epochs=1"]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    report = Bundle.open(tmp_path / "new").report
    assert list(report["data"]["files"]) == [r"caf\xe9.csv"]
    assert rf"train '{tmp_path}/caf\xe9.csv' --out" in report["command"]


def test_two_processes_do_not_make_one_bundle_at_once(data: Path, tmp_path: Path) -> None:
    """They would write the same checkpoint. The first goes on; afterwards there is no trace, and another may."""
    out = tmp_path / "bundles" / "mine"
    begun: list[subprocess.CompletedProcess[str]] = []

    class Beside(Console):
        """Begins another run when the first has learnt for a while."""

        def print(self, *objects: Any, **options: Any) -> None:
            if "epoch 1 " in str(objects):
                command = [sys.executable, "-m", "cli", "train", str(data), "--out", str(out), *QUICK, "--resume"]
                begun.append(subprocess.run(command, capture_output=True, text=True, timeout=120, check=False))
            super().print(*objects, **options)

    settings = config.load("debug", ["threads=1", "epochs=1", "refit_below=0"])
    run.run(read(data, Columns()), out, settings, device="cpu", console=Beside(file=io.StringIO()), track=False)
    (other,) = begun
    assert other.returncode == 2
    assert f"another process is making {out}" in other.stderr
    assert ([path.name for path in out.parent.iterdir()], list(tmp_path.iterdir())) == (["mine"], [out.parent])
    assert lembra("train", data, "--out", out, *QUICK, "--force").exit_code == 0


def test_what_is_made_in_the_course_of_something_may_be(tmp_path: Path) -> None:
    """As a search's bundle is, under one lock; a folder that was made for nothing goes."""
    out = tmp_path / "new" / "mine"
    seen: list[bool] = []

    @place.claims("bundle")
    def inner(_: None, out: Path) -> None:
        seen.append(place.beside(out, place.LOCK).exists())

    @place.claims("bundle")
    def outer(given: None, out: Path) -> None:
        inner(given, out)
        seen.append(place.beside(out, place.LOCK).exists())

    outer(None, out)
    assert seen == [True, True]
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bundle_is_replaced_only_by_force(data: Path, tmp_path: Path) -> None:
    """And a folder that is no bundle never."""
    out = tmp_path / "bundle"
    assert lembra("train", data, "--out", out, *QUICK).exit_code == 0
    before = Bundle.open(out).manifest
    refused = lembra("train", data, "--out", out, *QUICK)
    assert (refused.exit_code, "--force" in refused.stderr) == (2, True)
    assert Bundle.open(out).manifest == before
    assert lembra("train", data, "--out", out, *QUICK, "--force", "--seed", "1").exit_code == 0
    assert Bundle.open(out).manifest.version != before.version
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    assert lembra("train", data, "--out", tmp_path / "other", *QUICK, "--force").exit_code == 2
    assert (tmp_path / "other" / "thesis.txt").read_text() == "mine"


class Interrupting(Console):
    """A terminal where Ctrl-C is pressed after the first epoch."""

    def __init__(self) -> None:
        self.shown = io.StringIO()
        super().__init__(file=self.shown, force_terminal=True, width=200)

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*objects, **options)
        if "epoch 1 " in str(objects):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def stopped(data: Path, tmp_path: Path) -> tuple[Path, str]:
    """A run that was stopped by hand, to be taken up; what the terminal had when the question was put."""
    console, asked = Interrupting(), []

    def decline() -> bool:
        asked.append(console.shown.getvalue())
        return False

    out = tmp_path / "stopped"
    settings = config.load("debug", ["threads=1", "precision=float32", "epochs=15"])
    with pytest.raises(place.Stopped):
        run.run(read(data, Columns()), out, settings, device="cpu", console=console, track=False, offer=decline)
    (shown,) = asked
    return out, shown


def test_the_bar_is_gone_when_a_question_is_put(stopped: tuple[Path, str]) -> None:
    """It would be drawn over what is typed: the cursor, hidden as long as it lives, is shown again before."""
    assert stopped[1].rindex("\x1b[?25h") > stopped[1].rindex("\x1b[?25l")


def test_a_run_is_taken_up_with_other_checks_and_no_other_weights(data: Path, stopped: tuple[Path, str]) -> None:
    """What no weight depends on may change; what one does is refused before anything is looked at."""
    given = ("train", data, "--out", stopped[0], *QUICK, "--resume", "--no-track")
    other = lembra(*given, "--set", "hidden_size=9")
    assert (other.exit_code, "hidden_size was" in other.stderr, other.stderr.count("\n")) == (2, True, 1)
    changed = [part for name in ("rival", "find_label_errors", "keep_texts") for part in ("--set", f"{name}=false")]
    done = lembra(*given, *changed)
    assert done.exit_code == 0, done.output
    assert "epoch 1 " not in done.stderr


def test_evaluate_gives_the_reports_figures(trained: tuple[Path, dict[str, Any]], data: Path) -> None:
    """Measured again on a file, as JSON and as a table."""
    figures = json.loads(lembra("evaluate", trained[0], data, "--json").stdout)
    assert figures["rows"] == len(ROWS)
    assert figures["accuracy"] > 0.95
    assert "accuracy" in lembra("evaluate", trained[0], data).stdout
    refused = lembra("evaluate", trained[0], data, "--label-column", "text")
    assert refused.exit_code == 2


def test_classify_answers_line_by_line_in_order(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Texts or jsonl in, one JSON line each out, more than a chunk of them; an empty line has its answer too."""
    texts = [f"{'good' if number % 3 else 'bad'} number {number}" for number in range(1500)]
    texts[7] = ""
    plain, jsonl = tmp_path / "texts.txt", tmp_path / "texts.jsonl"
    plain.write_text("\n".join(texts) + "\n")
    jsonl.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    found = [json.loads(line) for line in lembra("classify", trained[0], plain).stdout.splitlines()]
    assert [line["index"] for line in found] == list(range(1500))
    assert [line["label"] for line in found[8:]] == ["up" if n % 3 else "down" for n in range(8, 1500)]
    assert lembra("classify", trained[0], jsonl).stdout.splitlines() == [json.dumps(line) for line in found]
    piped = CliRunner().invoke(cli.app, ["classify", str(trained[0])], input=plain.read_bytes())
    assert [json.loads(line) for line in piped.stdout.splitlines()] == found


def test_inspect_shows_what_is_in_a_bundle(trained: tuple[Path, dict[str, Any]]) -> None:
    """Version, labels and figures; and a damaged bundle is named."""
    out, summary = trained
    shown = json.loads(lembra("inspect", out, "--json").stdout)
    assert (shown["version"], shown["labels"]) == (summary["version"], ["down", "up"])
    assert np.isclose(shown["metrics"]["test"]["accuracy"], summary["metrics"]["test"]["accuracy"])
    refused = lembra("inspect", out.parent / "nothing")
    assert (refused.exit_code, "manifest.json is missing" in refused.stderr) == (2, True)
