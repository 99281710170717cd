"""LitServe, batching: `python -m benchmarks.serving.rivals.litserve`.

Batches: https://lightning.ai/docs/litserve/features/batching. A worker a core and `fast_queue`, which is for hundreds
of requests a second and more: https://lightning.ai/docs/litserve/api-reference/litserver.
"""

from collections.abc import Sequence
from typing import Any

import litserve

from benchmarks.serving.rivals import network


class Classify(litserve.LitAPI):
    """Texts of a batch, answered together."""

    def setup(self, device: str) -> None:
        """In the worker's process."""
        del device
        self.classify = network.load()

    def decode_request(self, request: dict[str, Any]) -> str:
        text: str = request["input"]
        return text

    def batch(self, inputs: Sequence[str]) -> list[str]:
        return list(inputs)

    def predict(self, texts: list[str]) -> list[network.Answer]:
        return self.classify(texts)

    def unbatch(self, output: list[network.Answer]) -> list[network.Answer]:
        return output

    def encode_response(self, output: network.Answer) -> network.Answer:
        return output


if __name__ == "__main__":
    api = Classify(max_batch_size=network.MAX_BATCH, batch_timeout=network.WINDOW_S, api_path="/classify")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=network.WORKERS, fast_queue=True)
    server.run(host="127.0.0.1", port=network.PORT, log_level="warning", generate_client_file=False)
