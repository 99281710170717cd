"""Where a bundle came from: the command, the commit, the machine and the libraries."""

import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from model import files
from training.config import TrainingConfig
from training.printable import utf_8

LIBRARIES = ("torch", "onnx", "onnxruntime", "tokenizers", "numpy", "scipy", "scikit-learn", "safetensors")


def command() -> str:
    """The command of this process, as a shell takes it."""
    return utf_8(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))


def commit() -> str | None:
    """The commit of this checkout, if it is one, with a mark where files differ from it."""
    here = str(Path(__file__).parent)
    try:
        commit, changes = (
            subprocess.run(["git", "-C", here, *arguments], capture_output=True, text=True, check=True).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if changes else commit


def origin(config: TrainingConfig, device: torch.device, seconds: float) -> dict[str, Any]:
    """Of a run, for its report: settings, command, machine, and how long it took."""
    return {
        "seed": config.seed,
        "seconds": round(seconds, 1),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "settings": config.model_dump(),
        "command": command(),
        "environment": environment(),
    }


def environment() -> dict[str, Any]:
    """What computed it."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu(),
        "libraries": files.versions(LIBRARIES),
    }


def cpu() -> str:
    """The processor's name, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
