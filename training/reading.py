"""Files to labelled texts: every format read the same way, every fault named by file and line."""

import codecs
import csv
import difflib
import gzip
import hashlib
import json
import math
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from model.config import Kind
from training.errors import ConfigError, DataError
from training.spans import Spans

SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".tsv", ".parquet")
UNTYPED = (".csv", ".tsv")
# Other data, whose lines are no texts.
FOREIGN = re.compile(
    r"\.((json|ndjson|csv|tsv|psv|parquet|arrow|feather|avro|orc|xml|html?|xlsx?|ods|db|sqlite|pkl|tar)(\.gz)?"
    r"|tgz|zip|7z|bz2|xz|zst|pdf|docx?|odt)$",
    re.IGNORECASE,
)

# A line is read whole. The longest document anyone classifies is a book, of about 2 MiB.
MOST_LINE_BYTES = 16 << 20
# A label is a name; anything longer is another column.
MOST_LABEL_CHARACTERS = 500

# In a file without types: a whole number as pandas writes it in columns with gaps.
_POINT_ZERO = re.compile(r"-?(0|[1-9][0-9]*)\.0")

# The labels of one row: exactly one in single-label data, any number in multi-label data.
Labels: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns (or keys) hold what.

    Without a `label`, `labels` is taken where rows have it, else `label`. A list there makes the data multi-label, and
    so does a `separator`, which cuts a string into labels; white space around them is dropped.
    """

    text: str = "text"
    label: str | None = None
    separator: str | None = None

    def __post_init__(self) -> None:
        """Raises: ConfigError for a separator that would cut nothing."""
        if self.separator == "":
            raise ConfigError("--label-separator is empty; it must have a character at least")


@dataclass(frozen=True, slots=True)
class Examples:
    """Texts and their labels, in the order of the file."""

    texts: list[str]
    labels: list[Labels]
    kind: Kind = "single-label"

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Sequence[int]) -> "Examples":
        return replace(self, texts=[self.texts[i] for i in indices], labels=[self.labels[i] for i in indices])

    @property
    def rows_a_label(self) -> Counter[str]:
        return Counter(label for labels in self.labels for label in labels)

    def fingerprint(self) -> dict[str, Any]:
        """Rows, rows a label, and a sha256 over texts and labels in their order."""
        digest = hashlib.sha256()
        for pair in zip(self.texts, self.labels, strict=True):
            digest.update(json.dumps(pair).encode())
        return {"rows": len(self), "sha256": digest.hexdigest(), "labels": dict(sorted(self.rows_a_label.items()))}


def read(path: Path, columns: Columns, *, known: Collection[str] = ()) -> Examples:
    """All rows of one file. Raises: DataError that names the file and the line.

    A CSV's labels that are all written as 3.0 are whole numbers, as they are in other formats, unless any is one of the
    `known` labels just as it is written.
    """
    if columns.text == (columns.label or ""):
        raise DataError(f"{path}: the text and the label can't both be in column {columns.text!r}")
    if os.path.exists(path) and not os.path.isfile(path):
        raise DataError(f"{path} is no file")  # a pipe would be waited for
    texts: list[str] = []
    labels: list[Labels] = []
    kinds: dict[Kind, int] = {}  # with the line where each was seen first
    for line, row in _rows(path):
        texts.append(_text(row, columns.text, path, line))
        found, kind = _labels(row, columns, path, line)
        labels.append(found)
        kinds.setdefault(kind, line)
        if len(kinds) > 1:
            lines = f"line {kinds['single-label']} has one label, line {kinds['multi-label']} a list of them"
            raise DataError(f"{path}: {lines}; all rows must have the one or the other")
    if not texts:
        raise DataError(f"{path} has no rows")
    if path.name.lower().endswith(UNTYPED):
        labels = _whole(labels, known)
    return Examples(texts, labels, next(iter(kinds)))


def _whole(labels: list[Labels], known: Collection[str]) -> list[Labels]:
    """Numbers without .0, if all of them have it: beside "beta", 1.0 is a version's name."""
    written = {label for row in labels for label in row}
    if not all(_POINT_ZERO.fullmatch(label) for label in written) or not written.isdisjoint(known):
        return labels
    return [tuple(str(int(label[:-2])) for label in row) for row in labels]


def read_texts(path: Path, columns: Columns, *, jsonl: bool = False) -> Iterator[str]:
    """The texts of one file, labelled or not, without holding them all. Raises: DataError."""
    yield from _texts(_jsonl(path) if jsonl else _rows(path), path, columns)


def plain_texts(path: Path) -> Iterator[str]:
    """A text a line of a file of plain text, whatever its ending, but that of other data. Raises: DataError."""
    if foreign := FOREIGN.search(path.name):
        raise DataError(
            f"{path} has the ending {foreign[0]}, which can't be read: {', '.join(SUFFIXES)} can (a JSON object a line "
            "is .jsonl), and any other file of text has a text a line"
        )
    for _, line in _lines(path):
        yield line.rstrip("\r\n")


def stream_texts(stream: BinaryIO, columns: Columns, *, jsonl: bool) -> Iterator[str]:
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


def _labels(row: dict[str, Any], columns: Columns, path: Path, line: int) -> tuple[Labels, Kind]:
    key = columns.label or ("labels" if "labels" in row and "label" not in row else "label")
    value = _field(row, key, path, line)
    if columns.separator is not None and isinstance(value, str):
        value = [part for found in value.split(columns.separator) if (part := found.strip())]
    if isinstance(value, list):
        return tuple(dict.fromkeys(_label(one, key, path, line) for one in value)), "multi-label"
    return (_label(value, key, path, line),), "single-label"


