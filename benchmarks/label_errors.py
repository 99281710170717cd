"""Are wrong labels found? Flips a share of a real set's train labels: `python -m benchmarks.label_errors sst2`.

Told is the share of the flipped rows among as many rows of the list of suspects as were flipped, from its top: chance
finds `--share` of them. Labels of the set that were wrong before are in the list too, and count as misses here.
"""

import argparse
import json
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from training import data
from training.checks import label_errors
from training.reading import Columns, Examples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", default=["sst2"])
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=machine.DATA)
    arguments = parser.parse_args()
    rows = {
        name: measure(data.read(arguments.data / name, Columns()).train, arguments.share, arguments.seed)
        for name in arguments.sets
    }
    show(rows)
    print(json.dumps({"label_errors": rows, "share": arguments.share, "seed": arguments.seed, **machine.describe()}))


def measure(train: Examples, share: float, seed: int) -> dict[str, Any]:
    """What is found of labels flipped at random, in single-label data."""
    flipped = random.Random(seed).sample(range(len(train)), k=round(share * len(train)))
    started = time.perf_counter()
    found = label_errors.find(flip(train, flipped, seed), seed)
    seconds = time.perf_counter() - started
    first = set(found.rows[: len(flipped)])
    return {
        "rows": len(train),
        "flipped": len(flipped),
        "found": len(first.intersection(flipped)) / len(flipped),
        "in_list": len(set(found.rows).intersection(flipped)) / len(flipped),
        "list": len(found.rows),
        "seconds": round(seconds, 1),
    }


def flip(train: Examples, rows: list[int], seed: int) -> Examples:
    """Another label for each of these rows, each other one as likely."""
    rng = random.Random(seed + 1)
    names = sorted(train.rows_a_label)
    labels = list(train.labels)
    for row in rows:
        labels[row] = (rng.choice([name for name in names if (name,) != labels[row]]),)
    return replace(train, labels=labels)


def show(rows: dict[str, dict[str, Any]]) -> None:
    table = Table(title="labels flipped at random, and found", title_justify="left")
    for name in ("set", "rows", "flipped", "found in as many", "in the list", "its length", "seconds"):
        table.add_column(name, justify="left" if name == "set" else "right")
    for name, row in rows.items():
        shares = (f"{row[key]:.1%}" for key in ("found", "in_list"))
        table.add_row(name, f"{row['rows']:,}", f"{row['flipped']:,}", *shares, f"{row['list']:,}", str(row["seconds"]))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
