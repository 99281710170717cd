"""Where and with what a figure was measured."""

import os
import platform
import shlex
import sys
from pathlib import Path

from training import provenance

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
BUNDLES = Path(__file__).resolve().parents[1] / "bundles"


def describe() -> dict[str, object]:
    """The fields that every closing JSON line has."""
    return {
        "cpu": provenance.cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": provenance.versions(("torch", "onnxruntime", "tokenizers", "fastapi", "uvicorn")),
        "command": shlex.join(["python", "-m", f"benchmarks.{_name(Path(sys.argv[0]))}", *sys.argv[1:]]),
    }


def _name(script: Path) -> str:
    """Of the benchmark: a module's, or a package's."""
    return script.parent.name if script.stem == "__main__" else script.stem
