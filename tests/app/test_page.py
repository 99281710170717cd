"""app/page, and the descriptions of the API."""

import re
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from app.routes import PAGE

pytestmark = pytest.mark.anyio

# A name, and no address: nothing is fetched from it.
NAMESPACES = re.compile(r'xmlns(:\w+)?="[^"]*"')
LINKED = re.compile(r'(?:src|href)="([^"]+)"')
FILES = [pytest.param(path, id=path.name) for path in sorted(PAGE.rglob("*")) if path.is_file()]


async def test_the_root_is_a_page(client: httpx.AsyncClient) -> None:
    """HTML, at the address that a person types."""
    response = await client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert "<title>" in response.text


async def test_everything_the_page_links_is_there(client: httpx.AsyncClient) -> None:
    """Scripts, styles, icons and links, by the addresses in the page."""
    links = LINKED.findall((await client.get("/")).text)
    assert links
    for link in links:
        assert (await client.get(urljoin("/", link))).status_code == 200, link


@pytest.mark.parametrize("path", FILES)
def test_the_page_asks_no_other_server(path: Path) -> None:
    """It works in a network without the internet, and tells nobody that it was opened."""
    text = NAMESPACES.sub("", path.read_text())
    assert not re.search(r"https?://|[\"'(]//\w", text)


async def test_the_api_describes_itself(client: httpx.AsyncClient) -> None:
    """/openapi.json has the request and every error; /docs shows it."""
    described = (await client.get("/openapi.json")).json()
    post = described["paths"]["/classify"]["post"]
    assert "input" in post["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert {"200", "400", "404", "413", "415", "422", "429", "503"} <= set(post["responses"])
    assert (await client.get("/docs")).status_code == 200
