"""training.teacher, through the `lembra` command: a network that learns the answers of others."""

import io
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

import cli
from model.bundle import Bundle
from tests import tiny
from tests.training.files import write_rows
from training import config, place, run, teacher
from training.data import read, split
from training.reading import Columns
from training.teacher import Teacher, Teachers

WORDS = {"good": "up", "fine": "up", "bad": "down", "dull": "down"}
ROWS = [(f"{word} number {number}", label) for number in range(40) for word, label in WORDS.items()]
MORE = {"splendid": "up", "awful": "down"}
OTHER = {"up": "down", "down": "up"}
SETTINGS = ("threads=1", "precision=float32", "rival=false", "ngrams=false", "find_label_errors=false", "epochs=20")
QUICK = ("--recipe", "debug", "--device", "cpu", "--no-track", *(part for one in SETTINGS for part in ("--set", one)))


def lembra(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def data(folder: Path, train: list[tuple[str, str]]) -> Path:
    """These rows to learn from, true ones to judge by, and texts without labels, one of them a test text."""
    folder.mkdir()
    write_rows(folder, "train.jsonl", train)
    write_rows(
        folder, "valid.jsonl", [(f"{word} thing {number}", WORDS[word]) for number in range(8) for word in WORDS]
    )
    write_rows(folder, "test.jsonl", [(f"{word} part {number}", WORDS[word]) for number in range(8) for word in WORDS])
    texts = [f"{word} splendid {number}" for number in range(20) for word in WORDS] + ["Good part  3"]
    (folder / "unlabelled.csv").write_text("text\n" + "".join(f"{text}\n" for text in texts))
    return folder


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The data, and a bundle that has learnt it."""
    folder = tmp_path_factory.mktemp("teacher")
    source = data(folder / "data", ROWS)
    done = lembra("train", source, "--out", folder / "teacher", *QUICK)
    assert done.exit_code == 0, done.output
    assert Bundle.open(folder / "teacher").report["metrics"]["test"]["accuracy"] == 1.0
    return source, folder / "teacher"


def distilled(source: Path, out: Path, teacher: Path, *more: object) -> Bundle:
    done = lembra("distil", source, "--out", out, "--teacher", teacher, *QUICK, *more)
    assert done.exit_code == 0, done.output
    return Bundle.open(out)


@pytest.mark.parametrize(("share", "right"), [(1.0, 1.0), (0.0, 0.0)])
def test_what_is_learnt_is_the_teachers_answers_in_their_share(
    taught: tuple[Path, Path], tmp_path: Path, share: float, right: float
) -> None:
    """Where every label of train is wrong: with the teacher alone all is right, with the labels alone all is wrong."""
    wrong = data(tmp_path / "data", [(text, OTHER[label]) for text, label in ROWS])
    (wrong / "unlabelled.csv").unlink()
    found = distilled(wrong, tmp_path / "student", taught[1], "--set", f"teacher_weight={share}")
    last = found.report["history"][-1]["score"]
    assert last == right


@pytest.mark.parametrize("refit_below", [0, 1000])
def test_what_a_text_without_labels_means_is_learnt(tmp_path: Path, refit_below: int) -> None:
    """Words that no labelled row of the student's has: what it knows of them, in either training, is the teacher's."""
    more = [(f"{word} number {number}", label) for number in range(40) for word, label in MORE.items()]
    known = data(tmp_path / "known", ROWS + more)
    assert lembra("train", known, "--out", tmp_path / "teacher", *QUICK).exit_code == 0
    source = data(tmp_path / "data", ROWS)
    (source / "valid.jsonl").unlink()
    write_rows(source, "test.jsonl", [(f"{word} part {number}", MORE[word]) for number in range(8) for word in MORE])
    texts = [f"{word} thing {number}" for number in range(40) for word in MORE]
    (source / "unlabelled.csv").write_text("text\n" + "".join(f"{text}\n" for text in texts))
    found = distilled(source, tmp_path / "student", tmp_path / "teacher", "--set", f"refit_below={refit_below}")
    assert (found.report["refit"] is None) == (refit_below == 0)
    assert found.report["metrics"]["test"]["accuracy"] == 1.0


def test_texts_that_judge_are_not_learnt_from(taught: tuple[Path, Path], tmp_path: Path) -> None:
    """A test text among those without labels, but for case and space; the report says whose answers were learnt."""
    source, first = taught
    found = distilled(source, tmp_path / "student", first)
    assert '"splendid"' in (tmp_path / "student" / "tokenizer.json").read_text()
    assert '"part"' not in (tmp_path / "student" / "tokenizer.json").read_text()
    version = Bundle.open(first).manifest.version
    assert found.report["teachers"] == [{"bundle": str(first), "version": version, "doubt": None}]
    assert found.manifest.version != version


def test_a_teacher_that_may_know_judging_rows_is_told(taught: tuple[Path, Path], tmp_path: Path) -> None:
    """It learnt from other rows; and then the student may know them too, whose own student is told of that."""
    source = data(tmp_path / "data", ROWS[:-4])
    done = lembra("distil", source, "--out", tmp_path / "student", "--teacher", taught[1], *QUICK)
    assert done.exit_code == 0, done.output
    assert "its train rows are others than this run's" in " ".join(done.stderr.split())
    again = lembra("distil", source, "--out", tmp_path / "second", "--teacher", tmp_path / "student", *QUICK)
    assert "so may a teacher of its own" in " ".join(again.stderr.split())
    assert Bundle.open(tmp_path / "second").report["teachers"][0]["doubt"] == "so may a teacher of its own"
    assert "so may a teacher of its own" in (tmp_path / "second" / "report.html").read_text()


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ({}, None),
        ({"data": {"splits": {}}}, "train rows are others"),
        ({"refit": {"rows": 9}}, "trained once more"),
        ({"encoder": {"seen": {"validation": 0, "test": 2}}}, "encoder had learnt"),
        ({"encoder": {"seen": {"validation": 0, "test": 0}}}, None),
        ({"teachers": [{"doubt": None}, {"doubt": "why"}]}, "a teacher of its own"),
    ],
)
def test_what_makes_a_teacher_doubtful(taught: tuple[Path, Path], report: dict[str, object], said: str | None) -> None:
    """What its report says of what it learnt from, and by what it was chosen."""
    splits = split(read(taught[0], Columns()), config.load("debug", SETTINGS))
    clean = {"data": {"splits": {name: part.fingerprint() for name, part in splits.parts.items()}}}
    found = teacher.doubt({**clean, **report}, splits)
    assert (found is None) if said is None else (found is not None and said in found)


class Interrupting(Console):
    """A console where Ctrl-C is pressed after the first epoch."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*objects, **options)
        if "epoch 1 " in str(objects):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_run_is_not_taken_up_with_other_teachers(taught: tuple[Path, Path], tmp_path: Path) -> None:
    """Another one is refused; with the same one it goes on, to the same weights as without a break."""
    source, first = taught
    assert lembra("train", source, "--out", tmp_path / "other", *QUICK, "--set", "seed=1").exit_code == 0
    out, settings = tmp_path / "student", config.load("debug", SETTINGS)
    with pytest.raises(place.Stopped):
        run.run(
            read(source, Columns()),
            out,
            settings,
            device="cpu",
            console=Interrupting(file=io.StringIO()),
            track=False,
            teachers=[first],
        )
    refused = lembra("distil", source, "--out", out, "--teacher", tmp_path / "other", *QUICK, "--resume")
    assert (refused.exit_code, "teachers was" in refused.stderr) == (2, True), refused.output
    distilled(source, out, first, "--resume")
    distilled(source, tmp_path / "whole", first)
    assert len({Bundle.open(path).manifest.version for path in (out, tmp_path / "whole")}) == 1


def test_a_teacher_must_know_the_labels_of_the_data(taught: tuple[Path, Path], tmp_path: Path) -> None:
    """One with others is refused by its name and theirs, and so is what is no bundle, before anything is written."""
    tiny.write(tmp_path / "tiny")
    for path, said in ((tmp_path / "tiny", "'down'"), (tmp_path / "nothing", "nothing")):
        done = lembra("distil", taught[0], "--out", tmp_path / "student", "--teacher", path, *QUICK)
        assert done.exit_code == 2, done.output
        assert str(path) in done.stderr
        assert said in done.stderr
        assert not (tmp_path / "student").exists()
        assert not place.beside(tmp_path / "student", place.RUN_FOLDER).exists()


def test_a_teacher_of_another_kind_is_refused(taught: tuple[Path, Path], tmp_path: Path) -> None:
    """One label a text can't be learnt from any number of them."""
    from model import bundle

    path = tmp_path / "many"
    bundle.write(path, tiny.multi_label_parts([0.5, 0.5, 0.5]), created=tiny.CREATED, commit=None)
    done = lembra("distil", taught[0], "--out", tmp_path / "student", "--teacher", path, *QUICK)
    assert (done.exit_code, "is multi-label, and the data is single-label" in done.stderr) == (2, True), done.output


def test_answers_are_the_mean_of_all_a_column_a_label() -> None:
    """In the order of the data's labels, whatever the teachers' own is."""
    texts = ["the film was good", "very dull", ""]
    classifiers = [tiny.classifier(tensors=tiny.weights(seed=seed)) for seed in (0, 1)]
    labels = list(reversed(tiny.LABELS))
    teachers = Teachers([Teacher(Path("t"), "v", its, doubt=None) for its in classifiers], labels, texts[2:])
    expected = np.mean([its.score(its.encode(texts)) for its in classifiers], axis=0)[:, ::-1]
    assert np.allclose(teachers.teach(texts[:2]).of(texts), expected, rtol=0, atol=1e-6)
