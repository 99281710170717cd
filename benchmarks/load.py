"""Many clients at once: `python -m benchmarks.load [--clients 200] [--seconds 20]`.

Starts a server of its own on a free port of 127.0.0.1, sends one request with 1,000 texts, then lets the clients
post texts of the sample corpus one at a time, each as soon as it is answered, and counts what fails.
"""

import argparse
import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks import machine
from training.data import SAMPLE

PATIENCE_S = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=machine.BUNDLES / "sentiment-en")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    texts = [json.loads(line)["text"] for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    with server(arguments.bundle) as address:
        large = asyncio.run(one_large(address, texts[:1000]))
        load = asyncio.run(many_clients(address, texts, arguments.clients, arguments.seconds))
    show(large, load, seconds=arguments.seconds)
    print(json.dumps({"large": large, "load": load, **machine.describe()}))


def show(large: dict[str, Any], load: dict[str, Any], *, seconds: float) -> None:
    clients, answered, failed = (load[name] for name in ("clients", "answered", "failed"))
    print(f"one request with 1,000 texts: {large['status']}, {large['answers']} answers in {large['seconds']:.2f} s")
    print(f"{clients} clients for {seconds:g} s: {answered:,} answered, {failed} failed")
    print(f"{load['per_s']:.0f} requests/s, median {load['p50_ms']:.0f} ms, p99 {load['p99_ms']:.0f} ms")


@contextmanager
def server(bundle: Path) -> Iterator[str]:
    """The address of a server that is ready; it is ended afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"LEMBRA_BUNDLES": str(bundle), "LEMBRA_PORT": str(port), "LEMBRA_HOST": "127.0.0.1"}
    process = subprocess.Popen([sys.executable, "-m", "app"], env=environment, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if httpx.get(f"{address}/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


async def one_large(address: str, texts: list[str]) -> dict[str, Any]:
    """One request with all the texts."""
    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE_S) as client:
        started = time.perf_counter()
        response = await client.post("/classify", json={"input": texts})
        seconds = time.perf_counter() - started
    answers = len(response.json().get("data", []))
    return {"status": response.status_code, "answers": answers, "seconds": seconds}


async def many_clients(address: str, texts: list[str], clients: int, seconds: float) -> dict[str, Any]:
    """Closed loop: each client posts its next text when it has its answer."""
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    latencies: list[float] = []
    outcomes: Counter[str] = Counter()

    async def client_loop(client: httpx.AsyncClient, offset: int, end: float) -> None:
        for text in itertools.islice(itertools.cycle(texts), offset, None):
            if time.perf_counter() >= end:
                return
            started = time.perf_counter()
            try:
                response = await client.post("/classify", json={"input": text})
                outcomes["200" if response.status_code == 200 and response.json()["data"] else "failed"] += 1
            except httpx.HTTPError:
                outcomes["failed"] += 1
            latencies.append(time.perf_counter() - started)

    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE_S, limits=limits) as client:
        started = time.perf_counter()
        await asyncio.gather(*(client_loop(client, n * 7 % len(texts), started + seconds) for n in range(clients)))
        took = time.perf_counter() - started
    latencies.sort()
    return {
        "clients": clients,
        "answered": outcomes["200"],
        "failed": outcomes["failed"],
        "per_s": outcomes["200"] / took,
        "p50_ms": 1000 * latencies[len(latencies) // 2],
        "p99_ms": 1000 * latencies[int(len(latencies) * 0.99)],
    }


if __name__ == "__main__":
    main()
