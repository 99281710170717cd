"""benchmarks.serving: loads that end, and say what became of each request."""

import asyncio
import http.server
import itertools
import os
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
