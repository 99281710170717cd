"""python -m app and uvicorn app.main:app, as processes: how a server starts, ends, and fails to start."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from app.metrics import FOLDER
from tests import tiny
from tests.app.serving import ROOT, environment
from tests.fakes import PATIENCE_S

MODULE = [sys.executable, "-m", "app"]
UVICORN = [sys.executable, "-m", "uvicorn", "app.main:app", "--port", "0"]
LEMBRA = [sys.executable, "-m", "cli", "serve"]
COMMANDS = [pytest.param(MODULE, id="module"), pytest.param(UVICORN, id="uvicorn"), pytest.param(LEMBRA, id="lembra")]
BODY = json.dumps({"input": "the film was good"}).encode()
HEAD = b"POST /classify HTTP/1.1\r\nHost: it\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % len(BODY)


class Server:
    """A server process, and what it logged so far."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log
        self.port = int(self.logs(r"running on http://127\.0\.0\.1:(\d+)").group(1))

    def log(self) -> str:
        return self._log.read_text()

    def logs(self, pattern: str, *, outlived: bool = False) -> re.Match[str]:
        """Wait until the log has it; processes that outlived the server may write it too."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            ended = self.process.poll() is not None and not outlived
            if found := re.search(pattern, self.log()):
                return found
            if ended:
                break
            time.sleep(0.02)
        raise AssertionError(f"no {pattern!r} in:\n{self.log()}")

    def get(self, path: str, body: bytes | None = None) -> int:
        """The status of a whole request; a POST where there is a body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        headers = {"Content-Type": "application/json"}
        with closing(connection):
            connection.request("GET" if body is None else "POST", path, body, headers)
            return connection.getresponse().status

    def metric(self, sample: str) -> float:
        """What `/metrics` says of it."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=PATIENCE_S) as response:
            (line,) = (line for line in response.read().decode().splitlines() if line.startswith(sample))
        return float(line.split()[-1])

    def environments(self) -> bytes:
        """Of its worker processes, as Linux has them."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return b"\0".join(Path(f"/proc/{child}/environ").read_bytes() for child in children)

    def begin(self) -> socket.socket:
        """A request without its body, once the server waits for that body."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        connection.sendall(HEAD + b"Expect: 100-continue\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        return connection


@contextmanager
def running(command: list[str], tmp_path: Path, **settings: object) -> Iterator[Server]:
    log = tmp_path / "log"
    settings = {"LEMBRA_PORT": 0, "LEMBRA_DEVICE": "cpu", "LEMBRA_THREADS": 1} | settings
    with (
        log.open("wb") as file,
        subprocess.Popen(command, env=environment(**settings), cwd=ROOT, stderr=file, process_group=0) as process,
    ):
        try:
            yield Server(process, log)
        finally:
            with suppress(ProcessLookupError):  # its workers too, if it has left any
                os.killpg(process.pid, signal.SIGKILL)


def refused(command: list[str], **settings: object) -> subprocess.CompletedProcess[str]:
    """What became of a server that could not start."""
    settings = {"LEMBRA_PORT": 0, "LEMBRA_DEVICE": "cpu"} | settings
    return subprocess.run(
        command, env=environment(**settings), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_server_starts_and_serves(command: list[str], tiny_bundle: Path, tmp_path: Path) -> None:
    """By each of the three ways to start it."""
    with running(command, tmp_path, LEMBRA_BUNDLES=tiny_bundle) as server:
        assert server.get("/classify", BODY) == 200


def test_a_client_that_offers_http_2_is_served(tiny_bundle: Path, tmp_path: Path) -> None:
    """Java's HttpClient offers it with every request; the offer is declined and the body is read."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n\r\n"
    with (
        running(MODULE, tmp_path, LEMBRA_BUNDLES=tiny_bundle) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as connection,
    ):
        connection.sendall(HEAD + offer + BODY)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_in_good_order(number: int, tiny_bundle: Path, tmp_path: Path) -> None:
    """The exit code is 0, and a request that was in flight is answered first."""
    # Who runs the tests may have ignored one of them, as nohup does.
    command = ["env", f"--default-signal={signal.Signals(number).name.removeprefix('SIG')}", *MODULE]
    with running(command, tmp_path, LEMBRA_BUNDLES=tiny_bundle) as server, server.begin() as connection:
        server.process.send_signal(number)
        server.logs("Shutting down")
        connection.sendall(BODY)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert server.process.wait(PATIENCE_S) == 0


def test_nohup_is_heard(tiny_bundle: Path, tmp_path: Path) -> None:
    """A terminal that is closed is nothing to a server that was told so."""
    command = ["env", "--ignore-signal=HUP", *MODULE]
    with running(command, tmp_path, LEMBRA_BUNDLES=tiny_bundle) as server:
        server.process.send_signal(signal.SIGHUP)
        assert server.get("/classify", BODY) == 200
        assert server.process.poll() is None


def test_sigterm_says_not_ready_before_the_socket_closes(tiny_bundle: Path, tmp_path: Path) -> None:
    """While it drains, it still takes requests of those who have not looked, and tells those who look to go."""
    with running(MODULE, tmp_path, LEMBRA_BUNDLES=tiny_bundle, LEMBRA_DRAIN_S=PATIENCE_S) as server:
        server.process.send_signal(signal.SIGTERM)
        assert server.get("/health/ready") == 503
        assert server.get("/classify", BODY) == 200


