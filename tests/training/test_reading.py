"""training.reading: every format, and what is refused."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

import cli
from tests.training.files import CSV, JSONL, ROWS, write, zipped
from training import reading
from training.errors import DataError
from training.reading import Columns, Examples


def write_every_format(folder: Path) -> list[Path]:
    texts, labels = zip(*ROWS, strict=True)
    table = pyarrow.table({"text": texts, "label": labels})
    pyarrow.parquet.write_table(table, folder / "a.parquet")
    return [
        write(folder, "a.jsonl", JSONL),
        write(folder, "a.jsonl.gz", zipped(JSONL)),
        write(folder, "a.csv", "\ufeff" + CSV),  # as Excel writes it
        write(folder, "a.tsv", CSV.replace(",", "\t").replace("\n", "\r\n")),
        folder / "a.parquet",
    ]


def test_every_format_reads_the_same(tmp_path: Path) -> None:
    """The file's format is no part of the data."""
    expected = reading.read(write(tmp_path, "expected.jsonl", JSONL), Columns())
    for path in write_every_format(tmp_path):
        assert reading.read(path, Columns()) == expected, path.name


def test_texts_come_back_unaltered(tmp_path: Path) -> None:
    """Quotes, line breaks and separators inside a field are text."""
    path = write(tmp_path, "a.csv", 'text,label\n"one, ""two""\nthree\u2028four",a\nplain,b\n')
    assert reading.read(path, Columns()).texts == ['one, "two"\nthree\u2028four', "plain"]


@pytest.mark.parametrize(
    ("name", "text", "label"),
    [
        ("a.csv", "Dear John, hello\nGreat product", "a"),
        ("a.csv", "Dear John,\n\nthank you,\nJane", "a"),
        ("a.csv", "I would say 9,5\nof ten", "5"),
        ("a.csv", "a line,\nand one that ends in,a\nthen, this\nand that", "a"),
        ("a.csv", "no commas\nat all", "a"),
        ("a.tsv", "name\tprice\npear", "a"),
    ],
)
def test_a_text_of_several_lines_is_one(tmp_path: Path, name: str, text: str, label: str) -> None:
    """Also where its lines have as many separators as rows would: what stands behind them is no label."""
    separator = "," if name.endswith(".csv") else "\t"
    rows = [("text", "label"), ("more", "a"), (f'"{text}"', label), ("the rest", "5")]
    path = write(tmp_path, name, "".join(separator.join(row) + "\n" for row in rows))
    assert reading.read(path, Columns()).texts == ["more", text, "the rest"]


@pytest.mark.parametrize(
    ("header", "text"),
    [("id", "shopping:\n2, pears\n3, plums"), ("id", "in all\n1,5 kg"), ("label", "it is\n2, but\n3, too")],
)
def test_lines_that_begin_as_rows_do_are_none(tmp_path: Path, header: str, text: str) -> None:
    """With a number and a comma, as in a list, where rows begin with their number, or with their label."""
    rows = "".join(f"{n % 4 if header == 'label' else n},more\n" for n in range(9))
    path = write(tmp_path, "a.csv", f'{header},text\n{rows}9,"{text}"\n')
    assert list(reading.read_texts(path, Columns()))[-1] == text


def test_rows_that_quotes_hide_are_told_without_labels(tmp_path: Path) -> None:
    """By another column of them, and once the file was read: the texts before come first."""
    rows = "".join(f"{n}\ttext {n}\n" for n in range(9)).replace("text 3", '"text 3').replace("text 5", 'text 5"')
    texts = reading.read_texts(write(tmp_path, "a.tsv", "id\ttext\n" + rows), Columns())
    with pytest.raises(DataError, match=r"line 5: a quote here and one in line 7 .*'id' would be '4', '5'"):
        list(texts)


def test_other_columns_can_be_chosen_and_numbers_are_labels(tmp_path: Path) -> None:
    """A label may be a whole number or a boolean."""
    path = write(tmp_path, "a.jsonl", '{"body": "x", "stars": 5}\n\n{"body": "y", "stars": true}\n')
    assert reading.read(path, Columns("body", "stars")).labels == [("5",), ("True",)]


