"""benchmarks.serving: loads that end, and say what became of each request."""

import asyncio
import http.server
import itertools
import math
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.serving import loads, servers
from tests.fakes import PATIENCE_S


class Refusing(http.server.BaseHTTPRequestHandler):
    """Answers every other request, and refuses the rest."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        type(self).asked += 1
        refused = type(self).asked % 2 == 0
        self.send_response(429 if refused else 200)
        if refused:
            self.send_header("Retry-After", "7")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    Refusing.asked = 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(PATIENCE_S)


def test_an_open_loop_says_what_became_of_each(port: int) -> None:
    """Status, and when to come back; connections are used again, and it ends with the last answer."""
    arrivals = [(0.01 * number, "short", loads.body(f"text {number}")) for number in range(10)]
    found = asyncio.run(asyncio.wait_for(loads.opened(port, arrivals, most_connections=1), PATIENCE_S))
    assert sorted((answer.status, answer.retry_after_s) for answer in found) == [(200, None)] * 5 + [(429, 7)] * 5
    assert all(answer.latency_s > 0 and b'"input": "text' in answer.sent for answer in found)


def test_arrivals_are_poissons_in_their_shares() -> None:
    """As many as the rate says, at random distances, each kind's bodies in turn; the seed fixes them."""
    kinds = [("short", 0.9, ["a", "b"]), ("long", 0.1, ["c"])]
    found = loads.poisson(kinds, rate=1000, seconds=4, seed=0)
    assert len(found) == pytest.approx(4000, rel=0.1)
    assert sum(kind == "long" for _, kind, _ in found) == pytest.approx(400, rel=0.25)
    assert [content for _, kind, content in found if kind == "short"][:3] == ["a", "b", "a"]
    gaps = [after - before for (before, *_), (after, *_) in itertools.pairwise(found)]
    assert min(gaps) < 0.0002
    assert max(gaps) > 0.003
    assert found == loads.poisson(kinds, rate=1000, seconds=4, seed=0)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_what_is_refused_is_not_answered(port: int) -> None:
    """Half of what the server says is refusals: requests a second are of the other half."""
    found = loads.closed(port, [loads.body("a text")], connections=2, seconds=0.5, cores=[*os.sched_getaffinity(0)])
    assert found["refused"] == found["failed"] == pytest.approx(found["requests"] / 2, abs=2)
    assert found["req_s"] == pytest.approx((found["requests"] - found["refused"]) / found["seconds"])


def test_figures_that_are_none_are_null() -> None:
    """JSON has no word for an infinite latency, nor for the ratio of two."""
    found = {"rounds": [{"p99_ms": math.inf, "ratio": math.nan, "mb": 1.0, "failed": 2}]}
    assert loads.finite(found) == {"rounds": [{"p99_ms": None, "ratio": None, "mb": 1.0, "failed": 2}]}


@pytest.mark.parametrize("capacity", [20, 137, 900])
def test_the_highest_rate_is_found(capacity: float) -> None:
    """From below and from above, never beyond it, and the nearer the more rates are tried."""
    found = [loads.highest(lambda rate: rate <= capacity, guess=100, steps=steps) for steps in (8, 16)]
    assert found == sorted(found)
    assert found == pytest.approx([capacity] * 2, rel=0.2)
    assert capacity * 0.999 < found[1] <= capacity


def test_a_server_that_can_do_nothing_has_no_rate() -> None:
    """Each try is at a lower one."""
    tried: list[float] = []
    assert loads.highest(lambda rate: bool(tried.append(rate)), guess=80, steps=3) == 0
    assert tried == [80, 40, 20]


def test_a_refusal_is_later_than_any_answer() -> None:
    """The hundredth of a hundred is the one that counts; of none there is nothing to be said for it."""
    good = [loads.Answered("a", 200, 0.001 * number, None, b"") for number in range(100)]
    refused = loads.Answered("a", 503, 0.0, None, b"")
    assert loads.p99_ms(good) == pytest.approx(99)
    assert loads.p99_ms([*good[:99], refused]) == loads.p99_ms([]) == math.inf


@pytest.mark.parametrize(
    "whole", [b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\n{}", b"HTTP/1.1 200\r\na: b\r\n\r\n2\r\n{}\r\n0\r\n\r\n"]
)
def test_an_answer_ends_with_its_body(whole: bytes) -> None:
    """By its length, or by the chunk that is empty."""
    assert loads.answer_ends(whole) == whole.index(loads.END)
    assert all(loads.answer_ends(whole[:size]) < 0 for size in range(len(whole)))


def test_a_server_that_ends_at_its_start_says_why() -> None:
    """In the last line of what it said."""
    recipe = servers.Recipe("it", ("-c", "import sys; sys.exit('there is no such bundle')"))
    with (
        pytest.raises(servers.NotStartedError, match="it ended at its start with 1: there is no such bundle"),
        servers.running(recipe, [min(os.sched_getaffinity(0))]),
    ):
        pass


PARENT = """
import http.server, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
http.server.test(http.server.SimpleHTTPRequestHandler, port={port}, bind="127.0.0.1")
"""


def test_what_a_server_started_ends_with_it() -> None:
    """Even in a session of its own; until then it counts."""
    recipe = servers.Recipe("parent", ("-c", PARENT), ready=("HEAD", "/", None))
    with servers.running(recipe, [min(os.sched_getaffinity(0))]) as server:
        (_, (child, _)) = servers.family(server.process.pid)
    end = time.monotonic() + PATIENCE_S
    while _lives(child):
        assert time.monotonic() < end
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    """And is no mere entry that nobody has asked for yet."""
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_the_no_op_answers_as_ours_does_and_is_ended() -> None:
    """It is a process of its own, on the cores that it was given."""
    core = min(os.sched_getaffinity(0))
    with servers.running(servers.NOOP, [core]) as server:
        assert os.sched_getaffinity(server.process.pid) == {core}
        assert server.memory_mb > 1
        (answer,) = asyncio.run(asyncio.wait_for(loads.opened(server.port, [(0.0, "a", loads.body("x"))]), PATIENCE_S))
        assert answer.status == 200
    assert server.process.returncode is not None
