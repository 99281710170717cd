"""One training run, from labelled text to a bundle, in reading order."""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import safetensors.torch
import torch
from rich.console import Console

from model import bundle
from model.calibration import Calibration
from model.classifier import Classifier
from model.config import ClassifierConfig, NetworkConfig
from model.engine_onnx import OnnxEngine
from model.errors import DeviceError
from model.tokenization import Tokenization
from training import calibrate, data, evaluate, export, loop, progress, tokenizer
from training.checkpoint import Checkpoints
from training.config import TrainingConfig
from training.data import Splits
from training.errors import TrainingError
from training.evaluate import Report
from training.loop import Encoded, Fitted
from training.network import TrainedNetwork
from training.reading import Columns, Examples

PROBES = 8


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
    offer: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train on `source`, and write the bundle `out`, which is loaded and its probes replayed before it gets its name.

    The run's folder, `.<name>.run` beside the bundle, holds its checkpoint until the bundle is written; `resume` goes
    on from there. On Ctrl-C it stops after the step; `offer` then decides whether the best so far becomes the bundle.
    Raises: TrainingError or BundleError, and `out` is as it was; Stopped if it was stopped and the offer declined.
    """
    started = time.perf_counter()
    _check_place(out, overwrite=overwrite)
    chosen = choose_device(device)
    loop.seed_everything(config.seed)
    torch.set_num_threads(config.threads or torch.get_num_threads())

    splits = data.load(source, config, columns)
    _tell(console, splits, chosen)
    tokenization = Tokenization(tokenizer.train(splits.train.texts, config), max_tokens=config.max_tokens)
    shape = _shape(splits, tokenization, config)
    kept = Checkpoints(out.with_name(f".{out.name}.run"), _identity(config, splits))
    if kept.exists and not resume:
        if not overwrite:
            raise TrainingError(f"a run of {out} was cut off: --resume goes on with it, --force starts over")
        kept.delete()
    network, fitted = _fit(splits, tokenization, shape, config, kept, device=chosen, console=console, offer=offer)

    network.load_state_dict(fitted.weights)
    weights = safetensors.torch.save(network.served_state())
    graph = export.to_onnx(shape.network, weights)
    classifier = Classifier(shape, tokenization, OnnxEngine(graph, weights, threads=config.threads), Calibration())
    calibration = _calibrate(classifier, splits)
    classifier = Classifier(shape, tokenization, classifier.engine, calibration)
    reports = _reports(classifier, splits)

    seconds = time.perf_counter() - started
    parts = bundle.Parts(
        config=shape,
        weights=weights,
        graph=graph,
        tokenizer=tokenization.to_json(),
        calibration=calibration,
        probes=_probes(classifier, splits),
        report=_document(config, splits, fitted, reports, seconds=seconds, device=chosen),
        extra={},
    )
    manifest = bundle.write(out, parts, created=datetime.now(UTC), commit=_commit(), overwrite=overwrite)
    kept.delete()
    for name, report in reports.items():
        progress.show_report(console, report, title=f"{out.name} on {name}")
    metrics = {name: report.summary() for name, report in reports.items()}
    return Outcome(str(out), manifest.version, metrics, round(seconds, 1), round(fitted.tokens_per_s))


def choose_device(wanted: str) -> torch.device:
    """Raises: DeviceError if CUDA is wanted and not there."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise DeviceError("device 'cuda' was asked for, but torch finds no CUDA device here")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def _check_place(out: Path, *, overwrite: bool) -> None:
    """Before hours of training: may the bundle be written there?"""
    try:
        exists = out.exists()
    except OSError as error:
        raise TrainingError(f"--out {out} can't be written: {error.strerror}") from None
    if exists and not overwrite:
        raise TrainingError(f"{out} exists; choose another --out, or --force to replace it")
    if exists and not (out / bundle.MANIFEST).exists():
        raise TrainingError(f"{out} exists and is no bundle; it won't be replaced")
    if out.name.startswith(".") or not out.name:
        raise TrainingError(f"--out {out}: a bundle's name can't begin with a dot, as servers pass over such folders")
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise TrainingError(f"--out {out} can't be written: {above} is no folder that you may write to")


def _tell(console: Console, splits: Splits, device: torch.device) -> None:
    parts = ("train", "validation", "calibration", "test")
    rows = ", ".join(f"{name} {len(part):,}" for name in parts if (part := getattr(splits, name)) is not None)
    console.print(
        f"rows: {rows}; {len(splits.labels):,} classes; device: {device.type}", highlight=False, soft_wrap=True
    )
    for warning in splits.warnings:
        console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False, soft_wrap=True)


