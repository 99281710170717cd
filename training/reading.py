"""Files to labelled texts: every format read the same way, every fault named by file and line."""

import csv
import difflib
import gzip
import hashlib
import json
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import DataError

SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns (or keys) hold what."""

    text: str = "text"
    label: str = "label"


@dataclass(frozen=True, slots=True)
class Examples:
    """Texts and their labels, in the order of the file."""

    texts: list[str]
    labels: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Sequence[int]) -> "Examples":
        return Examples([self.texts[i] for i in indices], [self.labels[i] for i in indices])

    def fingerprint(self) -> dict[str, Any]:
        """Rows, rows a label, and a sha256 over texts and labels in their order."""
        digest = hashlib.sha256()
        for pair in zip(self.texts, self.labels, strict=True):
            digest.update(json.dumps(pair).encode())
        return {"rows": len(self), "sha256": digest.hexdigest(), "labels": dict(sorted(Counter(self.labels).items()))}


def read(path: Path, columns: Columns) -> Examples:
    """All rows of one file. Raises: DataError that names the file and the line."""
    examples = Examples([], [])
    for line, row in _rows(path):
        examples.texts.append(_text(row, columns.text, path, line))
        examples.labels.append(_label(row, columns.label, path, line))
    if not examples.texts:
        raise DataError(f"{path} has no rows")
    return examples


def read_texts(path: Path, columns: Columns, *, jsonl: bool = False) -> Iterator[str]:
    """The texts of one file, labelled or not, without holding them all. Raises: DataError."""
    yield from _texts(_jsonl(path) if jsonl else _rows(path), path, columns)


def plain_texts(path: Path) -> Iterator[str]:
    """A text a line of any other file. Raises: DataError."""
    for _, line in _lines(path):
        yield line.rstrip("\r\n")


def stream_texts(stream: Iterable[bytes], columns: Columns, *, jsonl: bool) -> Iterator[str]:
    """A text a line, or a JSON object a line, as they come. Raises: DataError."""
    path = Path("stdin")
    lines = _decoded(stream, path)
    if jsonl:
        yield from _texts(_objects(lines, path), path, columns)
    else:
        for _, line in lines:
            yield line.rstrip("\r\n")


def _texts(rows: Iterable[tuple[int, dict[str, Any]]], path: Path, columns: Columns) -> Iterator[str]:
    for line, row in rows:
        yield _text(row, columns.text, path, line)


def _text(row: dict[str, Any], key: str, path: Path, line: int) -> str:
    text = _field(row, key, path, line)
    if not isinstance(text, str):
        raise DataError(f"{path}, line {line}: {key!r} is {_shown(text)}, not a string")
    return _characters(text, key, path, line)


def _label(row: dict[str, Any], key: str, path: Path, line: int) -> str:
    """A string, a whole number or a boolean; 3.0 is a whole number, as pandas writes columns with gaps."""
    label = _field(row, key, path, line)
    missing = math.isnan(label) if isinstance(label, float) else label is None or label == "" or str(label).isspace()
    if missing:
        raise DataError(f"{path}, line {line}: row without a label ({key!r} is {_shown(label)})")
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if not isinstance(label, str | int):
        raise DataError(f"{path}, line {line}: {key!r} is {_shown(label)}, not a string or a whole number")
    return _characters(str(label), key, path, line)


def _characters(text: str, key: str, path: Path, line: int) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise DataError(f"{path}, line {line}: {key!r} has a lone surrogate, which is no character")
    return text


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with the line each begins at (a parquet file's rows are numbered from 1)."""
    readers = [reader for suffix, reader in READERS.items() if path.name.lower().endswith(suffix)]
    if not readers:
        raise DataError(f"{path} has none of the endings that can be read: {', '.join(SUFFIXES)}")
    yield from readers[0](path)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            yield from _decoded(file, path)
    except FileNotFoundError:
        raise DataError(f"{path} doesn't exist") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} can't be read: {error}") from None


def _decoded(file: Iterable[bytes], path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines, with their ends: split at line feeds alone, as a text may hold other separators."""
    for number, line in enumerate(file, start=1):
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}, line {number}: invalid UTF-8 (byte 0x{line[error.start]:02x} "
                f"at position {error.start} of the line); save the file as UTF-8"
            ) from None


def _jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    return _objects(_lines(path), path)


def _objects(lines: Iterable[tuple[int, str]], path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: broken JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: {_shown(row)} isn't an object with keys")
        yield number, row


def _separated(path: Path, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    # A field may be a whole document: the module's own limit of 128 KiB would refuse it.
    csv.field_size_limit(1 << 30)
    reader = csv.reader((line for _, line in _lines(path)), delimiter=delimiter, strict=True)
    start = 1
    try:
        header = next(reader, None)
        if header is None:
            raise DataError(f"{path} has no rows")
        repeated = [name for name, count in Counter(header).items() if count > 1]
        if repeated:
            raise DataError(f"{path}, line 1: two columns are named {repeated[0]!r}")
        start = reader.line_num + 1
        for values in reader:
            if values:
                yield start, _record(header, values, path, start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}, line {start}: broken CSV: {error}") from None


def _record(header: list[str], values: list[str], path: Path, line: int) -> dict[str, Any]:
    if len(values) != len(header):
        raise DataError(f"{path}, line {line}: {len(values)} fields; the header has {len(header)}")
    return dict(zip(header, values, strict=True))


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read as parquet: {error}") from None


READERS: dict[str, Callable[[Path], Iterator[tuple[int, dict[str, Any]]]]] = {
    ".jsonl": _jsonl,
    ".jsonl.gz": _jsonl,
    ".csv": lambda path: _separated(path, ","),
    ".tsv": lambda path: _separated(path, "\t"),
    ".parquet": _parquet,
}


def _field(row: dict[str, Any], key: str, path: Path, line: int) -> Any:
    if key in row:
        return row[key]
    names = list(map(str, row))
    near = difflib.get_close_matches(key, names, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"it has {', '.join(map(repr, names[:8]))}"
    raise DataError(f"{path}, line {line}: no column {key!r}; {hint} (--text-column and --label-column choose)")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
