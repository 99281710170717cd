"""What a run tells a person, in lines and tables. On stderr, or where its command says.

Labels, texts and names are a stranger's: they are shown by `plain`, never as rich's markup.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from training.checks.check import DataCheck, Suspect
from training.checks.findings import Severity
from training.data import Splits
from training.evaluate import Report
from training.pretraining.texts import Texts
from training.printable import one_line
from training.teacher import Teachers

# A confusing wall of rows otherwise; the report in the bundle has every class.
MOST_CLASSES_SHOWN = 40
MOST_SCRIPTS_SHOWN = 3
# Characters of a suspect's text: a line on a terminal.
EXCERPT = 100
STYLES: dict[Severity, str] = {"serious": "bold red", "warning": "yellow", "note": "dim"}


def say(console: Console, line: str, *, style: str = "") -> None:
    """One line, as it is: no markup is read, no number is coloured, and it isn't wrapped."""
    console.print(plain(line), style=style, highlight=False, soft_wrap=True)


def warn(console: Console, line: str) -> None:
    """The same, of what isn't as it should be."""
    say(console, f"warning: {line}", style="yellow")


def plain(text: str) -> Text:
    """On one line, without what a terminal obeys; `[` begins no markup."""
    return Text(one_line(text))


def shown_score(score: float) -> str:
    """A score selected by loss is that loss with a minus; every other is a share."""
    return f"{score:.2%}" if score >= 0 else f"{score:.4f}"


def tell_run(
    console: Console,
    splits: Splits,
    device: torch.device,
    recipe: str | None,
    read: Texts | None,
    teachers: Teachers | None,
) -> None:
    """What is about to be trained, and on what."""
    rows = ", ".join(f"{name} {len(part):,}" for name, part in splits.parts.items())
    say(console, f"rows: {rows}; {len(splits.labels):,} classes, {splits.kind}; device: {device.type}")
    if recipe is not None:
        say(console, f"recipe: {recipe}")
    if read is not None:
        say(console, f"texts read without labels, those of train among them: {len(read.all):,}")
    if teachers is not None:
        _tell_of_teachers(console, teachers)
    if splits.dropped:
        say(
            console,
            f"left out {splits.dropped:,} rows whose texts, but for case, space and punctuation, are in valid or test "
            "too (drop_repeats=false keeps them)",
        )


def warn_of_seen(console: Console, encoder: Path | None, seen: Mapping[str, int]) -> None:
    """Where an encoder learnt from `seen` texts of parts that judge the classifier."""
    if any(seen.values()):
        rows = ", ".join(f"{name} {count:,}" for name, count in seen.items())
        warn(console, f"{encoder} learnt from texts that judge this classifier, whose figures may flatter it: {rows}")


def _tell_of_teachers(console: Console, taught: Teachers) -> None:
    texts = f"{len(taught.texts):,} texts without labels"
    say(console, f"learning from the answers of {len(taught.all):,} bundles too, on train and {texts}")
    for found in taught.all:
        if found.doubt is not None:
            warn(console, f"{found.path} may know rows that judge this classifier, and flatter it: {found.doubt}")


def show_report(console: Console, report: Report, *, title: str) -> None:
    """A table a class, with the averages below."""
    table = Table(title=plain(title), title_justify="left")
    table.add_column("class")
    for name in ("precision", "recall", "F1", "rows"):
        table.add_column(name, justify="right")
    for score in report.classes[:MOST_CLASSES_SHOWN]:
        figures = (f"{100 * value:.2f}" for value in (score.precision, score.recall, score.f1))
        table.add_row(plain(score.label), *figures, f"{score.rows:,}")
    if len(report.classes) > MOST_CLASSES_SHOWN:
        table.add_row(f"… {len(report.classes) - MOST_CLASSES_SHOWN} more in the report", "", "", "", "")
    console.print(table)
    micro = "" if report.confusion is not None else f"   micro-F1 {report.micro_f1:.2%}"
    low, high = report.ece_interval
    say(
        console,
        f"accuracy {report.accuracy:.2%}{micro}   macro-F1 {report.macro_f1:.2%}"
        f"   {report.rows:,} rows, {report.truncated:,} cut",
    )
    say(console, f"ECE {report.ece:.4f}, 95 % interval {low:.4f} to {high:.4f}; chance alone {report.ece_floor:.4f}")


def show_check(console: Console, check: DataCheck, *, title: str = "data, as it was read") -> None:
    """A line a part, then the findings, the serious ones first."""
    table = Table(title=plain(title), title_justify="left")
    table.add_column("part")
    for name in ("rows", "classes", "empty", "characters", "95 %", "longest"):
        table.add_column(name, justify="right")
    table.add_column("scripts")
    for part in check.parts:
        figures = (len(part.labels), part.empty, part.characters.median, part.characters.p95, part.characters.longest)
        scripts = ", ".join(f"{name} {share:.1%}" for name, share in list(part.scripts.items())[:MOST_SCRIPTS_SHOWN])
        table.add_row(part.name, f"{part.rows:,}", *(f"{figure:,.0f}" for figure in figures), scripts)
    console.print(table)
    for finding in check.findings:
        line = Text(f"{finding.severity}: ", style=STYLES[finding.severity])
        said = one_line(f"{finding.title}: {finding.detail}")
        console.print(line.append(said, style="default"), soft_wrap=True)


def show_suspects(console: Console, suspects: Sequence[Suspect]) -> None:
    """Rows of train whose labels look wrong, a line each, the worst first."""
    for found in suspects:
        labels, suggested = (", ".join(names) or "no label" for names in (found.labels, found.suggested))
        text = " ".join((found.text or "").split())[:EXCERPT]
        line = f"row {found.row:,}: {labels} → {suggested}? ({found.score:.3f})  {text}"
        say(console, line)


def show_eight_bits(console: Console, found: Mapping[str, Any]) -> None:
    """Whether a server may compute so."""
    compared = (
        f"the same labels for {found['same_labels']:.2%} of {found['rows']:,} rows, "
        f"accuracy {100 * found['accuracy_gained']:+.2f} points"
    )
    verdict = "a server computes in them" if found["agree"] else "too far from float32, a server computes in 16"
    say(console, f"in integers of 8 bits: {compared}: {verdict}")


def show_rival(console: Console, rival: Mapping[str, Any]) -> None:
    """The verdict."""
    say(console, rival["verdict"])
