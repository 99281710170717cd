"""What every rival serves, in a process of its own: the bundle's network on torch, or on our engine.

The benchmark says which by these variables of the environment: RIVAL_ENGINE, "torch" or "lembra"; RIVAL_BUNDLE, a
folder; RIVAL_WORKERS, processes that compute, each on one thread; RIVAL_PORT, of 127.0.0.1.
"""

import os
import sys
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias

from model.bundle import Bundle
from model.classifier import BATCH_TOKENS, Classifier

WORKERS = int(os.environ.get("RIVAL_WORKERS", "1"))
PORT = int(os.environ.get("RIVAL_PORT", "8000"))
# Of every rival that batches.
MAX_BATCH = 64  # as in the engine's table
WINDOW_S = 0.005  # about what a text alone takes torch, 5.5 ms
# Of one text: its best label, that one's score, and all scores.
Answer: TypeAlias = dict[str, Any]


def load() -> Callable[[Sequence[str]], list[Answer]]:
    """What answers texts, all in one batch, in their order. Raises: BundleError."""
    bundle = Bundle.open(Path(os.environ["RIVAL_BUNDLE"]))
    classifier, batch_tokens = _on_torch(bundle) if os.environ["RIVAL_ENGINE"] == "torch" else _on_ours(bundle)

    def classify(texts: Sequence[str]) -> list[Answer]:
        probs_NC = classifier.score(classifier.encode(texts), batch_tokens=batch_tokens).tolist()
        return [_answer(classifier.config.labels, probs_C) for probs_C in probs_NC]

    return classify


def _on_torch(bundle: Bundle) -> tuple[Classifier, int]:
    """float32, one thread, packed: 3.0 ms a text in batches of 64 as they come, 5.5 alone; padded it is 5.4 and 7.4."""
    import torch

    from benchmarks.packed import PackedEngine

    torch.set_num_threads(1)
    return bundle.classifier_on(PackedEngine(bundle)), sys.maxsize


def _on_ours(bundle: Bundle) -> tuple[Classifier, int]:
    return bundle.classifier(device="cpu", threads=1), BATCH_TOKENS


def _answer(labels: Sequence[str], probs_C: Sequence[float]) -> Answer:
    scores = [{"label": label, "score": score} for label, score in zip(labels, probs_C, strict=True)]
    return {**max(scores, key=itemgetter("score")), "scores": scores}
