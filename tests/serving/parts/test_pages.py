"""The server's own pages on its port of REST: tokens, the thread that makes them, and the page as people use it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from native_access import head_of

from inferd.engine.models.repository import Repository
from inferd.errors import ResourceExhausted
from inferd.part import Asked, Response
from inferd.serving.parts.pages.part import MAX_UNLIKE, Pages
from tests.browser import CHROMIUM, Browser
from tests.rest import Asker
from tests.server_fixtures import ServerFixture

EXAMPLES = Path(__file__).parents[3] / "examples"
TOKEN = "t" * 32


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFixture]:
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(f"{TOKEN}\n")
    models = EXAMPLES / "raw", EXAMPLES / "models"
    with ServerFixture(*models, http_port=0, token_file=str(tokens)) as server:
        yield server


def test_metrics_and_the_description_ask_for_a_token(served: ServerFixture) -> None:
    with Asker(served.http) as asker:
        for path in ("/metrics", "/openapi.json", "/docs/x"):
            assert asker.get(path).status == 401
        authorization = f"Bearer {TOKEN}"
        assert asker.get("/docs/x", authorization=authorization).status == 404
        page = asker.get("/metrics", authorization=authorization)
        assert page.headers["content-type"].startswith("text/plain; version=")
        assert b'inferd_model_ready{model="identity",version="1"} 1.0\n' in page.body
        kind = "application/openmetrics-text; version=1.0.0"
        assert asker.get("/metrics", authorization=authorization, accept=kind).body.endswith(b"# EOF\n")
        assert asker.get("/openapi.json", authorization=authorization).json["openapi"] == "3.1.0"


def test_the_page_needs_none_and_tells_nothing_of_this_server(served: ServerFixture) -> None:
    with Asker(served.http) as asker:
        page = asker.get("/docs")
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "unsafe" not in page.headers["content-security-policy"]
        assert b"written_digits" not in page.body
        assert asker.ask("HEAD", "/docs").body == b""
        assert asker.get("/docs/").status == 200
        assert asker.post("/docs").status == 405


def test_the_root_leads_a_browser_to_the_page_and_tells_others_where_to_go(served: ServerFixture) -> None:
    with Asker(served.http) as asker:
        found = asker.get("/", accept="text/html,application/xhtml+xml,*/*;q=0.8")
        assert (found.status, found.headers["location"]) == (302, "docs")
        for accept in ({}, {"accept": "*/*"}, {"accept": "application/json"}):
            other = asker.get("/", **accept)
            assert (other.status, other.headers["content-type"]) == (404, "application/json")
            assert "/docs in a browser" in other.json["error"]
            assert "/v2" in other.json["error"]
        assert asker.post("/").status == 405
        assert asker.get("/nowhere", authorization=f"Bearer {TOKEN}").status == 404


def test_pages_are_made_on_a_thread_and_shared() -> None:
    made: list[tuple[str, str]] = []
    let_go = threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        made.append((threading.current_thread().name, environ["QUERY_STRING"]))
        let_go.wait(30)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"page"]

    async def ask() -> None:
        pages = Pages(Repository, "1", list, app)  # type: ignore[arg-type]
        (scrape,) = (each.verbs["GET"].handler for each in pages.resources() if each.path == "metrics")

        def asked(path: str) -> asyncio.Future[Response]:
            return asyncio.ensure_future(scrape(Asked("", "", b"", head_of("GET", path))))

        alike = [asked("/metrics") for _ in range(50)]
        unlike = [asked(f"/metrics?{n}") for n in range(MAX_UNLIKE + 2)]
        done, waiting = await asyncio.wait(unlike, return_when=asyncio.FIRST_COMPLETED)
        assert all(isinstance(each.exception(), ResourceExhausted) for each in done)
        assert waiting
        let_go.set()
        assert {page.body for page in await asyncio.gather(*alike)} == {b"page"}
        for each in waiting:
            each.cancel()
        await pages.stop()

    asyncio.run(ask())
    assert [query for _, query in made].count("") <= 2  # the second for those that asked when the first had begun
    assert all(name.startswith("inferd-pages") for name, _ in made)


# ---- the page, in Chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with Browser() as browser:
        yield browser


def response(browser: Browser) -> Any:
    browser.wait("!document.getElementById('response').hidden && !document.getElementById('send').disabled")
    return json.loads(browser.value("document.getElementById('response').textContent"))


def test_a_person_tries_models_by_the_keyboard(served: ServerFixture, browser: Browser) -> None:
    browser.errors.clear()
    browser.screen(1100, 900, "light")
    browser.open(f"http://{served.http}/docs#identity")
    browser.wait("document.activeElement.id === 'token' && document.getElementById('server').textContent.includes('token')")
    browser.type(TOKEN)
    browser.press("Enter", text="\r")
    browser.wait("document.getElementById('name').textContent === 'identity'")
    assert "6 models" in browser.value("document.getElementById('server').textContent")
    browser.value("document.getElementById('json').focus()")
    browser.press("Enter", ctrl=True)
    assert response(browser)["outputs"][0]["data"] == [0] * 16
    assert browser.value("document.getElementById('code').textContent") == "200 OK"
    assert browser.value("document.getElementById('took').textContent").endswith(" ms")
    curl = browser.value("document.getElementById('curl').textContent")
    assert "/v2/models/identity/infer" in curl
    assert "$TOKEN" in curl
    assert TOKEN not in curl
    # An error, and a picture.
    browser.value("document.getElementById('json').select()")
    browser.type('{"inputs": [{"name": "<img src=x onerror=document.title=1>"}]}')
    browser.press("Enter", ctrl=True)
    browser.wait("document.getElementById('code').textContent.startsWith('400')")
    assert browser.value("document.querySelectorAll('img').length") == 0
    browser.value("location.hash = '#written_digits'")
    browser.wait("document.getElementById('name').textContent === 'written_digits'")
    browser.choose_file("#file", str(EXAMPLES / "seven.png"))
    browser.value("document.getElementById('send').focus()")
    browser.press("Enter", text="\r")
    assert response(browser)["outputs"][2]["data"] == ["7", "9", "4"]
    refused = ("401", "400")  # what Chromium's console says of each response that is an error
    assert [error for error in browser.errors if not any(f"status of {status}" in error for status in refused)] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
def test_the_page_fits_the_screen(served: ServerFixture, browser: Browser, width: int, scheme: str) -> None:
    browser.screen(width, 740, scheme)
    browser.open(f"http://{served.http}/docs#identity")
    browser.wait("document.getElementById('server').textContent.includes('token')")
    browser.value(f"document.getElementById('token').value = '{TOKEN}'; load()")
    browser.wait("document.getElementById('name').textContent === 'identity'")
    assert browser.value("document.documentElement.scrollWidth") <= width
    dark = browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"
    assert dark == (scheme == "dark")
    assert browser.picture().startswith(b"\x89PNG")


def test_a_page_whose_name_leads_here_reads_nothing(served: ServerFixture) -> None:
    """DNS rebinding, in a browser: by another name than localhost no page gets as far as the question for a token."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    port = served.http.rpartition(":")[2]
    with Browser("--host-resolver-rules=MAP evil.example 127.0.0.1") as browser:
        for host, status in (("evil.example", 403), ("localhost", 401)):
            browser.open(f"http://{host}:{port}/v2")
            for options in ("{}", "{referrerPolicy: 'no-referrer', headers: {'Accept-Language': ''}}", "{method: 'POST', body: '{}'}"):
                got = browser.value(f"fetch('/v2/repository/index', {options}).then(response => response.status)")
                assert got == status, (host, options)
