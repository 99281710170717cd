"""benchmarks.serving.rivals: a rival is measured only where it answers as ours, and its environment is made once."""

import http.server
import json
import math
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from benchmarks.serving.rivals import __main__ as rivals
from benchmarks.serving.rivals import answers, environments
from benchmarks.serving.rivals.answers import Answer, WrongAnswerError
from tests.fakes import PATIENCE_S

ONE = {"label": "up", "score": 0.9, "scores": [{"label": "up", "score": 0.9}, {"label": "down", "score": 0.1}]}
UP = Answer("up", {"up": 0.9, "down": 0.1})


class Echo(http.server.BaseHTTPRequestHandler):
    """Says the text that it was asked for, as a label; to "no" it says 503."""

    def do_POST(self) -> None:
        text = json.loads(self.rfile.read(int(self.headers["content-length"])))["input"]
        content = json.dumps({"label": text, "scores": [{"label": text, "score": 1.0}]}).encode()
        self.send_response(503 if text == "no" else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


class Server(http.server.ThreadingHTTPServer):
    """All of them at once."""

    request_queue_size = 2 * answers.CLIENTS


@pytest.fixture
def port() -> Iterator[int]:
    with Server(("127.0.0.1", 0), Echo) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(PATIENCE_S)


def test_answers_come_in_the_order_of_their_texts(port: int) -> None:
    """Many are asked for at once."""
    names = [str(number) for number in range(100)]
    found = answers.ask(port, [json.dumps({"input": name}) for name in names])
    assert [answer.label for answer in found] == names


def test_a_refusal_is_no_answer(port: int) -> None:
    """One among many is enough."""
    with pytest.raises(WrongAnswerError, match="503"):
        answers.ask(port, [json.dumps({"input": text}) for text in ("yes", "no", "yes")])


@pytest.mark.parametrize("content", [ONE, [ONE], {"object": "list", "data": [ONE]}])
def test_an_answer_is_read_in_each_shape(content: object) -> None:
    """Alone, in a list, and as ours writes it."""
    assert answers.read(json.dumps(content).encode()) == UP


@pytest.mark.parametrize("content", [b"", b"nonsense", b"3", b"[]", b"{}", b'{"label": "up"}', b'{"data": [1, 2]}'])
def test_what_is_no_answer_is_said(content: bytes) -> None:
    """Whatever it is."""
    with pytest.raises(WrongAnswerError, match="not an answer"):
        answers.read(content)


@pytest.mark.parametrize(
    "found",
    [
        Answer("up", {"up": 0.902, "down": 0.098}),
        Answer("up", {"up": math.nan, "down": 0.1}),
        Answer("up", {"up": 0.9, "down": math.nan}),
        Answer("down", {"up": 0.9, "down": 0.1}),
        Answer("left", {"up": 0.9, "down": 0.1}),
        Answer("up", {"up": 0.9}),
    ],
)
def test_another_probability_or_label_is_wrong(found: Answer) -> None:
    """The message has the number of the text."""
    with pytest.raises(WrongAnswerError, match="text 1"):
        answers.check([UP, found], [UP, UP])


def test_a_difference_within_the_tolerance_is_none() -> None:
    """Nor is the other label of two that are as probable."""
    answers.check([Answer("up", {"up": 0.9009, "down": 0.0991})], [UP])
    answers.check([Answer("down", {"up": 0.4999, "down": 0.5001})], [Answer("up", {"up": 0.5001, "down": 0.4999})])


def test_who_fails_in_one_round_has_no_figures() -> None:
    """Medians are of those that ran in all, and the best is among them."""
    rounds: list[rivals.Round] = [
        {"lembra": {"goodput": 300.0}, "ray": {"goodput": 100.0}, "mosec": {"goodput": 900.0}, "litserve": "ended"},
        {"lembra": {"goodput": 500.0}, "ray": {"goodput": 300.0}, "mosec": "text 3", "litserve": {"goodput": 900.0}},
    ]
    medians = rivals.by_server(rounds)
    assert medians == {"lembra": {"goodput": 400.0}, "ray": {"goodput": 200.0}}
    assert rivals.firsts(medians) == ["ray"]
    assert rivals.failures(rounds) == {"litserve": "ended", "mosec": "text 3"}


def test_a_duel_is_at_a_share_of_the_rivals_goodput() -> None:
    """Ours is over it, and p99 are medians."""
    medians = {"lembra": {"goodput": 400.0}, "ray": {"goodput": 200.0}}
    rounds: list[rivals.Round] = [{"lembra": {"p99_ms": p99}, "ray": {"p99_ms": 10 * p99}} for p99 in (1.0, 2.0, 4.0)]
    found = rivals.duel("ray", medians, rounds)
    assert found == {
        "rival": "ray",
        "goodput_ratio": 2.0,
        "rate": pytest.approx(140),
        "p99_ms": {"lembra": 2.0, "ray": 20.0},
    }


def test_a_rival_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With the names of those that do."""
    with pytest.raises(SystemExit):
        rivals.parse(["torchserve"])
    assert "litserve+lembra" in capsys.readouterr().err


def test_an_environment_is_made_again_when_its_requirements_change(tmp_path: Path) -> None:
    """Not before; what they include counts, and an older one goes."""
    made: list[str] = []
    cache = tmp_path / "cache"
    (tmp_path / "shared.txt").write_text("numpy==1\n")
    (tmp_path / "ray.txt").write_text("-r shared.txt\nray==1\n")

    def make(place: Path, requirements: Path) -> None:
        place.mkdir(parents=True)
        made.append(requirements.name)

    def python() -> Path:
        return environments.python("ray", cache=cache, requirements=tmp_path, make=make)

    first = python()
    assert python() == first
    assert made == ["ray.txt"]
    (tmp_path / "shared.txt").write_text("numpy==2\n")
    assert python() != first
    assert made == ["ray.txt"] * 2
    assert len(list(cache.iterdir())) == 1


def test_an_environment_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    """It has no mark of being whole."""
    cache = tmp_path / "cache"
    (tmp_path / "ray.txt").write_text("ray==1\n")

    def cut_off(place: Path, requirements: Path) -> None:
        place.mkdir(parents=True)
        raise environments.NotMadeError("no index")

    with pytest.raises(environments.NotMadeError):
        environments.python("ray", cache=cache, requirements=tmp_path, make=cut_off)
    environments.python("ray", cache=cache, requirements=tmp_path, make=lambda place, _: place.mkdir())
