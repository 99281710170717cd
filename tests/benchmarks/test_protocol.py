"""benchmarks.protocol: labels dealt anew, a row planted, and where it ends up."""

import argparse
import random
from pathlib import Path

import pytest

from benchmarks import protocol, rivals
from benchmarks.runs import Keep
from tests.training.files import ROWS, write_rows
from training import data
from training.config import TrainingConfig
from training.data import Parts


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    """One text of test is in train as well."""
    folder = tmp_path / "mine"
    folder.mkdir()
    write_rows(folder, "train.jsonl", ROWS)
    write_rows(folder, "test.jsonl", [("text 3", "b"), ("asked", "a"), ("also", "a")])
    return rivals.read(folder)


def test_labels_are_dealt_anew_and_none_is_lost(parts: Parts) -> None:
    """The texts stay where they are, and each label has as many rows."""
    dealt = protocol.deal(parts.train, random.Random(0))
    assert dealt.texts == parts.train.texts
    assert dealt.rows_a_label == parts.train.rows_a_label
    assert dealt.labels != parts.train.labels


def test_what_is_planted_is_a_test_text_that_train_lacks_with_a_wrong_label(parts: Parts) -> None:
    """Whatever the seed."""
    assert {protocol.plant(parts, seed) for seed in range(20)} == {("asked", ("b",)), ("also", ("b",))}


def test_chance_is_the_share_of_the_largest_class(parts: Parts) -> None:
    """In test, where it is measured."""
    assert parts.test is not None
    assert protocol.largest_share(parts.test) == pytest.approx(2 / 3)


def test_a_planted_test_text_is_left_out(parts: Parts, tmp_path: Path) -> None:
    """Of every split but test: one row more is dropped than of the control, and the trained bundle's report agrees."""
    given = argparse.Namespace(
        set_name="mine", recipe="debug", set=["epochs=1", "epoch_steps=1"], device="cpu", encoder=None
    )
    found = protocol.planted(parts, 0, given, Keep(tmp_path / "kept"))
    assert (found["in_splits"], found["same_train"]) == ([], True)
    assert found["dropped"] == found["dropped_by_train"] == found["dropped_without"] + 1 == 2


def test_a_text_that_was_not_left_out_is_seen(parts: Parts) -> None:
    """With drop_repeats=false, but for case, space and punctuation."""
    splits = data.split(parts, TrainingConfig(drop_repeats=False))
    assert len(protocol.holding(splits, "Text  3!")) == 1
    assert protocol.holding(splits, "asked") == []
