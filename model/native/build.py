"""Make libraries of lstm.c: `python model/native/build.py`, and whenever the package is installed.

Which of them serves is seen at run time. Where there is no C compiler, or one for another kind of CPU, none is made,
and onnxruntime serves.
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
# Without contraction: both widths must round alike, also where the compiler chooses the instructions.
FLAGS = ("-O3", "-std=c11", "-fno-math-errno", "-ffp-contract=off", "-fPIC", "-shared", "-fvisibility=hidden")
LIBRARIES = {
    FOLDER / "liblembra_amx.so": ("-mavx512f", "-mavx512vnni", "-mamx-tile", "-mamx-int8", "-DEIGHT_BITS"),
    FOLDER / "liblembra_avx512_int8.so": ("-mavx512f", "-mavx512vnni", "-DEIGHT_BITS"),
    FOLDER / "liblembra_avx512.so": ("-mavx512f", "-mavx512vnni"),
    FOLDER / "liblembra_avx2.so": ("-mavx2", "-mfma"),
}


def build() -> dict[Path, str | None]:
    """Of each library why it is not there; None where it was made."""
    return {library: _compile(library, width) for library, width in LIBRARIES.items()}


def _compile(library: Path, width: tuple[str, ...]) -> str | None:
    library.unlink(missing_ok=True)  # of an older source
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return "there is no C compiler"
    unfinished = FOLDER / f"{library.name}.{os.getpid()}"
    command = [*compiler.split(), *FLAGS, *width, "-o", str(unfinished), str(FOLDER / "lstm.c"), "-lm"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{command[0]} can't be run: {error.strerror}"
    if done.returncode:
        unfinished.unlink(missing_ok=True)
        said = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.split("\n", 1)
        return f"{command[0]} failed: {said[0] or 'it said nothing'}"
    unfinished.replace(library)  # a server that has the older one open keeps it
    return None


class CustomBuildHook(BuildHookInterface):  # type: ignore[misc]  # hatchling looks for it by this name
    """What hatchling runs before it packs the wheel, an editable one too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the libraries, and the wheel one for this platform."""
        del version
        for library, reason in build().items():
            if reason:
                self.app.display_warning(f"{library.name} is left out, a slower engine will serve: {reason}")
            else:
                build_data["artifacts"].append(library.relative_to(self.root).as_posix())
                build_data.update(pure_python=False, infer_tag=True)


def main() -> int:
    """1 where no library could be made; with a narrower one alone a compiler did what it could."""
    made = build()
    for library, reason in made.items():
        sys.stderr.write(f"{library.name} is {f'left out: {reason}' if reason else 'made'}\n")
    return 1 if all(made.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
