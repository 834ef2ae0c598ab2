"""What comes to the metrics port: a request is answered by one whole HTTP response, or not at all, and nothing is raised.

The connection is two buffers; the page is a real one.
"""

from __future__ import annotations

import io
import re
from typing import Any

from prometheus_client import CollectorRegistry, Counter

from inferd.observe.metrics import Exposition
from inferd.observe.scrape import _Exchange, _named

MODULES = ()
LINES = ("inferd.observe.scrape", "http.server", "wsgiref.simple_server")
WORDS = (b"GET", b"HEAD", b"POST", b"/metrics", b"HTTP/1.0", b"HTTP/1.1", b"HTTP/0.9", b"HTTP/2.0", b"Accept:", b"Accept-Encoding: gzip")
MORE = (b"application/openmetrics-text; version=1.0.0", b"text/plain", b"Content-Length: 5", b"Expect: 100-continue", b"?name[]=a")
DICTIONARY = (*WORDS, *MORE, b"\r\n", b" ", b"%00", b"//")
STATUS = re.compile(rb"HTTP/1\.[01] [1-5]\d\d [^\r\n]*\r\n")


class Page(Exposition):
    def collect(self) -> Any:
        counter = Counter("asked", "A counter.", registry=CollectorRegistry())
        return counter.collect()


class Server:
    """What an exchange asks of its server."""

    server_name, server_port = "localhost", 0
    multithread = multiprocess = False

    def __init__(self) -> None:
        app = _named(Page().wsgi_app())
        self.get_app = lambda: app
        self.base_environ = {"SERVER_NAME": "localhost", "SERVER_PORT": "0", "GATEWAY_INTERFACE": "CGI/1.1", "SCRIPT_NAME": ""}

    def asks(self, client: Any) -> bool:
        return True


SERVER = Server()


def check(data: bytes) -> None:
    exchange: Any = _Exchange.__new__(_Exchange)
    exchange.server, exchange.connection, exchange.client_address = SERVER, None, ("127.0.0.1", 1)
    exchange.rfile, exchange.wfile = io.BufferedReader(io.BytesIO(data)), Wire()  # type: ignore[arg-type]
    exchange.handle()
    answer = bytes(exchange.wfile.written)
    if answer.startswith(b"HTTP/1.1 100 "):
        answer = answer.partition(b"\r\n\r\n")[2]
    if not answer or not answer.startswith(b"HTTP/"):
        return  # nothing was asked, or by HTTP/0.9, which has no head
    assert STATUS.match(answer), answer[:80]
    assert answer[9:12] != b"500", "the page can be made, whatever is asked"
    head, end, body = answer.partition(b"\r\n\r\n")
    assert end, "half a head"
    sizes = re.findall(rb"(?i)\r\ncontent-length: (\d+)", head)
    assert len(sizes) <= 1, answer[:300]
    assert not body or not sizes or len(body) == int(sizes[0])
    assert not re.search(rb"Traceback|python", answer, re.IGNORECASE)


class Wire(io.RawIOBase):
    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.written += content
        return len(content)


def seeds() -> list[bytes]:
    requests = [
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HEAD /metrics HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET /no HTTP/1.1\r\n\r\n",
    ]
    requests += [
        b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
        b"GET /\r\n",
        b"\x16\x03\x01\0\0",
        b"X\r\n\r\n",
    ]
    accepted = b"Accept: application/openmetrics-text; version=1.0.0; charset=utf-8\r\nAccept-Encoding: gzip\r\n\r\n"
    return [*requests, b"GET /metrics?name[]=asked_total HTTP/1.1\r\n" + accepted, b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\n\r\n"]
