"""training.build: what a classifier is made of, beside its network."""

import random
from pathlib import Path

import pytest
import torch

from tests.training.fakes import Silent
from tests.training.files import write_rows
from training import build, config, data, rival
from training.reading import Columns

QUICK = ("threads=1", "precision=float32", "epochs=3", "min_count=1", "validation_share=0.3", "calibration_share=0.2")


def skewed(count: int = 300) -> list[tuple[str, str]]:
    """A label that most rows have, and two that few have; a word tells it two times in three."""
    rng = random.Random(0)
    labels = rng.choices("abc", weights=[6, 3, 1], k=count)
    words = [label if rng.random() < 2 / 3 else rng.choice("abc") for label in labels]
    return [(f"word{word} own{number}", label) for number, (word, label) in enumerate(zip(words, labels, strict=True))]


@pytest.mark.parametrize(
    ("settings", "has"), [((), True), (("logit_adjustment=0",), False), (('class_weight="sqrt"',), False)]
)
def test_rare_labels_have_thresholds_of_their_own(tmp_path: Path, settings: tuple[str, ...], has: bool) -> None:
    """Below the frequent one's; none where they aren't asked for, or the training itself weighs the labels."""
    chosen = config.load("debug", [*QUICK, *settings])
    splits = data.split(data.read(write_rows(tmp_path, "rows.jsonl", skewed()), Columns()), chosen)
    partner = rival.fit(splits, chosen)
    built = build.build(splits, chosen, Silent(), build.Setup(torch.device("cpu")), partner=partner)
    thresholds = built.classifier.calibration.thresholds
    assert (thresholds is not None) == has
    if thresholds is not None:
        assert thresholds[0] == 1 > max(thresholds[1:])
