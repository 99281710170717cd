"""Is a run that was killed and resumed the run that never was? `python -m benchmarks.resume [--kills 20]`.

Trains once without a break, then again under `kill -9` at random moments, each time going on with --resume, and
compares the weights to the byte.
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=machine.DATA / "trec6")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--set", action="append", default=[], help="settings of the run")
    arguments = parser.parse_args()
    settings = [part for setting in ["threads=1", *arguments.set] for part in ("--set", setting)]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cli", "train", str(arguments.data), "--device", "cpu", *settings, "--out"]
        started = time.perf_counter()
        subprocess.run([*command, f"{folder}/whole"], check=True, capture_output=True)
        whole_s = time.perf_counter() - started
        killed = run_killed([*command, f"{folder}/killed", "--resume"], arguments.kills, whole_s, arguments.seed)
        hashes = [
            hashlib.sha256(Path(folder, name, "weights.safetensors").read_bytes()).hexdigest()
            for name in ("whole", "killed")
        ]
    found = {"kills": killed, "uninterrupted_s": round(whole_s, 1), "weights": hashes, "equal": hashes[0] == hashes[1]}
    print(f"killed {killed} times in a run of {whole_s:.0f} s: weights {'equal' if found['equal'] else 'DIFFER'}")
    print(json.dumps({**found, **machine.describe()}))


def run_killed(command: list[str], kills: int, whole_s: float, seed: int) -> int:
    """Run to the end, under that many kills, each after a random time in which some of the work can be done."""
    moments = random.Random(seed)
    done = 0
    for _ in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(moments.uniform(0.02, 0.1) * whole_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            done += 1
        else:
            break
    else:
        subprocess.run(command, check=True, capture_output=True)
    return done


if __name__ == "__main__":
    main()
