"""training.data: what is refused, what is left out, and how rows are split."""

import json
from pathlib import Path

import pytest

from training import data
from training.config import TrainingConfig
from training.data import Splits
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


def load(source: Path, config: TrainingConfig = CONFIG) -> Splits:
    return data.split(data.read(source, Columns()), config)


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
        load(path)
    assert name in str(caught.value)


def test_a_missing_file_and_a_folder_without_train_are_refused(tmp_path: Path) -> None:
    """The names that would do are said."""
    with pytest.raises(DataError, match=r"nowhere doesn't exist"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no train file \(train\.jsonl"):
        load(tmp_path)
    write(tmp_path, "train.csv", CSV)
    write(tmp_path, "train.jsonl", JSONL)
    with pytest.raises(DataError, match=r"train\.jsonl and train\.csv"):
        load(tmp_path)


def test_a_label_that_only_the_test_split_has_is_refused(tmp_path: Path) -> None:
    """No classifier could ever give it."""
    write(tmp_path, "train.csv", CSV)
    write(tmp_path, "test.csv", "text,label\nx,a\ny,c\n")
    with pytest.raises(DataError, match=r"test\.csv: 'c'"):
        load(tmp_path)


def test_what_is_held_out_is_not_trained_on(tmp_path: Path) -> None:
    """Rows of train whose text is in test or valid, but for case and white space, are left out."""
    write(tmp_path, "train.csv", CSV + "Seen  TWICE,a\nseen,b\n")
    write(tmp_path, "valid.csv", "text,label\n" + "".join(f"seen,a\nunseen {n},b\n" for n in range(3)))
    write(tmp_path, "test.csv", "text,label\nseen twice,a\ntext 4,b\nnew,a\n")
    splits = load(tmp_path)
    assert splits.dropped == 3
    assert not {"Seen  TWICE", "seen", "text 4"} & set(splits.train.texts)
    assert len(splits.train) == len(ROWS) - 1
    kept = load(tmp_path, TrainingConfig(drop_repeats=False))
    assert (kept.dropped, len(kept.train)) == (0, len(ROWS) + 2)


def test_copies_in_a_single_file_end_up_on_one_side(tmp_path: Path) -> None:
    """Every text four times: what is tested was not trained on."""
    splits = load(write(tmp_path, "a.jsonl", JSONL * 4))
    assert splits.test is not None
    assert not set(splits.train.texts) & set(splits.test.texts)


def test_a_class_that_is_wholly_held_out_is_refused(tmp_path: Path) -> None:
    """Its only text is in test: nothing is left to learn it from."""
    write(tmp_path, "train.csv", CSV + "only,c\n" * 4)
    write(tmp_path, "test.csv", "text,label\nonly,c\n")
    with pytest.raises(DataError, match=r"train\.csv: no row of 'c' is left"):
        load(tmp_path)


def test_a_valid_of_another_kind_is_refused(tmp_path: Path) -> None:
    """One label a text here, lists there."""
    write(tmp_path, "train.csv", CSV)
    write(tmp_path, "valid.jsonl", '{"text": "x", "labels": ["a"]}\n')
    with pytest.raises(DataError, match=r"valid\.jsonl is multi-label, but .*train\.csv is single-label"):
        load(tmp_path)


def test_rows_of_several_labels_are_split_by_their_rarest(tmp_path: Path) -> None:
    """So that a rare label is in every split."""
    lines = [{"text": f"text {n}", "labels": ["common"] + ["rare"] * (n % 5 == 0)} for n in range(200)]
    splits = load(write(tmp_path, "a.jsonl", "".join(json.dumps(line) + "\n" for line in lines)))
    assert splits.kind == "multi-label"
    assert all(part.rows_a_label["rare"] for part in splits.parts.values())


def test_no_row_is_in_two_splits_and_none_is_lost(tmp_path: Path) -> None:
    """A single file is cut into four, each class in its share."""
    splits = load(write(tmp_path, "a.jsonl", JSONL))
    parts = (splits.train, splits.validation, splits.calibration, splits.test)
    texts = [text for part in parts if part is not None for text in part.texts]
    assert sorted(texts) == sorted(text for text, _ in ROWS)
    assert all(part is not None and set(part.rows_a_label) == {"a", "b"} for part in parts)


def test_the_seed_alone_decides_the_split(tmp_path: Path) -> None:
    """The same seed gives the same rows, another seed others."""
    path = write(tmp_path, "a.jsonl", JSONL)
    first, again, other = (load(path, TrainingConfig(seed=seed)).train for seed in (1, 1, 2))
    assert first == again
    assert first != other
