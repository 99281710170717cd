"""training.reading: every format, and what is refused."""

import gzip
from pathlib import Path

import pyarrow
import pyarrow.parquet

from training import reading
from training.reading import Columns, Examples

ROWS = [(f"text {number}", "ab"[number % 2]) for number in range(40)]
JSONL = "".join(f'{{"text": "{text}", "label": "{label}"}}\n' for text, label in ROWS)
CSV = "text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_every_format(folder: Path) -> list[Path]:
    texts, labels = zip(*ROWS, strict=True)
    table = pyarrow.table({"text": texts, "label": labels})
    pyarrow.parquet.write_table(table, folder / "a.parquet")
    return [
        write(folder, "a.jsonl", JSONL),
        write(folder, "a.jsonl.gz", gzip.compress(JSONL.encode())),
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


def test_other_columns_can_be_chosen_and_numbers_are_labels(tmp_path: Path) -> None:
    """A label may be a whole number or a boolean."""
    path = write(tmp_path, "a.jsonl", '{"body": "x", "stars": 5}\n\n{"body": "y", "stars": true}\n')
    assert reading.read(path, Columns("body", "stars")).labels == ["5", "True"]


def test_a_fingerprint_sees_every_change() -> None:
    """A text, a label, or the order."""
    examples = [Examples(["x", "y"], ["a", "b"]), Examples(["x", "z"], ["a", "b"]), Examples(["y", "x"], ["b", "a"])]
    assert len({example.fingerprint()["sha256"] for example in examples}) == 3
