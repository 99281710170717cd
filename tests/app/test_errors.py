"""app.errors: whatever a client sends, it gets a problem that names the thing, the value and the limit."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app import classify, routes
from app.errors import MalformedBody
from model.errors import ModelError
from tests import tiny
from tests.app.serving import app_of, client_of
from tests.fakes import PATIENCE_S, until

pytestmark = pytest.mark.anyio

GOOD = {"input": "the film was good"}
JSON = {"content-type": "application/json"}


def check_problem(response: httpx.Response, status: int, *said: str) -> dict[str, Any]:
    """RFC 9457, section 3; `said` are parts of the detail."""
    body = response.json()
    assert response.status_code == body["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert body["title"]
    assert body["type"].startswith(("urn:lembra:problem:", "about:blank"))
    assert body["instance"] == response.request.url.path
    for part in said:
        assert part in body["detail"]
    return body


async def still_serves(client: httpx.AsyncClient) -> None:
    assert (await client.post("/classify", json=GOOD)).status_code == 200


BODIES = [
    # What is no JSON.
    pytest.param(b"", 400, ["isn't JSON"], id="empty body"),
    pytest.param(b'{"input": "a"', 400, ["isn't JSON", "column 13"], id="cut JSON"),
    pytest.param(b"input=good", 400, ["isn't JSON"], id="a form"),
    pytest.param(b'{"input": "' + b"[" * 999, 400, ["isn't JSON"], id="open string"),
    pytest.param(b"[" * 3999, 400, ["isn't JSON", "recursion"], id="deep nesting"),
    pytest.param(b'{"input": "\\ud800"}', 400, ["isn't JSON"], id="lone high surrogate"),
    pytest.param(b'{"input": ["good", "\\udc00 film"]}', 400, ["isn't JSON"], id="lone low surrogate"),
    pytest.param(b'{"input": "caf\xe9"}', 400, ["isn't UTF-8", "0xe9", "position 14"], id="latin-1"),
    pytest.param(b'{"input": "\xed\xa0\x80"}', 400, ["isn't UTF-8"], id="surrogate in UTF-8"),
    # JSON that is no request.
    pytest.param(b"null", 422, ["the body"], id="null"),
    pytest.param(b'["good"]', 422, ["the body"], id="a bare list"),
    pytest.param(b"{}", 422, ["input: is missing"], id="no input"),
    pytest.param(b'{"input": null}', 422, ["input", "it is None"], id="input null"),
    pytest.param(b'{"input": 7}', 422, ["input", "it is 7"], id="input a number"),
    pytest.param(b'{"input": ["good", 7]}', 422, ["input.1", "it is 7"], id="a number among texts"),
    pytest.param(b'{"input": [["good"]]}', 422, ["input.0", "it is ['good']"], id="lists in a list"),
    pytest.param(b'{"input": "a", "top_k": "1"}', 422, ["top_k", "it is '1'"], id="top_k a string"),
    pytest.param(b'{"input": "a", "top_k": 0}', 422, ["top_k", "it is 0", "or equal to 1"], id="top_k zero"),
    pytest.param(b'{"input": "a", "top_k": 1.5}', 422, ["top_k", "it is 1.5"], id="top_k a fraction"),
    pytest.param(b'{"input": "a", "top_k": NaN}', 422, ["top_k"], id="top_k NaN"),
    pytest.param(b'{"input": "a", "truncate": 1}', 422, ["truncate", "it is 1"], id="truncate a number"),
    pytest.param(b'{"input": "a", "model": []}', 422, ["model", "it is []"], id="model a list"),
    pytest.param(b'{"inputs": "a", "input": "a"}', 422, ["inputs: ", "no such field", "top_k"], id="unknown field"),
    pytest.param(b'{"input": "a", "text": "a"}', 422, ["text: ", "no such field"], id="field of our own names"),
    # A request whose texts can't be used.
    pytest.param(b'{"input": []}', 422, ["input", "at least 1 item"], id="empty list"),
    pytest.param(b'{"input": ""}', 422, ["input: ", "is empty"], id="empty text"),
    pytest.param(b'{"input": ["good", " \\n\\t\\u00a0"]}', 422, ["input.1", "white space only"], id="white space"),
    pytest.param(b'{"input": "a\\u0000b"}', 422, ["input: ", "NUL at character 1"], id="NUL"),
    pytest.param(b'{"input": "' + b"x" * 301 + b'"}', 422, ["301 characters", "limit is 300"], id="long text"),
    pytest.param(b'{"input": ["a","a","a","a","a","a"]}', 422, ["6 texts", "limit is 5"], id="many texts"),
    pytest.param(b'{"truncate": false, "input": "' + b"bad " * 13 + b'"}', 422, ["input: ", "the 12 tokens"], id="cut"),
]


@pytest.mark.parametrize(("body", "status", "said"), BODIES)
async def test_a_bad_body_is_a_problem(client: httpx.AsyncClient, body: bytes, status: int, said: list[str]) -> None:
    """Each is refused for what it is, and the next request is served."""
    check_problem(await client.post("/classify", content=body, headers=JSON), status, *said)
    await still_serves(client)


async def test_every_faulty_text_is_pointed_at(client: httpx.AsyncClient) -> None:
    """`errors` has a JSON pointer for each, so that a client can drop those and send the rest."""
    response = await client.post("/classify", json={"input": ["", "good", "a\0b"]})
    body = check_problem(response, 422, "and 1 more")
    assert [error["pointer"] for error in body["errors"]] == ["#/input/0", "#/input/2"]


@pytest.mark.parametrize(
    ("body", "said"),
    [({"input": [1] * 500}, "input.0: "), ({str(number): 1 for number in range(400)}, "401 fields can't be used")],
)
async def test_hundreds_of_faults_are_not_described_one_by_one(
    client: httpx.AsyncClient, body: object, said: str
) -> None:
    """Describing each of the faults that fit into a body would hold the server for seconds."""
    found = check_problem(await client.post("/classify", json=body), 422, said)
    assert len(found["errors"]) == 1


async def test_an_announced_large_body_is_not_read(app: FastAPI) -> None:
    """Content-Length is enough to refuse it; the connection ends, as the body is still on it."""

    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError
        yield b""

    async with client_of(app) as client:
        response = await client.post("/classify", content=unread(), headers={**JSON, "content-length": "4001"})
        check_problem(response, 413, "4,001 bytes", "the limit is 4,000")
        assert response.headers["connection"] == "close"
        await still_serves(client)


async def test_a_chunked_large_body_is_read_to_the_limit_only(app: FastAPI) -> None:
    """Without an announcement no more than the limit is taken in."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1000
            yield b" " * 1000

    async with client_of(app) as client:
        check_problem(await client.post("/classify", content=endless(), headers=JSON), 413, "the limit is 4,000")
        assert sent < 10_000
        await still_serves(client)


