"""Does a classifier answer in integers of 8 bits as it does in float32? Where it does, a server may compute so.

Told by the rows that judge it, whose answers in float32 are there already; by our own engine, whose answers are the
same on any CPU that it runs on.

N rows, C classes.
"""

from typing import Any

import numpy as np

from model.classifier import Classifier
from model.engine_native import NativeEngine, kernels_for
from model.errors import BundleError
from training import evaluate
from training.evaluate import Judged

# Of rows that must be given the same labels, so that no more of accuracy can be lost than a tenth of a point. On less
# than a thousand rows all must be the same.
LEAST_SAME = 0.999


def eight_bits(classifier: Classifier, weights: bytes, judged: Judged, *, threads: int) -> dict[str, Any] | None:
    """Of these rows, the share that is given the same labels, what is gained of accuracy (lost: below 0), the largest
    change of a probability, and whether that is agreement: not more of a change than a probe may show.

    `weights` is the safetensors file; `judged` is what the classifier said in float32. None where our own engine can't
    be asked.
    """
    network = classifier.config.network
    for kernel in kernels_for(network, 8)[:1]:
        try:
            engine = NativeEngine(network, weights, threads=threads, kernel=kernel, bits=8)
        except BundleError:  # as a server would: it takes another engine
            return None
        answers = evaluate.answer(classifier.on(engine), judged.examples)
        same = float((answers.decided_NC == judged.answers.decided_NC).all(axis=1).mean())
        change = float(np.abs(answers.probs_NC - judged.answers.probs_NC).max())
        return {
            "agree": same >= LEAST_SAME and change <= engine.tolerance,
            "rows": len(judged.examples),
            "same_labels": same,
            "accuracy_gained": float(answers.right_N.mean() - judged.answers.right_N.mean()),
            "largest_change": change,
        }
    return None
