"""training.refit, without folds: what was chosen stays, and what is judged was not learnt from."""

import io
import itertools
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from rich.console import Console

from model.bundle import Bundle
from model.engine_onnx import OnnxEngine
from tests.training.events import points
from tests.training.fakes import Killed, Memory, Silent
from tests.training.files import write_rows
from tests.training.runs import rows, trained
from training import build, config, data, evaluate, place, refit, rival, run
from training.build import Built
from training.config import TrainingConfig
from training.data import Splits
from training.mixture import Mixture
from training.reading import Columns
from training.rival import Rival
from training.teacher import Lessons
from training.tuning import budget

# The same rows held out whether they are learnt from in the end or not.
QUICK = (
    "threads=1",
    "precision=float32",
    "epochs=6",
    "min_count=1",
    "refit_below=1000",
    "least_held_out=0",
    "folds_below=0",
)
DECISIVE = ("weights.safetensors", "tokenizer.json", "calibration.json", "network.onnx", "config.json")
CPU = torch.device("cpu")
AGAIN = "training once more on all"


@pytest.fixture(scope="module")
def settings() -> TrainingConfig:
    return config.load("debug", QUICK)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data"), "rows.jsonl", rows())


@pytest.fixture(scope="module")
def splits(source: Path, settings: TrainingConfig) -> Splits:
    return data.split(data.read(source, Columns()), settings)


@pytest.fixture(scope="module")
def all_rows(splits: Splits, settings: TrainingConfig) -> Splits:
    found = data.all_rows(splits, settings)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def linear(splits: Splits, settings: TrainingConfig) -> Rival:
    return rival.fit(splits, settings)


@pytest.fixture(scope="module")
def first(splits: Splits, settings: TrainingConfig, linear: Rival) -> Built:
    """By which all is chosen; a mixture of its own is put in, whatever helps on these few rows."""
    built = build.build(splits, settings, Silent(), build.Setup(CPU))
    return replace(built, mixture=Mixture(network=0.5, linear=0.25, bias=0.125, gain=0.1))


def hashes(bundle: Bundle) -> dict[str, str]:
    return {name: bundle.manifest.files[name].sha256 for name in DECISIVE}