async def test_a_body_that_does_not_come_is_given_up(tiny_bundle: Path) -> None:
    """A client can't hold a connection by sending half a request."""

    async def half() -> AsyncIterator[bytes]:
        yield b'{"input":'
        await asyncio.Event().wait()

    async with client_of(app_of(tiny_bundle, deadline_s=0.05)) as client, asyncio.timeout(PATIENCE_S):
        response = await client.post("/classify", content=half(), headers=JSON)
        check_problem(response, 408, "0.05 s")
        assert response.headers["connection"] == "close"


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
async def test_another_content_type_is_refused(client: httpx.AsyncClient, kind: str | None) -> None:
    """A form of a foreign page can't post to a server in the reader's network."""
    headers = {"content-type": kind} if kind else {}
    response = await client.post("/classify", content=b'{"input": "good"}', headers=headers)
    check_problem(response, 415, kind or "missing", "application/json")
    await still_serves(client)


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
async def test_json_may_be_spelt_otherwise(client: httpx.AsyncClient, kind: str) -> None:
    """Parameters and capitals make no other type."""
    response = await client.post("/classify", content=b'{"input": "good"}', headers={"content-type": kind})
    assert response.status_code == 200


def shaped(opening: bytes, piece: bytes, closing: bytes, *, size: int = 40_000) -> bytes:
    """A body of about that size, made of pieces."""
    return opening + b",".join([piece] * (size // (len(piece) + 1))) + closing


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(shaped(b'{"input":"a","model":[', b"[[[[[]]]]]", b"]}"), id="lists in lists"),
        pytest.param(shaped(b'{"input":[', b'{"":{}}', b"]}"), id="objects"),
        pytest.param(shaped(b'{"input":"a",', b'"k":[]', b"}"), id="fields"),
        pytest.param(b"[" * 40_000, id="deep"),
        pytest.param(json.dumps({"input": "a" * 40_000}).encode()[:-2], id="an end too early"),
    ],
)
async def test_a_large_body_of_another_shape_is_refused_unread(body: bytes) -> None:
    """Each value would be made first, and held the server up for seconds."""
    with pytest.raises(MalformedBody, match="of which `input` alone may be a list"):
        classify.parse(body)


