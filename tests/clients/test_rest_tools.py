"""Clients of HTTP that know nothing of inference, all on one server: curl, fetch in Node and fetch in a browser."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import models
from tests.certificates import Files
from tests.client_conformance import told_by
from tests.clients.test_grpc_js import node
from tests.rest import infer_body
from tests.server_fixtures import LIMIT_S, ServerFixture
from tests.wire import Caller

HERE = Path(__file__).resolve().parent
INFER = "/v2/models/identity/infer"
ROWS = 8_000  # of 16 numbers: 300 KB as JSON
NUMBERS = list(range(16))


class Pages:
    """A web server of one page, known to browsers by two names and so as two origins. The page tells it what came: `told`, by origin."""

    def __init__(self) -> None:
        self.told: queue.Queue[dict[str, Any]] = queue.Queue()
        self.page = (HERE / "browser.html").read_bytes()
        pages = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(pages.page if self.path.startswith("/page") else b"")

            def do_POST(self) -> None:
                pages.told.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.answer(b"")

            def answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/html; charset=utf-8")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.allowed, self.foreign = (f"http://{name}:{self.server.server_port}" for name in ("127.0.0.1", "localhost"))

    @contextmanager
    def served(self) -> Iterator[Pages]:
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        with self.server:
            yield self
            self.server.shutdown()
        thread.join(LIMIT_S)


class Served(NamedTuple):
    inferd: ServerFixture
    pages: Pages
    socket: Path
    folder: Path

    @property
    def url(self) -> str:
        return f"http://{self.inferd.http}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("tools")
    configs = {"identity": f"max_batch_size: {ROWS}"}
    files = models.repository(
        folder / "models", {"identity": models.identity(), "form": models.identity(), "slow": models.slow(500)}, configs
    )
    (folder / "body").write_text(json.dumps(infer_body("x", "FP32", [1, 16], NUMBERS)))
    (folder / "large").write_text(json.dumps(infer_body("x", "FP32", [ROWS, 16], NUMBERS * ROWS)))
    with Pages().served() as pages:
        listen = (f"http:unix:{folder}/rest.sock",)
        with ServerFixture(files, http_port=0, listen=listen, cors_origin=(pages.allowed,), compression="gzip") as inferd:
            yield Served(inferd, pages, folder / "rest.sock", folder)


# ---- curl

SMALL = ("--data-binary", "@body")
LARGE = ("--data-binary", "@large")
AS_TOLD = "%{http_version} %{http_code} %{num_connects}\n"


def curl(served: Served, *words: str, url: str = "", given: str = "") -> tuple[list[Any], list[str], str]:
    """What came, each a JSON document in a file; what curl says of each; and of its work (-v)."""
    program = shutil.which("curl")
    assert program, "curl is missing: install Debian's curl"
    files = [served.folder / "out0", served.folder / "out1"]
    for file in files:
        file.unlink(missing_ok=True)
    command = [program, "-sSv", "--max-time", str(LIMIT_S), "-o", "out0", "-w", AS_TOLD, *words, (url or served.url) + INFER]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=served.folder)
    assert done.returncode == 0, done.stderr
    return [json.loads(file.read_text()) for file in files if file.exists()], done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize(
    ("words", "version", "size"),
    [
        ((*SMALL,), "1.1", 1),
        (("--http1.0", *SMALL), "1.1", 1),
        (("--http2", *SMALL), "1.1", 1),  # it offers to change to HTTP/2, which only few servers still do
        (("--http2-prior-knowledge", *SMALL), "2", 1),
        (("--http2-prior-knowledge", *LARGE), "2", ROWS),
        (("--compressed", *LARGE), "1.1", ROWS),
        (("--http2-prior-knowledge", "--compressed", *LARGE), "2", ROWS),
        (("-H", "expect: 100-continue", "--expect100-timeout", str(LIMIT_S), *LARGE), "1.1", ROWS),
        (("--http1.0", *LARGE), "1.1", ROWS),
    ],
    ids=lambda each: " ".join(each[:-2]) or "plain" if isinstance(each, tuple) else "",
)
def test_curl(served: Served, words: tuple[str, ...], version: str, size: int) -> None:
    (came,), (told,), work = curl(served, *words)
    assert told == f"{version} 200 1"
    assert came["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [size, 16], "data": NUMBERS * size}]
    assert ("< content-encoding: gzip" in work.lower()) == ("--compressed" in words)
    assert ("< HTTP/1.1 100 Continue" in work) == ("expect: 100-continue" in words)


@pytest.mark.parametrize("how", ["--http1.1", "--http2-prior-knowledge"])
def test_curl_sends_a_body_of_unknown_length(served: Served, how: str) -> None:
    (came,), (told,), _ = curl(served, how, "-X", "POST", "-T", "-", given=(served.folder / "large").read_text())
    assert told.split()[1] == "200"
    assert came["outputs"][0]["data"] == NUMBERS * ROWS


def test_curl_by_a_unix_socket(served: Served) -> None:
    (came,), (told,), _ = curl(served, "--unix-socket", str(served.socket), *SMALL, url="http://localhost")
    assert (told, came["outputs"][0]["data"]) == ("1.1 200 1", NUMBERS)


def test_curl_by_tls(served: Served, tmp_path: Path) -> None:
    """ALPN decides, and curl asks for HTTP/2 unless it is told otherwise."""
    files = Files.made(tmp_path)
    with ServerFixture(served.folder / "models" / "identity", http_port=0, **files.settings()) as inferd:
        for words, version in ((), "2"), (("--http1.1",), "1.1"):
            (came,), (told,), _ = curl(served, "--cacert", str(files.ca), *words, *LARGE, url=f"https://{inferd.http}")
            assert (told, came["outputs"][0]["data"]) == (f"{version} 200 1", NUMBERS * ROWS)


def test_curl_keeps_its_connection_after_an_error(served: Served) -> None:
    """The second request needs no further one."""
    wrong = f"{served.url}/v2/models/nosuch/infer"
    came, told, _ = curl(served, *LARGE, wrong, "-o", "out1")
    assert told == ["1.1 404 1", "1.1 200 0"]
    assert "nosuch" in came[0]["error"]
    assert came[1]["outputs"][0]["data"] == NUMBERS * ROWS


# ---- fetch in Node


def test_fetch_in_node(served: Served) -> None:
    came = told_by(node(), "fetch.js", served.url, cwd=HERE / "node")
    assert came["json"] == {"status": 200, "data": NUMBERS}
    assert came["binary"] == {"status": 200, "type": "application/octet-stream", "data": NUMBERS}
    assert came["stream"] == {"status": 200, "data": NUMBERS}
    assert came["compressed"] == {"encoding": "gzip", "shape": [ROWS, 16], "last": 15}
    assert (came["unknown"]["status"], came["unknown"]["code"]) == (404, "NOT_FOUND")
    assert came["many"] == [[first] * 16 for first in range(200)]
    assert came["given_up"] == "TimeoutError"
    assert came["after"] == {"status": 200, "data": NUMBERS}


# ---- fetch in a browser


@pytest.fixture(scope="module")
def browsed(served: Served) -> dict[str, Any]:
    """What the page of each origin told. The allowed one holds the foreign one in a frame."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed")
    page = f"{served.pages.allowed}/page?{served.inferd.http}"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    flags += ["--disable-background-networking", "--remote-debugging-port=0"]  # so it stays until it is ended
    profile = f"--user-data-dir={served.folder / 'chromium'}"
    with subprocess.Popen([program, *flags, profile, page], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            told = [served.pages.told.get(timeout=LIMIT_S) for _ in range(2)]
        finally:
            browser.terminate()
    return {each.pop("origin"): each for each in told}


def test_pages_of_an_allowed_origin(served: Served, browsed: dict[str, Any]) -> None:
    came = browsed[served.pages.allowed]
    assert came["read"] == [200, "inferd"]
    assert came["json"] == [200, NUMBERS]
    assert came["binary"] == [200, NUMBERS]
    assert came["unknown"] == [404, "NOT_FOUND"]


def test_pages_of_a_foreign_origin(served: Served, browsed: dict[str, Any]) -> None:
    """They read nothing. What a browser sends without a question, a form's POST, changes nothing."""
    came = browsed[served.pages.foreign]
    assert came == dict.fromkeys(("read", "json", "binary", "unknown", "form"), "TypeError")
    with Caller(served.inferd.address) as caller:
        assert caller.statistics("form").inference_stats.success.count == 0
