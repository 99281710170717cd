"""One training run, from labelled text to a bundle, in reading order."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from model.engine import Device, cores
from training import (
    agreement,
    build,
    data,
    evaluate,
    folds,
    place,
    precision,
    pretrain,
    rival,
    teacher,
    telling,
    tracking,
    writing,
)
from training.build import Built, Setup
from training.checkpoint import Checkpoints, Kept
from training.checks import check
from training.checks.check import DataCheck
from training.config import TrainingConfig
from training.data import Parts, Splits
from training.errors import NoLanguage
from training.evaluate import Judged
from training.pretraining.encoder import Encoder
from training.pretraining.make import Pretrained
from training.pretraining.texts import Texts, of_splits
from training.refit import Refitted
from training.report.document import Run
from training.rival import Rival
from training.teacher import Lessons, Teachers
from training.tracking import Tracker
from training.train import Trainer


@dataclass(frozen=True)
class Outcome:
    """What a run made, as its closing JSON line says it."""

    bundle: str
    version: str
    recipe: str | None
    metrics: dict[str, dict[str, Any]]
    seconds: float
    tokens_per_s: float


@dataclass(frozen=True)
class Beside:
    """What a run learns from beside its labelled rows."""

    encoder: Encoder | None  # that was given
    pretrained_on: Texts | None  # what one is made from first
    read: Texts | None  # what a step reads without labels
    teachers: Teachers | None

    @property
    def unlabelled(self) -> list[str]:
        return self.read.all if self.read is not None else []

    @property
    def identity(self) -> dict[str, Any]:
        """What of it decides the weights, as build.identity takes it."""
        made_from = self.pretrained_on.sha256 if self.pretrained_on is not None else None
        return {
            "encoder": self.encoder.version if self.encoder is not None else made_from,
            "unlabelled": self.read.sha256 if self.read is not None else None,
            "teachers": self.teachers.identity if self.teachers is not None else None,
        }


@dataclass(frozen=True)
class Plan:
    """What a run is to learn from, and how."""

    parts: Parts
    config: TrainingConfig
    device: torch.device
    splits: Splits
    all_rows: Splits | None  # what the second training learns from, where there is to be one
    beside: Beside


@dataclass(frozen=True)
class Learnt:
    """What a run has learnt."""

    encoder: Encoder | None  # that the network started from
    pretrained: Pretrained | None  # the same, where the run made it
    linear: Rival | None
    first: Built  # by which all was chosen
    refitted: Refitted | None

    @property
    def served(self) -> Built:
        return self.refitted.built if self.refitted is not None else self.first


@place.claims("bundle")
def run(
    parts: Parts,
    out: Path,
    config: TrainingConfig,
    *,
    device: str,
    console: Console,
    recipe: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    track: bool = True,
    encoder: Path | None = None,
    teachers: Sequence[Path] = (),
    offer: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train on what was read, and write the bundle `out`, whose probes are replayed before it gets its name.

    `recipe` is what the settings came from, for the record. The network starts from the encoder in the folder
    `encoder`, whose sizes are then the settings'; where there is none, from one that is made of the data's own text
    first, if `pretrain_epochs` says so. With bundles as `teachers` it learns from their answers too, on the data's text
    without labels as well. What is served was trained once more on what was held out too, where
    `refit_below` says so, mixed and calibrated as all rows say in folds, where `folds_below` does; figures of
    validation are then of the classifier before.
    The run's folder, `.<name>.run` beside the bundle, holds its checkpoint until the bundle is written; `resume` goes
    on from there. With `track` it has TensorBoard's event files too, which stay. On Ctrl-C it stops after the step;
    `offer` then decides whether the best so far becomes the bundle.
    Raises: TrainingError or BundleError, and `out` is as it was; place.Stopped if it was stopped and the offer
    declined.
    """
    started = time.perf_counter()
    plan = _plan(parts, config, build.choose_device(device), encoder, teachers)
    kept = _take_up(out, plan, overwrite=overwrite, resume=resume)
    checked = _look(plan, console)
    telling.tell_run(console, plan.splits, plan.device, recipe, plan.beside.read, plan.beside.teachers)
    if plan.beside.encoder is not None:
        telling.warn_of_seen(console, encoder, plan.beside.encoder.seen(plan.splits))
    tracked = tracking.tracker(kept.first.folder, out.name, plan.config, console, on=track)
    learnt = _learn(plan, kept, console, tracked, offer)
    facts = _facts(out.name, plan, checked, learnt, started)
    manifest = writing.write(out, facts, console, overwrite=overwrite)
    kept.delete()
    metrics = {name: found.report.summary() for name, found in facts.judged.items()}
    tracked.result(metrics)
    _show(console, facts)
    seconds, speed = round(time.perf_counter() - started, 1), round(learnt.served.fitted.tokens_per_s)
    return Outcome(str(out), manifest.version, recipe, metrics, seconds, speed)


