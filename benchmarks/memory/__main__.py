"""Who still knows at the end what stood at the beginning: `python -m benchmarks.memory --keep FOLDER`.

Texts of a cue, a gap of T to 1.1 T real words and a question; networks of equal size learn them, each gap by itself,
until 95 % of texts drawn anew are right or `--texts` are spent. Chance is 50 %. `--quick` is a glimpse of two minutes
on one core. `--mixed` learns from all `--gaps` at once and tests at `--test-gaps`. `--figures docs` draws what was
found, and what lies in the folder of `--keep` of these tasks, networks and seeds at other gaps. `--jobs` runs at once,
each on one thread of a process; what lies in that folder isn't done again.
"""

import argparse
import json
import math
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import machine, runs
from benchmarks.memory import figures, learning, outsiders, works
from benchmarks.memory.networks import HEADS, NETWORKS
from benchmarks.memory.texts import TASKS, FillerError, read_filler
from benchmarks.runs import Found, Keep

CODE = ("benchmarks/memory", "model")
ALL = (*NETWORKS, *outsiders.OUTSIDERS)
QUICK = {
    "tasks": ["latch", "binding"],
    "gaps": [10, 50],
    "networks": ["tanh RNN", "LSTM, bias 1", "LSTM, chrono", "TF-IDF, linear"],
    "seeds": [1],
    "texts": 20_000,
}


def main(arguments: Sequence[str] | None = None) -> int:
    given = parse(arguments)
    started = time.perf_counter()
    keep = Keep(given.keep, any_code=given.any_code)
    # Asked once: a commit while it runs changes no code that is running.
    code = runs.code_version(CODE)
    once = {
        name: partial(keep.once, name, [name, *works.made_of(given)], work, code=code)
        for name, work in works.asked(given, {"commit": code, **machine.describe()})
    }
    # Not forked: torch's threads don't outlive a fork.
    workers = ProcessPoolExecutor(given.jobs, get_context("spawn"), works.one_thread)
    found = list(runs.together(once, workers).values())
    show(found)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall_s, cpu_s = time.perf_counter() - started, spent.ru_utime + spent.ru_stime
    print(f"{len(found)} runs, {given.jobs} at once: {wall_s:,.0f} s, {cpu_s:,.0f} of CPUs")
    if given.figures is not None:
        figures.draw(to_draw(found, given), given.figures)
    print(json.dumps({"memory": [{**one, "kept": None} for one in found], **machine.describe()}))
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK")
    parser.add_argument("--gaps", nargs="+", type=positive, default=[10, 50, 100, 250, 500, 1000, 2000])
    parser.add_argument("--networks", nargs="+", choices=ALL, default=list(ALL), metavar="NAME", help=", ".join(ALL))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(10)))
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=["last"], help="what the network's answer is from")
    parser.add_argument("--texts", type=positive, default=50_000, help="to learn from, at most")
    parser.add_argument("--mixed", action="store_true", help="one network a seed, of all gaps")
    parser.add_argument("--test-gaps", nargs="*", type=positive, default=[], help="tested at too")
    parser.add_argument("--jobs", type=positive, default=1, help="runs at once, each on one thread")
    parser.add_argument("--filler", type=Path, help="a text file to take the gap's words from")
    parser.add_argument("--quick", action="store_true", help="; ".join(f"{key} {QUICK[key]}" for key in QUICK))
    parser.add_argument("--keep", type=Path, help="folder of finished runs: what lies there isn't run again")
    parser.add_argument("--any-code", action="store_true", help="… though another commit made it")
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="draw memory.svg and forgetting.svg into it")
    given = parser.parse_args(arguments)
    if given.quick:
        vars(given).update(QUICK)
    try:
        given.read = read_filler(given.filler)
    except FillerError as error:
        parser.error(str(error))
    return given


def positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return int(text)


def to_draw(found: Sequence[Found], given: argparse.Namespace) -> list[Found]:
    """These runs and the kept ones beside them, each once, in the order in which tasks and networks were named."""
    kept = [json.loads(file.read_text(encoding="utf-8")) for file in given.keep.glob("*.json")] if given.keep else []
    kept.sort(key=lambda one: one.get("ended", ""))  # of one run by several codes the newest counts
    runs = {
        json.dumps([one["task"], one["network"], one["gaps"], one["seed"], one.get("head")]): one
        for one in [*kept, *found]
    }
    asked = [
        one
        for one in runs.values()
        if one["task"] in given.tasks
        and one["network"] in given.networks
        and one["seed"] in given.seeds
        and one.get("most_texts", given.texts) == given.texts
    ]
    return sorted(
        asked, key=lambda one: (given.tasks.index(one["task"]), given.networks.index(one["network"]), one["gaps"])
    )


def show(found: Sequence[Found]) -> None:
    """For people, on stdout: a row for each task, network, head and gap."""
    table = Table(title="accuracy on fresh texts in %, means over the seeds; chance is 50", title_justify="left")
    for name in ("task", "network", "head", "learnt at", "tested at", "accuracy", "solved", "texts", "gradient", "s"):
        table.add_column(name, justify="right" if name in {"accuracy", "solved", "texts", "gradient", "s"} else "left")
    for key, group in grouped(found).items():
        for gap in group[0]["accuracy"]:
            table.add_row(*key, gap, *cells(group, gap))
    Console(width=140).print(table)
    print("solved: seeds at 95 %; texts: those they took, median; gradient: at the cue, of that at the last word.")


def grouped(found: Sequence[Found]) -> dict[tuple[str, ...], list[Found]]:
    groups: dict[tuple[str, ...], list[Found]] = {}
    for one in found:
        key = (one["task"], one["network"], one.get("head", "–"), "+".join(map(str, one["gaps"])))
        groups.setdefault(key, []).append(one)
    return groups


def cells(group: Sequence[Found], gap: str) -> list[str]:
    """Accuracy, seeds that solved it, their texts, the gradient's ratio and seconds."""
    mean = learning.mean([one["accuracy"][gap] for one in group])
    if "success" not in group[0]:
        return [f"{100 * mean:.1f}", "–", "–", "–", f"{learning.mean([one['seconds'] for one in group]):.0f}"]
    took = sorted(one["texts"] for one in group if one["success"])
    ratio = learning.mean([_ratio(**one["gradient"]) for one in group])
    return [
        f"{100 * mean:.1f}",
        f"{len(took)} of {len(group)}",
        f"{took[len(took) // 2]:,}" if took else "–",
        f"{ratio:.0e}",
        f"{learning.mean([one['seconds'] for one in group]):.0f}",
    ]


def _ratio(*, cue: float, last: float) -> float:
    """With the maximum as the head, the last word may have no part in the answer, and no gradient."""
    return cue / last if last else math.inf


if __name__ == "__main__":
    sys.exit(main())
