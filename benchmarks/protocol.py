"""Does test tell anything that it shouldn't? `python -m benchmarks.protocol SET`.

Shuffled: labels of train and valid are dealt anew at random, and `lembra train` learns from that; above chance on test
would be a leak. Chance is at most the share of the largest class there, give or take what so many rows scatter.
Planted: a test text stands in train too, with a wrong label; every split but test must be without it. Beside it is the
same with a text that is nowhere else: there one row less is left out.
"""

import argparse
import json
import math
import random
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import machine, rivals, runs, sets
from benchmarks.runs import Found, Keep, Run
from training import data
from training.config import TrainingConfig
from training.data import Parts, Splits
from training.reading import Examples

# Neither takes part in what is looked at, and both take long.
UNASKED = ("rival=false", "find_label_errors=false")
NEW_TEXT = "a text that no real set has: 8c1f0f7e"


def main(arguments: Sequence[str] | None = None) -> int:
    given = parse(arguments)
    parts = rivals.read(given.data / given.set_name)
    if parts.test is None:
        raise SystemExit(f"{parts.source} has no test part")
    keep = Keep(given.keep, any_code=given.any_code)
    works = {f"shuffled, seed {seed}": partial(shuffled, parts, seed, given, keep) for seed in given.seeds}
    works |= {f"planted, seed {seed}": partial(planted, parts, seed, given, keep) for seed in given.seeds}
    done = runs.together(works, ThreadPoolExecutor(given.jobs))
    found = {
        "rows": len(parts.test),
        "largest_class": largest_share(parts.test),
        "shuffled": [done[name] for name in works if name.startswith("shuffled") and name in done],
        "planted": [done[name] for name in works if name.startswith("planted") and name in done],
    }
    show(found, given.set_name)
    described = {"set": given.set_name, "recipe": given.recipe, "settings": given.set, "seeds": given.seeds}
    print(json.dumps({"protocol": found, **described, **machine.describe()}))
    return 0 if len(done) == len(works) else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set_name", metavar="SET")
    parser.add_argument("--data", type=Path, default=machine.DATA, help="the folder of the sets")
    runs.options(parser)
    return parser.parse_args(arguments)


def shuffled(parts: Parts, seed: int, given: argparse.Namespace, keep: Keep) -> Found:
    """Figures on test of a run that learnt from labels dealt at random."""

    def work(folder: Path) -> Found:
        rng = random.Random(seed)
        dealt = {name: deal(part, rng) if name != "test" else part for name, part in parts.labelled.items()}
        write(folder / "data", dealt, parts.unlabelled)
        run = _run(f"{given.set_name}-shuffled", folder / "data", seed, given)
        done = runs.train(run, Keep(folder))
        return {"seed": seed, **done["metrics"]["test"], **{key: done[key] for key in ("seconds", "device", "commit")}}

    return keep.once(f"{given.set_name}-{seed}-shuffled", _made_of(parts, seed, given), work)


def planted(parts: Parts, seed: int, given: argparse.Namespace, keep: Keep) -> Found:
    """Where a planted test text ends up, by the splits that `lembra train` makes, and by the report of a short run."""

    def work(folder: Path) -> Found:
        text, labels = plant(parts, seed)
        write(folder / "data", with_row(parts, text, labels), None)
        # The control: the same row with another text, so that all else is drawn the same.
        write(folder / "control", with_row(parts, NEW_TEXT, labels), None)
        done = runs.train(_run(f"{given.set_name}-planted", folder / "data", seed, given, short=True), Keep(folder))
        settings = TrainingConfig.model_validate(done["settings"])
        ours, control = (data.split(rivals.read(folder / name), settings) for name in ("data", "control"))
        return {
            "seed": seed,
            "text": text,
            "labels": labels,
            "in_splits": holding(ours, text),
            "dropped": ours.dropped,
            "dropped_without": control.dropped,
            "dropped_by_train": done["dropped"],
            "same_train": done["train"] == ours.train.fingerprint()["sha256"],
            "seconds": done["seconds"],
        }

    return keep.once(f"{given.set_name}-{seed}-planted", _made_of(parts, seed, given), work)


