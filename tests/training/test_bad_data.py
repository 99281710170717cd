"""Bad data, in one table: each is refused by `lembra train` in one line, with exit code 2, and nothing is written.

At the end the oddities that are no faults, and are read.
"""

import codecs
import json
import os
import re
import resource
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cli
from tests.training.files import CSV, JSONL, ROWS, parquet, write, write_rows, zipped
from training import reading
from training.reading import Columns

LINE = '{"text": "x", "label": "a"}\n'
TEXTS = [text for text, _ in ROWS]
LABELS = [label for _, label in ROWS]
CUT = zipped(JSONL * 100)[:-40]
LONG = 50_000_000


def jsonl(**fields: str) -> str:
    """Good rows, then one of these fields, as they stand: line 41."""
    return JSONL + "{" + ", ".join(f'"{key}": {value}' for key, value in fields.items()) + "}\n"


# What is bad: the file's name, its content, what the message must say (a regular expression).
FILES: dict[str, tuple[str, str | bytes, str]] = {
    # encodings
    "Latin-1": ("a.jsonl", JSONL.encode() + '{"text": "café", "label": "a"}\n'.encode("latin-1"), "line 41: .*0xe9"),
    "Latin-1 in CSV": ("a.csv", CSV.encode() + "café,a\n".encode("latin-1"), "line 42: invalid UTF-8.*0xe9"),
    "Windows-1252 quotes": ("a.csv", CSV.encode() + b"\x93x\x94,a\n", "line 42: invalid UTF-8.*0x93"),
    "a surrogate in UTF-8": ("a.csv", CSV.encode() + b"\xed\xa0\x80,a\n", "line 42: invalid UTF-8.*0xed"),
    "UTF-16 with a BOM": ("a.csv", CSV.encode("utf-16"), "line 1: begins as UTF-16"),
    "UTF-16, the other way round": ("a.csv", codecs.BOM_UTF16_BE + CSV.encode("utf-16-be"), "begins as UTF-16"),
    "UTF-16 without a BOM": ("a.jsonl", JSONL.encode("utf-16-le"), "line 1: has a NUL"),
    "a NUL byte": ("a.csv", CSV + "x\0y,a\n", "line 42: has a NUL"),
    "an escaped NUL": ("a.jsonl", jsonl(text=r'"x\u0000"', label='"a"'), "line 41: 'text' has a NUL at character 1"),
    "a lone surrogate": ("a.jsonl", r'{"text": "\ud800", "label": "a"}', "line 1: 'text' has a lone surrogate"),
    "a BOM in the middle": ("a.jsonl", JSONL + "\ufeff" + JSONL, "line 41: broken JSON: Unexpected UTF-8 BOM"),
    "CR alone": ("a.csv", CSV.replace("\n", "\r"), "lines end in CR alone"),
    "CR alone in JSON": ("a.jsonl", JSONL.replace("\n", "\r"), "lines end in CR alone"),
    "noise": ("a.csv", bytes(range(256)), "line 1: has a NUL|line 1: invalid UTF-8|line 2: invalid UTF-8"),
    # JSON
    "broken JSON": ("a.jsonl", JSONL + '{"text": "x", \n', "line 41: broken JSON"),
    "two objects in a line": ("a.jsonl", JSONL + LINE.strip() + LINE, "line 41: broken JSON: Extra data"),
    "single quotes": ("a.jsonl", "{'text': 'x', 'label': 'a'}\n", "line 1: broken JSON"),
    "a JSON array": ("a.jsonl", json.dumps([{"text": "x", "label": "a"}] * 9), "line 1: .*isn't an object"),
    "an indented JSON array": ("a.jsonl", json.dumps([{"text": "x"}], indent=1), "line 1: .*each line must be a whole"),
    "an indented object": ("a.jsonl", json.dumps({"text": "x"}, indent=1), "line 1: .*each line must be a whole"),
    "an array a line": ("a.jsonl", '["x", "a"]\n', "line 1: .*isn't an object"),
    "a number a line": ("a.jsonl", "1\n2\n", "line 1: 1 isn't an object"),
    "a key that is there twice": ("a.jsonl", JSONL + '{"text": "x", "label": "a", "label": "b"}', "line 41: .*'label'"),
    "a NaN label": ("a.jsonl", jsonl(text='"x"', label="NaN"), "line 41: row without a label"),
    "an infinite label": ("a.jsonl", jsonl(text='"x"', label="1e999"), "line 41: 'label' is inf"),
    "a NaN text": ("a.jsonl", jsonl(text="NaN", label='"a"'), "line 41: 'text' is nan, not a string"),
    "an endless number": ("a.jsonl", jsonl(text='"x"', label="9" * 5000), "line 41: broken JSON: .*4300"),
    "a number of 1,000 digits": ("a.jsonl", jsonl(text='"x"', label="9" * 1000), "line 41: 'label' has 1,000 char"),
    "deep nesting": ("a.jsonl", "[" * 100_000, "line 1: broken JSON: .*recursion"),
    "no newline in 50 MB": ("a.jsonl", '{"text": "' + "x" * LONG, "line 1: longer than 16,777,216 bytes"),
    # columns and types
    "an unknown column": ("a.csv", CSV.replace("text,", "texts,", 1), r"no column 'text'; did you mean 'texts'"),
    "no label column": ("a.csv", CSV.replace("text,label", "text,class"), "line 2: no column 'label'"),
    "no header": ("a.csv", CSV.partition("\n")[2], "line 2: no column 'text'; .*'text 0'"),
    "a key that one row lacks": ("a.jsonl", jsonl(text='"x"'), "line 41: no column 'label'"),
    "an empty label": ("a.csv", CSV + "x,\n", "line 42: row without a label"),
    "a label of spaces": ("a.csv", CSV + "x,   \n", "line 42: row without a label"),
    "a null label": ("a.jsonl", jsonl(text='"x"', label="null"), "line 41: row without a label"),
    "a fraction for a label": ("a.jsonl", jsonl(text='"x"', label="0.5"), "line 41: 'label' is 0.5, not"),
    "an object for a label": ("a.jsonl", jsonl(text='"x"', label='{"a": 1}'), "line 41: 'label' is {'a': 1}, not"),
    "a list here, one there": ("a.jsonl", jsonl(text='"x"', label='["a"]'), "line 1 has one label, line 41 a list"),
    "objects in a list": ("a.jsonl", '{"text": "x", "labels": [{"a": 1}]}\n', "line 1: 'labels' is {'a': 1}, not"),
    "lists in a list": ("a.jsonl", '{"text": "x", "labels": [["a"]]}\n', "line 1: 'labels' is \\['a'\\], not"),
    "nulls in a list": ("a.jsonl", '{"text": "x", "labels": [null]}\n', "line 1: row without a label"),
    "a label of 501 characters": (
        "a.csv",
        CSV + "x," + "y" * 501 + "\n",
        "line 42: 'label' has 501 char.*may have 500",
    ),
    "a number for a text": ("a.jsonl", jsonl(text="3", label='"a"'), "line 41: 'text' is 3, not a string"),
    "a null text": ("a.jsonl", jsonl(text="null", label='"a"'), "line 41: 'text' is None, not a string"),
    "a list for a text": ("a.jsonl", jsonl(text='["x"]', label='"a"'), r"line 41: 'text' is \['x'\], not a string"),
    # CSV
    "semicolons": ("a.csv", CSV.replace(",", ";"), "line 1: fields seem to be separated by ';'"),
    "tabs in a .csv": ("a.csv", CSV.replace(",", "\t"), r"line 1: fields seem to be separated by '\\t'"),
    "commas in a .tsv": ("a.tsv", CSV, "line 1: fields seem to be separated by ','"),
    "too few fields": ("a.csv", CSV + "x\n", "line 42: 1 fields; the header has 2"),
    "too many fields": ("a.csv", CSV + "one, two,a\n", "line 42: 3 fields; the header has 2"),
    "a quote that never closes": ("a.csv", CSV + '"x,a\n', "line 42: broken CSV"),
    "a quote that closes early": ("a.csv", CSV + '"x" y,a\n', "line 42: broken CSV"),
    "an open quote before 50 MB": (
        "a.csv",
        'text,label\n"' + "xxxxxxxxx\n" * (LONG // 10),
        "line 2: broken CSV: .*16777216",
    ),
    "stray quotes": (
        "a.csv",
        CSV.replace("text 10,", '"text 10,').replace("text 30,", 'text 30",'),
        "line 12: a quote here and one in line 32 .* 21 rows .'label' would be 'a', 'b', 'a', …",
    ),
    "stray quotes in a .tsv": (
        "a.tsv",
        CSV.replace("text 10,", '"text 10,').replace("text 11,", 'text 11",').replace(",", "\t"),
        "line 12: a quote here and one in line 13 .* 2 rows",
    ),
    "stray quotes before the rest": (
        "a.csv",
        "text,label\r\n" + '"x,a\r\nz,b\r\n\r\ny",b\r\n' + CSV.partition("\n")[2].replace("\n", "\r\n"),
        "line 2: a quote here and one in line 5",
    ),
    "stray quotes in the last column": (
        "a.tsv",
        "label\ttext\n" + "".join(f"{b}\t{a}\n" for a, b in ROWS).replace("text 4", '"text 4').replace("39", '39"'),
        "line 6: a quote here and one in line 41 .* 36 rows",
    ),
    "two columns of one name": ("a.csv", CSV.replace("text,label", "text,text"), "two columns are named 'text'"),
    "the header again": ("a.csv", CSV + CSV, "line 42: the header again"),
    "a 50 MB line of CSV": ("a.csv", CSV + "x" * LONG, "line 42: longer than 16,777,216 bytes"),
    # too little
    "an empty file": ("a.csv", "", "has no rows"),
    "an empty .jsonl": ("a.jsonl", "", "has no rows"),
    "blank lines only": ("a.jsonl", "\n \n\n", "has no rows"),
    "the header only": ("a.csv", "text,label\n", "has no rows"),
    "one class only": ("a.csv", CSV.replace(",b\n", ",a\n"), "one class only"),
    "no label in any row": ("a.jsonl", '{"text": "x", "labels": []}\n' * 9, "no label in any row"),
    "fewer rows than classes": (
        "a.csv",
        "text,label\n" + "".join(f"t,{n}\n" for n in range(9)),
        "9 rows for 9 classes",
    ),
    "10,001 classes": (
        "a.csv",
        "text,label\n" + "".join(f"t,{n}\n" for n in range(10_001)) * 3,
        "10,001 classes; the limit is 10,000",
    ),
    "empty texts only": ("a.csv", "text,label\n" + ",a\n,b\n" * 9, "every text is empty"),
    "white space only": ("a.jsonl", '{"text": " \\t", "label": 1}\n{"text": "\\n", "label": 2}\n' * 9, "every text is"),
    # containers
    "an unknown ending": ("a.xlsx", b"PK", "none of the endings"),
    "a zip": ("a.csv.zip", b"PK", "none of the endings"),
    "not gzip": ("a.jsonl.gz", JSONL, "can't be read: Not a gzipped file"),
    "gzip that was cut": ("a.jsonl.gz", CUT, "can't be read: Compressed file ended"),
    "gzip that was damaged": ("a.jsonl.gz", CUT[:60] + b"\0" * 40 + CUT[100:], "can't be read|invalid UTF-8|NUL|JSON"),
    "gzip of noise": ("a.jsonl.gz", zipped(bytes(range(128, 256))), "line 1: invalid UTF-8"),
    "a gzip bomb": ("a.jsonl.gz", zipped(b" " * LONG * 4), "line 1: longer than 16,777,216 bytes"),
    "not parquet": ("a.parquet", JSONL, "can't be read as parquet"),
    "an empty .parquet": ("a.parquet", b"", "can't be read as parquet"),
    "parquet that was cut": ("a.parquet", parquet(text=TEXTS, label=LABELS)[:-50], "can't be read as parquet"),
    "parquet without rows": ("a.parquet", parquet(text=[], label=[]), "has no rows"),
    "numbers as texts in parquet": ("a.parquet", parquet(text=[1, 2], label=["a", "b"]), "line 1: 'text' is 1, not"),
    "bytes in parquet": ("a.parquet", parquet(text=[b"x"], label=["a"]), "line 1: 'text' is b'x', not a string"),
    "null texts in parquet": ("a.parquet", parquet(text=["x", None], label=["a", "b"]), "line 2: 'text' is None"),
    "null labels in parquet": ("a.parquet", parquet(text=["x", "y"], label=["a", None]), "line 2: row without a label"),
    "structs in parquet": ("a.parquet", parquet(text=["x"], label=[{"id": 1}]), "line 1: 'label' is {'id': 1}, not"),
    "nested lists in parquet": (
        "a.parquet",
        parquet(text=["x"], labels=[[["a"]]]),
        r"line 1: 'labels' is \['a'\], not",
    ),
}


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "train.csv")


