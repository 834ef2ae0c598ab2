"""A server of HTTP/1.1 without a loop: a test gives it bytes, or sockets and turns, and makes the responses."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from io import BytesIO
from typing import Any, Self

from native_access import MemorySocket

from inferd._core.grpc.call import Call
from inferd._core.http.head import Head
from inferd._core.http1.session import Http1Session
from inferd._core.net.poller import Poller
from inferd._core.net.protocol import Protocol
from inferd._core.net.server_state import ServerState
from inferd._core.net.stream_socket import StreamSocket
from inferd._core.net.tls import Tls
from inferd.errors import Internal, RequestError
from tests._core.server_limits import LIMITS
from tests.wire import LIMIT_S

OPENING, OPEN, DRAINING, CLOSING, CLOSED = range(5)  # _core/net/stream_socket.pxd
INFER = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\n"


def infer(body: bytes = b"hello", *fields: bytes) -> bytes:
    return b"\r\n".join([INFER[:-2], b"Content-Length: %d" % len(body), *fields, b"", body])


@dataclass
class Response:
    status: int
    headers: dict[str, str]  # by their names in lower case
    body: bytes


class _Source:
    """It stands in for the socket of http.client."""

    def __init__(self, source: BytesIO) -> None:
        self.source = source

    def makefile(self, mode: str) -> BytesIO:
        return self.source


def responses(written: bytes, method: str = "POST") -> list[Response]:
    """The responses in these bytes, as the standard library reads them. They must be whole."""
    source = BytesIO(written)
    source.close = lambda: None  # type: ignore[method-assign]  # http.client closes it after each response
    found = []
    while source.tell() < len(written):
        response = HTTPResponse(_Source(source), method=method)  # type: ignore[arg-type]
        response.begin()
        assert response.length is not None or response.status == 204
        body = response.read()
        found.append(Response(response.status, {name.lower(): value for name, value in response.getheaders()}, body))
    return found


class Told:
    """A client that writes down what its connection tells. goes_on: what it speaks once it has begun with HTTP/2's preface."""

    def __init__(self, goes_on: Protocol | None = None, max_age_ns: int = 0) -> None:
        self.told: list[str] = []
        self.goes_on, self.max_age_ns = goes_on, max_age_ns

    def age_ns(self) -> int:
        return self.max_age_ns

    def http2(self) -> Protocol | None:
        self.told.append("http2")
        protocol, self.goes_on = self.goes_on, None
        return protocol

    def handshake_made(self, connection: StreamSocket) -> bool:
        return True

    def failed(self, connection: StreamSocket, error: Exception) -> None:
        self.told.append("failed")

    def released(self, connection: StreamSocket) -> None:
        self.told.append("released")


def in_memory(
    server: ServerState, write: Callable[[bytes], Any], close_transport: Callable[[], Any] = lambda: None, client: Told | None = None
) -> MemorySocket:
    """A connection of HTTP/1.1 without a socket."""
    return MemorySocket(server, Http1Session(server), write, close_transport, client or Told())


class Served:
    """A server. handler(call, head): by default the calls wait in `calls`."""

    def __init__(self, handler: Any = None, **settings: Any) -> None:
        self.scheduled: list[Callable[[], None]] = []
        self.work: list[Any] = []
        self.calls: list[Any] = []
        self.server = ServerState(
            reject=self.reject,
            schedule=self.scheduled.append,
            call_later=lambda seconds, callback: None,
            run_on_thread=lambda connection, work: self.work.append(work),
            http_handler=handler or self.take,
            infer_method="/inference.GRPCInferenceService/ModelInfer",
            **LIMITS | settings,
        )

    def take(self, call: Call, head: Head) -> None:
        self.calls.append(call)

    def reject(self, call: Call, error: Exception) -> None:
        call.fail(error if isinstance(error, RequestError) else Internal("fault"))

    def run(self) -> None:
        """Runs the callbacks that the event loop was asked for."""
        while self.scheduled:
            self.scheduled.pop(0)()

    def convert(self) -> None:
        """Does the work that message threads were asked for."""
        while self.work:
            work = self.work.pop(0)
            work.run()
            work.done()


class Wire:
    """One connection without a socket."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.written = bytearray()
        self.ended = False
        self.connection = in_memory(served.server, self.written.extend, self.end)

    def end(self) -> None:
        self.ended = True

    def send(self, *pieces: bytes) -> Self:
        for piece in pieces:
            self.connection.receive(piece)
            self.served.run()
        return self

    def taken(self, method: str = "POST") -> list[Response]:
        """The responses since the last look."""
        self.served.run()
        found = responses(bytes(self.written), method)
        self.written.clear()
        return found

    def close(self) -> None:
        self.connection.close()
        self.served.calls.clear()


class Sockets:
    """A server with real sockets. Its connections, and their clients, end with the block."""

    def __init__(self, handler: Any = None, **settings: Any) -> None:
        self.served = Served(handler, **settings)
        self.server = self.served.server
        self.poller = Poller(self.served.scheduled.append)
        self.opened = ExitStack()
        self.connections: list[StreamSocket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self.connections:
            connection.abort()
        for closing in list(self.server.lingering):
            closing.abort()
        self.poller.budget_ns = 10**12
        self.turn()
        self.poller.close()
        self.served.calls.clear()
        self.connections.clear()
        self.opened.close()

    def connect(self, kind: str = "unix", tls: Tls | None = None) -> tuple[StreamSocket, socket.socket]:
        if kind == "unix":
            here, there = socket.socketpair()
        else:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                there = socket.create_connection(listener.getsockname()[:2])
                here, _ = listener.accept()
        here.setblocking(False)
        there.settimeout(LIMIT_S)
        self.opened.callback(there.close)
        connection = StreamSocket(self.server, Http1Session(self.server), here, tls, Told())
        self.connections.append(connection)
        connection.start(self.poller)
        return connection, there

    def turn(self) -> None:
        """An iteration of the event loop."""
        self.poller.serve()
        pending, self.served.scheduled[:] = list(self.served.scheduled), []
        for callback in pending:
            callback()

    def until(self, met: Callable[[], Any]) -> None:
        """Turns until it is so."""
        end = time.monotonic() + LIMIT_S
        while not met():
            assert time.monotonic() < end, "it never came to that"
            select.select([self.poller.fileno()], [], [], 0 if self.served.scheduled else 0.01)
            self.turn()

    def read(self, client: socket.socket, count: int = 1, method: str = "POST") -> list[Response]:
        """So many whole responses."""
        taken = bytearray()
        found: list[Response] = []

        def came() -> bool:
            with suppress(BlockingIOError, ssl.SSLWantReadError):
                if piece := client.recv(1 << 20):
                    taken.extend(piece)
            with suppress(AssertionError, Exception):
                found[:] = responses(bytes(taken), method)
            return len(found) >= count

        client.setblocking(False)
        self.until(came)
        return found

    def ends(self, client: socket.socket) -> bytes:
        """The bytes that come until the server ends the connection."""
        taken = bytearray()

        def came() -> bool:
            with suppress(BlockingIOError):
                piece = client.recv(1 << 20)
                taken.extend(piece)
                return not piece
            return False

        client.setblocking(False)
        self.until(came)
        return bytes(taken)
