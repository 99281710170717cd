"""A few labels and much text: `python -m benchmarks.few_labels --labels 100 500 2500 --keep FOLDER`.

For each number and seed: that many rows of the set's train, each class in its share, are all the labels there are. The
other texts of train, and of an official valid part, join the set's unlabelled ones, without their labels. `lembra
train` learns from that folder, and with `--student` then `lembra distil`, from the labels and from what the first one
says of the texts; linear models are tuned on the same labels, in five folds, and all are measured on the set's whole
test part. Single-label sets only.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sklearn.model_selection import train_test_split

from benchmarks import machine, rivals, runs, sets
from benchmarks.rivals import NBSVM, WORDS
from benchmarks.runs import Found, Keep, Run
from benchmarks.table import NAMES, spread
from training.data import Parts
from training.reading import Examples

OURS = "lembra"
STUDENT = "its student"
# Characters are left out: on long texts they cost the most and bring the least.
RIVALS = (WORDS, NBSVM)
FOLDS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    given = parse(arguments)
    source = machine.DATA / given.data if not Path(given.data).is_dir() else Path(given.data)
    parts = rivals.read(source)
    keep = Keep(given.keep, any_code=given.any_code)
    works = {
        f"{labels} labels, seed {seed}": partial(measure, parts, labels, seed, given, keep)
        for labels in given.labels
        for seed in given.seeds
    }
    done = runs.together(works, ThreadPoolExecutor(given.jobs))
    rows = {labels: [found for found in done.values() if found["labels"] == labels] for labels in given.labels}
    show(rows, given.data)
    described = {"data": given.data, "seeds": given.seeds, "recipe": given.recipe}
    described |= {"settings": given.set, "student": given.student}
    print(json.dumps({"few_labels": summary(rows), **described, **machine.describe()}))
    return 0 if len(done) == len(works) else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", nargs="+", type=int, default=[100, 500, 2500])
    parser.add_argument("--data", default="imdb", help="one of the real sets, or a folder with train and test")
    parser.add_argument(
        "--student", nargs="*", metavar="key=value", help="distil, too; with these settings over the others"
    )
    runs.options(parser)
    return parser.parse_args(arguments)


def measure(parts: Parts, labels: int, seed: int, given: argparse.Namespace, keep: Keep) -> Found:
    """Ours and the rivals on one draw: the figures on test of each, by name."""
    name = f"{parts.source.name}-{labels}"
    commit = runs.code_version((*runs.TRAINING_CODE, "benchmarks/few_labels.py", "benchmarks/rivals"))
    made_of = [runs.digest(parts.source), commit, str(labels), str(seed), *runs.chosen(given)]
    made_of += ["student", *given.student] if given.student is not None else []

    def work(folder: Path) -> Found:
        drawn = write(parts, labels, seed, folder / "data")
        run = Run(name, folder / "data", seed, given.recipe, tuple(given.set), given.device, given.encoder)
        # In the folder that is kept until all is done: a training that was cut off goes on there.
        ours = runs.train(replace(run, bundle=folder / "bundle"), Keep(folder))
        found = {OURS: figures(ours)}
        if given.student is not None:
            taught = replace(run, teacher=folder / "bundle", settings=(*given.set, *given.student))
            found[STUDENT] = figures(runs.train(taught, Keep(folder)))
        few = Parts(parts.source, parts.paths, parts.hashes, train=drawn, test=parts.test)
        for rival in RIVALS:
            found |= rivals.measure(rival, few, seed=seed, folds=FOLDS)
        about = {key: ours[key] for key in ("device", "commit", "resumed", "seconds")}
        return {"labels": labels, "seed": seed, "figures": found, **about}

    return keep.once(f"{name}-{seed}-few", made_of, work)


def figures(found: Found) -> Found:
    """Of a run: those of test, and its seconds."""
    return {**found["metrics"]["test"], "seconds": found["seconds"]}


def draw(train: Examples, labels: int, seed: int) -> list[int]:
    """So many rows of train by seed, in their order, each class in its share."""
    if train.kind != "single-label":
        raise ValueError("rows of several labels can't be drawn by their class")
    classes = [label for (label,) in train.labels]
    drawn, _ = train_test_split(range(len(train)), train_size=labels, stratify=classes, random_state=seed)
    return sorted(drawn)


def write(parts: Parts, labels: int, seed: int, folder: Path) -> Examples:
    """A folder with train, unlabelled and test; the rows that train has."""
    rows = draw(parts.train, labels, seed)
    chosen = set(rows)
    drawn = parts.train.take(rows)
    texts = [text for row, text in enumerate(parts.train.texts) if row not in chosen]
    texts += (parts.valid.texts if parts.valid is not None else []) + (parts.unlabelled or [])
    folder.mkdir(parents=True, exist_ok=True)
    pairs = zip(drawn.texts, drawn.labels, strict=True)
    sets.write_lines(folder / "train.jsonl", [{"text": text, "label": label} for text, (label,) in pairs])
    sets.write_lines(folder / "unlabelled.jsonl", [{"text": text} for text in texts])
    test = folder / parts.paths["test"].name
    test.unlink(missing_ok=True)
    test.symlink_to(parts.paths["test"].resolve())
    return drawn


def summary(rows: Mapping[int, Sequence[Found]]) -> dict[int, dict[str, Any]]:
    """By the number of labels and by name: accuracy and macro-F1 of every seed, their mean and spread."""
    return {
        labels: {
            name: {metric: _summed([one["figures"][name][metric] for one in found]) for metric in NAMES}
            | {"seconds": [one["figures"][name]["seconds"] for one in found]}
            for name in (found[0]["figures"] if found else ())
        }
        for labels, found in rows.items()
    }


def _summed(values: Sequence[float]) -> dict[str, Any]:
    return {"values": list(values), "mean": statistics.mean(values), "spread": spread(values)}


def show(rows: Mapping[int, Sequence[Found]], data: str) -> None:
    table = Table(title=f"{data}: accuracy on test in %, mean ± distance of the extremes", title_justify="left")
    names = (OURS, STUDENT, *(rival.name for rival in RIVALS))
    for name in ("labels", *names, "s a run", "device"):
        table.add_column(name, justify="right")
    for labels, by_name in summary(rows).items():
        shown = [by_name[name]["accuracy"] if name in by_name else None for name in names]
        cells = [f"{100 * it['mean']:.2f} ± {100 * it['spread']:.2f}" if it is not None else "–" for it in shown]
        taken = [statistics.mean(by_name[name]["seconds"]) for name in (OURS, STUDENT) if name in by_name]
        seconds = " + ".join(f"{mean:,.0f}" for mean in taken) or "–"
        devices = ", ".join(sorted({found["device"] for found in rows[labels]}))
        table.add_row(f"{labels:,}", *cells, seconds, devices)
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main())