def _shape(splits: Splits, tokenization: Tokenization, config: TrainingConfig) -> ClassifierConfig:
    return ClassifierConfig(
        kind="single-label",
        labels=splits.labels,
        max_tokens=config.max_tokens,
        network=NetworkConfig(
            vocabulary_size=tokenization.vocabulary_size,
            embedding_size=config.embedding_size,
            hidden_size=config.hidden_size,
            bidirectional=config.bidirectional,
            classes=len(splits.labels),
        ),
    )


def _fit(
    splits: Splits,
    tokenization: Tokenization,
    shape: ClassifierConfig,
    config: TrainingConfig,
    kept: Checkpoints,
    *,
    device: torch.device,
    console: Console,
    offer: Callable[[], bool],
) -> tuple[TrainedNetwork, Fitted]:
    train, validation = (_encode(part, tokenization, shape.labels) for part in (splits.train, splits.validation))
    network = TrainedNetwork(shape.network, config, _frequency(train, shape))
    network.to(device)
    try:
        with progress.TerminalProgress(console) as bar, _interruption() as stopped:
            return network, loop.fit(network, train, validation, config, bar, keeper=kept, stopped=stopped)
    except loop.Interrupted as stop:
        console.print("stopped; the same command with --resume goes on from here", highlight=False)
        if not stop.fitted.weights or not offer():
            raise Stopped from None
        return network, stop.fitted


@contextmanager
def _interruption() -> Iterator[Callable[[], bool]]:
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


def _identity(config: TrainingConfig, splits: Splits) -> dict[str, Any]:
    """What decides the weights: the settings, the data, and how many threads share a sum."""
    return {
        **config.model_dump(),
        "threads": torch.get_num_threads(),
        "train": splits.train.fingerprint()["sha256"],
        "validation": splits.validation.fingerprint()["sha256"],
        "torch": str(torch.__version__),  # a class of its own, which a checkpoint would not be read with
    }


def _frequency(train: Encoded, shape: ClassifierConfig) -> torch.Tensor:
    counts = np.bincount(np.concatenate(train.rows), minlength=shape.network.vocabulary_size)
    return torch.from_numpy(counts).float()


def _encode(examples: Examples, tokenization: Tokenization, labels: list[str]) -> Encoded:
    rows = [tokens.ids for tokens in tokenization.encode(examples.texts)]
    return Encoded(rows, loop.targets_of(examples.labels, labels))


def _calibrate(classifier: Classifier, splits: Splits) -> Calibration:
    rows = classifier.encode(splits.calibration.texts)
    targets_N = np.asarray(loop.targets_of(splits.calibration.labels, splits.labels), dtype=np.int64)
    return calibrate.fit(classifier.logits([tokens.ids for tokens in rows]), targets_N)


def _reports(classifier: Classifier, splits: Splits) -> dict[str, Report]:
    parts = {"valid": splits.validation} | ({"test": splits.test} if splits.test is not None else {})
    return {name: evaluate.evaluate(classifier, part.texts, part.labels) for name, part in parts.items()}


def _probes(classifier: Classifier, splits: Splits) -> bundle.Probes:
    """A few short texts of the user's data, so that a replay at load is quick."""
    texts = sorted({text for text in splits.validation.texts if text.strip()}, key=lambda text: (len(text), text))
    chosen = texts[:: max(1, len(texts) // PROBES)][:PROBES]
    predictions = classifier.predict(chosen)
    return bundle.Probes(
        probes=[bundle.Probe(text=text, probs=found.probs) for text, found in zip(chosen, predictions, strict=True)]
    )


def _document(
    config: TrainingConfig,
    splits: Splits,
    fitted: Fitted,
    reports: dict[str, Report],
    *,
    seconds: float,
    device: torch.device,
) -> dict[str, Any]:
    parts = ("train", "validation", "calibration", "test")
    return {
        "metrics": {name: report.model_dump() for name, report in reports.items()},
        "data": {
            "files": splits.sources,
            "splits": {name: part.fingerprint() for name in parts if (part := getattr(splits, name)) is not None},
            "warnings": splits.warnings,
        },
        "history": fitted.history,
        "seed": config.seed,
        "seconds": round(seconds, 1),
        "tokens_per_s": round(fitted.tokens_per_s),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "settings": config.model_dump(),
        "command": _command(),
    }


def _command() -> str:
    program = Path(sys.argv[0]).name
    return shlex.join([*(("python", "-m", "training") if program == "__main__.py" else (program,)), *sys.argv[1:]])


def _commit() -> str | None:
    """The commit of this checkout, if it is one, with a mark where files differ from it."""
    here = str(Path(__file__).parent)
    try:
        commit, changes = (
            subprocess.run(["git", "-C", here, *command], capture_output=True, text=True, check=True).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if changes else commit
