"""training.train: what goes wrong in a later training doesn't take the first classifier away."""

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from tests.training.files import write_rows
from tests.training.runs import rows
from training import config, data, tracking
from training.build import Built, Setup
from training.checkpoint import Checkpoints, Kept
from training.config import TrainingConfig
from training.data import Splits
from training.errors import Diverged
from training.reading import Columns
from training.refit import Refitted
from training.train import Trainer

QUICK = ("threads=1", "precision=float32", "epochs=2", "min_count=1", "least_held_out=0", "refit_below=1000")


class Diverging(Checkpoints):
    """What a training keeps that comes to no number at its first step."""

    def is_due(self) -> bool:
        raise Diverged("the loss became nan")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data"), "rows.jsonl", rows(120))


@pytest.fixture(scope="module")
def settings() -> TrainingConfig:
    return config.load("debug", QUICK)


@pytest.fixture(scope="module")
def splits(source: Path, settings: TrainingConfig) -> Splits:
    return data.split(data.read(source, Columns()), settings)


def train(
    splits: Splits, settings: TrainingConfig, folder: Path, *, diverging: str = ""
) -> tuple[Built, Refitted | None, str]:
    """What all trainings of a run made, of which one may come to no number; and what was told."""
    names = ("first", "folds", "refit", "pretraining")
    kept = Kept(**{name: (Diverging if name == diverging else Checkpoints)(folder, {}, name=name) for name in names})
    told = io.StringIO()
    console = Console(file=told, width=300)
    tracked = tracking.tracker(folder, "it", settings, console, on=False)
    trainer = Trainer(settings, Setup(torch.device("cpu")), None, console, tracked, kept, offer=lambda: False)
    return *trainer.train(splits, data.all_rows(splits, settings)), told.getvalue()


def test_where_the_last_training_diverges_the_first_classifier_is_served(
    splits: Splits, settings: TrainingConfig, tmp_path: Path
) -> None:
    """As it is, which wasn't stopped by hand; and that is told."""
    settings = settings.model_copy(update={"folds_below": 0})
    _, again, _ = train(splits, settings, tmp_path / "well")
    first, none, told = train(splits, settings, tmp_path / "ill", diverging="refit")
    assert again is not None
    assert (none, first.stopped) == (None, False)
    assert "warning: the first classifier is served" in told
    assert "the loss became nan" in told


def test_where_a_fold_diverges_what_chose_for_the_first_chooses_for_the_last(
    splits: Splits, settings: TrainingConfig, tmp_path: Path
) -> None:
    """All rows are learnt from, as without folds; and that is told."""
    _, plain, _ = train(splits, settings.model_copy(update={"folds_below": 0}), tmp_path / "plain")
    _, again, told = train(splits, settings, tmp_path / "ill", diverging="folds")
    assert plain is not None
    assert again is not None
    assert (again.in_folds, again.built.weights) == (False, plain.built.weights)
    assert again.built.classifier.calibration == plain.built.classifier.calibration
    assert "warning: mixture and calibration stay" in told


def test_where_the_first_training_diverges_there_is_nothing(
    splits: Splits, settings: TrainingConfig, tmp_path: Path
) -> None:
    """It is an error."""
    with pytest.raises(Diverged):
        train(splits, settings, tmp_path, diverging="first")
