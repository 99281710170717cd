"""One pretraining, from text without labels to an encoder: what `lembra pretrain` does, and a run before its own."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from training import build, loop, place, precision, progress, provenance, telling
from training.checkpoint import Checkpoints
from training.config import TrainingConfig
from training.pretraining import make, texts
from training.pretraining.make import Pretrained
from training.pretraining.texts import Texts
from training.reading import Columns

# Passes over the text where the settings name none: `lembra pretrain` was asked for.
EPOCHS = 4
CHECKPOINT = "pretraining.pt"


@dataclass(frozen=True)
class Outcome:
    """What a pretraining made, as its closing JSON line says it."""

    encoder: str
    version: str
    held_out: dict[str, dict[str, Any]]
    tokens: int
    tokens_per_s: float
    seconds: float


@place.claims("encoder")
def pretrain(
    source: Path,
    out: Path,
    config: TrainingConfig,
    *,
    columns: Columns,
    device: str,
    console: Console,
    overwrite: bool = False,
    resume: bool = False,
) -> Outcome:
    """Learn from the texts of `source`, and write the encoder `out`.

    `.<name>.run` beside it holds the checkpoint until then; `resume` goes on from there. Ctrl-C stops after the step.
    Raises: TrainingError or BundleError, and `out` is as it was; place.Stopped if it was stopped.
    """
    started = time.perf_counter()
    chosen = build.choose_device(device)
    epochs = config.pretrain_epochs or EPOCHS
    config = precision.resolved(config.model_copy(update={"pretrain_epochs": epochs}), chosen)
    found = texts.read(source, columns, seed=config.seed)
    kept = checkpoints(out, config, found, chosen, overwrite=overwrite, resume=resume)
    made = learn(found, config, kept, device=chosen, console=console)
    seconds = round(time.perf_counter() - started, 1)
    created = datetime.now(UTC)
    report = {
        "name": out.name,
        "created": created.isoformat(timespec="seconds"),
        **made.document(),
        "data": _data(found),
        **provenance.origin(config, chosen, seconds),
    }
    made.encoder.write(out, report, config.to_toml(), created=created, commit=provenance.commit(), overwrite=overwrite)
    kept.delete()
    named = {name: report[name] for name in ("version", "held_out", "tokens", "tokens_per_s")}
    return Outcome(encoder=str(out), **named, seconds=seconds)


def checkpoints(
    out: Path, config: TrainingConfig, found: Texts | None, device: torch.device, *, overwrite: bool, resume: bool
) -> Checkpoints:
    """Where the pretraining for `out` keeps its state; what is there is taken up, or refused.

    Without texts there is no pretraining. Raises: TrainingError.
    """
    identity = make.identity(config, found, device) if found is not None else None
    return place.part(out, identity, CHECKPOINT, overwrite=overwrite, resume=resume)


def learn(
    found: Texts, config: TrainingConfig, kept: Checkpoints, *, device: torch.device, console: Console
) -> Pretrained:
    """The pretraining itself, shown on the console.

    What it kept last, at its end, stays until `kept.delete()`: taken up again, it is done at once.
    Raises: place.Stopped on Ctrl-C.
    """
    _tell(console, found, device)
    try:
        with (
            progress.TerminalProgress(console, title="pretraining") as bar,
            place.interruption() as stopped,
        ):
            made = make.make(found, config, bar, device=device, keeper=kept, stopped=stopped)
    except loop.Interrupted:
        raise place.Stopped from None
    before, after = made.document()["held_out"].values()
    telling.say(
        console,
        f"pretrained: on held-out text perplexity {after['perplexity']:,.1f}, before it {before['perplexity']:,.1f}",
    )
    return made


def _tell(console: Console, found: Texts, device: torch.device) -> None:
    telling.say(
        console,
        f"texts to pretrain on: {len(found.train):,}, and {len(found.held_out):,} held out; device: {device.type}",
    )
    if found.left_out or found.repeated:
        telling.say(
            console,
            f"left out {found.left_out:,} texts that a classifier is judged by, whatever their case, space and "
            f"punctuation, and {found.repeated:,} that came before",
        )


def _data(found: Texts) -> dict[str, Any]:
    return {
        "files": found.hashes,
        "sha256": found.sha256,
        "texts": len(found.train),
        "held_out": len(found.held_out),
        "left_out": found.left_out,
        "repeated": found.repeated,
    }
