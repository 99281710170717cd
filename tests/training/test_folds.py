"""training.folds: mixture and calibration chosen by all rows, each answered by what hadn't learnt from it."""

import io
import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from tests.training.fakes import Killed, Memory, Silent
from tests.training.files import write_rows
from tests.training.runs import rows, trained
from training import build, config, data, folds, mixture, place, refit, rival
from training.build import Built
from training.config import TrainingConfig
from training.data import Splits
from training.folds import Chosen
from training.reading import Columns, Examples
from training.rival import Rival
from training.teacher import Lessons

QUICK = ("threads=1", "precision=float32", "epochs=6", "min_count=1", "refit_below=1000", "least_held_out=0")
CPU = torch.device("cpu")


@contextmanager
def unheard(_fold: int) -> Iterator[Silent]:
    """Progress that nobody watches."""
    yield Silent()


class Heard(Silent):
    """Counts steps: those that were done before, and those that are done now."""

    def __init__(self) -> None:
        self.done = self.steps = 0

    @contextmanager
    def fold(self, _fold: int) -> Iterator[Silent]:
        yield self

    def start(self, *, steps: int, done: int) -> None:
        self.done += done

    def step(self, *, loss: float, tokens_per_s: float) -> None:
        self.steps += 1


@pytest.fixture(scope="module")
def settings() -> TrainingConfig:
    return config.load("debug", QUICK)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data"), "rows.jsonl", rows(150, told=0.8))


@pytest.fixture(scope="module")
def splits(source: Path, settings: TrainingConfig) -> Splits:
    return data.split(data.read(source, Columns()), settings)


@pytest.fixture(scope="module")
def all_rows(splits: Splits, settings: TrainingConfig) -> Splits:
    found = folds.judged(data.all_rows(splits, settings), settings)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def linear(splits: Splits, settings: TrainingConfig) -> Rival:
    return rival.fit(splits, settings)


@pytest.fixture(scope="module")
def first(splits: Splits, settings: TrainingConfig, linear: Rival) -> Built:
    return build.build(splits, settings, Silent(), build.Setup(CPU), partner=linear)


@pytest.fixture(scope="module")
def chosen(first: Built, all_rows: Splits, settings: TrainingConfig, linear: Rival) -> Chosen:
    return folds.choose(first, all_rows, settings, build.Setup(CPU), unheard, linear=linear)


def test_every_row_counts_once(chosen: Chosen, all_rows: Splits, settings: TrainingConfig, first: Built) -> None:
    """In the calibration; a text that comes ten times is no more evidence than one."""
    assert chosen.calibration.rows == len(all_rows.train)
    assert chosen.calibration.rows > first.classifier.calibration.rows
    copies = replace(all_rows, train=data.joined([all_rows.train, *[all_rows.train.take([0])] * 9]))
    again = folds.choose(first, copies, settings, build.Setup(CPU), unheard)
    assert again.calibration.rows == len(all_rows.train)


def test_what_answers_a_row_hasnt_learnt_from_it(settings: TrainingConfig, tmp_path: Path) -> None:
    """Labels that nothing but a row's own word tells: learnt by heart they would be certain, and are not."""
    path = write_rows(tmp_path, "rows.jsonl", rows(150, told=0.0))
    hearty = settings.model_copy(update={"epochs": 40, "embedding_dropout": 0.0, "pooled_dropout": 0.0})
    known = data.split(data.read(path, Columns()), hearty)
    all_rows = folds.judged(data.all_rows(known, hearty), hearty)
    assert all_rows is not None
    first = build.build(known, hearty, Silent(), build.Setup(CPU))
    by_heart = replace(first, fitted=replace(first.fitted, epochs=[replace(first.fitted.epochs[-1], best=True)]))
    memory = Memory(due_every=1_000_000)
    folds.choose(by_heart, all_rows, hearty, build.Setup(CPU), unheard, keeper=memory)
    found_NC = np.concatenate([answers.logits_NC for answers in folds.FoldKeeper(memory).done])
    fold_N = data.folds(all_rows.train, hearty.seed, count=folds.FOLDS)
    targets_N = np.array(["b" in labels for labels in all_rows.train.labels])[np.argsort(fold_N, kind="stable")]
    assert (found_NC.argmax(axis=1) == targets_N).mean() < 0.75, "of two labels, drawn at random"


