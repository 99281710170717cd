"""benchmarks.rivals: each learns what is to be learnt, by settings chosen on held-out rows."""

import random
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from benchmarks import rivals
from benchmarks.rivals import nbsvm, tuning
from benchmarks.rivals.tuning import Rival
from tests.training.files import write_rows
from training.data import Parts

WORDS = {"up": ["good", "great", "fine"], "down": ["bad", "poor", "dull"], "level": ["plain", "usual", "same"]}


def single(folder: Path, classes: int, *, valid: bool) -> Parts:
    """Each class has its words."""
    rng = random.Random(0)
    names = list(WORDS)[:classes]
    for part, rows in (("train", 120), ("valid", 30), ("test", 30)):
        if part == "valid" and not valid:
            continue
        labels = [rng.choice(names) for _ in range(rows)]
        write_rows(
            folder, f"{part}.jsonl", [(f"it was {rng.choice(WORDS[name])} {rng.random()}", name) for name in labels]
        )
    return rivals.read(folder)


def multi(folder: Path) -> Parts:
    """Each label has its word; many rows have none."""
    rng = random.Random(0)
    for part, rows in (("train", 200), ("valid", 60), ("test", 60)):
        drawn = [[name for name in ("cold", "late") if rng.random() < 0.4] for _ in range(rows)]
        write_rows(folder, f"{part}.jsonl", [("the food came " + " and ".join(names), names) for names in drawn])
    return rivals.read(folder)


@pytest.mark.parametrize("rival", [rivals.WORDS, rivals.CHARACTERS, rivals.NBSVM], ids=lambda rival: rival.name)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("valid", [True, False])
def test_a_rival_learns_what_words_tell(rival: Rival, classes: int, valid: bool, tmp_path: Path) -> None:
    """Two classes or more, with an official valid part or a tenth of train."""
    found = rivals.measure(rival, single(tmp_path, classes, valid=valid))
    assert list(found) == [rival.name]
    assert found[rival.name]["accuracy"] == found[rival.name]["macro_f1"] == 1.0
    assert found[rival.name]["settings"] in rival.choices["single-label"]
    assert found[rival.name]["rows"] == 120


def test_several_labels_are_cut_by_one_threshold_and_by_one_a_label(tmp_path: Path) -> None:
    """Both are told, each under a name that the page's figures have."""
    found = rivals.measure(rivals.WORDS, multi(tmp_path))
    assert list(found) == ["linear, one threshold", "linear, a threshold a label"]
    assert all(figures["micro_f1"] == 1.0 for figures in found.values())


def test_the_best_choice_on_held_out_rows_is_taken(tmp_path: Path) -> None:
    """Of a rival that guesses, and one that knows; test has no say."""
    parts = single(tmp_path, 2, valid=True)
    assert parts.valid is not None
    known = {text: label for text, (label,) in zip(parts.valid.texts, parts.valid.labels, strict=True)}

    def fits(train, names, choices):
        for choice in choices:
            right = choice["right"]
            yield (
                choice,
                lambda texts, it=right: np.array(
                    [[(known.get(text, names[0]) == name) == it for name in names] for text in texts], dtype=float
                ),
            )

    rival = Rival("oracle", {"single-label": [{"right": False}, {"right": True}]}, fits)
    found = rivals.measure(rival, parts)["oracle"]
    assert (found["settings"], found["held_out_score"]) == ({"right": True}, 1.0)


def test_folds_hold_out_every_row_once(tmp_path: Path) -> None:
    """With few labels a tenth would choose nothing."""
    parts = single(tmp_path, 2, valid=False)
    held_out = [outside.texts for _, outside in tuning._held_out(parts, seed=0, folds=5)]
    assert sorted(text for texts in held_out for text in texts) == sorted(parts.train.texts)
    assert rivals.measure(rivals.WORDS, parts, folds=5)["linear"]["accuracy"] == 1.0


def test_a_rival_that_cannot_be_run_has_a_reason() -> None:
    """Its module is missing, or the data is of another kind."""
    assert rivals.why_not(rivals.WORDS, "multi-label") is None
    assert rivals.why_not(rivals.NBSVM, "multi-label") == "it isn't for multi-label data"
    missing = Rival("a", {"single-label": []}, rivals.WORDS.fits, needs="no_such_module")
    assert rivals.why_not(missing, "single-label") == "the module no_such_module isn't installed"


def test_fasttext_learns_where_it_is_installed(tmp_path: Path) -> None:
    """It is in no environment of this project."""
    pytest.importorskip("fasttext", reason="fastText is in no environment of this project")
    assert rivals.measure(rivals.FASTTEXT, single(tmp_path, 3, valid=True))["fastText"]["accuracy"] > 0.9


def test_the_log_count_ratio_is_the_papers() -> None:
    """Wang & Manning 2012, section 2.1, with counts smoothed by 1."""
    features = sparse.csr_matrix([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    ratio_F = nbsvm.log_count_ratio(features, np.array([True, True, False]))
    assert ratio_F == pytest.approx(np.log([(3 / 5) / (1 / 3), (2 / 5) / (2 / 3)]))
