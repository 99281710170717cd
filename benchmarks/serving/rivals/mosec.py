"""mosec, with dynamic batching: `python -m benchmarks.serving.rivals.mosec --address 127.0.0.1 --port 8000`.

Workers and batches: https://mosecorg.github.io/mosec/reference/interface.html. JSON is its default on both sides.
"""

from typing import Any

import mosec

from benchmarks.serving.rivals import network


class Classify(mosec.Worker):
    """Texts of a batch, answered together."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = network.load()

    def forward(self, data: list[dict[str, Any]]) -> list[network.Answer]:
        return self.classify([request["input"] for request in data])


if __name__ == "__main__":
    server = mosec.Server()
    server.append_worker(
        Classify,
        num=network.WORKERS,
        max_batch_size=network.MAX_BATCH,
        max_wait_time=round(1000 * network.WINDOW_S),
        route="/classify",
    )
    server.run()
