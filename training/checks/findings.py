"""What is wrong with the data, in words, and how bad it is.

Serious is what makes the figures of a run untrue or a class impossible to learn, and `lembra check` then exits with 1:

- training refuses it: one class only, or one of which no row is left without those that are held out too
- 1 % or more of test's or valid's rows have a text of train, or of test a text of valid, whatever its case, space and
  punctuation: accuracy may gain as much, but where training leaves the copies out, as it does by itself
- 1 % or more of them have nearly such a text: accuracy may gain as much, as training keeps those
- 1 % or more of train's rows have nearly the text of an earlier one, where all that judges is held out of train at
  random: one of the two may be learnt from, and the other judged. Copies are held out together
- valid or test has a label that train doesn't have
- train has fewer than 3 rows of a class: it can't be in train, validation and calibration
- two labels differ in case or spaces only: one thing is two classes
- 1 % or more of a part's texts are empty
- 1 % or more of train's rows have a text that has other labels in other rows

Less of the same is a warning, where there is any. A note is worth knowing. Empty texts count as empty, not as repeats.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from training.checks.repeats import Conflicts, Copies, Repeats
from training.data import Parts, folded
from training.reading import Examples

Severity = Literal["serious", "warning", "note"]
ORDER: list[Severity] = ["serious", "warning", "note"]

SERIOUS_SHARE = 0.01
FEWEST_ROWS = 3
# With fewer, a class's figures are chance.
FEW_ROWS = 10
# The largest class so many times the smallest, or so much of all rows: accuracy alone misleads.
SKEW = 20
MAJORITY = 0.8
# More names make no sentence.
NAMED = 5


class Finding(BaseModel):
    """What was found in a few words, and what there is to know about it."""

    model_config = ConfigDict(frozen=True)

    severity: Severity
    title: str
    detail: str


def find(
    parts: Parts,
    repeats: Sequence[Repeats],
    conflicts: Conflicts,
    suspected: int | None,
    *,
    refusal: str | None = None,
) -> list[Finding]:
    """All findings, the serious ones first, and of these the `refusal` of data.refusal."""
    found = [
        *([_finding("serious", "training refuses this", refusal)] if refusal is not None else []),
        *_unseen(parts),
        *_twins(parts),
        *_rare(parts.train),
        *_leaks(repeats),
        *_conflicting(conflicts, len(parts.train)),
        *_empty(parts),
        *_inside(repeats),
        *_nearly_inside(parts, repeats),
        *_unlabelled(repeats),
        *_skew(parts.train),
        *_suspected(suspected, len(parts.train)),
    ]
    return sorted(found, key=lambda finding: ORDER.index(finding.severity))


def _unseen(parts: Parts) -> Iterator[Finding]:
    known = set(parts.train.rows_a_label)
    for name, part in parts.labelled.items():
        unseen = set(part.rows_a_label) - known
        if unseen:
            rows = sum(not unseen.isdisjoint(labels) for labels in part.labels)
            yield _finding(
                "serious",
                f"{len(unseen):,} labels of {name} are not in train",
                f"{_named(unseen)}, in {rows:,} rows; what is learnt from train can never give them",
            )


def _twins(parts: Parts) -> Iterator[Finding]:
    names = {label for part in parts.labelled.values() for label in part.rows_a_label}
    alike = defaultdict(list)
    for name in sorted(names):
        alike[folded(name)].append(name)
    twins = [" and ".join(map(repr, same)) for same in alike.values() if len(same) > 1]
    if twins:
        shown = "; ".join(twins[:NAMED]) + (f"; {len(twins) - NAMED:,} more" if len(twins) > NAMED else "")
        yield _finding("serious", "labels that differ in case or spaces only", f"{shown}: each is a class of its own")


def _rare(train: Examples) -> Iterator[Finding]:
    for fewest, severity, why in (
        (FEWEST_ROWS, ORDER[0], "too few to be in train, validation and calibration"),
        (FEW_ROWS, ORDER[1], "their figures will be chance"),
    ):
        rare = {label for label, rows in train.rows_a_label.items() if rows < fewest}
        if rare:
            yield _finding(severity, f"{len(rare):,} classes have fewer than {fewest} rows", f"{_named(rare)}: {why}")
            return


def _leaks(repeats: Sequence[Repeats]) -> Iterator[Finding]:
    for found in repeats:
        if found.part == found.among or "unlabelled" in (found.part, found.among):
            continue
        if texts := found.same.rows - found.empty:
            changed = "" if texts == found.exact.rows else ", but for case, white space and punctuation"
            yield _finding(
                _severity(texts, found),
                f"{texts:,} of {found.rows:,} {found.part} texts are also in {found.among}{changed}",
                f"{_repeated(found)}. Training leaves their copies in {found.among} out, unless drop_repeats=false",
            )
        if found.near.rows:
            yield _finding(
                _severity(found.near.rows, found),
                f"{found.near.rows:,} of {found.rows:,} {found.part} texts are nearly in {found.among}",
                f"{_nearly(found)}. Training keeps what they repeat in {found.among}, and accuracy may gain as much",
            )


def _conflicting(conflicts: Conflicts, rows: int) -> Iterator[Finding]:
    if conflicts.texts:
        yield _finding(
            "serious" if conflicts.rows >= SERIOUS_SHARE * rows else "warning",
            f"{conflicts.texts:,} texts of train have different labels in different rows",
            f"{conflicts.rows:,} rows ({conflicts.rows / rows:.2%}), compared but for case and white space; "
            "at least one of each text's labels is wrong, or the text alone can't tell",
        )


def _empty(parts: Parts) -> Iterator[Finding]:
    texts = {name: part.texts for name, part in parts.labelled.items()} | {"unlabelled": parts.unlabelled or []}
    for name, part in texts.items():
        empty = sum(not text.strip() for text in part)
        if empty:
            yield _finding(
                "serious" if empty >= SERIOUS_SHARE * len(part) else "warning",
                f"{empty:,} of {len(part):,} {name} texts are empty",
                f"{empty / len(part):.2%} have nothing but white space: nothing can be learnt from them",
            )


def _inside(repeats: Sequence[Repeats]) -> Iterator[Finding]:
    for found in repeats:
        texts = found.same.rows - found.empty
        if found.part == found.among and texts:
            yield _finding(
                _severity(texts, found, most="warning") if found.part != "unlabelled" else "note",
                f"{texts:,} of {found.rows:,} {found.part} texts repeat an earlier one",
                _repeated(found),
            )


def _nearly_inside(parts: Parts, repeats: Sequence[Repeats]) -> Iterator[Finding]:
    for found in repeats:
        if found.part == found.among and found.near.rows:
            severity, why = _split_at_random(parts, found)
            yield _finding(
                severity,
                f"{found.near.rows:,} of {found.rows:,} {found.part} texts nearly repeat an earlier one",
                _nearly(found) + why,
            )


def _split_at_random(parts: Parts, found: Repeats) -> tuple[Severity, str]:
    """How bad near copies inside a part are, and why: of train, what judges may be held out beside them."""
    if found.part != "train" or parts.valid is not None:
        return "note", ""
    held_out = "is held out of train at random, away from them, and its accuracy may gain"
    if parts.test is not None:
        return _severity(found.near.rows, found, most="warning"), f". Validation {held_out}; that of test can't"
    why = f". What judges {held_out} as much; copies are held out together, not these"
    return _severity(found.near.rows, found), why


def _unlabelled(repeats: Sequence[Repeats]) -> Iterator[Finding]:
    for found in repeats:
        if found.among == "unlabelled" != found.part and found.same.rows + found.near.rows:
            rows, where = (found.same.rows, "also") if found.same.rows else (found.near.rows, "nearly")
            title = f"{rows:,} of {found.rows:,} {found.part} texts are {where} in unlabelled"
            yield _finding("note", title, f"{_repeated(found)}; {_counted(found.near)} more nearly so")


def _skew(train: Examples) -> Iterator[Finding]:
    rows_a_label = train.rows_a_label.most_common()
    if len(rows_a_label) < 2:
        return
    (most, rows), (least, fewest) = rows_a_label[0], rows_a_label[-1]
    share = rows / len(train)
    if train.kind == "multi-label":  # a label that most rows have is no answer to all of them
        if rows >= SKEW * fewest:
            title = f"the labels are skewed: {rows:,} rows have {most!r}, {fewest:,} {least!r}"
            yield _finding("note", title, "micro-F1 is mostly of the frequent ones; macro-F1 counts each the same")
        return
    if share >= MAJORITY or rows >= SKEW * fewest:
        yield _finding(
            "warning" if share >= MAJORITY else "note",
            f"the classes are skewed: {most!r} has {rows:,} rows, {least!r} {fewest:,}",
            f"always saying {most!r} is right for {share:.1%} of train; macro-F1 tells more than accuracy here",
        )


def _suspected(suspected: int | None, rows: int) -> Iterator[Finding]:
    if suspected:
        yield _finding(
            "note",
            f"{suspected:,} of {rows:,} rows of train may have a wrong label",
            f"{suspected / rows:.2%}, to a linear model that didn't see them (confident learning); where that model is "
            "often wrong, most of them will be right: look at the worst",
        )


def _severity(rows: int, found: Repeats, *, most: Severity = "serious") -> Severity:
    """`most`, or what is one step less where these rows are few of the part."""
    return most if rows >= SERIOUS_SHARE * found.rows else ORDER[ORDER.index(most) + 1]


def _repeated(found: Repeats) -> str:
    """How many to the letter, but for case and white space, but for punctuation too; and with which labels."""
    exact, cased, same = map(_counted, (found.exact, found.folded, found.same))
    empty = f", {found.empty:,} of them empty" if found.empty else ""
    return f"to the letter {exact}; but for case and white space {cased}; but for punctuation too {same}{empty}"


def _nearly(found: Repeats) -> str:
    other = f", and in the labels of {found.near.other_labels:,}" if found.near.other_labels else ""
    return f"they differ in more than case, white space and punctuation{other}"


def _counted(copies: Copies) -> str:
    return f"{copies.rows:,}" + (f" ({copies.other_labels:,} with other labels)" if copies.other_labels else "")


def _named(names: set[str]) -> str:
    shown = ", ".join(map(repr, sorted(names)[:NAMED]))
    return shown + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")


def _finding(severity: Severity, title: str, detail: str) -> Finding:
    return Finding(severity=severity, title=title, detail=detail)
