"""training.teacher, through the `lembra` command: a network that learns the answers of others."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import cli
from model.bundle import Bundle
from tests import tiny
from tests.training.files import write_rows
from training import place
from training.teacher import Teacher, Teachers

WORDS = {"good": "up", "fine": "up", "bad": "down", "dull": "down"}
ROWS = [(f"{word} number {number}", label) for number in range(40) for word, label in WORDS.items()]
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


def test_texts_without_labels_are_learnt_from_too(taught: tuple[Path, Path], tmp_path: Path) -> None:
    """Their words are known, but for those of a text that judges; the report says whose answers they were."""
    source, teacher = taught
    found = distilled(source, tmp_path / "student", teacher)
    assert '"splendid"' in (tmp_path / "student" / "tokenizer.json").read_text()
    assert '"part"' not in (tmp_path / "student" / "tokenizer.json").read_text()
    version = Bundle.open(teacher).manifest.version
    assert found.report["teachers"] == [{"bundle": str(teacher), "version": version, "same_rows": True}]
    assert found.manifest.version != version


def test_a_teacher_that_learnt_other_rows_is_told(taught: tuple[Path, Path], tmp_path: Path) -> None:
    """It may know rows that judge the student."""
    source = data(tmp_path / "data", ROWS[:-4])
    done = lembra("distil", source, "--out", tmp_path / "student", "--teacher", taught[1], *QUICK)
    assert done.exit_code == 0, done.output
    assert "learnt from other rows than this run will" in " ".join(done.stderr.split())


def test_a_teacher_must_know_the_labels_of_the_data(taught: tuple[Path, Path], tmp_path: Path) -> None:
    """One with others is refused by its name and theirs, and so is what is no bundle, before anything is written."""
    tiny.write(tmp_path / "tiny")
    for teacher, said in ((tmp_path / "tiny", "'down'"), (tmp_path / "nothing", "nothing")):
        done = lembra("distil", taught[0], "--out", tmp_path / "student", "--teacher", teacher, *QUICK)
        assert done.exit_code == 2, done.output
        assert str(teacher) in done.stderr
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
    teachers = Teachers([Teacher(Path("t"), "v", its, same_rows=True) for its in classifiers], labels, [])
    expected = np.mean([its.score(its.encode(texts)) for its in classifiers], axis=0)[:, ::-1]
    assert np.allclose(teachers.answers(texts), expected, rtol=0, atol=1e-6)
