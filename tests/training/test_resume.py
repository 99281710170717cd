"""A run that is killed with signal 9 and taken up again, as a whole process."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.events import points

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = [
    "threads=1",
    "epochs=40",
    "patience=100",
    "epoch_steps=20",
    "least_steps=1",
    "embedding_size=16",
    "hidden_size=12",
]
# Seconds into the training itself: early, in the middle of an epoch or at a save, and late; then into those of folds,
# and into the one of all rows, which have no more epochs.
MOMENTS = (
    ("checkpoint.pt", 0.05),
    ("checkpoint.pt", 0.4),
    ("checkpoint.pt", 0.9),
    ("folds.pt", 0.0),
    ("folds.pt", 0.3),
    ("refit.pt", 0.0),
    ("refit.pt", 0.2),
)


def command(data: Path, out: Path, *extra: str) -> list[str]:
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    return [sys.executable, "-m", "cli", "train", str(data), "--out", str(out), "--device", "cpu", *settings, *extra]


def finish(data: Path, out: Path, *extra: str) -> tuple[int, str]:
    """Exit code and stderr of a run that nobody disturbs."""
    done = subprocess.run(
        command(data, out, *extra), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stderr


def weights(out: Path) -> str:
    return hashlib.sha256((out / "weights.safetensors").read_bytes()).hexdigest()


def kept(checkpoint: Path) -> int:
    """When it was written, in nanoseconds; 0 if it isn't there."""
    return checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    rows = "".join(f"{word} number {n % 17} of {n},{word}\n" for n in range(60) for word in ("good", "bad"))
    path.write_text("text,label\n" + rows)
    return path


def test_a_killed_run_ends_in_the_same_weights(data: Path, tmp_path: Path) -> None:
    """Killed in each training, each time after it has kept something new; then --resume to the end."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert finish(data, whole)[0] == 0
    for name, moment in MOMENTS:
        checkpoint = tmp_path / ".killed.run" / name
        before = kept(checkpoint)
        process = subprocess.Popen(
            command(data, killed, "--resume"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and kept(checkpoint) == before:
            time.sleep(0.01)
        time.sleep(moment)
        process.kill()
        process.wait()
        assert not killed.exists(), "it was done before it was killed"
    code, message = finish(data, killed)
    assert (code, "was cut off: --resume goes on with it" in message) == (2, True)
    assert finish(data, killed, "--resume")[0] == 0
    assert weights(killed) == weights(whole)
    assert not any(kept(tmp_path / ".killed.run" / name) for name, _ in MOMENTS)
    for name in ("training/loss", "validation/score", "folds/loss", "refit/loss"):
        assert points(tmp_path / ".killed.run", name) == points(tmp_path / ".whole.run", name)
        assert points(tmp_path / ".whole.run", name)