def _plan(
    parts: Parts, config: TrainingConfig, device: torch.device, encoder: Path | None, teachers: Sequence[Path]
) -> Plan:
    """Raises: TrainingError or BundleError where the data, the encoder or a teacher doesn't fit."""
    config = precision.resolved(config, device)
    given = Encoder.open(encoder) if encoder is not None else None
    if given is not None:
        config = given.settings(config)
    splits = data.split(parts, config)
    beside = _beside(parts, splits, config, given, teachers, "cuda" if device.type == "cuda" else "cpu")
    taught = len(beside.teachers.texts) if beside.teachers is not None else 0
    return Plan(parts, config, device, splits, data.all_rows(splits, config, more=taught), beside)


def _look(plan: Plan, console: Console) -> DataCheck:
    """What is wrong with the data, told before minutes are spent on it."""
    config = plan.config
    found = check.check(
        plan.parts, seed=config.seed, find_label_errors=config.find_label_errors, keep_texts=config.keep_texts
    )
    telling.show_check(console, found)
    return found


def _beside(
    parts: Parts,
    splits: Splits,
    config: TrainingConfig,
    encoder: Encoder | None,
    teachers: Sequence[Path],
    device: Device,
) -> Beside:
    wanted = config.pretrain_epochs or config.reads_unlabelled or teachers
    texts = of_splits(parts, splits, seed=config.seed) if wanted else None
    return Beside(
        encoder,
        pretrained_on=texts if config.pretrain_epochs else None,
        read=texts if config.reads_unlabelled else None,
        teachers=teacher.load(teachers, splits, texts.all, device=device, threads=config.threads)
        if teachers and texts
        else None,
    )


def _take_up(out: Path, plan: Plan, *, overwrite: bool, resume: bool) -> Kept:
    """What is kept of this run, or nothing yet. Raises: TrainingError where it is of another one."""
    taken_up = {"overwrite": overwrite, "resume": resume}
    config, all_rows, beside = plan.config, plan.all_rows, plan.beside
    first = Checkpoints(place.beside(out, place.RUN_FOLDER), build.identity(config, plan.splits, **beside.identity))
    place.take_up(out, first, **taken_up)
    of_all = build.identity(config, all_rows, **beside.identity) if all_rows is not None else None
    in_folds = of_all if folds.judged(all_rows, config) is not None else None
    return Kept(
        first,
        place.part(out, in_folds, "folds.pt", **taken_up),
        place.part(out, of_all, "refit.pt", **taken_up),
        pretrain.checkpoints(out, config, beside.pretrained_on, plan.device, **taken_up),
    )


def _learn(plan: Plan, kept: Kept, console: Console, tracked: Tracker, offer: Callable[[], bool]) -> Learnt:
    """All trainings of the run, the linear model's first."""
    config, beside = plan.config, plan.beside
    linear = _fit_rival(plan.splits, config, console) if config.rival or config.ngrams else None
    made = _pretrain(beside.pretrained_on, config, kept.pretraining, plan.device, console)
    encoder = made.encoder if made is not None else beside.encoder
    lessons = _lessons(beside.teachers, plan.all_rows or plan.splits)
    setup = Setup(plan.device, encoder, beside.unlabelled, lessons)
    trainer = Trainer(config, setup, linear, console, tracked, kept, offer)
    return Learnt(encoder, made, linear, *trainer.train(plan.splits, plan.all_rows))


