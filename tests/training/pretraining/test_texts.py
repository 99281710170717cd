"""training.pretraining.texts: what is learnt from, and what isn't."""

from pathlib import Path

import pytest

from tests.training.files import write, write_rows, zipped
from training import data
from training.config import TrainingConfig
from training.errors import DataError
from training.pretraining import texts
from training.reading import Columns


def learnt(source: Path) -> set[str]:
    found = texts.read(source, Columns(), seed=0)
    return {*found.train, *found.held_out}


def test_repeats_of_what_is_judged_are_left_out(tmp_path: Path) -> None:
    """Texts of test and valid, but for case, space and punctuation; and counted, as are texts that came before."""
    write_rows(tmp_path, "train.jsonl", [("one", "a"), ("Two  words ...", "b"), ("three", "a"), ("one", "b")])
    write_rows(tmp_path, "test.jsonl", [("two words", "a")])
    write_rows(tmp_path, "valid.jsonl", [("FOUR", "a")])
    write(tmp_path, "unlabelled.csv", "text\nfour\nfive\n")
    found = texts.read(tmp_path, Columns(), seed=0)
    assert {*found.train, *found.held_out} == {"one", "three", "five"}
    assert (found.left_out, found.repeated) == (2, 1)
    assert set(found.hashes) == {"train.jsonl", "test.jsonl", "valid.jsonl", "unlabelled.csv"}


def test_no_label_is_needed(tmp_path: Path) -> None:
    """A folder with `unlabelled` alone, a file without labels, a file with a text a line."""
    write(tmp_path, "unlabelled.csv", "text\nfour\nfive\n")
    assert learnt(tmp_path) == learnt(tmp_path / "unlabelled.csv") == {"four", "five"}
    assert learnt(write(tmp_path, "lines.txt", "four\n\nfive\n")) == {"four", "five"}


@pytest.mark.parametrize("name", ["a.csv.gz", "a.json", "A.NDJSON", "a.tsv.gz", "a.xlsx", "a.zip"])
def test_other_data_is_no_text_a_line(tmp_path: Path, name: str) -> None:
    """Its lines would be taken for texts, by `lembra classify` too."""
    path = write(tmp_path, name, zipped("text\nfour\nfive\n") if name.endswith(".gz") else "text\nfour\nfive\n")
    with pytest.raises(DataError, match=rf"{name} has the ending .*can't be read: \.jsonl, \.jsonl\.gz, \.csv"):
        learnt(path)


@pytest.mark.parametrize("name", ["lines", "lines.TXT", "lines.txt.gz", "lines.log", "mydata.v2", "csv", "a.json.txt"])
def test_whatever_else_it_is_called_it_has_a_text_a_line(tmp_path: Path, name: str) -> None:
    """With an ending that is unknown, or without one."""
    lines = "four\nfive\n"
    assert learnt(write(tmp_path, name, zipped(lines) if name.endswith(".gz") else lines)) == {"four", "five"}


def test_a_share_is_held_out(tmp_path: Path) -> None:
    """One in a hundred, at most 500, chosen by the seed."""
    path = write(tmp_path, "lines.txt", "".join(f"text {number}\n" for number in range(1000)))
    first, again, other = (texts.read(path, Columns(), seed=seed) for seed in (0, 0, 1))
    assert (len(first.train), len(first.held_out)) == (990, 10)
    assert first.sha256 == again.sha256 != other.sha256


def test_a_runs_own_held_out_texts_are_left_out(tmp_path: Path) -> None:
    """What a run splits off its train file is no text to learn from, though `unlabelled` has it too."""
    rows = [(f"text {number}", "ab"[number % 2]) for number in range(100)]
    write_rows(tmp_path, "train.jsonl", rows)
    write(tmp_path, "unlabelled.csv", "text\n" + "".join(f"{text}\n" for text, _ in rows) + "more\n")
    parts = data.read(tmp_path, Columns())
    splits = data.split(parts, TrainingConfig())
    found = texts.of_splits(parts, splits, seed=0)
    assert {*found.train, *found.held_out} == {*splits.train.texts, "more"}
    assert found.left_out == len(splits.validation) + len(splits.calibration)


@pytest.mark.parametrize(("name", "content"), [("a.txt", "\n \n"), ("a.csv", "text\nonly\n"), ("a.jsonl", "")])
def test_too_little_text_is_refused(tmp_path: Path, name: str, content: str) -> None:
    """One text can't be learnt from and measured on."""
    with pytest.raises(DataError, match="at least 2 are needed"):
        texts.read(write(tmp_path, name, content), Columns(), seed=0)
