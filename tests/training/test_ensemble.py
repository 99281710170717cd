"""training.ensemble: what a network learns from others of its own run."""

import io
import os
import random
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from rich.console import Console

from model.bundle import Bundle
from tests import tiny
from tests.training.fakes import Memory
from tests.training.files import write_rows
from training import config, data, ensemble, place, run
from training.build import Built
from training.config import TrainingConfig
from training.errors import TrainingError
from training.loop import Keeper
from training.reading import Columns

QUICK = ("threads=1", "precision=float32", "rival=false", "ngrams=false", "find_label_errors=false", "ensemble=2")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A word that tells the label three times in four."""
    rng = random.Random(0)
    rows = []
    for number in range(120):
        label = rng.choice(tiny.LABELS)
        word = label if rng.random() < 3 / 4 else rng.choice(tiny.LABELS)
        rows.append((f"word{word} and {rng.choice(['this', 'that'])} {number}", label))
    return write_rows(tmp_path_factory.mktemp("data"), "rows.jsonl", rows)


def trained(source: Path, out: Path, *settings: str, console: Console | None = None, **others: Any) -> Bundle:
    run.run(
        data.read(source, Columns()),
        out,
        config.load("debug", [*QUICK, *settings]),
        device="cpu",
        console=console or Console(quiet=True),
        track=False,
        **others,
    )
    return Bundle.open(out)


@pytest.fixture(scope="module")
def taught(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return trained(source, tmp_path_factory.mktemp("bundles") / "taught", "refit_below=1000")


def test_the_mean_of_all_is_learnt_of_every_row(source: Path) -> None:
    """Each network has a seed and a keeper of its own; the rows that they held out are asked about too."""
    settings = config.load("debug", QUICK)
    parts = data.read(source, Columns())
    splits = data.split(parts, settings)
    whole = data.whole(splits, settings.model_copy(update={"refit_below": 1000}))
    assert whole is not None
    keepers, made = [Memory(due_every=1), Memory(due_every=1)], []
    classifiers = [tiny.classifier(tensors=tiny.weights(seed=seed)) for seed in (0, 1)]

    def build(number: int, given: TrainingConfig, keeper: Keeper) -> Built:
        made.append((number, given.seed, keeper))
        return cast(Built, SimpleNamespace(classifier=classifiers[number - 1]))

    lessons = ensemble.teach(build, settings, keepers, whole)
    assert [(number, keeper) for number, _, keeper in made] == [(1, keepers[0]), (2, keepers[1])]
    assert len({settings.seed, *(seed for _, seed, _ in made)}) == 3
    texts = [*splits.train.texts, *splits.validation.texts, *splits.calibration.texts]
    columns = [tiny.LABELS.index(label) for label in splits.labels]
    expected = np.mean([its.score(its.encode(texts))[:, columns] for its in classifiers], axis=0)
    assert np.allclose(lessons.of(texts), expected, rtol=0, atol=1e-6)


def test_the_highest_seed_has_others_beside_it(source: Path) -> None:
    """A seed is below 2³² for every network."""
    settings = config.load("debug", [*QUICK, f"seed={2**32 - 1}"])
    seeds = []

    def build(_number: int, given: TrainingConfig, _keeper: Keeper) -> Built:
        seeds.append(TrainingConfig.model_validate(given.model_dump()).seed)
        return cast(Built, SimpleNamespace(classifier=tiny.classifier()))

    splits = data.split(data.read(source, Columns()), settings)
    ensemble.teach(build, settings, [Memory(due_every=1)] * 2, splits)
    assert len(set(seeds) - {settings.seed}) == 2


def test_one_network_is_served_and_says_who_taught_it(taught: Bundle, source: Path, tmp_path: Path) -> None:
    """Of the same shape as without, with other weights; nothing of the others is left."""
    alone = trained(source, tmp_path / "alone", "refit_below=1000", "ensemble=0")
    assert (taught.report["ensemble"], alone.report["ensemble"]) == (2, 0)
    assert taught.config == alone.config
    assert taught.weights != alone.weights
    assert "2 networks of other seeds" in (taught.path / "report.html").read_text()
    assert "networks of other seeds" not in (alone.path / "report.html").read_text()
    assert not place.beside(taught.path, place.RUN_FOLDER).exists()


@pytest.mark.parametrize(("more", "networks"), [(1, 2), (0, 0)])
def test_only_where_few_rows_are_learnt_from(source: Path, tmp_path: Path, more: int, networks: int) -> None:
    """All that is learnt from in the end counts, validation and calibration too."""
    whole = data.whole(
        data.split(data.read(source, Columns()), config.load("debug", QUICK)),
        config.load("debug", [*QUICK, "refit_below=1000"]),
    )
    assert whole is not None
    below = f"ensemble_below={len(whole.train) + more}"
    assert trained(source, tmp_path / "some", "refit_below=1000", below).report["ensemble"] == networks


def test_a_network_with_teachers_has_no_others(taught: Bundle, source: Path, tmp_path: Path) -> None:
    assert trained(source, tmp_path / "student", teachers=[taught.path]).report["ensemble"] == 0


class Interrupting(Console):
    """A console where Ctrl-C is pressed after the first epoch of the network so-and-so many."""

    def __init__(self, network: int) -> None:
        super().__init__(file=io.StringIO())
        self.left = network

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*objects, **options)
        if "epoch 1 " in str(objects):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("network", [1, 2, 3])
def test_after_a_break_in_any_network_it_is_the_same(
    taught: Bundle, source: Path, tmp_path: Path, network: int
) -> None:
    """Stopped in the first teacher, the second, and the one that learns; other settings are refused meanwhile."""
    out = tmp_path / "broken"
    with pytest.raises(place.Stopped):
        trained(source, out, "refit_below=1000", console=Interrupting(network))
    with pytest.raises(TrainingError, match="--force starts over"):
        trained(source, out, "refit_below=1000", "hidden_size=8", resume=True)
    again = trained(source, out, "refit_below=1000", resume=True)
    assert again.manifest.version == taught.manifest.version
    assert not place.beside(out, place.RUN_FOLDER).exists()


def test_what_a_network_kept_is_not_started_over_unasked(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "broken"
    with pytest.raises(place.Stopped):
        trained(source, out, console=Interrupting(1))
    with pytest.raises(TrainingError, match="was cut off"):
        trained(source, out)
    assert trained(source, out, overwrite=True).report["ensemble"] == 2
