"""benchmarks.few_labels: how rows are drawn, and what the folder has."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import few_labels, rivals
from benchmarks.runs import Keep
from tests.training.files import write, write_rows, zipped
from training.data import Parts


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    """Three classes: 60, 30 and 10 rows of train."""
    rows = [(f"train {n}", "a" if n < 60 else "b" if n < 90 else "c") for n in range(100)]
    write_rows(tmp_path, "train.jsonl", rows)
    write_rows(tmp_path, "valid.jsonl", [("valid 0", "a")])
    write(tmp_path, "test.jsonl.gz", zipped('{"text": "test 0", "label": "a"}\n'))
    write(tmp_path, "unlabelled.jsonl", '{"text": "unlabelled 0"}\n')
    return rivals.read(tmp_path)


def test_each_class_is_drawn_in_its_share(parts: Parts) -> None:
    """By seed: the same seed draws the same rows, another one others."""
    rows = few_labels.draw(parts.train, 20, seed=1)
    assert Counter(parts.train.labels[row][0] for row in rows) == {"a": 12, "b": 6, "c": 2}
    assert rows == few_labels.draw(parts.train, 20, seed=1) == sorted(set(rows))
    assert rows != few_labels.draw(parts.train, 20, seed=2)


def test_all_other_texts_are_unlabelled(parts: Parts, tmp_path: Path) -> None:
    """Those of train and valid too; test is the set's own, and no text is in two files."""
    folder = tmp_path / "few"
    for _ in range(2):  # as after a break
        drawn = few_labels.write(parts, 20, 0, folder)
    found = rivals.read(folder)
    assert found.unlabelled is not None
    assert found.test is not None
    assert (found.train, found.valid, found.test) == (drawn, None, parts.test)
    assert sorted(found.train.texts + found.unlabelled) == sorted([*parts.train.texts, "valid 0", "unlabelled 0"])
    assert not set(found.train.texts) & set(found.unlabelled)
    with gzip.open(folder / "test.jsonl.gz", "rt") as lines:
        assert json.loads(next(lines))["text"] == "test 0"


def test_a_student_learns_from_what_was_trained(tmp_path: Path) -> None:
    """It is measured beside it, on the same test part; without being asked for there is none."""
    source = tmp_path / "data"
    source.mkdir()
    for name, count in (("train", 60), ("test", 10), ("unlabelled", 30)):
        rows = [(f"{('dull', 'fine')[n % 2]} {name} {n}", "ab"[n % 2]) for n in range(count)]
        write_rows(source, f"{name}.jsonl", rows)
    quick = ["--recipe", "debug", "--set", "find_label_errors=false", "--device", "cpu"]
    given = few_labels.parse([*quick, "--student", "epochs=1", "--data", str(source)])
    keep = Keep(tmp_path / "kept")
    found = few_labels.measure(rivals.read(source), 30, 0, given, keep)["figures"]
    assert list(found) == ["lembra", "its student", "linear", "NB-SVM"]
    assert [found[name]["rows"] for name in ("lembra", "its student")] == [10, 10]
    assert [path.suffix for path in (tmp_path / "kept").iterdir()] == [".json"]
    assert few_labels.parse(quick).student is None


def test_figures_are_summed_over_the_seeds() -> None:
    """By the number of labels and by name."""
    rows = [
        {"figures": {"lembra": {"accuracy": x, "micro_f1": x, "macro_f1": x, "seconds": 1.0}}} for x in (0.25, 0.75)
    ]
    found = few_labels.summary({100: rows, 500: []})
    assert found[100]["lembra"]["accuracy"] == {"values": [0.25, 0.75], "mean": 0.5, "spread": 0.5}
    assert found[500] == {}
