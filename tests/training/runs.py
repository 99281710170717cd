"""Whole runs of a few rows, for the tests of what follows the first training."""

import random
from pathlib import Path
from typing import Any

from rich.console import Console

from model.bundle import Bundle
from training import data, run
from training.config import TrainingConfig
from training.reading import Columns


def rows(count: int = 160, *, told: float = 2 / 3) -> list[tuple[str, str]]:
    """A word that tells the label so often, and is chance else; and one that no other row has."""
    rng = random.Random(0)
    found = []
    for number in range(count):
        label = rng.choice("ab")
        word = label if rng.random() < told else rng.choice("ab")
        found.append((f"word{word} own{number} and {rng.choice(['this', 'that'])}", label))
    return found


def trained(source: Path, out: Path, settings: TrainingConfig, console: Console | None = None, **others: Any) -> Bundle:
    """The bundle that a run on the CPU makes of what is there; nobody follows it but the `console`."""
    console = console or Console(quiet=True)
    others = {"track": False, **others}
    run.run(data.read(source, Columns()), out, settings, device="cpu", console=console, **others)
    return Bundle.open(out)