def _lessons(teachers: Teachers | None, splits: Splits) -> Lessons | None:
    """What the teachers say of each row that any training of the run learns from."""
    return teachers.teach(splits.train.texts) if teachers is not None else None


def _pretrain(
    texts: Texts | None, config: TrainingConfig, kept: Checkpoints, device: torch.device, console: Console
) -> Pretrained | None:
    """An encoder of the data's own text; None where none is to be made, or it has too few words for one, which no
    person asked for here.
    """
    if texts is None:
        return None
    try:
        return pretrain.learn(texts, config, kept, device=device, console=console)
    except NoLanguage as error:
        telling.say(console, f"the network starts from nothing: {error}")
        return None


def _fit_rival(splits: Splits, config: TrainingConfig, console: Console) -> Rival:
    """Before the training, as it is quick: a person sees what is to be beaten, and a fault costs no hours."""
    linear = rival.fit(splits, config)
    score, seconds = linear.settings["held_out_score"], linear.seconds
    telling.say(console, f"a linear model ({rival.NAME}): {score:.2%} on validation after {seconds:g} s")
    return linear


def _facts(name: str, plan: Plan, checked: DataCheck, learnt: Learnt, started: float) -> Run:
    """What the run came to, by rows that it hasn't learnt from."""
    judged = _judge(plan.splits, learnt)
    return Run(
        name=name,
        created=datetime.now(UTC),
        config=plan.config,
        parts=plan.parts,
        splits=plan.splits,
        checked=checked,
        built=learnt.served,
        refit=learnt.refitted.document() if learnt.refitted is not None else None,
        judged=judged,
        eight_bits=_agreement(judged, plan, learnt),
        rival=_compare(learnt.linear, learnt.refitted, judged, plan.config),
        encoder=_origin(learnt, plan.splits),
        teachers=plan.beside.teachers.document() if plan.beside.teachers is not None else [],
        device=plan.device,
        seconds=time.perf_counter() - started,
    )


def _judge(splits: Splits, learnt: Learnt) -> dict[str, Judged]:
    """Each by a classifier that hasn't learnt from it: validation by the first one, test by the one that is served."""
    its = {"valid": learnt.first, "test": learnt.served}
    return {name: evaluate.judge(its[name].classifier, part) for name, part in splits.judged.items()}


def _agreement(judged: Mapping[str, Judged], plan: Plan, learnt: Learnt) -> dict[str, Any] | None:
    """Of the classifier that is served, by test, or by validation rows that it may have learnt from."""
    served = learnt.served
    its = judged.get("test") or (judged["valid"] if learnt.refitted is None else None)
    its = its or evaluate.judge(served.classifier, plan.splits.validation)
    return agreement.eight_bits(served.classifier, served.weights, its, threads=plan.config.threads or cores())


def _origin(learnt: Learnt, splits: Splits) -> dict[str, Any] | None:
    """What the classifier started from: an encoder by its version, with its figures where it was made in this run, and
    how many of the texts that judge the classifier it had learnt from.
    """
    if learnt.encoder is None:
        return None
    made = learnt.pretrained
    known = made.document() if made is not None else {"version": learnt.encoder.version}
    return {**known, "seen": learnt.encoder.seen(splits)}


def _compare(
    linear: Rival | None, refitted: Refitted | None, judged: Mapping[str, Judged], config: TrainingConfig
) -> dict[str, Any] | None:
    """On the split to believe, each of the two as it learnt for that: both from all rows, or neither. None where no
    rival is asked for.
    """
    if linear is None or not config.rival:
        return None
    split, believed = list(judged.items())[-1]
    if split == "test" and refitted is not None and refitted.rival is not None:
        linear = refitted.rival
    return rival.compare(linear, believed.answers, believed.examples.texts, split=split, seed=config.seed)


def _show(console: Console, facts: Run) -> None:
    before = ", before it was trained once more" if facts.refit is not None else ""
    for name, found in facts.judged.items():
        telling.show_report(console, found.report, title=f"{facts.name} on {name}{before if name == 'valid' else ''}")
    if facts.rival is not None:
        telling.show_rival(console, facts.rival)
    if facts.eight_bits is not None:
        telling.show_eight_bits(console, facts.eight_bits)
