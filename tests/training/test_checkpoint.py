"""training.checkpoint: what is kept, and when it may be taken up."""

from pathlib import Path

import pytest
import torch

from training.checkpoint import NAME, Checkpoints
from training.errors import TrainingError

STATE = {"step": 3, "weights": {"a": torch.arange(4.0)}, "results": [{"epoch": 1, "loss": 0.5}]}


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    """Tensors and plain values, of the last save."""
    kept = Checkpoints(tmp_path / "run", {"seed": 1})
    assert kept.load() is None
    kept.save({"step": 2})
    kept.save(STATE)
    found = Checkpoints(tmp_path / "run", {"seed": 1}).load()
    assert found is not None
    assert (found["step"], found["results"]) == (3, STATE["results"])
    assert torch.equal(found["weights"]["a"], torch.arange(4.0))
    assert [path.name for path in (tmp_path / "run").iterdir()] == [NAME]


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    """The error names what differs, with both values."""
    Checkpoints(tmp_path, {"seed": 1, "epochs": 5}).save(STATE)
    with pytest.raises(TrainingError, match="seed was 1, is 2; --force"):
        Checkpoints(tmp_path, {"seed": 2, "epochs": 5}).load()


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    """By its path, with what to do."""
    kept = Checkpoints(tmp_path, {})
    kept.save(STATE)
    data = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(data[: len(data) // 2])
    with pytest.raises(TrainingError, match=r"checkpoint\.pt can't be read.*--force"):
        kept.load()


@pytest.mark.parametrize("numbers", [4, 1_000_000])
def test_a_full_disk_is_one_line_and_leaves_the_last_one(tmp_path: Path, numbers: int) -> None:
    """Whether it is noticed at the end or in the middle of a tensor; nothing unfinished lies around."""
    kept = Checkpoints(tmp_path, {})
    kept.save(STATE)
    (tmp_path / f"{NAME}.tmp").symlink_to("/dev/full")
    with pytest.raises(TrainingError, match=rf"{NAME} can't be written: No space left on device$"):
        kept.save({"step": 4, "weights": torch.zeros(numbers)})
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (kept.load() or {})["step"] == STATE["step"]


def test_it_is_due_after_its_time(tmp_path: Path) -> None:
    """Counted from the start, then from each save."""
    clock = Clock()
    kept = Checkpoints(tmp_path, {}, every_s=10, clock=clock)
    assert not kept.is_due()
    clock.now = 10
    assert kept.is_due()
    kept.save(STATE)
    assert not kept.is_due()
