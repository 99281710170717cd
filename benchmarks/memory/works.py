"""The runs that were asked for, each a call that a process of its own can be given."""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from benchmarks.memory import learning, networks, outsiders, texts
from benchmarks.memory.learning import Run
from benchmarks.memory.networks import NETWORKS
from benchmarks.memory.texts import Filler
from benchmarks.runs import Found, now


def one_thread() -> None:
    """Of a process that learns."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # gradients that vanish pass through them, in twice the time


def made_of(given: argparse.Namespace) -> list[str]:
    """What the name of a run leaves out: with other texts, or another network, it would be another run."""
    filler: Filler = given.read
    kinds = [texts.LEAD, texts.NEAR, texts.APART, texts.FAR, networks.EMBEDDING, networks.HIDDEN]
    steps = [learning.BATCH, learning.RATE, learning.CLIP, learning.CHECK_EVERY, learning.CHECKED, learning.CRITERION]
    sizes = [given.texts, *given.test_gaps]
    return [" ".join(filler.words), str(len(filler.train_N)), *map(str, kinds + steps + sizes)]


def asked(given: argparse.Namespace, made_by: Found) -> Iterator[tuple[str, Callable[[Path], Found]]]:
    """All runs that were asked for, by name: the short gaps first. Each is kept with what it is `made_by`, code and
    machine: who shows it may be another one.
    """
    for gaps in [tuple(given.gaps)] if given.mixed else [(gap,) for gap in sorted(given.gaps)]:
        for task in given.tasks:
            for network in given.networks:
                for seed in given.seeds:
                    name = f"{task} {network} {'+'.join(map(str, gaps))} seed {seed}"
                    if network in NETWORKS:
                        for head in given.heads:
                            run = Run(task, network, gaps, seed, head, given.texts, tuple(given.test_gaps))
                            yield f"{name} {head}", partial(_learn, run, given.read, made_by)
                    elif not given.mixed:
                        yield name, partial(_measure, (network, task, gaps[0], seed), given.read, made_by)


def _learn(run: Run, filler: Filler, made_by: Found, _: Path) -> Found:
    return learning.learn(run, filler) | made_by | {"ended": now()}


def _measure(what: tuple[str, str, int, int], filler: Filler, made_by: Found, _: Path) -> Found:
    return outsiders.measure(*what, filler) | made_by | {"ended": now()}
