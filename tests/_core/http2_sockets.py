"""Real clients on real sockets for the native transport's own: h2 and the standard library's ssl. No event loop: a test gives the turns."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Self

import h2.config
import h2.connection
import h2.events

from inferd._core.http2.session import Session
from inferd._core.net.poller import Poller
from inferd._core.net.stream_socket import StreamSocket
from inferd._core.net.tls import Tls
from tests._core.http2_client import Served, frame, headers
from tests.wire import LIMIT_S

OPENING, OPEN, DRAINING, CLOSING, CLOSED = range(5)  # _core/net/stream_socket.pxd
READ_NBYTES = 4 << 10  # _core/net/limits.pxd
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
UNKNOWN = b"\0\x04\0\xff\0\0\0\0\0" + bytes(1024)  # a frame of a kind that nobody knows, which is no error


class Told:
    """A client that writes down what its connection tells."""

    lets_in = True

    def __init__(self) -> None:
        self.told: list[str] = []
        self.failure: Exception | None = None

    def age_ns(self) -> int:
        return 0

    def handshake_made(self, connection: StreamSocket) -> bool:
        self.told.append("handshake_made")
        return self.lets_in

    def failed(self, connection: StreamSocket, error: Exception) -> None:
        self.told.append("failed")
        self.failure = error

    def released(self, connection: StreamSocket) -> None:
        self.told.append("released")


class Sockets:
    """A server without a loop. Its connections, and their clients, end with the block."""

    def __init__(self, **settings: Any) -> None:
        self.served = Served(**settings)
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
        if self.poller.fileno() >= 0:
            self.poller.budget_ns = 10**12
            self.turn()
            self.turn()
        self.served.let_go()
        self.connections.clear()
        self.poller.close()
        self.opened.close()

    def connect(
        self, kind: str = "unix", *, context: ssl.SSLContext | None = None, sent_nbytes: int = 0, told: Told | None = None
    ) -> tuple[StreamSocket, socket.socket]:
        """The server's side and the client's socket. kind: "unix", "tcp". sent_nbytes: that the server's kernel holds, about."""
        near, far = socket.socketpair() if kind == "unix" else tcp_pair(sent_nbytes)
        near.setblocking(False)
        far.settimeout(LIMIT_S)
        if sent_nbytes:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sent_nbytes)
        self.opened.callback(far.close)
        tls = None if context is None else Tls(lambda incoming, outgoing: context.wrap_bio(incoming, outgoing, server_side=True))
        return self.serve(near, tls, told), far

    def serve(self, near: socket.socket, tls: Tls | None = None, told: Told | None = None) -> StreamSocket:
        connection = StreamSocket(self.server, Session(self.server), near, tls, told or Told())
        self.connections.append(connection)
        connection.start(self.poller)
        return connection

    def turn(self) -> None:
        """An iteration of the loop: turns for as long as the budget lasts, and what was scheduled until then."""
        scheduled, self.served.scheduled[:] = list(self.served.scheduled), []
        self.poller.serve()
        for callback in scheduled:
            callback()

    def until(self, condition: Callable[[], Any]) -> None:
        limit_s = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < limit_s
            self.turn()

    def settle(self) -> None:
        """Until nobody has a turn any more. Only of Unix sockets: what is sent by TCP may be on its way."""
        while self.served.scheduled or select.select([self.poller], [], [], 0)[0]:
            self.turn()


def tcp_pair(received_nbytes: int = 0) -> tuple[socket.socket, socket.socket]:
    """Of the second one the kernel takes about so many bytes before they are read."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.socket()
        if received_nbytes:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, received_nbytes)
        far.connect(listener.getsockname())
        return listener.accept()[0], far


class Peer:
    """A client of HTTP/2 on one socket of a Sockets, by TLS where it has a context. Nothing waits: it is asked to move."""

    def __init__(self, sockets: Sockets, client: socket.socket, context: ssl.SSLContext | None = None) -> None:
        self.sockets, self.socket = sockets, client
        client.setblocking(False)
        self.tls = None if context is None else context.wrap_socket(client, server_hostname="localhost", do_handshake_on_connect=False)
        if self.tls is not None:
            sockets.opened.callback(self.tls.close)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.goaways: list[int] = []
        self.pings = self.received_nbytes = 0
        self.closed = self.shaken = False
        self._unsent = self._unread = b""
        self.resets: dict[int, int] = {}
        self.h2.initiate_connection()

    def move(self) -> None:
        """Sends what it has, as far as the socket takes it, and reads once."""
        opened = self.tls or self.socket
        if self.tls is not None and not self.shaken:
            with suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
                self.shaken = True
            return
        self._unsent += self.h2.data_to_send()
        with suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError, BrokenPipeError, ConnectionResetError):
            while self._unsent:
                self._unsent = self._unsent[opened.send(self._unsent) :]
        with suppress(BlockingIOError, ssl.SSLWantReadError):
            self._take(opened.recv(1 << 16))

    def until(self, condition: Callable[[], Any]) -> None:
        def moved() -> Any:
            self.move()
            return condition()

        self.sockets.until(moved)

    def ask(self, path: str, message: bytes = b"", *, end: bool = True) -> int:
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, headers(path))
        self.h2.send_data(stream, frame(message), end_stream=end)
        self.bodies[stream] = b""
        return stream

    def _take(self, arrived: bytes) -> None:
        if not arrived:
            self.closed = True
        self.received_nbytes += len(arrived)
        self._unread += arrived
        while len(self._unread) >= 9 and len(self._unread) >= (size := 9 + int.from_bytes(self._unread[:3], "big")):
            whole, self._unread = self._unread[:size], self._unread[size:]
            for event in self.h2.receive_data(whole):
                self._note(event)

    def _note(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.DataReceived():
                self.bodies[event.stream_id] += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                self.ended.add(event.stream_id)
            case h2.events.StreamReset():
                self.resets[event.stream_id] = int(event.error_code)
            case h2.events.PingAckReceived():
                self.pings += 1
            case h2.events.ConnectionTerminated():
                self.goaways.append(int(event.error_code))
                # h2 takes GOAWAY for the end of everything; open streams go on (RFC 9113, 6.8).
                self.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
