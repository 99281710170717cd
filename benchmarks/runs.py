"""Runs of `lembra train` and `distil`, several at once, each in a process of its own, and kept: none is done twice."""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks import machine
from model.bundle import Bundle
from training.pretraining.encoder import Encoder

ROOT = Path(__file__).resolve().parents[1]
# What decides the figures of a training: a commit that touches none of it repeats no run.
TRAINING_CODE = ("model", "training", "cli.py")
# Of a failed run's log.
LINES_SHOWN = 5

# What a run came to: its closing JSON line, and where it was run.
Found: TypeAlias = dict[str, Any]


class RunFailed(Exception):
    """A run ended without a closing line; the end of its log is told."""


class NotKept(Exception):
    """Only finished work was asked for, and this isn't."""


@dataclass(frozen=True, slots=True)
class Run:
    """One `lembra train`, or `distil` where there is a teacher: which data, and with what."""

    name: str  # of the set
    data: Path
    seed: int
    recipe: str | None = None  # None: what `lembra train` takes by itself
    settings: tuple[str, ...] = ()
    device: str = "auto"
    encoder: Path | None = None
    teacher: Path | None = None  # a bundle
    bundle: Path | None = None  # where what is made stays; else it goes when the work is done

    @property
    def command(self) -> str:
        return "train" if self.teacher is None else "distil"

    @property
    def arguments(self) -> list[str]:
        """The command's, but for the data and the bundle.

        One thread, so that the weights don't depend on the machine, nor on how many runs there are at once.
        """
        found = ["--seed", str(self.seed), "--device", self.device]
        found += ["--recipe", self.recipe] if self.recipe is not None else []
        found += ["--encoder", str(self.encoder)] if self.encoder is not None else []
        found += ["--teacher", str(self.teacher)] if self.teacher is not None else []
        return found + [part for setting in ("threads=1", *self.settings) for part in ("--set", setting)]


@dataclass(frozen=True, slots=True)
class Keep:
    """Finished work in a folder, a JSON file each; without a folder nothing is kept.

    With `any_code` what other code made counts too, the newest of it: a table that takes days may be made over several,
    and says of which commits its runs are. With `only`, what isn't finished isn't begun.
    """

    folder: Path | None = None
    any_code: bool = False
    only: bool = False

    def once(self, name: str, made_of: Sequence[str], work: Callable[[Path], Found], *, code: str = "") -> Found:
        """What `work` came to when it was last done with all of `made_of` the same, by this code; or what it does now.

        It is given a folder for itself. With a folder to keep in that one stays until the work is done, so that what
        was cut off in its midst can go on there.
        """
        if self.folder is None:
            with tempfile.TemporaryDirectory() as scratch:
                return _as_kept(work(Path(scratch)))
        digest = hashlib.sha256(json.dumps(list(made_of)).encode()).hexdigest()[:12]
        work_name = f"{re.sub('[^a-z0-9_]+', '-', name.lower())}-{digest}"
        stem = f"{work_name}-{hashlib.sha256(code.encode()).hexdigest()[:8]}"
        path, scratch_folder = self.folder / f"{stem}.json", self.folder / f".{stem}"
        others = [] if path.exists() or not self.any_code else [*self.folder.glob(f"{work_name}-*.json")]
        known: list[Found] = [
            json.loads(file.read_text(encoding="utf-8")) for file in others or [path] if file.exists()
        ]
        if known:
            return max(known, key=lambda found: str(found.get("ended", "")))  # the newest, where several are others'
        if self.only:
            raise NotKept(f"{name} is not in {self.folder}")
        scratch_folder.mkdir(parents=True, exist_ok=True)
        found = _as_kept(work(scratch_folder))
        # Never half a file; and another process that came to the same work may have taken the scratch folder away.
        unfinished = self.folder / f".{stem}.{os.getpid()}"
        unfinished.write_text(json.dumps(found) + "\n", encoding="utf-8")
        unfinished.replace(path)
        shutil.rmtree(scratch_folder, ignore_errors=True)
        return found


def _as_kept(found: Found) -> Found:
    """As it is read from its file the next time."""
    kept: Found = json.loads(json.dumps(found))
    return kept


def options(parser: argparse.ArgumentParser) -> None:
    """What every benchmark that trains can be told."""
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--recipe", help="a name or a file (default: what `lembra train` takes)")
    parser.add_argument("--set", action="append", default=[], help="key=value, over the recipe; may be repeated")
    parser.add_argument("--encoder", type=Path, help="what `lembra pretrain` made of the same text, to start from")
    parser.add_argument("--device", default="auto", help="as of `lembra train`")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, each on one thread")
    parser.add_argument("--keep", type=Path, help="folder of finished runs: what lies there isn't run again")
    parser.add_argument("--any-code", action="store_true", help="… though another commit made it; the table names them")