def plant(parts: Parts, seed: int) -> tuple[str, tuple[str, ...]]:
    """A test text that train lacks, drawn by seed, and labels that it doesn't have."""
    assert parts.test is not None
    rng = random.Random(seed)
    known = {data.words_of(text) for text in parts.train.texts}
    rows = [row for row, text in enumerate(parts.test.texts) if text.strip() and data.words_of(text) not in known]
    row = rng.choice(rows)
    wrong = sorted(set(parts.train.rows_a_label) - set(parts.test.labels[row]))
    return parts.test.texts[row], (rng.choice(wrong),)


def holding(splits: Splits, text: str) -> list[str]:
    """The splits other than test that have this text, but for case, space and punctuation."""
    return [
        name
        for name, part in splits.parts.items()
        if name != "test" and data.words_of(text) in map(data.words_of, part.texts)
    ]


def with_row(parts: Parts, text: str, labels: tuple[str, ...]) -> dict[str, Examples]:
    """The labelled parts, by name, where train has this row more."""
    train = replace(parts.train, texts=[*parts.train.texts, text], labels=[*parts.train.labels, labels])
    return parts.labelled | {"train": train}


def deal(examples: Examples, rng: random.Random) -> Examples:
    """The same labels, each to a row at random."""
    return replace(examples, labels=rng.sample(examples.labels, k=len(examples)))


def largest_share(test: Examples) -> float:
    """The accuracy of giving all rows the labels that most of them have."""
    return max(test.labels.count(labels) for labels in set(test.labels)) / len(test)


def write(folder: Path, parts: dict[str, Examples], unlabelled: list[str] | None) -> None:
    """A set's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        rows = zip(part.texts, part.labels, strict=True)
        single = part.kind == "single-label"
        lines = [
            {"text": text, "label": labels[0]} if single else {"text": text, "labels": labels} for text, labels in rows
        ]
        sets.write_lines(folder / f"{name}.jsonl", lines)
    if unlabelled is not None:
        sets.write_lines(folder / "unlabelled.jsonl", [{"text": text} for text in unlabelled])


def _run(name: str, folder: Path, seed: int, given: argparse.Namespace, *, short: bool = False) -> Run:
    """`short`: what is left out of train is decided before the first step, so few are enough."""
    steps = ("epochs=1", "least_steps=1") if short else ()
    return Run(name, folder, seed, given.recipe, (*UNASKED, *given.set, *steps), given.device, given.encoder)


def _made_of(parts: Parts, seed: int, given: argparse.Namespace) -> list[str]:
    commit = runs.code_version((*runs.TRAINING_CODE, "benchmarks/protocol.py"))
    return [runs.digest(parts.source), commit, str(seed), *runs.chosen(given)]


def show(found: dict[str, Any], name: str) -> None:
    table = Table(title=f"{name}: what test tells", title_justify="left")
    for column in ("check", "found", "to be expected"):
        table.add_column(column)
    if found["shuffled"]:
        chance, values = found["largest_class"], [run["accuracy"] for run in found["shuffled"]]
        scatter = 1.96 * math.sqrt(chance * (1 - chance) / found["rows"])
        shown = f"{statistics.mean(values):.2%} ({', '.join(f'{value:.2%}' for value in values)})"
        table.add_row("accuracy, labels shuffled", shown, f"at most {chance:.2%} ± {scatter:.2%} (the largest class)")
    for run in found["planted"]:
        where = ", ".join(run["in_splits"]) or "no split but test"
        same = "the report has the same" if run["same_train"] else "THE REPORT HAS ANOTHER TRAIN"
        dropped = f"{run['dropped']:,} left out ({run['dropped_by_train']:,} in the report), {same}"
        table.add_row(
            f"a test text planted, seed {run['seed']}",
            f"in {where}; {dropped}",
            f"in no split but test; {run['dropped_without'] + 1:,} left out",
        )
    Console(width=150).print(table)


if __name__ == "__main__":
    sys.exit(main())
