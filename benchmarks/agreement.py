"""Do engines agree, and is an answer in a batch the answer alone? `python -m benchmarks.agreement [BUNDLE]`.

1,000 real texts of mixed lengths: test rows of five sets of `--data`; the sample corpus where there is none.
"""

import argparse
import gzip
import itertools
import json
from collections.abc import Sequence
from operator import eq
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from model.bundle import Bundle
from model.classifier import Classifier, Row
from model.engine import Engine
from model.engine_native import Bits, NativeEngine, kernels_for
from model.engine_onnx import OnnxEngine
from model.engine_torch import TorchEngine
from training.data import SAMPLE

SETS = ("sst2", "imdb", "agnews10k", "trec6", "b2w_rating")
TEXTS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", type=Path, default=machine.BUNDLES / "sentiment-en")
    parser.add_argument("--data", type=Path, default=machine.DATA)
    arguments = parser.parse_args()
    texts, source = real_texts(arguments.data)
    bundle = Bundle.open(arguments.bundle)
    network, weights = bundle.config.network, bundle.weights
    engines: dict[str, Engine] = {
        "onnxruntime": OnnxEngine(bundle.graph, weights),
        "torch": TorchEngine(network, weights, device="cpu"),
    }
    every: tuple[Bits, ...] = (16, 8)
    for bits in every:
        for kernel in kernels_for(network, bits):
            engine = NativeEngine(network, weights, threads=1, kernel=kernel, bits=bits)
            engines[engine.name] = engine
    reference = bundle.classifier_on(engines["onnxruntime"])
    classifiers = {name: reference.on(engine) for name, engine in engines.items()}
    rows = reference.encode(texts)
    tokens = [min(map(len, rows)), max(map(len, rows))]
    found = {name: compare(classifier, reference, rows) for name, classifier in classifiers.items()}
    show(found, f"{len(texts)} texts of {tokens[0]} to {tokens[1]} tokens ({source}), {bundle.name}")
    described = {"bundle": bundle.name, "version": bundle.manifest.version, "texts": len(texts), "source": source}
    print(json.dumps({**described, "tokens": tokens, "engines": found, **machine.describe()}))


def compare(classifier: Classifier, reference: Classifier, rows: Sequence[Row]) -> dict[str, float]:
    """The largest differences of any answer from the reference's, and from the same one's without batch-mates."""
    probs, expected = classifier.score(rows), reference.score(rows)
    told, wanted = ([found.label for found in reference.predictions(rows, given)] for given in (probs, expected))
    alone = np.concatenate([classifier.score([row]) for row in rows])
    return {
        "logits": float(np.abs(classifier.logits(rows) - reference.logits(rows)).max()),
        "probs": float(np.abs(probs - expected).max()),
        "labels_equal": sum(map(eq, told, wanted)) / len(rows),
        "batch_alone_probs": float(np.abs(probs - alone).max()),
    }


def show(found: dict[str, dict[str, float]], title: str) -> None:
    """For people, on stdout."""
    table = Table("engine", "logits", "probabilities", "same label", "in a batch and alone", title=title)
    for name, one in found.items():
        differences = (f"{one[key]:.1e}" for key in ("logits", "probs"))
        table.add_row(name, *differences, f"{one['labels_equal']:.2%}", f"{one['batch_alone_probs']:.1e}")
    print("largest differences from onnxruntime's float32")
    Console(width=110).print(table)


def real_texts(data: Path) -> tuple[list[str], str]:
    """The first test rows of each set, in equal parts, or the sample corpus."""
    files = [data / name / "test.jsonl.gz" for name in SETS]
    if all(file.exists() for file in files):
        found = []
        for file in files:
            with gzip.open(file, "rt", encoding="utf-8") as lines:
                found += [json.loads(line)["text"] for line in itertools.islice(lines, TEXTS // len(files))]
        return found, ", ".join(SETS)
    with SAMPLE.open(encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in itertools.islice(lines, TEXTS)], "sample corpus"


if __name__ == "__main__":
    main()
