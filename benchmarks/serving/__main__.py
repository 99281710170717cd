"""The server under load, next to a FastAPI that computes nothing: `python -m benchmarks.serving [BUNDLE]`.

The server has one core (`--cores N` for more) and the clients the last one. What is compared is measured in turn, round
by round; figures are medians over the rounds. Texts are AG News' test rows of `--data`, long ones IMDB's; the sample
corpus where there are none. Needs wrk. Five rounds take about seven minutes.
"""

import argparse
import itertools
import json
import math
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.engine import short_texts
from benchmarks.serving import loads, servers
from benchmarks.serving.loads import Figures
from benchmarks.serving.servers import NOOP, OURS, Server
from model.bundle import Bundle

TEXTS = 2000
LIST = 64  # texts of one request, where there are several
IDLE_S = 2


def main() -> None:
    servers.end_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", type=Path, default=machine.BUNDLES / "sentiment-en")
    parser.add_argument("--data", type=Path, default=machine.DATA)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="of one load")
    parser.add_argument("--cores", type=int, default=1, help="of the server")
    given = parser.parse_args()
    bench = Bench(given)
    found = [bench.round(number) for number in range(given.rounds)]
    figures = {name: statistics.median(one[name] for one in found) for name in found[0]}
    show(figures, given.cores)
    described = {"server_cores": given.cores, **machine.describe()}
    print(json.dumps(loads.finite({"serving": figures, "rounds": found, **described})))


class Bench:
    """Texts, cores, and each measurement."""

    def __init__(self, given: argparse.Namespace) -> None:
        every = sorted(os.sched_getaffinity(0))
        self._cores, self._clients = every[: given.cores], every[-1:]
        self._seconds = given.seconds
        self._bundle = given.bundle
        self._settings = {"bundles": given.bundle, "threads": given.cores}
        self._texts = list(itertools.islice(short_texts(given.data), TEXTS))
        self._single = [loads.body(text) for text in self._texts]
        self._lists = [loads.body(self._texts[at : at + LIST]) for at in range(0, len(self._texts) - LIST, LIST)]
        self._long = [loads.body(text) for text in long_texts(given.data, self._texts)]

    def round(self, number: int) -> Figures:
        """All figures once."""
        with servers.running(NOOP, self._cores) as noop:
            ceiling = self._closed(noop, self._single, 32)
            alone = self._closed(noop, self._single, 1)
            found = {"noop_req_s": ceiling["req_s"], "noop_lone_ms": alone["p50_ms"]}
            found |= {"noop_ready_s": noop.ready_s, "noop_mb": noop.memory_mb, "noop_idle_cpu": noop.cpu_share(IDLE_S)}
        offline = self._offline()
        with servers.running(OURS, self._cores, **self._settings) as ours:
            found |= {"ready_s": ours.ready_s, "mb": ours.memory_mb}
            for bodies in (self._long, self._lists):  # words are met
                self._closed(ours, bodies, 2)
            one, many = self._closed(ours, self._single, 32), self._closed(ours, self._lists, 4)
            lone = self._closed(ours, self._single, 1)
            found |= {"req_s": one["req_s"], "lone_ms": lone["p50_ms"], "list_texts_s": LIST * many["req_s"]}
            found |= {"failed": one["failed"] + many["failed"] + lone["failed"]}
            found |= self._mixed(ours, rate=one["req_s"] / 2, seed=number)
            # Last: where a machine is shared, the caches are others' after a second, and who comes then waits for them.
            found |= {"idle_cpu": ours.cpu_share(IDLE_S)}
        with servers.running(OURS, self._cores, **self._settings, max_waiting_tokens=20_000) as ours:
            found |= self._overload(ours, peak=one["req_s"], seed=number)
        return found | {
            "req_share": found["req_s"] / found["noop_req_s"],
            "list_share": found["list_texts_s"] / offline,
            "lone_over_ms": found["lone_ms"] - found["noop_lone_ms"],
            "ready_ratio": found["ready_s"] / found["noop_ready_s"],
            "mb_over": found["mb"] - found["noop_mb"],
            "offline_texts_s": offline,
        }

    def _closed(self, server: Server, bodies: Sequence[str], connections: int) -> Figures:
        return loads.closed(server.port, bodies, connections=connections, seconds=self._seconds, cores=self._clients)

    def _offline(self) -> float:
        """Texts a second of the engine in this process, on the server's cores, tokenizing included."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self._cores)
        classifier = Bundle.open(self._bundle).classifier(device="cpu", threads=len(self._cores))
        classifier.predict(self._texts)
        started, texts = time.perf_counter(), 0
        while (seconds := time.perf_counter() - started) < self._seconds:
            classifier.predict(self._texts)
            texts += len(self._texts)
        os.sched_setaffinity(0, before)
        return texts / seconds

    def _mixed(self, server: Server, *, rate: float, seed: int) -> Figures:
        """Short texts at half of what it can, and the same with a long one among a hundred."""
        found = {}
        for name, share in (("short", 0.0), ("mixed", 0.01)):
            kinds = [("short", 1 - share, self._single), ("long", share, self._long)]
            answers = self._open(server, loads.poisson(kinds, rate=rate, seconds=2 * self._seconds, seed=seed))
            found[f"{name}_p99_ms"] = loads.p99_ms([answer for answer in answers if answer.kind == "short"])
        # Where even short ones alone wait for ever, nothing is known of the long ones' share in it.
        known = math.isfinite(found["short_p99_ms"])
        return {**found, "mixed_ratio": found["mixed_p99_ms"] / found["short_p99_ms"] if known else math.inf}

    def _overload(self, server: Server, *, peak: float, seed: int) -> Figures:
        """Five times what it can: what is answered a second, what is refused, and what becomes of a refused one that
        comes again when it was told to.
        """
        kinds = [("short", 1.0, self._single)]
        answers = self._open(server, loads.poisson(kinds, rate=5 * peak, seconds=self._seconds, seed=seed))
        good = [answer for answer in answers if answer.status == 200]
        refused = [answer for answer in answers if answer.status == 429]
        again = refused[:20]
        time.sleep(max((answer.retry_after_s or 0 for answer in again), default=0))
        bodies = [answer.sent.partition(loads.END)[2].decode() for answer in again]
        returned = self._open(server, [(0.05 * number, "again", content) for number, content in enumerate(bodies)])
        took = max((answer.latency_s for answer in good), default=0) + self._seconds
        return {
            "overload_goodput": len(good) / took / peak,
            "overload_refused": len(refused) / len(answers),
            "overload_other": len(answers) - len(good) - len(refused),
            "retried_ok": sum(answer.status == 200 for answer in returned) / max(1, len(returned)),
        }

    def _open(self, server: Server, arrivals: Sequence[loads.Arrival]) -> list[loads.Answered]:
        return loads.open_loop(server.port, arrivals, cores=self._clients)


def long_texts(data: Path, short: Sequence[str]) -> list[str]:
    """IMDB's test reviews, or short texts put together."""
    import gzip

    file = data / "imdb" / "test.jsonl.gz"
    if not file.exists():
        return [" ".join(short[at : at + 10]) for at in range(0, 500, 10)]
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in itertools.islice(lines, 200)]


