"""BentoML, with adaptive batching: `python -m bentoml serve benchmarks.serving.rivals.bentoml:Classify`.

A batchable endpoint takes a list: a request here has a list of one text, and gets a list of one answer.
https://docs.bentoml.com/en/latest/get-started/adaptive-batching.html
"""

import bentoml

from benchmarks.serving.rivals import network

# How long a text may take before BentoML refuses it: what it adapts its batches to.
MAX_LATENCY_MS = 1000


@bentoml.service(workers=network.WORKERS, metrics={"enabled": False})
class Classify:
    """Texts of a batch, answered together."""

    def __init__(self) -> None:
        self.classify_batch = network.load()

    @bentoml.api(batchable=True, max_batch_size=network.MAX_BATCH, max_latency_ms=MAX_LATENCY_MS, route="/classify")
    def classify(self, input: list[str]) -> list[network.Answer]:  # noqa: A002 - what a request calls it
        return self.classify_batch(input)