def test_several_processes_that_end_take_no_more_connections(tiny_bundle: Path, tmp_path: Path) -> None:
    """While they answer what they have, who comes is refused at once, rather than left to wait for nobody."""
    with running(MODULE, tmp_path, LEMBRA_BUNDLES=tiny_bundle, LEMBRA_WORKERS=2) as server:
        server.logs(r"(?s)startup complete.*startup complete")
        with server.begin() as connection:
            server.process.send_signal(signal.SIGTERM)
            server.logs(r"(?s)Shutting down.*Shutting down")
            server.logs("Waiting for child process")
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)
            connection.sendall(BODY)
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
            assert server.process.wait(PATIENCE_S) == 0


def test_processes_whose_supervisor_was_killed_end(tiny_bundle: Path, tmp_path: Path) -> None:
    """They answer what they have, and leave the port to who starts the server again, and nothing in memory."""
    with running(MODULE, tmp_path, LEMBRA_BUNDLES=tiny_bundle, LEMBRA_WORKERS=2) as server:
        server.logs(r"(?s)startup complete.*startup complete")
        (folder,) = set(re.findall(rb"%s=([^\0]+)" % FOLDER.encode(), server.environments()))
        with server.begin() as connection:
            server.process.kill()
            server.process.wait(PATIENCE_S)
            server.logs(r"(?s)Shutting down.*Shutting down", outlived=True)
            connection.sendall(BODY)
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        server.logs(r"(?s)Finished server process.*Finished server process", outlived=True)
        assert not os.path.exists(folder)
        (tmp_path / "again").mkdir()
        with running(MODULE, tmp_path / "again", LEMBRA_BUNDLES=tiny_bundle, LEMBRA_PORT=server.port) as again:
            assert again.get("/classify", BODY) == 200


def test_a_client_that_never_ends_can_not_keep_it_from_ending(tiny_bundle: Path, tmp_path: Path) -> None:
    """A request whose body does not come is given up at its deadline."""
    settings = {"LEMBRA_BUNDLES": tiny_bundle, "LEMBRA_DEADLINE_S": 0.5}
    with running(MODULE, tmp_path, **settings) as server, server.begin() as connection:
        server.process.send_signal(signal.SIGTERM)
        assert connection.recv(100).startswith(b"HTTP/1.1 408")
        assert server.process.wait(PATIENCE_S) == 0


def test_a_client_that_never_reads_can_not_keep_it_from_ending(tiny_bundle: Path, tmp_path: Path) -> None:
    """An answer larger than the sockets hold, that nobody takes, is given up as well."""
    many = json.dumps({"input": ["good"] * 20_000}).encode()
    settings = {"LEMBRA_MAX_TEXTS": 20_000, "LEMBRA_DEADLINE_S": 6, "LEMBRA_BUNDLES": tiny_bundle}
    with running(MODULE, tmp_path, **settings) as server, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(HEAD.replace(b"%d" % len(BODY), b"%d" % len(many)) + b"\r\n" + many)
        assert connection.recv(12) == b"HTTP/1.1 200"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 0
        assert "graceful shutdown exceeded" in server.log()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_damaged_bundle_is_one_clear_line(command: list[str], tiny_copy: Path) -> None:
    """It names the file, there is no traceback, and the exit code is not 0."""
    weights = tiny_copy / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    done = refused(command, LEMBRA_BUNDLES=tiny_copy)
    assert done.returncode not in {0, None}
    assert done.stderr.count(str(weights)) == 1
    assert "Traceback" not in done.stderr


def test_workers_that_can_not_start_end_the_server(tmp_path: Path) -> None:
    """With several processes too the exit code is not 0."""
    assert refused([*LEMBRA, "--workers", "2"], LEMBRA_BUNDLES=tmp_path).returncode not in {0, None}


def test_metrics_are_those_of_all_processes(tiny_bundle: Path, tmp_path: Path) -> None:
    """Whichever of them is asked; and their folder goes with them."""
    with running(MODULE, tmp_path, LEMBRA_BUNDLES=tiny_bundle, LEMBRA_WORKERS=2) as server:
        server.logs("startup complete")
        for _ in range(8):
            assert server.get("/classify", BODY) == 200
        for _ in range(4):
            assert server.metric('lembra_requests_total{status="200"}') == 8
        assert server.metric(f'lembra_waiting_tokens{{model="{tiny.NAME}"}}') == 0
        (folder,) = set(re.findall(rb"PROMETHEUS_MULTIPROC_DIR=([^\0]+)", server.environments()))
        assert Path(os.fsdecode(folder)).is_dir()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 0
    assert not Path(os.fsdecode(folder)).exists()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("name", "value"), [("LEMBRA_MAX_TEXTS", "none"), ("LEMBRA_MAX_TEXT", "9")])
def test_bad_settings_are_one_line_and_code_2(command: list[str], name: str, value: str, tiny_bundle: Path) -> None:
    """A value that can't be, and a name that there isn't."""
    done = refused(command, LEMBRA_BUNDLES=tiny_bundle, **{name: value})
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert name in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_default_model_is_one_line(tiny_bundle: Path) -> None:
    """Only known once the bundles were looked at; the error lists them."""
    done = refused(MODULE, LEMBRA_BUNDLES=tiny_bundle, LEMBRA_DEFAULT_MODEL="huge")
    assert done.returncode not in {0, None}
    assert f"LEMBRA_DEFAULT_MODEL = 'huge'; there are {tiny.NAME}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_one_line(tiny_bundle: Path) -> None:
    """The server ends rather than to wait for the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = refused(MODULE, LEMBRA_BUNDLES=tiny_bundle, LEMBRA_PORT=taken.getsockname()[1])
    assert done.returncode not in {0, None}
    assert "address already in use" in done.stderr
    assert "Traceback" not in done.stderr
