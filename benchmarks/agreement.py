"""Do engines agree, and is an answer in a batch the answer alone? `python -m benchmarks.agreement [BUNDLE]`.

1,000 real texts of mixed lengths: test rows of five sets of `--data`; the sample corpus where there is none.
"""

import argparse
import gzip
import itertools
import json
from pathlib import Path

import numpy as np

from benchmarks import machine
from model.bundle import Bundle
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
    onnx = bundle.classifier_on(OnnxEngine(bundle.graph, bundle.weights))
    torch = bundle.classifier_on(TorchEngine(bundle.config.network, bundle.weights, device="cpu"))
    rows = onnx.encode(texts)
    together = onnx.score(rows)
    alone = np.concatenate([onnx.score([row]) for row in rows])
    tokens = [min(map(len, rows)), max(map(len, rows))]
    found = {
        "bundle": bundle.name,
        "version": bundle.manifest.version,
        "texts": len(texts),
        "source": source,
        "tokens": tokens,
        "torch_onnx_logits": float(np.abs(onnx.logits(rows) - torch.logits(rows)).max()),
        "torch_onnx_probs": float(np.abs(together - torch.score(rows)).max()),
        "batch_alone_probs": float(np.abs(together - alone).max()),
    }
    print(f"{len(texts)} texts of {tokens[0]} to {tokens[1]} tokens ({source}), {bundle.name}")
    print(f"largest difference of a probability, torch and ONNX:    {found['torch_onnx_probs']:.1e}")
    print(f"largest difference of a logit, torch and ONNX:          {found['torch_onnx_logits']:.1e}")
    print(f"largest difference of a probability, batch and alone:   {found['batch_alone_probs']:.1e}")
    print(json.dumps({**found, **machine.describe()}))


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