@pytest.fixture(scope="module")
def once(source: Path, settings: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Without a second training."""
    never = settings.model_copy(update={"refit_below": 0})
    return trained(source, tmp_path_factory.mktemp("bundles") / "once", never)


@pytest.fixture(scope="module")
def twice(source: Path, settings: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return trained(source, tmp_path_factory.mktemp("bundles") / "twice", settings, track=True)


def test_it_learns_from_all_rows_but_test(
    first: Built, splits: Splits, all_rows: Splits, settings: TrainingConfig, linear: Rival
) -> None:
    """Each row's own word is in the vocabulary and among the n-grams, but for those of test."""
    found = refit.refit(first, all_rows, settings, Silent(), build.Setup(CPU), linear=linear)
    assert splits.test is not None
    vocabulary = tokenizers.Tokenizer.from_str(found.built.tokenizer).get_vocab()
    own = {name: {text.split()[1] for text in part.texts} for name, part in splits.parts.items()}
    assert own["train"] | own["validation"] | own["calibration"] <= vocabulary.keys()
    assert not own["test"] & vocabulary.keys()
    assert found.rows == sum(len(part) for name, part in splits.parts.items() if name != "test")
    assert found.rival is not None
    assert len(found.rival.counter) > len(linear.counter)
    assert found.rival.settings == linear.settings


def test_mixture_and_calibration_are_those_that_were_chosen(
    first: Built, all_rows: Splits, settings: TrainingConfig, linear: Rival
) -> None:
    """Nothing is left to choose them by. The n-grams that are mixed in are those of all rows."""
    found = refit.refit(first, all_rows, settings, Silent(), build.Setup(CPU), linear=linear).built
    assert found.mixture == first.mixture
    assert found.classifier.calibration == first.classifier.calibration
    assert first.classifier.calibration.temperature != 1.0
    again = rival.refit(linear, all_rows, settings)
    assert found.ngrams is not None
    assert found.ngrams.to_bytes() == again.counter.served(again.linear.scaled(0.25, bias=0.125)).to_bytes()
    assert found.fitted is first.fitted


def test_what_teachers_say_is_in_the_n_grams_and_not_in_the_rival(
    first: Built, all_rows: Splits, settings: TrainingConfig, linear: Rival
) -> None:
    """The report compares with a linear model of the labels."""
    texts = ["unheard of"]
    answers_NC = np.full((len(all_rows.train) + 1, 2), 0.5, dtype=np.float32)
    lessons = Lessons(texts, {text: row for row, text in enumerate([*all_rows.train.texts, *texts])}, answers_NC)
    taught = refit.refit(first, all_rows, settings, Silent(), build.Setup(CPU, lessons=lessons), linear=linear)
    assert taught.rival is not None
    assert taught.built.ngrams is not None
    again, partner = rival.refit(linear, all_rows, settings), rival.taught(linear, all_rows, settings, lessons)
    assert np.array_equal(taught.rival.scores(all_rows.train.texts), again.scores(all_rows.train.texts))
    served = partner.counter.served(partner.linear.scaled(0.25, bias=0.125))
    assert taught.built.ngrams.to_bytes() == served.to_bytes()
    assert len(partner.counter) > len(taught.rival.counter)


def test_a_search_counts_with_what_all_rows_bring(
    first: Built, splits: Splits, all_rows: Splits, settings: TrainingConfig, linear: Rival
) -> None:
    """Its largest n-gram part and its cost are an upper bound of the refitted classifier's."""
    ngrams = budget.largest_ngrams(splits, settings)
    found = refit.refit(first, all_rows, settings, Silent(), build.Setup(CPU), linear=linear).built
    assert found.ngrams is not None
    assert len(ngrams.to_bytes()) >= len(found.ngrams.to_bytes())
    parts = (found.weights, found.graph, found.tokenizer.encode(), found.ngrams.to_bytes())
    assert budget.cost(splits, settings, ngrams).mb * 1e6 - budget.REST >= sum(map(len, parts))


@pytest.mark.parametrize("at", [1, 7, 20, 33])
def test_it_ends_in_the_same_weights_after_a_break(
    first: Built, all_rows: Splits, settings: TrainingConfig, at: int
) -> None:
    """Killed at a step, in mid-epoch or at an epoch's end, and taken up with other random numbers."""
    undisturbed = refit.refit(first, all_rows, settings, Silent(), build.Setup(CPU)).built.weights
    memory, steps = Memory(due_every=4), itertools.count(1)

    def kill() -> bool:
        if next(steps) == at:
            raise Killed
        return False

    with pytest.raises(Killed):
        refit.refit(first, all_rows, settings, Silent(), build.Setup(CPU), keeper=memory, stopped=kill)
    torch.manual_seed(99)
    for _ in range(2):  # the second time it is done at once
        again = refit.refit(first, all_rows, settings, Silent(), build.Setup(CPU), keeper=memory)
        assert again.built.weights == undisturbed


def test_what_chose_is_what_validation_is_told_of(once: Bundle, twice: Bundle) -> None:
    """Its figures, the epochs and the calibration are those of a run that trains once; the weights are others."""
    assert (once.report["refit"], twice.report["refit"]["rows"]) == (None, 144)
    scores = (
        [(epoch["score"], epoch["validation_loss"]) for epoch in found.report["history"]] for found in (once, twice)
    )
    assert next(scores) == next(scores)
    for name in ("calibration", "mixture"):
        assert once.report[name] == twice.report[name], name
    assert once.report["metrics"]["valid"] == twice.report["metrics"]["valid"]
    best = [epoch["epoch"] for epoch in twice.report["history"] if epoch["best"]][-1]
    assert twice.report["refit"]["epochs"] == best
    assert hashes(once)["weights.safetensors"] != hashes(twice)["weights.safetensors"]


def test_test_is_told_of_what_is_served(
    twice: Bundle, splits: Splits, all_rows: Splits, settings: TrainingConfig, linear: Rival
) -> None:
    """And the rival there has learnt from as many rows."""
    assert splits.test is not None
    engine = OnnxEngine(twice.graph, twice.weights, threads=1)
    served = evaluate.judge(twice.classifier_on(engine), splits.test)
    assert json.loads(served.report.model_dump_json()) == twice.report["metrics"]["test"]
    again = rival.refit(linear, all_rows, settings)
    expected = rival.compare(again, served.answers, splits.test.texts, split="test", seed=0)
    for key in ("micro_f1", "difference", "low", "high"):
        assert twice.report["rival"][key] == expected[key]


def test_the_rival_of_test_has_learnt_from_all_rows_too(
    first: Built, splits: Splits, settings: TrainingConfig, linear: Rival
) -> None:
    """And that of validation hasn't: told apart by a refitted one that says the contrary."""
    contrary = replace(linear, linear=linear.linear.scaled(-1.0, bias=0.0))
    again = refit.Refitted(first, contrary, rows=1)
    for name, part in splits.judged.items():
        judged = {name: evaluate.judge(first.classifier, part)}
        found = run._compare(linear, again, judged, settings)["accuracy"]
        right = (linear.decide(part.texts) == evaluate.flags(part.labels, splits.labels)).all(axis=1).mean()
        assert right != 0.5
        assert found == pytest.approx(right if name == "valid" else 1 - right)


def test_without_test_both_are_compared_as_they_were_chosen(settings: TrainingConfig, tmp_path: Path) -> None:
    """On validation rows, which neither has learnt from then."""
    write_rows(tmp_path, "train.jsonl", rows())
    (tmp_path / "out").mkdir()
    found = trained(tmp_path, tmp_path / "out" / "bundle", settings).report
    assert found["refit"]["rows"] == len(rows())
    alone = data.split(data.read(tmp_path, Columns()), settings)
    fitted = rival.fit(alone, settings)
    assert found["rival"]["split"] == "valid"
    right = (fitted.decide(alone.validation.texts) == evaluate.flags(alone.validation.labels, alone.labels)).all(axis=1)
    assert found["rival"]["accuracy"] == right.mean()


def test_the_seed_fixes_it(source: Path, settings: TrainingConfig, twice: Bundle, tmp_path: Path) -> None:
    """A second run gives the same bytes."""
    assert hashes(trained(source, tmp_path / "again", settings)) == hashes(twice)


def test_its_steps_follow_those_of_the_first(twice: Bundle) -> None:
    """In TensorBoard's files, under a name of its own; of validation there is an epoch's point each, and no more."""
    folder = place.beside(twice.path, place.RUN_FOLDER)
    first, again = (points(folder, name) for name in ("training/loss", "refit/loss"))
    assert again
    assert first[-1][0] < again[0][0]
    assert len(points(folder, "validation/score")) == len(twice.report["history"])


class Interrupting(Console):
    """A terminal where Ctrl-C is pressed after an epoch of the second training."""

    def __init__(self) -> None:
        super().__init__(file=io.StringIO(), width=200)
        self.again = False

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*objects, **options)
        self.again = self.again or AGAIN in str(objects[0])
        if self.again and str(objects[0]).startswith("epoch 1 "):
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_offers_what_chose(
    source: Path, settings: TrainingConfig, once: Bundle, twice: Bundle, tmp_path: Path
) -> None:
    """Taken, it is the bundle, and says so; declined, --resume goes on to the same bytes as without a break."""
    taken = trained(source, tmp_path / "taken", settings, Interrupting(), offer=lambda: True)
    assert hashes(taken) == hashes(once)
    assert (taken.report["stopped"], taken.report["refit"]) == (True, None)
    with pytest.raises(place.Stopped):
        trained(source, tmp_path / "declined", settings, Interrupting(), offer=lambda: False)
    kept = tmp_path / ".declined.run"
    assert {path.name for path in kept.iterdir()} == {"checkpoint.pt", "refit.pt"}
    assert hashes(trained(source, tmp_path / "declined", settings, resume=True)) == hashes(twice)
    assert not kept.exists()


