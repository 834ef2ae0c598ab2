"""A web server with one file, which cuts connections, stands still or changes the file when a test says so."""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.engine.remote.loopback import LoopbackServer


class WebServer(LoopbackServer):
    """From `with` to its end. url: of the file. ranges: whether it knows them; one_range: only that of the first byte. cut_after: bytes of
    a body after which the connection is cut. hold_after: bytes of all bodies after which it sends nothing until `go`. asked: the first
    byte of each request for the file, but those for one byte. headers: of each request. status: another response than the file.
    head: what is sent instead of any response, and then a byte from time to time if `drips`."""

    def __init__(self, content: bytes, name: str = "digits.onnx", address: str = "127.0.0.1", **knobs: Any) -> None:
        self.content, self.name = content, name
        self.ranges, self.cut_after, self.hold_after, self.status, self.tag = True, 0, 0, 0, '"1"'
        self.redirect, self.one_range = "", False
        self.head, self.drips = b"", False
        self.asked: list[int] = []
        self.headers: list[dict[str, str]] = []
        self.sent = 0
        self.held = threading.Event()
        self.__dict__.update(knobs)
        super().__init__(_Handler, address)
        self.url = f"http://{self.host}/models/{name}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_test: WebServer

    def do_GET(self) -> None:
        server = self.server_of_test
        server.headers.append(dict(self.headers))
        if server.head:
            self._send_head()
            return
        if server.redirect or server.status:
            self.send_response(302 if server.redirect else server.status)
            self.send_header("Location", server.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content, first, last = server.content, 0, len(server.content)
        asked = re.fullmatch("bytes=([0-9]+)-([0-9]+)", self.headers.get("Range", ""))
        probe = asked is not None and (asked[1], asked[2]) == ("0", "0")
        if asked and server.ranges and (probe or not server.one_range):
            first, last = int(asked[1]), min(int(asked[2]) + 1, len(content))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(last - first))
        if server.tag:
            self.send_header("ETag", server.tag)
        self.end_headers()
        if not probe:
            server.asked.append(first)
        self._send(content[first:last], cut=not probe)

    def _send_head(self) -> None:
        self.close_connection = True
        try:
            self.wfile.write(self.server_of_test.head)
            while self.server_of_test.drips and not self.server_of_test.go.wait(0.01):
                self.wfile.write(b"x")
        except OSError:
            pass

    def _send(self, body: bytes, *, cut: bool) -> None:
        server = self.server_of_test
        limit = server.cut_after if cut and server.cut_after else len(body)
        for at in range(0, min(len(body), limit), 1 << 14):
            if server.hold_after and server.sent >= server.hold_after and cut:
                server.held.set()
                server.go.wait(60)
            piece = body[at : min(at + (1 << 14), limit)]
            try:
                self.wfile.write(piece)
            except OSError:
                break
            server.sent += len(piece)
        if limit < len(body):
            self.close_connection = True

    def log_message(self, *words: Any) -> None:
        pass
