"""Fields of several lines in a CSV or TSV: a text with line breaks, or rows that two stray quotes made one text of.

Where texts were written without quoting, one that begins with a quote hides all rows up to one that ends with a quote.
Such lines split into as many fields as the header has, which prose seldom does; and most have, in some column, what
other rows have there, such as a label. Only both together tell, and that at the end of the file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from training.errors import DataError

# Of each column, so that a file of any length takes as much memory: a label is short, and comes early.
MOST_VALUES = 10_000
MOST_CHARACTERS = 500
# In a message.
SHOWN = 3


@dataclass(slots=True)
class _Column:
    """What the rows have in one column."""

    numbers: bool  # each is a whole number, so that another one is as good: rows may be numbered
    values: set[str] = field(default_factory=set)
    rows: int = 0
    new: int = 0

    def note(self, value: str) -> None:
        self.rows += 1
        if value in self.values:
            return
        self.new += 1
        self.numbers = self.numbers and value.isdecimal()
        if len(value) <= MOST_CHARACTERS and len(self.values) < MOST_VALUES:
            self.values.add(value)

    def has(self, value: str) -> bool:
        """Whether a row would have this here, as far as its column tells: values that don't come again tell nothing."""
        again = 2 * self.new <= self.rows and value in self.values
        return bool(value.strip()) and (again or (self.numbers and value.isdecimal()))


@dataclass(frozen=True, slots=True)
class _Span:
    """Lines that may be rows, and what these would have in each column, by its number."""

    first: int
    last: int
    values: dict[int, list[str]]


class Spans:
    """Takes each row as it is read, and tells at the end whether one of them was several."""

    def __init__(self, path: Path, header: Sequence[str], delimiter: str) -> None:
        self._path = path
        self._header = header
        self._delimiter = delimiter
        # Between numbers and words prose has commas, as in "2, of them ripe", but no tabs.
        self._columns = [_Column(numbers=delimiter == "\t") for _ in header]
        self._suspects: list[_Span] = []

    def note(self, values: Sequence[str], lines: Sequence[str], first: int) -> None:
        """A row of as many values as the header has, the lines of the file that it was read from, and its first."""
        for column, value in zip(self._columns, values, strict=True):
            column.note(value)
        if len(lines) == 1:
            return
        rows = [line.rstrip("\r\n").split(self._delimiter) for line in lines if line.rstrip("\r\n")]
        # Of two lines one may end in a comma and a word that is a label too, as an address does; none has a tab.
        if len(rows) > (1 if self._delimiter == "\t" else 2) and all(len(row) == len(values) for row in rows):
            within = next(number for number, value in enumerate(values) if "\n" in value)
            self._suspects.append(_Span(first, first + len(lines) - 1, self._others(rows, within)))

    def check(self) -> None:
        """Raises: DataError for the first span whose lines are rows."""
        for span in self._suspects:
            for number, values in span.values.items():
                known = [value for value in values if self._columns[number].has(value)]
                if 2 * len(known) > len(values):
                    raise DataError(self._message(span, self._header[number], known))

    def _others(self, rows: Sequence[Sequence[str]], within: int) -> dict[int, list[str]]:
        """By the columns beside the long field: the values of all rows but the one that has the span's own there."""
        return {
            column: list(self._values(rows[1:] if column < within else rows[:-1], column))
            for column in range(len(self._header))
            if column != within
        }

    def _values(self, rows: Sequence[Sequence[str]], column: int) -> Iterator[str]:
        for row in rows:
            beside = pairwise(row[max(column - 1, 0) : column + 2])
            told = len(row[column]) <= MOST_CHARACTERS and not any(self._is_prose(*pair) for pair in beside)
            yield row[column] if told else ""

    def _is_prose(self, before: str, after: str) -> bool:
        """Whether the comma between them is none of a row: as in "good, but", at the end of a line, or in 9,5."""
        in_number = before[-1:].isdecimal() and after[:1].isdecimal()
        return self._delimiter == "," and (in_number or not after[:1].strip())

    def _message(self, span: _Span, column: str, known: Sequence[str]) -> str:
        shown = ", ".join(map(repr, known[:SHOWN])) + (", …" if len(known) > SHOWN else "")
        return (
            f"{self._path}, line {span.first}: a quote here and one in line {span.last} make one text of lines that "
            f"look like {span.last - span.first + 1:,} rows ({column!r} would be {shown}); a text with quotes of its "
            'own must be in quotes, and each of its own doubled: "say ""hi"""'
        )
