"""How good on real sets, over seeds, beside rivals: `python -m benchmarks.accuracy [SET…] --keep FOLDER`.

A set is a folder of `--data` with train and test; without any, all thirteen. Each run is `lembra train`, in a process
of its own, on one thread. With `--keep` a table that was cut off goes on, down to the run that was being trained;
benchmarks/kept has the runs that docs/results.md shows. `--rivals` fits the rivals too, one run each; the figures of
the data's page count beside them, or alone. `--seeds` with no number trains nothing. `--write docs/results.md` puts the
table between the marks in that page.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import machine, rivals, runs, sets, table
from benchmarks.runs import Found, Keep, NotKept, Run
from benchmarks.sets import Figures
from training.data import Parts


def main(arguments: Sequence[str] | None = None) -> int:
    given = parse(arguments)
    keep = Keep(given.keep, any_code=given.any_code, only=given.kept_only)
    trained = train_all(given, keep)
    measured = {name: measure_rivals(given.data / name, keep) if given.rivals else {} for name in given.sets}
    asked = {name: len(trained[name] if given.kept_only else given.seeds) for name in given.sets}
    rows = [table.row(name, trained[name], asked[name], measured[name]) for name in given.sets]
    described: dict[str, Any] = {"seeds": given.seeds, "recipe": given.recipe, "settings": given.set}
    described |= machine.describe() | {"commit": runs.code_version(runs.TRAINING_CODE)}
    table.show(rows)
    if given.write is not None:
        made = [run for name in given.sets for run in trained[name]]
        host = f"{table.of_all(run['cpu'] for run in made)}; commit {table.of_all(run['commit'][:7] for run in made)}"
        table.replace(given.write, table.markdown(rows, str(described["command"]), host))
    found = {row.name: row.as_json() | {"rivals": measured[row.name]} for row in rows}
    print(json.dumps({"accuracy": found, "won": sum(row.won is True for row in rows), "of": len(rows), **described}))
    return 0 if all(len(trained[name]) == asked[name] for name in given.sets) else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET")
    parser.add_argument("--data", type=Path, default=machine.DATA, help="the folder of the sets")
    parser.add_argument("--rivals", action="store_true", help="fit the rivals too")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page")
    parser.add_argument("--kept-only", action="store_true", help="show the runs that are kept, and train none")
    runs.options(parser)
    given = parser.parse_args(arguments)
    if given.kept_only and given.keep is None:
        parser.error("--kept-only shows what lies in --keep, and there is none")
    given.sets = given.sets or list(sets.METRICS)
    missing = [name for name in given.sets if not (given.data / name).is_dir()]
    if missing:
        parser.error(f"{given.data} has no folder {', '.join(missing)}")
    return given


def train_all(given: argparse.Namespace, keep: Keep) -> dict[str, list[Found]]:
    """The finished runs of each set, in the order of the seeds."""
    # Asked once: a commit while the table is made changes no code that is running.
    commit = runs.code_version(runs.TRAINING_CODE)
    wanted = {
        (name, seed): Run(name, given.data / name, seed, given.recipe, tuple(given.set), given.device, given.encoder)
        for name in given.sets
        for seed in given.seeds
    }
    works = {_title(key): partial(runs.train, run, keep, commit=commit) for key, run in wanted.items()}
    done = runs.together(works, ThreadPoolExecutor(given.jobs))
    return {
        name: [done[title] for seed in given.seeds if (title := _title((name, seed))) in done] for name in given.sets
    }


def _title(key: tuple[str, int]) -> str:
    return f"{key[0]}, seed {key[1]}"


def measure_rivals(data: Path, keep: Keep) -> dict[str, Figures]:
    """What each rival that can be run reaches on test; those that can't are told on stderr."""
    parts = rivals.read(data)
    commit = runs.code_version(("benchmarks/rivals",))
    found: dict[str, Figures] = {}
    for rival in rivals.ALL:
        if reason := rivals.why_not(rival, parts.train.kind):
            print(f"{data.name}: {rival.name} is left out: {reason}", file=sys.stderr)
            continue
        made_of = [runs.digest(data), rival.name]
        measured = partial(_measure, rival, parts)
        try:
            kept = keep.once(f"{data.name}-{rival.name}", made_of, measured, code=commit)
        except NotKept as error:
            print(f"{data.name}: {rival.name} is left out: {error}", file=sys.stderr)
            continue
        for name, figures in kept.items():
            print(f"{data.name}: {name} {figures['accuracy']:.4f}, {figures['seconds']:g} s", file=sys.stderr)
        found |= kept
    return found


def _measure(rival: rivals.Rival, parts: Parts, _: Path) -> Found:
    """A rival leaves nothing in the folder."""
    return rivals.measure(rival, parts)


if __name__ == "__main__":
    sys.exit(main())
