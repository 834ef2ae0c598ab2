"""What HTTP/1.1 costs without sockets: requests into a connection, responses out, each checked."""

from __future__ import annotations

from typing import Any

import pytest

from inferd._core.http1.parser import Parser
from tests._core.http1.served import Served, Wire, infer, responses

ROUNDS = 200
FIELDS = (  # of tritonclient's requests
    b"User-Agent: python-geventhttpclient-2.3", b"Accept: */*", b"Content-Type: application/octet-stream",
    b"Inference-Header-Content-Length: 100",
)  # fmt: skip


@pytest.mark.parametrize("kind", ["the-same-head", "another-head", "chunked"])
def test_parser(benchmark: Any, kind: str) -> None:
    """Requests one behind the other; most clients send the same head each time."""
    requests = [infer(bytes(120 + (number & 1) * (kind == "another-head")), *FIELDS) for number in range(ROUNDS)]
    if kind == "chunked":
        head = infer(b"", *FIELDS).replace(b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n").replace(b"Inference-Header-", b"X-")
        requests = [head + b"78\r\n" + bytes(120) + b"\r\n0\r\n\r\n"] * ROUNDS

    def parse() -> list[Any]:
        parser, found = Parser(16 << 10, 1 << 20), list[Any]()
        for each in requests:
            parser.receive(each, found)
        return found

    found = benchmark(parse)
    assert [len(body) in (120, 121) for _, body in found] == [True] * ROUNDS


def test_echo(benchmark: Any) -> None:
    """A request, its response, the next request; FP32[1,16]-sized bodies."""
    body = bytes(range(120))
    request = infer(body, *FIELDS)

    def connected() -> tuple[tuple[Wire], dict[str, Any]]:
        return (Wire(Served(lambda call, head: call.reply(call.message))),), {}

    def serve(wire: Wire) -> Wire:
        for _ in range(ROUNDS):
            wire.connection.receive(request)
            wire.served.server.flush()
        return wire

    wire = benchmark.pedantic(serve, setup=connected, rounds=50, warmup_rounds=5)
    assert [each.body for each in responses(bytes(wire.written))] == [body] * ROUNDS
