"""One training run, from labelled text to a bundle, in reading order."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console

from model import bundle
from model.classifier import Classifier
from training import build, data, evaluate, loop, precision, progress, provenance, rival, tracking
from training.build import Built
from training.checkpoint import Checkpoints
from training.checks import check
from training.config import TrainingConfig
from training.data import Splits
from training.errors import TrainingError
from training.evaluate import Judged
from training.reading import Columns
from training.report import document, page
from training.report.document import Run
from training.rival import Rival

PROBES = 8
RECIPE = "recipe.toml"
PAGE = "report.html"
# Beside the bundle: of a run, and of a search.
RUN_FOLDER, TUNE_FOLDER = "run", "tune"


class Stopped(TrainingError):
    """The run was stopped by Ctrl-C, and no bundle was wanted."""

    def __init__(self) -> None:
        super().__init__("stopped before the end; --resume goes on")


@dataclass(frozen=True)
class Outcome:
    """What a run made, as its closing JSON line says it."""

    bundle: str
    version: str
    metrics: dict[str, dict[str, Any]]
    seconds: float
    tokens_per_s: float


def run(
    source: Path,
    out: Path,
    config: TrainingConfig,
    *,
    columns: Columns,
    device: str,
    console: Console,
    overwrite: bool = False,
    resume: bool = False,
    track: bool = True,
    offer: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train on `source`, and write the bundle `out`, which is loaded and its probes replayed before it gets its name.

    The run's folder, `.<name>.run` beside the bundle, holds its checkpoint until the bundle is written; `resume` goes
    on from there. With `track` it has TensorBoard's event files too, which stay. On Ctrl-C it stops after the step;
    `offer` then decides whether the best so far becomes the bundle.
    Raises: TrainingError or BundleError, and `out` is as it was; Stopped if it was stopped and the offer declined.
    """
    started = time.perf_counter()
    check_place(out, overwrite=overwrite)
    chosen = build.choose_device(device)
    config = _resolved(config, chosen)

    parts = data.read(source, columns)
    splits = data.split(parts, config)
    kept = _checkpoints(out, config, splits, overwrite=overwrite, resume=resume)
    checked = check.check(
        parts, seed=config.seed, find_label_errors=config.find_label_errors, keep_texts=config.keep_texts
    )
    progress.show_check(console, checked)
    _tell(console, splits, chosen)
    linear = _fit_rival(splits, config, console) if config.rival or config.ngrams else None
    tracked = tracking.tracker(kept.folder, out.name, config, console, on=track)
    partner = linear if config.ngrams else None
    built = _build(splits, config, kept, tracked, device=chosen, partner=partner, console=console, offer=offer)

    judged = {name: evaluate.judge(built.classifier, part) for name, part in splits.judged.items()}
    compared = _compare(linear, judged, config) if linear is not None and config.rival else None

    facts = Run(
        name=out.name,
        created=datetime.now(UTC),
        config=config,
        parts=parts,
        splits=splits,
        checked=checked,
        built=built,
        judged=judged,
        rival=compared,
        device=chosen,
        seconds=time.perf_counter() - started,
    )
    manifest = _write(out, facts, console, overwrite=overwrite)
    kept.delete()
    metrics = {name: found.report.summary() for name, found in judged.items()}
    tracked.result(metrics)
    _show(console, facts)
    seconds = round(time.perf_counter() - started, 1)
    return Outcome(str(out), manifest.version, metrics, seconds, round(built.fitted.tokens_per_s))


def _resolved(config: TrainingConfig, device: torch.device) -> TrainingConfig:
    """With what this machine makes of it, so that the recipe in the bundle repeats the run."""
    bfloat16 = precision.takes_bfloat16(device, config)
    threads = config.threads or torch.get_num_threads()
    return config.model_copy(update={"threads": threads, "precision": "bfloat16" if bfloat16 else "float32"})


def check_place(out: Path, *, overwrite: bool) -> None:
    """Before hours of training: may the bundle be written there? Raises: TrainingError."""
    if out.name.startswith(".") or not out.name:
        raise TrainingError(f"--out {out}: a bundle's name can't begin with a dot, as servers pass over such folders")
    try:
        exists = out.exists()
        for name in (RUN_FOLDER, TUNE_FOLDER):  # a few letters longer: hours later they may be too long
            beside(out, name).exists()
    except OSError as error:
        raise TrainingError(f"--out {out} can't be written: {error.strerror}") from None
    if exists and not overwrite:
        raise TrainingError(f"{out} exists; choose another --out, or --force to replace it")
    if exists and not (out / bundle.MANIFEST).exists():
        raise TrainingError(f"{out} exists and is no bundle; it won't be replaced")
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise TrainingError(f"--out {out} can't be written: {above} is no folder that you may write to")