# What is shown: the load; which figures, as they are written; their units; what is asked of the last.
ROWS = (
    ("single texts, 32 clients", "{req_s:,.0f}, {req_share:.2f}", "req/s, of the no-op's", "0.5"),
    (
        "64 texts a request, 4 clients",
        "{list_texts_s:,.0f}, {list_share:.2f}",
        "texts/s, of the engine's offline",
        "0.9",
    ),
    ("one client", "{lone_ms:.2f}, {lone_over_ms:.2f}", "median ms, over the no-op's", "1.5"),
    ("idle", "{idle_cpu:.3f}, {noop_idle_cpu:.3f}", "share of a core, the no-op's", "0.01"),
    ("half load, 1 % long texts", "{mixed_p99_ms:.1f}, {mixed_ratio:.2f}", "p99 of short in ms, ratio to without", "2"),
    (
        "5 times its capacity, a short queue",
        "{overload_refused:.2f}, {overload_goodput:.2f}",
        "refused, answered of the peak",
        "0.95",
    ),
    ("refused, and back when it is over", "{retried_ok:.2f}", "answered", "1"),
    ("start to ready", "{ready_s:.2f}, {ready_ratio:.2f}", "s, ratio to the no-op's", "2"),
    ("memory when ready", "{mb:.0f}, {mb_over:.0f}", "MB, beyond the no-op's", "200"),
    ("failed or not understood", "{failed:.0f}, {overload_other:.0f}", "requests", "0"),
)


def show(figures: Figures, cores: int) -> None:
    """For people, on stdout."""
    table = Table("load", "found", "what", "asked", title=f"server on {cores} of the cores", title_justify="left")
    for name, found, what, asked in ROWS:
        table.add_row(name, found.format(**figures), what, asked)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