def _label(value: Any, key: str, path: Path, line: int) -> str:
    """A string, a whole number or a boolean; 3.0 is a whole number, as pandas writes columns with gaps."""
    missing = math.isnan(value) if isinstance(value, float) else value is None or value == "" or str(value).isspace()
    if missing:
        raise DataError(f"{path}, line {line}: row without a label ({key!r} is {_shown(value)})")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int):
        raise DataError(f"{path}, line {line}: {key!r} is {_shown(value)}, not a string or a whole number")
    label = str(value)
    if len(label) > MOST_LABEL_CHARACTERS:
        raise DataError(
            f"{path}, line {line}: {key!r} has {len(label):,} characters; a label may have {MOST_LABEL_CHARACTERS} "
            "(is the label column the right one?)"
        )
    return _characters(label, key, path, line)


def _characters(text: str, key: str, path: Path, line: int) -> str:
    if "\0" in text:
        raise DataError(f"{path}, line {line}: {key!r} has a NUL at character {text.index(chr(0))}, as binary data has")
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
            yield from _decoded(file, path)  # type: ignore[arg-type]  # gzip's class is no BinaryIO, but has its methods
    except FileNotFoundError:
        raise DataError(f"{path} doesn't exist") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} can't be read: {error}") from None


def _decoded(file: BinaryIO, path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines, with their ends: split at line feeds alone, as a text may hold other separators."""
    for number, line in enumerate(iter(lambda: file.readline(MOST_LINE_BYTES + 1), b""), start=1):
        if len(line) > MOST_LINE_BYTES:
            raise DataError(f"{path}, line {number}: longer than {MOST_LINE_BYTES:,} bytes, which is the limit")
        if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DataError(f"{path}, line 1: begins as UTF-16 does; save the file as UTF-8")
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}, line {number}: invalid UTF-8 (byte 0x{line[error.start]:02x} "
                f"at position {error.start} of the line); save the file as UTF-8"
            ) from None


def _rows_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file of rows. Raises: DataError for what would be misread as one long row."""
    for number, line in _lines(path):
        if "\0" in line:
            raise DataError(f"{path}, line {number}: has a NUL, as binary data and UTF-16 have; save the file as UTF-8")
        if number == 1 and "\r" in line and not line.endswith("\n"):
            raise DataError(f"{path}: its lines end in CR alone, as on old Macs; save it with LF or CRLF")
        yield number, line


def _jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    return _objects(_rows_lines(path), path)


def _objects(lines: Iterable[tuple[int, str]], path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_unrepeated)
        except (ValueError, RecursionError) as error:
            hint = "" if line.strip() not in {"[", "{"} else "; each line must be a whole object: jq -c can write it so"
            raise DataError(f"{path}, line {number}: broken JSON: {error}{hint}") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: {_shown(row)} isn't an object with keys; each line must be one")
        yield number, row


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Python alone would take the last of two values. Raises: ValueError."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"two keys are named {_repeated([key for key, _ in pairs])!r}")
    return found


def _repeated(names: Iterable[str]) -> str | None:
    """The first name that is there twice."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _separated(path: Path, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    # A field may be a whole document: the module's own limit of 128 KiB would refuse it. Where a quote is never closed,
    # the rest of the file would be one field.
    csv.field_size_limit(MOST_LINE_BYTES)
    lines: list[str] = []  # of the row that is being read
    reader = csv.reader(_noted(_rows_lines(path), lines), delimiter=delimiter, strict=True)
    start = 1
    try:
        header = next(reader, None)
        if header is None:
            raise DataError(f"{path} has no rows")
        _check_header(path, header, delimiter)
        spans = Spans(path, header, delimiter)
        start = reader.line_num + 1
        lines.clear()
        for values in reader:
            if values:
                yield start, _record(header, values, path, start)
                spans.note(values, lines, start)
            start = reader.line_num + 1
            lines.clear()
        spans.check()
    except csv.Error as error:
        raise DataError(f"{path}, line {start}: broken CSV: {error}") from None


def _noted(numbered: Iterable[tuple[int, str]], lines: list[str]) -> Iterator[str]:
    """Each line, which is put into `lines` too."""
    for _, line in numbered:
        lines.append(line)
        yield line


def _check_header(path: Path, header: list[str], delimiter: str) -> None:
    if (name := _repeated(header)) is not None:
        raise DataError(f"{path}, line 1: two columns are named {name!r}")
    other = [sign for sign in ";\t|," if len(header) == 1 and sign in header[0]]
    if other:
        raise DataError(
            f"{path}, line 1: fields seem to be separated by {other[0]!r}; a file of this name must have {delimiter!r}"
        )


def _record(header: list[str], values: list[str], path: Path, line: int) -> dict[str, Any]:
    if len(values) != len(header):
        raise DataError(f"{path}, line {line}: {len(values)} fields; the header has {len(header)}")
    if values == header:
        raise DataError(f"{path}, line {line}: the header again; were files joined?")
    return dict(zip(header, values, strict=True))


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            if (name := _repeated(file.schema_arrow.names)) is not None:
                raise DataError(f"{path}: two columns are named {name!r}")
            number = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
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