def beside(out: Path, name: str) -> Path:
    """A folder for what a bundle needs only until it is there."""
    return out.with_name(f".{out.name}.{name}")


def _tell(console: Console, splits: Splits, device: torch.device) -> None:
    rows = ", ".join(f"{name} {len(part):,}" for name, part in splits.parts.items())
    progress.say(console, f"rows: {rows}; {len(splits.labels):,} classes, {splits.kind}; device: {device.type}")
    if splits.dropped:
        progress.say(
            console,
            f"left out {splits.dropped:,} rows whose texts are in a later split too, of train, calibration, validation "
            "and test (drop_repeats=false keeps them)",
        )


def _fit_rival(splits: Splits, config: TrainingConfig, console: Console) -> Rival:
    """Before the training, as it is quick: a person sees what is to be beaten, and a fault costs no hours."""
    linear = rival.fit(splits, config.seed)
    score, seconds = linear.settings["held_out_score"], linear.seconds
    progress.say(console, f"the rival: {rival.NAME}, {score:.2%} on held-out rows after {seconds:g} s")
    return linear


def _checkpoints(out: Path, config: TrainingConfig, splits: Splits, *, overwrite: bool, resume: bool) -> Checkpoints:
    kept = Checkpoints(beside(out, RUN_FOLDER), build.identity(config, splits))
    if kept.exists and not resume:
        if not overwrite:
            raise TrainingError(f"a run of {out} was cut off: --resume goes on with it, --force starts over")
        kept.delete()
    kept.load()  # what can't be taken up is refused before minutes of checks and a rival
    return kept


def _build(
    splits: Splits,
    config: TrainingConfig,
    kept: Checkpoints,
    tracked: tracking.Tracker,
    *,
    device: torch.device,
    partner: Rival | None,
    console: Console,
    offer: Callable[[], bool],
) -> Built:
    bar = progress.TerminalProgress(console)

    def keep_best() -> bool:
        bar.stop()
        progress.say(console, "stopped; the same command with --resume goes on from here")
        return offer()

    try:
        with bar, tracked, interruption() as stopped:
            both = progress.Together(bar, tracked)
            return build.build(
                splits,
                config,
                both,
                device=device,
                partner=partner,
                keeper=kept,
                stopped=stopped,
                keep_best=keep_best,
            )
    except loop.Interrupted:
        raise Stopped from None


@contextmanager
def interruption() -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C is only noted, and the given function says so; the second one is Python's own."""
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted.is_set
        return
    previous = signal.getsignal(signal.SIGINT)

    def note(_number: int, _frame: FrameType | None) -> None:
        noted.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted.is_set
    finally:
        signal.signal(signal.SIGINT, previous)


def _compare(linear: Rival, judged: Mapping[str, Judged], config: TrainingConfig) -> dict[str, Any]:
    split, believed = list(judged.items())[-1]
    return rival.compare(linear, believed.answers, believed.examples.texts, split=split, seed=config.seed)


def _write(out: Path, facts: Run, console: Console, *, overwrite: bool) -> bundle.Manifest:
    built, report = facts.built, document.document(facts)
    texts = facts.splits.validation.texts if facts.config.keep_texts else data.read(data.SAMPLE, Columns()).train.texts
    parts = bundle.Parts(
        config=built.classifier.config,
        weights=built.weights,
        graph=built.graph,
        ngrams=built.ngrams.to_bytes() if built.ngrams is not None else None,
        tokenizer=built.tokenizer,
        calibration=built.classifier.calibration,
        probes=_probes(built.classifier, texts),
        report=report,
        extra={RECIPE: facts.config.to_toml().encode(), **_page(report, console)},
    )
    return bundle.write(out, parts, created=facts.created, commit=provenance.commit(), overwrite=overwrite)


def _probes(classifier: Classifier, texts: Sequence[str]) -> bundle.Probes:
    """A few short ones of the texts, so that a replay at load is quick."""
    texts = sorted({text for text in texts if text.strip()}, key=lambda text: (len(text), text))
    chosen = texts[:: max(1, len(texts) // PROBES)][:PROBES]
    predictions = classifier.predict(chosen)
    return bundle.Probes(
        probes=[bundle.Probe(text=text, probs=found.probs) for text, found in zip(chosen, predictions, strict=True)]
    )


def _page(report: Mapping[str, Any], console: Console) -> dict[str, bytes]:
    """The report for people, by its name; none where it can't be drawn, as a trained network isn't lost for a page."""
    try:
        return {PAGE: page.render(report).encode()}
    except Exception as error:  # a plotting library's, of any kind
        progress.say(console, f"warning: no {PAGE}: {error!r}", style="yellow")
        return {}


def _show(console: Console, facts: Run) -> None:
    for name, found in facts.judged.items():
        progress.show_report(console, found.report, title=f"{facts.name} on {name}")
    if facts.rival is not None:
        progress.show_rival(console, facts.rival)
