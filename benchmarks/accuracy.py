"""Accuracy of a recipe on real sets, over seeds: `python -m benchmarks.accuracy trec6 sst2 --seeds 0 1 2`.

A set is a folder of `--data` with train and test. Each run is `lembra train`, in a process of its own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import machine

FIGURES = ("accuracy", "micro_f1", "macro_f1", "ece")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="SET")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--set", action="append", default=[], help="key=value, over the recipe")
    parser.add_argument("--data", type=Path, default=machine.DATA)
    arguments = parser.parse_args()
    rows = {}
    for name in arguments.sets:
        runs = [train(arguments.data / name, arguments.recipe, arguments.set, seed) for seed in arguments.seeds]
        rows[name] = {"seeds": arguments.seeds, **summary(runs)}
    show(rows)
    described = {"recipe": arguments.recipe, "settings": arguments.set, **machine.describe()}
    print(json.dumps({"accuracy": rows, **described}))


def train(data: Path, recipe: str, settings: list[str], seed: int) -> dict[str, Any]:
    """The closing JSON line of one run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cli", "train", str(data), "--out", f"{folder}/bundle"]
        command += ["--recipe", recipe, "--seed", str(seed)]
        command += [part for setting in settings for part in ("--set", setting)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Each figure on test: of every seed, their mean, and the distance of the extremes."""
    found: dict[str, Any] = {"seconds": [run["seconds"] for run in runs]}
    for name in FIGURES:
        values = [run["metrics"]["test"][name] for run in runs]
        found[name] = {"values": values, "mean": statistics.mean(values), "spread": max(values) - min(values)}
    return found


def show(rows: dict[str, dict[str, Any]]) -> None:
    table = Table(title="on test: mean over the seeds, and the distance of the extremes", title_justify="left")
    for name in ("set", *FIGURES, "seconds a run"):
        table.add_column(name)
    for name, row in rows.items():
        figures = [f"{row[key]['mean']:.4f} ({row[key]['spread']:.4f})" for key in FIGURES]
        table.add_row(name, *figures, f"{statistics.mean(row['seconds']):.0f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
