"""Where and with what a figure was measured."""

import os
import platform
import shlex
import sys
from pathlib import Path

from model import files
from training import provenance

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
BUNDLES = Path(__file__).resolve().parents[1] / "bundles"


def describe() -> dict[str, object]:
    """The fields that every closing JSON line has."""
    return {
        "cpu": provenance.cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": files.versions(("torch", "onnxruntime", "tokenizers", "fastapi", "uvicorn")),
        "command": shlex.join(["python", "-m", _name(), *sys.argv[1:]]),
    }


def _name() -> str:
    """Of the benchmark that runs: a module's, or a package's."""
    spec = sys.modules["__main__"].__spec__
    return spec.name.removesuffix(".__main__") if spec is not None else Path(sys.argv[0]).stem
