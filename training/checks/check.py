"""What is wrong with the data, before the first step: computed on what was read, not yet split.

What is found wrong, and how bad it is, stands in `findings`. `lembra check DATA` shows it.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from training.checks import findings, label_errors, repeats
from training.checks.findings import Finding
from training.checks.label_errors import Suspects
from training.checks.repeats import Conflicts, Repeats
from training.data import Parts
from training.reading import Examples, Labels

# Letters of a script fewer than this share are left out: a name here, a formula there.
RARE_SCRIPT = 0.0001
MOST_SUSPECTS = 50
# Characters of a suspect's text that are shown; as in the mistakes of the report.
EXCERPT = 400
Labelled = tuple[Sequence[str], Sequence[Labels] | None]


class Characters(BaseModel):
    """Lengths of texts in characters."""

    model_config = ConfigDict(frozen=True)

    median: float
    p95: float
    longest: int


class PartCheck(BaseModel):
    """One part: `empty` texts have white space at most; `scripts` are shares of the letters; `labels` are rows each."""

    model_config = ConfigDict(frozen=True)

    name: str
    rows: int
    empty: int
    characters: Characters
    scripts: dict[str, float]
    labels: dict[str, int]


class Suspect(BaseModel):
    """A row of train, counted from 1 without the header, whose labels look wrong; `score` as in `label_errors`."""

    model_config = ConfigDict(frozen=True)

    row: int
    text: str | None
    labels: list[str]
    suggested: list[str]
    score: float


class DataCheck(BaseModel):
    """All that was found. `suspected` rows of train look wrong (None: not looked for); `suspects` are the worst."""

    model_config = ConfigDict(frozen=True)

    parts: list[PartCheck]
    findings: list[Finding]
    repeats: list[Repeats]
    conflicts: Conflicts
    suspected: int | None
    suspects: list[Suspect]

    @property
    def serious(self) -> bool:
        return any(finding.severity == "serious" for finding in self.findings)


def check(
    parts: Parts,
    *,
    seed: int = 0,
    find_label_errors: bool = True,
    keep_texts: bool = True,
    most: int | None = MOST_SUSPECTS,
    refusal: str | None = None,
) -> DataCheck:
    """All checks. Deterministic. `most` suspects are kept (None: all), without their texts unless `keep_texts`.

    A `refusal`, of data.refusal, is a finding too: where the data was split already there is none.
    """
    texts = _texts(parts)
    found = repeats.find(texts)
    conflicts = repeats.conflicts(parts.train)
    suspects = label_errors.find(parts.train, seed) if find_label_errors else None
    suspected = len(suspects.rows) if suspects is not None else None
    return DataCheck(
        parts=[_part(name, *labelled) for name, labelled in texts.items()],
        findings=findings.find(parts, found, conflicts, suspected, refusal=refusal),
        repeats=found,
        conflicts=conflicts,
        suspected=suspected,
        suspects=_shown(parts.train, suspects, most=most, keep_texts=keep_texts) if suspects is not None else [],
    )


def _texts(parts: Parts) -> dict[str, Labelled]:
    texts: dict[str, Labelled] = {name: (part.texts, part.labels) for name, part in parts.labelled.items()}
    return texts | ({"unlabelled": (parts.unlabelled, None)} if parts.unlabelled is not None else {})


def _part(name: str, texts: Sequence[str], labels: Sequence[Labels] | None) -> PartCheck:
    lengths = np.array([len(text) for text in texts] or [0])
    return PartCheck(
        name=name,
        rows=len(texts),
        empty=sum(not text.strip() for text in texts),
        characters=Characters(
            median=float(np.median(lengths)),
            p95=round(float(np.quantile(lengths, 0.95)), 1),
            longest=int(lengths.max()),
        ),
        scripts=scripts(texts),
        labels=dict(sorted(Counter(label for row in labels or () for label in row).items())),
    )


def scripts(texts: Sequence[str]) -> dict[str, float]:
    """The share of each Unicode script (UAX #24) in the letters of these texts, the largest first."""
    from fontTools import unicodedata

    counts_U = np.zeros(0x110000, dtype=np.int64)  # U code points
    for chunk in repeats.chunks(texts):
        codes = np.frombuffer("".join(chunk).encode("utf-32-le"), dtype=np.uint32)
        counts_U += np.bincount(codes, minlength=len(counts_U))
    letters: Counter[str] = Counter()
    for code in np.flatnonzero(counts_U):
        script = unicodedata.script(chr(code))
        # Common, inherited, unknown: digits, signs, marks, what isn't assigned
        if script not in {"Zyyy", "Zinh", "Zzzz"}:
            letters[unicodedata.script_name(script)] += int(counts_U[code])
    total = letters.total()
    return {name: round(n / total, 4) for name, n in letters.most_common() if n / total >= RARE_SCRIPT}


def _shown(train: Examples, suspects: Suspects, *, most: int | None, keep_texts: bool) -> list[Suspect]:
    return [
        Suspect(
            row=row + 1,
            text=train.texts[row][:EXCERPT] if keep_texts else None,
            labels=list(train.labels[row]),
            suggested=suggested,
            score=round(score, 4),
        )
        for row, suggested, score in list(zip(suspects.rows, suspects.suggested, suspects.scores, strict=True))[:most]
    ]
