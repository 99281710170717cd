"""How fast a network is offline, tokenizing included: `python -m benchmarks.engine [BUNDLE]`.

Short real texts (AG News' test rows of `--data`, or the sample corpus) through the same network in several ways, each
once a round, so that what else this machine does meets them all; on one core, and on all that there are. Medians over
the rounds, and ratios to the first way: `nn.LSTM` on PackedSequence batches of 64 in the order of arrival, as in a
tutorial. The ceiling is a float32 matrix product of the recurrence's shape, by torch, in the same rounds.
"""

import argparse
import gzip
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from model import collate
from model.bundle import Bundle
from model.classifier import Classifier
from model.engine import cores
from model.engine_native import NativeEngine, kernels_for
from model.engine_onnx import OnnxEngine
from training.data import SAMPLE

ROWS = 64  # of a batch in the order of arrival
Work = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", type=Path, default=machine.BUNDLES / "sentiment-en")
    parser.add_argument("--data", type=Path, default=machine.DATA)
    parser.add_argument("--texts", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, help="measure on so many alone, here (default: on 1 and on all)")
    given = parser.parse_args()
    if given.cores is not None:
        print(json.dumps(measure(given)))
        return
    # A process each: torch, tokenizers and BLAS look once at how many cores there are.
    counts = sorted({1, cores()})
    command = [sys.executable, "-m", "benchmarks.engine", *sys.argv[1:], "--cores"]
    found = [json.loads(subprocess.check_output([*command, str(count)], text=True)) for count in counts]
    for one in found:
        show(one)
    print(json.dumps({"engine": found, **machine.describe()}))


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """On so many cores: each way's texts a second, its ratios, where the time of ours goes, the ceiling."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.cores])
    import torch

    from benchmarks.packed import PackedEngine

    torch.set_num_threads(given.cores)
    texts = list(itertools.islice(short_texts(given.data), given.texts))
    bundle = Bundle.open(given.bundle)
    ours = bundle.classifier(device="cpu", threads=given.cores)
    onnx = bundle.classifier_on(OnnxEngine(bundle.graph, bundle.weights, threads=given.cores))
    rows = ours.encode(texts)
    ways = {
        f"nn.LSTM, packed, {ROWS} as they come": as_they_come(bundle.classifier_on(PackedEngine(bundle)), texts),
        f"onnxruntime float32, padded, {ROWS} as they come": as_they_come(onnx, texts),
        "onnxruntime float32, by length": by_length(onnx, texts),
        **{f"lembra: {one.engine.name}": by_length(one, texts) for one in (*natives(bundle, given.cores), ours)},
    }
    parts = {"tokenizing": lambda: ours.encode(texts), "the rest": lambda: ours.score(rows)}
    ceiling, macs = product(bundle)
    seconds = rounds({**ways, **parts, "ceiling": ceiling}, given.rounds)
    network = bundle.config.network
    recurrence = sum(map(len, rows)) * network.directions * 4 * network.hidden_size**2
    base = seconds[next(iter(ways))]
    return {
        "cores": given.cores,
        "texts": len(texts),
        "tokens": sum(map(len, rows)) / len(rows),
        "ways": {
            name: {
                "texts_per_s": len(texts) / statistics.median(seconds[name]),
                "ratio": statistics.median(first / this for first, this in zip(base, seconds[name], strict=True)),
            }
            for name in ways
        },
        "us_a_text": {name: 1e6 * statistics.median(seconds[name]) / len(texts) for name in parts},
        "ceiling_gmacs": macs / statistics.median(seconds["ceiling"]) / 1e9,
        "recurrence_gmacs": recurrence / statistics.median(seconds["the rest"]) / 1e9,
    }


def natives(bundle: Bundle, threads: int) -> Iterator[Classifier]:
    """On each library in as many bits as it multiplies, the slowest first."""
    network = bundle.config.network
    for kernel in reversed(kernels_for(network, 8)):
        engine = NativeEngine(network, bundle.weights, threads=threads, kernel=kernel, bits=kernel.bits)
        yield bundle.classifier_on(engine)


def rounds(works: dict[str, Work], count: int) -> dict[str, list[float]]:
    """Seconds of each work in each round, after one that isn't counted."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(count + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def as_they_come(classifier: Classifier, texts: Sequence[str]) -> Work:
    """Batches in the order of arrival, whatever their lengths."""

    def work() -> None:
        for start in range(0, len(texts), ROWS):
            rows = classifier.encode(texts[start : start + ROWS])
            classifier.engine.scores(collate.collate([row.tokens.ids for row in rows], range(len(rows))))

    return work


def by_length(classifier: Classifier, texts: Sequence[str]) -> Work:
    """In the batches that the classifier makes."""
    return lambda: classifier.score(classifier.encode(texts))


def product(bundle: Bundle) -> tuple[Work, float]:
    """States of 64 rows times the recurrent weights in float32, over and over; and how many multiply-adds that is."""
    import torch

    hidden, times = bundle.config.network.hidden_size, 200
    states, weights = torch.rand(ROWS, hidden), torch.rand(hidden, 4 * hidden)

    def work() -> None:
        with torch.inference_mode():
            for _ in range(times):
                torch.mm(states, weights)

    return work, times * ROWS * hidden * 4.0 * hidden


def short_texts(data: Path) -> Iterator[str]:
    """AG News' test rows, or the sample corpus, from the beginning."""
    file = data / "agnews10k" / "test.jsonl.gz"
    with gzip.open(file, "rt", encoding="utf-8") if file.exists() else SAMPLE.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["text"]


def show(found: dict[str, Any]) -> None:
    """For people, on stdout."""
    title = f"{found['cores']} of the cores; {found['texts']} texts of {found['tokens']:.0f} tokens"
    table = Table("way", "texts/s", "ratio", title=title, title_justify="left")
    for name, way in found["ways"].items():
        table.add_row(name, f"{way['texts_per_s']:,.0f}", f"{way['ratio']:.2f}")
    Console(width=110).print(table)
    print(", ".join(f"{name} {us:.0f} µs a text" for name, us in found["us_a_text"].items()))
    share = found["recurrence_gmacs"] / found["ceiling_gmacs"]
    print(f"recurrence {found['recurrence_gmacs']:.1f} of {found['ceiling_gmacs']:.1f} GMAC/s in float32: {share:.2f}")


if __name__ == "__main__":
    main()