def test_the_mixture_and_calibration_are_served(
    first: Built, all_rows: Splits, settings: TrainingConfig, linear: Rival, chosen: Chosen
) -> None:
    """By the classifier of all rows, whose logits are the mixture of what the two say."""
    factors = mixture.Mixture(network=0.5, linear=0.25, bias=0.0, gain=0.1)
    mixed = replace(chosen, mixture=factors)
    found = refit.refit(first, all_rows, settings, Silent(), build.Setup(CPU), linear=linear, chosen=mixed)
    assert found.built.mixture == factors
    assert found.built.classifier.calibration == chosen.calibration
    assert found.document()["in_folds"] is True
    alone = refit.refit(
        first, all_rows, settings, Silent(), build.Setup(CPU), chosen=replace(chosen, mixture=None)
    ).built
    texts = all_rows.train.texts[:20]
    network_NC = alone.classifier.logits(alone.classifier.encode(texts))
    assert found.rival is not None
    served_NC = found.built.classifier.logits(found.built.classifier.encode(texts))
    expected_NC = factors.of(network_NC, found.rival.scores(texts))
    np.testing.assert_allclose(served_NC, expected_NC, atol=2e-3)


@pytest.mark.parametrize("at", [1, 30, 60, 85])
def test_it_comes_to_the_same_after_a_break(
    first: Built, all_rows: Splits, settings: TrainingConfig, linear: Rival, chosen: Chosen, at: int
) -> None:
    """Killed in any fold, in mid-epoch or at an epoch's end, and taken up with other random numbers; the steps of the
    folds that are done are told again, as those that follow are counted on from them.
    """
    memory, steps = Memory(due_every=4), itertools.count(1)

    def kill() -> bool:
        if next(steps) == at:
            raise Killed
        return False

    with pytest.raises(Killed):
        folds.choose(first, all_rows, settings, build.Setup(CPU), unheard, linear=linear, keeper=memory, stopped=kill)
    torch.manual_seed(99)
    told = []
    for _ in range(2):  # the second time it is done at once
        heard = Heard()
        again = folds.choose(first, all_rows, settings, build.Setup(CPU), heard.fold, linear=linear, keeper=memory)
        assert again == chosen
        told.append(heard.done + heard.steps)
    assert heard.steps == 0
    assert told[0] == told[1] > at


def numbered(labels: str, *more: str) -> Splits:
    """A text of its own for each label, and `more` texts, of the last ones."""
    texts = [f"text {number}" for number in range(len(labels) - len(more))] + list(more)
    train = Examples(texts, [(label,) for label in labels], "single-label")
    nothing = train.take([])
    return Splits(train, nothing, nothing, None, sorted(set(labels)), 0)


@pytest.mark.parametrize(
    ("splits", "there"),
    [
        (numbered("ab" * 6), True),
        (numbered("ab" * 5 + "cc", "the same", "The same!"), True),  # of a label with one text, among others
        (numbered("ab" * 6, *["the same"] * 8), False),  # five of twelve are evidence
        (numbered("ab" * 6, *["", " "] * 5, "text", "TEXT"), False),  # nothing to read in the rest of a fold
        (numbered("abcdefg" + "hh"), False),  # most labels are of one text
    ],
)
def test_there_are_folds_where_most_rows_are_evidence(settings: TrainingConfig, splits: Splits, *, there: bool) -> None:
    """And fewer than the setting says."""
    for limit, found in ((len(splits.train), None), (len(splits.train) + 1, splits if there else None)):
        assert folds.judged(splits, settings.model_copy(update={"folds_below": limit})) is found
    assert folds.judged(None, settings) is None


