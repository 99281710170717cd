"""training.progress: what a stranger wrote is shown as it is, and is obeyed by nobody."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

import cli
from tests.training.files import write, write_rows
from training import progress, telling
from training.checks.check import Suspect
from training.evaluate import ClassScore, Report
from training.tuning.table import Row, TrialTable

# Closes a tag that was never opened, clears the screen, and breaks the line.
LABEL = "[/x] \x1b[2J\x9b[red]\nand more \\"
SHOWN = "[/x] \ufffd[2J\ufffd[red] and more \\"


def a_console(*, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, color_system=None, width=200)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_labels_and_titles_of_a_report_are_no_markup() -> None:
    """A class may be called what closes a tag: rich would end the run after its bundle was written."""
    score = ClassScore(label=LABEL, precision=1.0, recall=1.0, f1=1.0, rows=3)
    report = Report.model_construct(
        **dict.fromkeys(("accuracy", "micro_f1", "macro_f1", "ece", "ece_floor"), 0.5),
        rows=3,
        ece_interval=(0.0, 1.0),
        truncated=0,
        classes=[score],
        confusion=[[3]],
    )
    console = a_console()
    telling.show_report(console, report, title=f"{LABEL} on test")
    assert text_of(console).count(SHOWN) == 2


def test_suspects_and_verdicts_stay_on_their_line() -> None:
    """Labels, suggestions and texts."""
    console = a_console()
    suspect = Suspect(row=1, text=LABEL, labels=[LABEL], suggested=[LABEL, "b"], score=0.5)
    telling.show_suspects(console, [suspect])
    telling.show_rival(console, {"verdict": LABEL})
    lines = text_of(console).splitlines()
    assert lines == [f"row 1: {SHOWN} → {SHOWN}, b? (0.500)  {SHOWN}", SHOWN]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_log_hears_of_the_steps_of_a_long_epoch(*, terminal: bool) -> None:
    """A line a minute where there is no bar."""
    now = iter([0.0, 1.0, 61.0, 61.0, 62.0, 122.0, 122.0])
    console = a_console(terminal=terminal)
    with progress.TerminalProgress(console, title="pretraining", clock=lambda: next(now)) as bar:
        bar.start(steps=4, done=0)
        for loss in (3.0, 2.5, 2.25, 2.125):
            bar.step(loss=loss, tokens_per_s=1234.0)
    lines = [line for line in text_of(console).splitlines() if "  1,234 tokens/s  " in line]
    told = [line.partition("  1,234")[0] for line in lines if line.startswith("pretraining ")]
    assert told == ([] if terminal else ["pretraining 50%  loss 2.5000", "pretraining 100%  loss 2.1250"])


@pytest.mark.parametrize("terminal", [False, True])
def test_a_trial_that_failed_with_such_words_has_its_row(*, terminal: bool) -> None:
    """In the live table as in a line."""
    console = a_console(terminal=terminal)
    with TrialTable(console) as table:
        table.add(row := Row(0, state=f"failed: {LABEL}"))
        table.done(row)
    assert f"failed: {SHOWN}" in text_of(console)


def test_check_and_errors_pass_no_escape_sequence_on(tmp_path: Path) -> None:
    """Of a label that is in a finding, and of one in an error."""
    rows = [(f"text {number}", "ab"[number % 2]) for number in range(20)]
    path = write_rows(tmp_path, "[red].jsonl", [*rows, ("odd", LABEL)])
    shown = CliRunner().invoke(cli.app, ["check", str(path)])
    assert shown.exit_code == 1
    assert "[red].jsonl, as it was read" in " ".join(shown.stdout.split())
    broken = write(tmp_path, "a.jsonl", json.dumps({LABEL: "x"}) + "\n")
    refused = CliRunner().invoke(cli.app, ["check", str(broken), "--text-column", LABEL, "--label-column", "y\x1b[2J"])
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "\x1b" not in shown.output + refused.output


def test_a_line_is_said_as_it_is() -> None:
    """A path or a message may hold what rich would read as markup; it is one line, however long."""
    console = a_console()
    telling.say(console, f"warning: {LABEL} {'x' * 300}", style="yellow")
    assert text_of(console) == f"warning: {SHOWN} {'x' * 300}\n"
