"""Ray Serve, with `@serve.batch`: `python -m benchmarks.serving.rivals.ray`.

Batches: https://docs.ray.io/en/latest/serve/advanced-guides/dyn-req-batch.html, whose advice it is that as many
requests may be under way as two batches hold. RAY_SERVE_THROUGHPUT_OPTIMIZED, which the benchmark sets, is from
https://docs.ray.io/en/master/kuberay/user-guides/serve-high-throughput.html.
"""

import signal
import threading
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.serving.rivals import network


@serve.deployment(
    num_replicas=network.WORKERS,
    max_ongoing_requests=2 * network.MAX_BATCH,
    ray_actor_options={"num_cpus": 1},
)
class Classify:
    """Texts of a batch, answered together."""

    def __init__(self) -> None:
        self.classify = network.load()

    @serve.batch(max_batch_size=network.MAX_BATCH, batch_wait_timeout_s=network.WINDOW_S)
    async def answers(self, texts: list[str]) -> list[network.Answer]:
        return self.classify(texts)

    async def __call__(self, request: Request) -> Any:
        return await self.answers((await request.json())["input"])


def main() -> None:
    """Serve until SIGTERM, then end what Ray started."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ray.init(num_cpus=network.WORKERS, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": network.PORT})
    serve.run(Classify.bind(), route_prefix="/classify")  # type: ignore[attr-defined]  # the decorator's
    ended.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