@pytest.mark.parametrize(
    ("labels", "known", "expected"),
    [
        (["3.0", "0.0", "-12.0"], [], ["3", "0", "-12"]),
        (["1.0", "2.0", "beta"], [], ["1.0", "2.0", "beta"]),
        (["1.0", "2"], [], ["1.0", "2"]),
        (["1.0", "2.5"], [], ["1.0", "2.5"]),
        (["1.0", "02.0"], [], ["1.0", "02.0"]),
        (["1.0", "2.0"], ["1.0", "2.0", "beta"], ["1.0", "2.0"]),
        (["1.0", "2.0"], ["1", "2", "3"], ["1", "2"]),
    ],
)
def test_whole_numbers_of_a_csv_are_those_of_other_formats(
    tmp_path: Path, labels: list[str], known: list[str], expected: list[str]
) -> None:
    """Where all are written as pandas does; what is a name beside others, or was one in training, stays."""
    for name, separator in (("a.csv", ","), ("a.tsv", "\t")):
        rows = ["text" + separator + label for label in ("label", *labels)]
        path = write(tmp_path, name, "\n".join(rows))
        assert reading.read(path, Columns(), known=known).labels == [(label,) for label in expected]


def test_whole_numbers_with_gaps_are_labels_where_a_row_may_have_none(tmp_path: Path) -> None:
    """A separator makes them lists; and text that says 3.0 in JSON is text."""
    path = write(tmp_path, "a.csv", "text,label\nx,3.0\ny,\nz,1.0|2.0\n")
    assert reading.read(path, Columns(separator="|")).labels == [("3",), (), ("1", "2")]
    path = write(tmp_path, "a.jsonl", '{"text": "x", "label": "3.0"}\n')
    assert reading.read(path, Columns()).labels == [("3.0",)]


def test_a_separator_cuts_and_what_is_around_the_labels_is_dropped(tmp_path: Path) -> None:
    """A file that has "; " now and ";" then has the same labels; nothing between two separators is none."""
    path = write(tmp_path, "a.csv", "text,label\nx,sport; politics\ny,politics ;sport;\nz, ; \n")
    found = reading.read(path, Columns(separator=";"))
    assert (found.kind, found.labels) == ("multi-label", [("sport", "politics"), ("politics", "sport"), ()])


def test_an_empty_separator_is_refused(tmp_path: Path) -> None:
    """In one line, by every command that takes one."""
    path = write(tmp_path, "a.csv", CSV)
    result = CliRunner().invoke(cli.app, ["check", str(path), "--label-separator", ""])
    assert (result.exit_code, "--label-separator is empty" in result.stderr) == (2, True)
    assert result.stderr.count("\n") == 1


def test_a_fingerprint_sees_every_change() -> None:
    """A text, a label, or the order."""
    examples = [
        Examples(["x", "y"], [("a",), ("b",)]),
        Examples(["x", "z"], [("a",), ("b",)]),
        Examples(["y", "x"], [("b",), ("a",)]),
    ]
    assert len({example.fingerprint()["sha256"] for example in examples}) == 3


def test_a_list_of_labels_makes_the_data_multi_label(tmp_path: Path) -> None:
    """Under `labels`, in JSON and parquet; a row may have none, and a label that is named twice counts once."""
    rows = [["a", "b"], [], ["b", "b"]]
    jsonl = write(tmp_path, "a.jsonl", "".join(json.dumps({"text": "x", "labels": labels}) + "\n" for labels in rows))
    pyarrow.parquet.write_table(pyarrow.table({"text": ["x"] * 3, "labels": rows}), tmp_path / "a.parquet")
    for path in (jsonl, tmp_path / "a.parquet"):
        found = reading.read(path, Columns())
        assert (found.kind, found.labels) == ("multi-label", [("a", "b"), (), ("b",)])


def test_a_separator_cuts_a_column_into_labels(tmp_path: Path) -> None:
    """CSV has no lists."""
    path = write(tmp_path, "a.csv", "text,label\nx,a|b\ny,\nz,b\n")
    found = reading.read(path, Columns(separator="|"))
    assert (found.kind, found.labels) == ("multi-label", [("a", "b"), (), ("b",)])


def test_one_label_here_and_a_list_there_is_refused(tmp_path: Path) -> None:
    """With a line of each."""
    path = write(tmp_path, "a.jsonl", '{"text": "x", "label": "a"}\n{"text": "x", "label": ["a"]}\n')
    with pytest.raises(DataError, match=r"line 1 has one label, line 2 a list"):
        reading.read(path, Columns())
