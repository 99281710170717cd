"""Make liblembra.so of lstm.c: `python model/native/build.py`, and whenever the package is installed.

Where there is no C compiler, or one for another kind of CPU, nothing is made, and onnxruntime serves.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand
    BuildHookInterface = object

FOLDER = Path(__file__).parent
LIBRARY = FOLDER / "liblembra.so"
FLAGS = ("-O3", "-std=c11", "-mavx2", "-mfma", "-fno-math-errno", "-fPIC", "-shared", "-fvisibility=hidden")


def build() -> str | None:
    """Why there is no library; None where it was made."""
    LIBRARY.unlink(missing_ok=True)  # of an older source
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return "there is no C compiler"
    unfinished = FOLDER / f"{LIBRARY.name}.{os.getpid()}"
    command = [*compiler.split(), *FLAGS, "-o", str(unfinished), str(FOLDER / "lstm.c"), "-lm"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{command[0]} can't be run: {error.strerror}"
    if done.returncode:
        unfinished.unlink(missing_ok=True)
        return f"{command[0]} failed: {(done.stderr.strip().splitlines() or ['it said nothing'])[0]}"
    unfinished.replace(LIBRARY)  # a server that has the older one open keeps it
    return None


class CustomBuildHook(BuildHookInterface):  # type: ignore[misc]  # hatchling looks for it by this name
    """What hatchling runs before it packs the wheel, an editable one too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the library, and the wheel one for this platform."""
        del version
        if reason := build():
            self.app.display_warning(f"lembra's own engine is left out, onnxruntime will serve: {reason}")
            return
        build_data["artifacts"].append(LIBRARY.relative_to(self.root).as_posix())
        build_data.update(pure_python=False, infer_tag=True)


if __name__ == "__main__":
    sys.exit(build())