def chosen(given: argparse.Namespace) -> list[str]:
    """What was given by these options that changes what a run comes to, but for its seed."""
    return [given.device, given.recipe or "", *_recipe_bytes(given.recipe), *given.set, *_version(given.encoder)]


def train(run: Run, keep: Keep, *, commit: str | None = None) -> Found:
    """The closing JSON line of the run, and from its report the device, all settings, how many rows were left out, and
    train's fingerprint.

    Raises: RunFailed.
    """
    commit = commit if commit is not None else code_version(TRAINING_CODE)
    # Wherever it lies, an encoder or a teacher is the same; its version says which it is.
    arguments = replace(run, encoder=None, teacher=None).arguments
    made_of = [digest(run.data), *_recipe_bytes(run.recipe), *arguments, *_version(run.encoder)]
    made_of += [Bundle.open(run.teacher).manifest.version] if run.teacher is not None else []
    return keep.once(f"{run.name}-{run.seed}", made_of, lambda folder: _train(run, folder, commit), code=commit)


def _train(run: Run, folder: Path, commit: str) -> Found:
    bundle, log = run.bundle or folder / "bundle", folder / "log"
    if bundle.exists():  # it was cut off between the bundle and what is kept of it
        shutil.rmtree(bundle)
    # The closing line has only the seconds since the run was taken up again.
    resumed = bundle.with_name(f".{bundle.name}.run").exists()
    command = [sys.executable, "-m", "cli", run.command, str(run.data), "--out", str(bundle), "--resume", "--no-track"]
    with log.open("ab") as errors:
        done = subprocess.run(
            [*command, *run.arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    if done.returncode:
        end = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES_SHOWN:])
        raise RunFailed(f"{run.name}, seed {run.seed}: exit code {done.returncode}\n{end}")
    report = json.loads((bundle / "report.json").read_text(encoding="utf-8"))
    return {
        **json.loads(done.stdout.splitlines()[-1]),
        "device": report["device"],
        "dropped": report["data"]["dropped"],
        "train": report["data"]["splits"]["train"]["sha256"],
        "settings": report["settings"],
        "resumed": resumed,
        "ended": now(),
        "commit": commit,
        **machine.describe(),
        "arguments": run.arguments,
    }


def now() -> str:
    """When a run ended, as it is kept with it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def together(works: Mapping[str, Callable[[], Found]], workers: Executor) -> dict[str, Found]:
    """What each came to, by its name, as many at once as there are workers, which are shut down behind the last; one
    that failed, or isn't kept, is told on stderr.
    """
    found: dict[str, Found] = {}
    with workers as pool:
        running: dict[Future[Found], str] = {pool.submit(work): name for name, work in works.items()}
        left = set(running)
        try:
            while left:
                done, left = wait(left, return_when=FIRST_COMPLETED)
                for future in done:
                    found |= _told(running[future], future, f"{len(works) - len(left)} of {len(works)}")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {name: found[name] for name in works if name in found}


def _told(name: str, future: Future[Found], place: str) -> dict[str, Found]:
    try:
        found = future.result()
    except NotKept as error:
        print(f"{name} is left out: {error}", file=sys.stderr)
        return {}
    except RunFailed as error:
        print(f"{name} FAILED ({place}): {error}", file=sys.stderr)
        return {}
    print(f"{name} ({place}): {found.get('seconds', 0):.0f} s", file=sys.stderr)
    return {name: found}


def code_version(paths: Sequence[str], root: Path = ROOT) -> str:
    """The last commit that changed any of these, and a hash of what differs from it; "unknown" outside a checkout."""
    try:
        commit, changed = (
            subprocess.run(["git", "-C", str(root), *asked, "--", *paths], capture_output=True, text=True, check=True)
            for asked in (["log", "-1", "--format=%H"], ["diff", "HEAD"])
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    mark = f"-{hashlib.sha256(changed.stdout.encode()).hexdigest()[:12]}" if changed.stdout else ""
    return commit.stdout.strip() + mark


def digest(folder: Path) -> str:
    """A sha256 over the names and the bytes of a set's files: elsewhere, the same set is the same work."""
    whole = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file():
            with path.open("rb") as file:
                whole.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def _version(encoder: Path | None) -> list[str]:
    """An encoder may change under its name."""
    return [Encoder.open(encoder).version] if encoder is not None else []


def _recipe_bytes(recipe: str | None) -> list[str]:
    """A recipe of one's own may change under its name; the built-in ones are code."""
    path = Path(recipe) if recipe is not None else None
    return [path.read_text(encoding="utf-8")] if path is not None and path.is_file() else []