def test_what_was_cut_off_in_it_is_forgotten_by_force(source: Path, settings: TrainingConfig, tmp_path: Path) -> None:
    """Both files, also where the new run has no second training."""
    out, kept = tmp_path / "out", tmp_path / ".out.run"
    with pytest.raises(place.Stopped):
        trained(source, out, settings, Interrupting(), offer=lambda: False)
    trained(source, out, settings.model_copy(update={"refit_below": 0, "seed": 1}), overwrite=True)
    assert not kept.exists()


@pytest.mark.parametrize("own_valid", [True, False])
def test_where_there_is_none_nothing_is_said_of_it(
    settings: TrainingConfig, tmp_path: Path, *, own_valid: bool
) -> None:
    """With a `valid` of one's own, and with as many rows as the setting says."""
    write_rows(tmp_path, "train.jsonl", rows(60))
    if own_valid:
        write_rows(tmp_path, "valid.jsonl", [(f"new {text}", label) for text, label in rows(20)])
    console = Console(file=io.StringIO(), record=True, width=300)
    limit = {"epochs": 1, **({} if own_valid else {"refit_below": 60})}
    out = tmp_path / "bundle"
    assert trained(tmp_path, out, settings.model_copy(update=limit), console).report["refit"] is None
    assert AGAIN not in console.export_text()