@pytest.mark.parametrize(
    "text", ["plain " * 5000, 'a "quoted" \\ and [bracketed] {text}, ' * 800, "\u00e9\U0001f600\n\t" * 5000]
)
@pytest.mark.parametrize("ascii_only", [True, False])
async def test_a_large_body_of_a_request_is_read(text: str, *, ascii_only: bool) -> None:
    """Whatever is in its texts, and however it is written."""
    for wanted in (text, [text, "", text]):
        written = json.dumps({"input": wanted, "top_k": 2, "truncate": False}, ensure_ascii=ascii_only, indent=2)
        assert classify.parse(written.encode()).input == wanted


async def test_bodies_that_arrive_have_a_bound_together(app: FastAPI, client: httpx.AsyncClient) -> None:
    """However slowly each of them comes; there is room again when they are there."""
    whole, beginning = json.dumps({"input": "a" * 250}).encode().ljust(4000), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield whole[:-1]
        await beginning.wait()
        yield whole[-1:]

    async def in_chunks() -> AsyncIterator[bytes]:
        yield whole

    headers = {**JSON, "content-length": str(len(whole))}
    asked = [client.post("/classify", content=slowly(), headers=headers) for _ in range(routes.BODIES)]
    slow = [asyncio.ensure_future(one) for one in asked]
    await until(lambda: app.state.lembra.arriving_bytes > (routes.BODIES - 1) * len(whole))
    response = await client.post("/classify", content=in_chunks(), headers=JSON)
    check_problem(response, 429, "arriving", "64,000")
    assert response.headers["retry-after"] == "1"
    beginning.set()
    assert {found.status_code for found in await asyncio.gather(*slow)} == {200}
    await still_serves(client)


async def test_the_document_says_of_what_type_errors_are(client: httpx.AsyncClient) -> None:
    """As each of them is sent."""
    found = (await client.get("/openapi.json")).json()
    roads = [road for methods in found["paths"].values() for road in methods.values()]
    errors = [road["responses"][status] for road in roads for status in road["responses"] if status >= "400"]
    assert len(errors) > 5
    for error in errors:
        assert error["content"] == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


async def test_an_unknown_model_is_not_found(client: httpx.AsyncClient) -> None:
    """The problem names the model that was asked for, and those that there are."""
    response = await client.post("/classify", json={**GOOD, "model": "huge"})
    check_problem(response, 404, "'huge'", tiny.NAME)
    await still_serves(client)


@pytest.mark.parametrize(("method", "path"), [("GET", "/classify"), ("DELETE", "/models"), ("POST", "/health/live")])
async def test_another_method_is_not_allowed(client: httpx.AsyncClient, method: str, path: str) -> None:
    """A problem as well, with the methods that there are."""
    response = await client.request(method, path)
    check_problem(response, 405, method, path)
    assert response.headers["allow"]


@pytest.mark.parametrize("path", ["/nothing", "/classify/x", "/page/nothing.js", "/page/%2e%2e/main.py"])
async def test_an_unknown_path_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    """A problem as well; and no file outside the page's folder has a path."""
    check_problem(await client.get(path), 404)


async def test_an_unexpected_error_says_nothing_of_the_inside(app: FastAPI, client: httpx.AsyncClient) -> None:
    """A fault of ours is a 500; its message stays in the log."""

    async def fails() -> None:
        raise ModelError("secret")

    app.add_api_route("/fails", fails)
    body = check_problem(await client.get("/fails"), 500)
    assert "secret" not in str(body)
