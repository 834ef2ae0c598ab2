"""Hostile HTTP/1.1 on a real port: each gets its documented status (docs/security.md), and the next client is served."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from tests import models
from tests._core.http1.served import Response, infer, responses
from tests._core.http1.test_parser import WRONG
from tests.rest import Asker, infer_body
from tests.server_fixtures import ServerFixture
from tests.wire import LIMIT_S

LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n"
MAX_MESSAGE_BYTES = 1 << 20


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFixture]:
    folder = models.repository(tmp_path_factory.mktemp("models"), {"m": models.identity()}, {})
    with ServerFixture(folder, http_port=0, max_message_bytes=MAX_MESSAGE_BYTES) as server:
        yield server


def connected(served: ServerFixture) -> socket.socket:
    host, _, port = served.http.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=LIMIT_S)


def sent(served: ServerFixture, source: bytes) -> list[Response]:
    """Sends all, and reads until the server's end."""
    taken = bytearray()
    with connected(served) as client:
        with suppress(ConnectionError):  # the server has closed before all was sent
            client.sendall(source)
        with suppress(ConnectionResetError):
            while piece := client.recv(1 << 16):
                taken += piece
    return responses(bytes(taken))


def test_tricks(served: ServerFixture) -> None:
    for name, (source, status) in WRONG.items():
        if status in (413, 431) or len(source) > 100_000:  # those limits are this server's own: below
            continue
        first, last = sent(served, LIVE + source.replace(b"POST /x ", b"POST /v2/models/m/infer "))
        assert (first.status, last.status, last.headers["connection"]) == (200, status, "close"), name
    assert sent(served, LIVE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))[0].status == 200


def test_limits(served: ServerFixture) -> None:
    bomb = gzip.compress(bytes(20 << 20))
    limit = served.settings.max_header_bytes
    for source, status in (
        (LIVE[:-2] + b"X: " + b"y" * limit + b"\r\n\r\n", 431),
        (infer(b"")[:-2].replace(b"Length: 0", b"Length: %d" % (1 << 30)) + b"\r\n", 413),
        (
            infer(b"")[:-2].replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
            + b"\r\n"
            + b"100000\r\n"
            + bytes(1 << 20)
            + b"\r\n1\r\n1",
            413,
        ),
        (infer(bomb, b"Content-Encoding: gzip", b"Connection: close"), 413),
    ):
        [response] = sent(served, source)
        assert response.status == status


def test_one_request_alone_may_have_all_memory(served: ServerFixture) -> None:
    """What reading its JSON takes counts as the request's own."""
    folder = served.settings.models
    body = {**infer_body("x", "FP32", [1, 16], [0] * 16), "unread": [0] * 100_000}
    limits = {"message_memory_bytes": 8 << 20, "max_message_bytes": MAX_MESSAGE_BYTES, "connection_memory_percent": 1}
    with ServerFixture(*folder, http_port=0, **limits) as server, Asker(server.http) as asker:
        assert asker.post("/v2/models/m/infer", body).status == 200


def test_pipelined_flood(served: ServerFixture) -> None:
    """Requests wait unread until their turn: the server holds a response and a read of each connection."""
    count = 2_000
    with connected(served) as client:
        client.setblocking(False)
        left, taken = LIVE * (count - 1) + LIVE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), bytearray()
        client.settimeout(LIMIT_S)
        while left:
            left = left[client.send(left[:10_000]) :]
            taken += client.recv(1 << 16)
        while piece := client.recv(1 << 16):
            taken += piece
    assert [each.status for each in responses(bytes(taken))] == [200] * count


def test_half_requests_hold_nobody_up(served: ServerFixture) -> None:
    with ExitStack() as opened:
        for number in range(100):
            client = opened.enter_context(connected(served))
            client.sendall(infer(bytes(1000))[: number * 10 + 1])
        assert sent(served, LIVE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))[0].status == 200
