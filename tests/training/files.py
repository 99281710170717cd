"""Small files of labelled text, for the tests of reading, splitting and checking."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

ROWS = [(f"text {number}", "ab"[number % 2]) for number in range(40)]
JSONL = "".join(f'{{"text": "{text}", "label": "{label}"}}\n' for text, label in ROWS)
CSV = "text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    """A file as it is given, in UTF-8."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_rows(folder: Path, name: str, rows: Iterable[tuple[str, Any]]) -> Path:
    """A .jsonl of texts and their label, or list of labels."""
    lines = ({"text": text, "labels" if isinstance(label, list) else "label": label} for text, label in rows)
    return write(folder, name, "".join(json.dumps(line) + "\n" for line in lines))


def parquet(**columns: Any) -> bytes:
    """The bytes of one."""
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(columns), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def zipped(content: str | bytes) -> bytes:
    return gzip.compress(content if isinstance(content, bytes) else content.encode())