def circle(folder: Path) -> None:
    (folder / "train.csv").symlink_to(folder / "train.csv")


def directory(folder: Path) -> None:
    (folder / "train.csv").mkdir()


def unreadable(folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    write(folder, "train.csv", CSV).chmod(0)


def files(**contents: str) -> Callable[[Path], None]:
    """Files of a folder by name, whose dot is written as an underscore."""

    def make(folder: Path) -> None:
        for name, content in contents.items():
            write(folder, name.replace("_", "."), content)

    return make


# What is bad: how the folder is made, what the message must say.
FOLDERS: Mapping[str, tuple[Callable[[Path], None], str]] = {
    "no train": (files(test_csv=CSV), r"no train file \(train\.jsonl"),
    "nothing in it": (files(), r"no train file"),
    "two of them": (files(train_csv=CSV, train_jsonl=JSONL), r"train\.jsonl and train\.csv"),
    "an empty valid": (files(train_csv=CSV, valid_csv="text,label\n"), r"valid\.csv has no rows"),
    "an empty test": (files(train_csv=CSV, test_jsonl=""), r"test\.jsonl has no rows"),
    "a bad row in test": (files(train_csv=CSV, test_csv=CSV + "x\n"), r"test\.csv, line 42: 1 fields"),
    "a label that only test has": (files(train_csv=CSV, test_csv="text,label\nx,a\ny,c\n"), r"test\.csv: 'c'"),
    "a label that only valid has": (
        files(train_csv=CSV, valid_csv="text,label\n" + "x,a\ny,c\nz,c\n" * 3),
        r"valid\.csv: 'c'",
    ),
    "lists in valid alone": (
        files(train_csv=CSV, valid_jsonl='{"text": "x", "labels": ["a"]}\n'),
        r"valid\.jsonl is multi-label, but .*train\.csv is single-label",
    ),
    "all of a class held out": (
        files(train_csv=CSV + "only,c\n" * 4, test_csv="text,label\nonly,c\n"),
        r"train\.csv: no row of 'c' is left",
    ),
    "a number in unlabelled": (
        files(train_csv=CSV, unlabelled_jsonl='{"text": 1}'),
        r"unlabelled\.jsonl, line 1: .*1, not",
    ),
    "a folder of that name": (directory, r"train\.csv is no file"),
    "a pipe": (pipe, r"train\.csv is no file"),
    "a link to itself": (circle, r"train\.csv is no file"),
    "a file that may not be read": (unreadable, r"train\.csv can't be read: .*Permission denied"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_bad_file_is_refused_by_name_and_line(tmp_path: Path, case: str) -> None:
    """As the only file."""
    name, content, message = FILES[case]
    (tmp_path / "data").mkdir()
    refused(tmp_path, write(tmp_path / "data", name, content), rf"{re.escape(name)}.*({message})")


@pytest.mark.parametrize("case", FOLDERS)
def test_a_bad_folder_is_refused(tmp_path: Path, case: str) -> None:
    """What is wrong is said of the file in it."""
    make, message = FOLDERS[case]
    (tmp_path / "data").mkdir()
    make(tmp_path / "data")
    refused(tmp_path, tmp_path / "data", message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "doesn't exist"),
        ("pipe.csv", "neither a file nor a folder"),
        ("n" * 5000, "can't be read: File name"),
    ],
)
def test_a_bad_path_is_refused(tmp_path: Path, name: str, message: str) -> None:
    """A pipe is not waited for."""
    (tmp_path / "data").mkdir()
    os.mkfifo(tmp_path / "data" / "pipe.csv")
    refused(tmp_path, tmp_path / "data" / name, message)


def test_the_text_is_not_its_own_label(tmp_path: Path) -> None:
    """One column can't be both."""
    (tmp_path / "data").mkdir()
    path = write(tmp_path / "data", "a.csv", CSV)
    refused(tmp_path, path, "can't both be in column 'text'", "--label-column", "text")


def test_a_line_without_an_end_takes_no_memory(tmp_path: Path) -> None:
    """A gigabyte of spaces in a megabyte of gzip: at most the limit of a line is read."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = write(tmp_path, "a.jsonl.gz", zipped(b" " * 1_000_000) * 1000)
    with pytest.raises(reading.DataError, match="longer than"):
        reading.read(path, Columns())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


ACCEPTED: dict[str, tuple[str, str | bytes]] = {
    "a BOM": ("a.csv", "\ufeff" + CSV),
    "a BOM in JSON": ("a.jsonl", "\ufeff" + JSONL),
    "CRLF": ("a.csv", CSV.replace("\n", "\r\n")),
    "CRLF in JSON": ("a.jsonl", JSONL.replace("\n", "\r\n")),
    "no newline at the end": ("a.csv", CSV.rstrip("\n")),
    "blank lines": ("a.csv", CSV.replace("\n", "\n\n")),
    "blank lines in JSON": ("a.jsonl", JSONL.replace("\n", "\n  \n")),
    "an ending in capitals": ("A.CSV", CSV),
    "more columns": ("a.csv", CSV.replace("\n", ",more\n")),
    "more keys, nested": ("a.jsonl", JSONL.replace("}", ', "meta": {"a": [1, {"b": null}]}}')),
    "gzip in several members": ("a.jsonl.gz", b"".join(zipped(line + "\n") for line in JSONL.splitlines())),
    "everything in quotes": ("a.csv", "".join(f'"{a}","{b}"\n' for a, b in [("text", "label"), *ROWS])),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_is_odd_but_clear_is_read(tmp_path: Path, case: str) -> None:
    """The same rows as from a plain file."""
    found = reading.read(write(tmp_path, *ACCEPTED[case]), Columns())
    assert (found.texts, found.labels) == (TEXTS, [(label,) for label in LABELS])


def test_some_empty_texts_and_long_ones_are_read(tmp_path: Path) -> None:
    """`lembra check` counts the empty ones; a megabyte is a text."""
    rows = [("", "a"), (" ", "b"), ("x" * 1_000_000, "a")]
    assert reading.read(write_rows(tmp_path, "a.jsonl", rows), Columns()).texts == [text for text, _ in rows]


def refused(folder: Path, data: Path, message: str, *options: str) -> None:
    """One line on stderr that says so, exit code 2, and nothing beside the data."""
    arguments = ["train", str(data), "--out", str(folder / "bundles" / "new"), *options]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 2, result.exception
    assert re.match(rf"error: .*{message}.*\n\Z", result.stderr), result.stderr[:500]
    assert [path.name for path in folder.iterdir()] == ["data"]