def test_a_label_of_one_text_is_learnt_by_all(first: Built, all_rows: Splits, settings: TrainingConfig) -> None:
    """And not asked: the rest of its fold wouldn't know of it."""
    rare = Examples(["the same", "The same!"], [("c",), ("c",)], "single-label")
    more = replace(all_rows, train=data.joined([all_rows.train, rare]), labels=[*all_rows.labels, "c"])
    chosen = folds.choose(
        first, more, settings.model_copy(update={"class_weight": "balanced"}), build.Setup(CPU), unheard
    )
    assert chosen.calibration.rows == len(all_rows.train)


def test_no_teacher_tells_of_what_is_asked(settings: TrainingConfig, tmp_path: Path) -> None:
    """The texts of a fold in capitals, with the labels that they have: whoever learnt them would know all answers."""
    known = data.split(data.read(write_rows(tmp_path, "rows.jsonl", rows(150, told=0.0)), Columns()), settings)
    all_rows = data.all_rows(known, settings)
    assert all_rows is not None
    first = build.build(known, settings, Silent(), build.Setup(CPU))
    epochs = [replace(first.fitted.epochs[-1], epoch=40, best=True)]
    by_heart = replace(first, fitted=replace(first.fitted, epochs=epochs, planned=40))
    texts = [*all_rows.train.texts, *(text.upper() for text in all_rows.train.texts)]
    answers_NC = np.array([["a" in labels, "b" in labels] for labels in all_rows.train.labels * 2], dtype=np.float32)
    lessons = Lessons(texts[len(all_rows.train) :], {text: n for n, text in enumerate(texts)}, answers_NC)
    memory = Memory(due_every=1_000_000)
    its = rival.fit(known, settings)
    taught = build.Setup(CPU, lessons=lessons)
    chosen = folds.choose(by_heart, all_rows, settings, taught, unheard, keeper=memory, linear=its)
    found_NC = np.concatenate([answers.logits_NC for answers in folds.FoldKeeper(memory).done])
    fold_N = data.folds(all_rows.train, settings.seed, count=folds.FOLDS)
    targets_N = answers_NC[np.argsort(fold_N, kind="stable")].argmax(axis=1)
    assert (found_NC.argmax(axis=1) == targets_N).mean() < 0.75
    assert chosen.mixture is None  # of n-grams that know nothing


def test_texts_are_left_out_however_they_are_written() -> None:
    """And nothing else is."""
    texts = ["Hello  there!", "hello there", "other", "other", "Hello their"]
    assert folds.without(["hello there"], texts) == ["other", "Hello their"]


class Interrupting(Console):
    """A terminal where Ctrl-C is pressed when the folds begin."""

    def __init__(self) -> None:
        super().__init__(file=io.StringIO(), width=200)

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*objects, **options)
        if f"in {folds.FOLDS} folds" in str(objects[0]):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_run_chooses_by_them(source: Path, settings: TrainingConfig, tmp_path: Path) -> None:
    """What is served and told of; the figures of validation are of the classifier before. Ctrl-C in a fold offers that
    one; declined, --resume goes on to the same bundle as without a break.
    """
    never = settings.model_copy(update={"folds_below": 0})
    without, within = trained(source, tmp_path / "without", never), trained(source, tmp_path / "within", settings)
    assert (without.report["refit"]["in_folds"], within.report["refit"]["in_folds"]) == (False, True)
    assert within.report["calibration"]["rows"] == within.report["refit"]["rows"]
    assert without.report["metrics"]["valid"] == within.report["metrics"]["valid"]
    first = trained(source, tmp_path / "first", never.model_copy(update={"refit_below": 0}))
    taken = trained(source, tmp_path / "taken", settings, Interrupting(), offer=lambda: True)
    assert taken.report["stopped"] is True
    assert taken.report["metrics"] == first.report["metrics"]
    with pytest.raises(place.Stopped):
        trained(source, tmp_path / "declined", settings, Interrupting(), offer=lambda: False)
    assert {path.name for path in (tmp_path / ".declined.run").iterdir()} == {"checkpoint.pt", "folds.pt"}
    resumed = trained(source, tmp_path / "declined", settings, resume=True)
    assert resumed.manifest.version == within.manifest.version
    assert not (tmp_path / ".declined.run").exists()
