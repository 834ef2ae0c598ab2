"""A server of the REST form in this process that responds with what it was sent, by the standard library's http.server alone.

It stands for servers that do what inferd does not: that take JSON alone, hang, close connections, or are full on demand. What comes is
written down in `requests`; `rejections` holds what the next inferences are rejected with.
"""

from __future__ import annotations

import gzip
import json
import ssl
import threading
import zlib
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any, NamedTuple

GATE_S = 120  # far longer than any test waits


class Rejection(NamedTuple):
    """A status for an inference, with headers and a body."""

    status: int
    headers: dict[str, str] = {}
    document: dict[str, Any] = {}


class Arrived(NamedTuple):
    """A request: headers in lower case, the body after decompression."""

    path: str
    headers: dict[str, str]
    body: bytes


class HttpEchoServer:
    """Listens on a free loopback port, or on a Unix socket; with TLS where it gets a context."""

    def __init__(self, *, binary: bool = True, context: ssl.SSLContext | None = None, path: Path | None = None) -> None:
        self.binary = binary
        self.coding = ""  # of responses
        self.keeps = True  # whether a connection is kept after a response
        self.requests: list[Arrived] = []
        self.rejections: deque[Rejection] = deque()
        self.gate = threading.Event()  # while it is not set, inferences wait
        self.gate.set()
        self.arrived = threading.Event()  # one is at the gate
        self.left = threading.Event()  # and its client has gone
        self.connections = 0
        handler = type("Handler", (_Handler,), {"echo": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler) if path is None else ThreadingUnixStreamServer(str(path), handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"http+unix:{path}" if path else f"http{'s' if context else ''}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(GATE_S)

    def infers(self) -> list[Arrived]:
        return [request for request in self.requests if request.path.endswith("/infer")]


class _Handler(BaseHTTPRequestHandler):
    echo: HttpEchoServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # a response is one packet

    def setup(self) -> None:
        super().setup()
        self.echo.connections += 1

    def address_string(self) -> str:
        return "a socket"  # of Unix sockets there is no other name

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.note()
        if self.path == "/v2":
            self.answer({"name": "echo", "version": "7", "extensions": ["binary_tensor_data"] if self.echo.binary else []})
        else:
            self.answer({"error": f"there is no {self.path}"}, 404)

    def do_POST(self) -> None:
        body = self.note()
        if not self.echo.gate.is_set():
            self.echo.arrived.set()
            self.wait_at_the_gate()
        if self.echo.rejections:
            rejection = self.echo.rejections.popleft()
            self.answer(rejection.document, rejection.status, rejection.headers)
            return
        end = int(self.headers.get("Inference-Header-Content-Length", len(body)))
        asked = json.loads(body[:end])
        parameters = asked.get("parameters", {})
        parameters.pop("binary_data_output", None)
        said = {"model_name": "echo", "model_version": "1", "id": asked.get("id", ""), "parameters": parameters, "outputs": asked["inputs"]}
        self.answer(said, 200, rest=body[end:])

    def wait_at_the_gate(self) -> None:
        self.connection.settimeout(0.01)
        while not self.echo.gate.is_set():
            try:
                if not self.connection.recv(1):
                    self.echo.left.set()
                    return
            except TimeoutError:
                pass
            except OSError:
                self.echo.left.set()
                return
        self.connection.settimeout(None)

    def note(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        coding = self.headers.get("Content-Encoding")
        if coding:
            body = gzip.decompress(body) if coding == "gzip" else zlib.decompress(body)
        self.echo.requests.append(Arrived(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        return body

    def answer(self, document: Any, status: int = 200, headers: dict[str, str] | None = None, rest: bytes = b"") -> None:
        text = json.dumps(document).encode()
        content = text + rest
        if self.echo.coding:
            content = gzip.compress(content) if self.echo.coding == "gzip" else zlib.compress(content)
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if self.echo.coding:
            self.send_header("Content-Encoding", self.echo.coding)
        if rest:
            self.send_header("Inference-Header-Content-Length", str(len(text)))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = not self.echo.keeps  # which the response does not say
