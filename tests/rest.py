"""A plain REST client for tests: HTTP/1.1 by http.client, bodies as they are given. Never in here: what a right response is."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from typing import Any, NamedTuple, Self

LIMIT_S = 30  # longer than anything in a test takes


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]  # by their names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)

    @property
    def error(self) -> str:
        assert set(self.json) == {"error", "code"}
        return str(self.json["error"])


class Asker:
    """One keep-alive connection. address: host:port, or unix:/path."""

    def __init__(self, address: str, tls: ssl.SSLContext | None = None) -> None:
        host, _, port = address.rpartition(":")
        if address.startswith("unix:"):
            self.connection = http.client.HTTPConnection("localhost", timeout=LIMIT_S)
            self.connection.sock = socket.socket(socket.AF_UNIX)
            self.connection.sock.connect(address.removeprefix("unix:").replace("@", "\0"))
        elif tls is not None:
            self.connection = http.client.HTTPSConnection(host, int(port), timeout=LIMIT_S, context=tls)
        else:
            self.connection = http.client.HTTPConnection(host, int(port), timeout=LIMIT_S)

    def ask(self, verb: str, path: str, body: Any = b"", **headers: str) -> Answer:
        """body: bytes, an iterator of bytes that are sent in chunks, or what becomes JSON. headers: _ stands for -."""
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(verb, path, content or None, named)
        response = self.connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: Any = b"", **headers: str) -> Answer:
        return self.ask("POST", path, body, **headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.connection.close()


def infer_body(name: str, datatype: str, shape: list[int], data: list[Any], **more: Any) -> dict[str, Any]:
    """The JSON of a request with one input."""
    return {"inputs": [{"name": name, "datatype": datatype, "shape": shape, "data": data}], **more}
