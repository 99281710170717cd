"""training.data: what is refused, what is warned about, and how rows are split."""

from pathlib import Path

import pytest

from training import data
from training.config import TrainingConfig
from training.errors import DataError
from training.reading import Columns

CONFIG = TrainingConfig()
ROWS = [(f"text {number}", "ab"[number % 2]) for number in range(40)]
JSONL = "".join(f'{{"text": "{text}", "label": "{label}"}}\n' for text, label in ROWS)
CSV = "text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


REFUSED = {
    "invalid UTF-8": (
        "a.jsonl",
        JSONL.encode() + b'{"text": "caf\xe9", "label": "a"}\n',
        r"line 41: invalid UTF-8.*0xe9",
    ),
    "broken JSON": ("a.jsonl", JSONL + '{"text": "x", \n', "line 41: broken JSON"),
    "no object": ("a.jsonl", '["x", "a"]\n', "line 1: .*isn't an object"),
    "unknown column": ("a.csv", CSV.replace("text,", "texts,", 1), r"no column 'text'; did you mean 'texts'"),
    "row without a label": ("a.csv", CSV + "x,\n", "line 42: row without a label"),
    "null label": ("a.jsonl", JSONL + '{"text": "x", "label": null}\n', "line 41: row without a label"),
    "text that is no string": ("a.jsonl", '{"text": 3, "label": "a"}\n', "line 1: 'text' is 3, not a string"),
    "too few fields": ("a.csv", CSV + "x\n", "line 42: 1 fields; the header has 2"),
    "open quote": ("a.csv", CSV + '"x,a\n', "line 42: broken CSV"),
    "no rows": ("a.csv", "text,label\n", "has no rows"),
    "empty file": ("a.csv", "", "has no rows"),
    "lone surrogate": ("a.jsonl", '{"text": "\\ud800", "label": "a"}\n', "line 1: 'text' has a lone surrogate"),
    "not gzip": ("a.jsonl.gz", JSONL, "can't be read"),
    "not parquet": ("a.parquet", JSONL, "can't be read as parquet"),
    "unknown ending": ("a.xlsx", b"PK", "none of the endings"),
    "one class only": ("a.csv", CSV.replace(",b\n", ",a\n"), "one class only"),
    "fewer rows than classes": (
        "a.csv",
        "text,label\n" + "".join(f"t,{n}\n" for n in range(9)),
        "9 rows for 9 classes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_data_is_refused_by_file_and_line(tmp_path: Path, case: str) -> None:
    """One clear message, with the file's name in it."""
    name, content, message = REFUSED[case]
    path = write(tmp_path, name, content)
    with pytest.raises(DataError, match=message) as caught:
        data.load(path, CONFIG, Columns())
    assert name in str(caught.value)


def test_a_missing_file_and_a_folder_without_train_are_refused(tmp_path: Path) -> None:
    """The names that would do are said."""
    with pytest.raises(DataError, match=r"nowhere doesn't exist"):
        data.load(tmp_path / "nowhere", CONFIG, Columns())
    with pytest.raises(DataError, match=r"no train file \(train\.jsonl"):
        data.load(tmp_path, CONFIG, Columns())
    write(tmp_path, "train.csv", CSV)
    write(tmp_path, "train.jsonl", JSONL)
    with pytest.raises(DataError, match=r"train\.jsonl and train\.csv"):
        data.load(tmp_path, CONFIG, Columns())


def test_a_label_that_only_the_test_split_has_is_refused(tmp_path: Path) -> None:
    """No classifier could ever give it."""
    write(tmp_path, "train.csv", CSV)
    write(tmp_path, "test.csv", "text,label\nx,a\ny,c\n")
    with pytest.raises(DataError, match=r"test\.csv: 'c'"):
        data.load(tmp_path, CONFIG, Columns())


def test_doubtful_data_is_warned_about(tmp_path: Path) -> None:
    """Labels alike but for case, empty texts, and test texts that stand in train, counted."""
    write(tmp_path, "train.csv", CSV + ",b\n" * 20 + "x,A \ny,A \n")
    write(tmp_path, "valid.csv", "text,label\n" + "seen,a\nunseen,b\n" * 3)
    write(tmp_path, "test.csv", "text,label\ntext 3,a\ntext 4,b\nnew,a\n")
    warnings = "\n".join(data.load(tmp_path, CONFIG, Columns()).warnings)
    assert "differ in case or spaces only: 'A ', 'a'" in warnings
    assert "20 empty texts in train" in warnings
    assert "2 of 3 test texts are also in train" in warnings


def test_leaks_of_a_single_file_are_counted_after_it_was_split(tmp_path: Path) -> None:
    """Every text four times: the test rows can't all be new."""
    warnings = data.load(write(tmp_path, "a.jsonl", JSONL * 4), CONFIG, Columns()).warnings
    assert any("test texts are also in train" in warning for warning in warnings)


def test_no_row_is_in_two_splits_and_none_is_lost(tmp_path: Path) -> None:
    """A single file is cut into four, each class in its share."""
    splits = data.load(write(tmp_path, "a.jsonl", JSONL), CONFIG, Columns())
    parts = (splits.train, splits.validation, splits.calibration, splits.test)
    texts = [text for part in parts if part is not None for text in part.texts]
    assert sorted(texts) == sorted(text for text, _ in ROWS)
    assert all(part is not None and set(part.labels) == {"a", "b"} for part in parts)


def test_the_seed_alone_decides_the_split(tmp_path: Path) -> None:
    """The same seed gives the same rows, another seed others."""
    path = write(tmp_path, "a.jsonl", JSONL)
    first, again, other = (data.load(path, TrainingConfig(seed=seed), Columns()).train for seed in (1, 1, 2))
    assert first == again
    assert first != other
