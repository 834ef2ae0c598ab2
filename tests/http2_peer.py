"""An HTTP/2 client over a real socket, for what no gRPC library would send: h2, and raw bytes where even h2 rejects.

Blocking, one thread, every wait bounded. Never in here: what a right response is.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.events

from tests.wire import INFER, LIMIT_S

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
EMPTY_SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
NO_PING = b"\0\0\0\x06\0\0\0\0\0"  # one without its bytes: an error of the connection
DATA, GOAWAY = 0, 7
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST


def framed(message: bytes, *, compressed: int = 0, nbytes: int | None = None) -> bytes:
    return struct.pack(">BI", compressed, len(message) if nbytes is None else nbytes) + message


def open_streams(first: int, count: int, path: str = INFER) -> bytes:
    """The HEADERS of so many requests, from the id `first` on, without counting on a response."""
    return b"".join(_opening(first, count, path))


def reset_streams(first: int, count: int, path: str = INFER) -> bytes:
    """Opens so many streams, from the id `first` on, and resets each at once, as an attacker does: without counting on a response."""
    reset, cancel = b"\0\0\4\3\0", b"\0\0\0\x08"  # RST_STREAM
    return b"".join(opening + reset + opening[5:9] + cancel for opening in _opening(first, count, path))


def _opening(first: int, count: int, path: str) -> Iterator[bytes]:
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path.encode()), (b":authority", b"test"), (b"te", b"trailers")]
    fields.append((b"content-type", b"application/grpc"))
    block = b"".join(b"%c%c%b%c%b" % (0, len(name), name, len(value), value) for name, value in fields)  # HPACK, nothing indexed
    head = struct.pack(">I", len(block))[1:] + b"\1\4"  # HEADERS, all of them
    return (head + struct.pack(">I", stream) + block for stream in range(first, first + 2 * count, 2))


def frame_types(content: bytes) -> Iterator[int]:
    """Of each frame."""
    at = 0
    while at < len(content):
        yield content[at + 3]
        at += 9 + int.from_bytes(content[at : at + 3])


@dataclass
class Answer:
    """What came on one stream."""

    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    reset: int | None = None  # error code of RST_STREAM
    ended: bool = False

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None

    @property
    def http_status(self) -> int:
        return int(self.headers[":status"])

    @property
    def status(self) -> int | None:
        """grpc-status, None when there was none."""
        value = (self.headers | self.trailers).get("grpc-status")
        return None if value is None else int(value)

    @property
    def message(self) -> str:
        return unquote((self.headers | self.trailers).get("grpc-message", ""))


def connected(address: str) -> socket.socket:
    """A socket to host:port, [IPv6]:port or unix:path."""
    if address.startswith("unix:"):
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(LIMIT_S)
        peer.connect(address.removeprefix("unix:"))
        return peer
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), LIMIT_S)


class Peer:
    """One connection. `open`, `data` and `end` send at once; `wait` reads until a stream is over."""

    def __init__(self, address: str) -> None:
        self.socket = connected(address)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.config.validate_outbound_headers = False
        self.h2.config.normalize_outbound_headers = False
        self.answers: dict[int, Answer] = {}
        self.goaways: list[h2.events.ConnectionTerminated] = []
        self.pings = 0
        self.closed = False
        self._unread = b""  # less than a frame
        self.h2.initiate_connection()
        self.send()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def send(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def vanish(self) -> None:
        """The connection is gone at once, with a TCP reset, as when the machine behind it dies."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.socket.close()

    def open(
        self,
        path: str = INFER,
        *,
        method: str = "POST",
        content_type: str | None = "application/grpc",
        extra: tuple[tuple[str, str], ...] = (),
        end: bool = False,
    ) -> int:
        stream = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "test"), ("te", "trailers"), *extra]
        if content_type is not None:
            fields.append(("content-type", content_type))
        self.answers[stream] = Answer()
        self.h2.send_headers(stream, fields, end_stream=end)
        self.send()
        return stream

    def data(self, stream: int, body: bytes, *, end: bool = False) -> None:
        """Sends what the windows let through; stops when the stream is over before that."""
        while body and not self.answers[stream].over and not self.closed:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room <= 0:
                self.read()
                continue
            self.h2.send_data(stream, body[:room])
            body = body[room:]
            self.send()
        if end and not self.answers[stream].over and not self.closed:
            self.h2.end_stream(stream)
            self.send()

    def call(self, body: bytes, path: str = INFER, **options: Any) -> Answer:
        stream = self.open(path, **options)
        self.data(stream, body, end=True)
        return self.wait(stream)

    def wait(self, stream: int) -> Answer:
        limit = time.monotonic() + LIMIT_S
        while not self.answers[stream].over and not self.closed:
            assert time.monotonic() < limit, "no answer"
            self.read()
        return self.answers[stream]

    def wait_for_end(self) -> None:
        """Until the server closes the connection."""
        limit = time.monotonic() + LIMIT_S
        while not self.closed:
            assert time.monotonic() < limit, "the connection stays open"
            self.read()

    def ping(self) -> None:
        """The server has read everything that was sent before."""
        before = self.pings
        self.h2.ping(b"12345678")
        self.send()
        limit = time.monotonic() + LIMIT_S
        while self.pings == before and not self.closed:
            assert time.monotonic() < limit, "no answer to PING"
            self.read()

    def read(self) -> None:
        try:
            arrived = self.socket.recv(1 << 16)
        except ConnectionResetError:
            arrived = b""
        if not arrived:
            self.closed = True
            return
        self._unread += arrived
        while len(self._unread) >= 9 and len(self._unread) >= (size := 9 + int.from_bytes(self._unread[:3], "big")):
            frame, self._unread = self._unread[:size], self._unread[size:]
            for event in self.h2.receive_data(frame):
                self._take(event)
        try:
            self.send()
        except (BrokenPipeError, ConnectionResetError):
            self.closed = True

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived():
                self.answers[event.stream_id].headers = dict(event.headers)
            case h2.events.TrailersReceived():
                self.answers[event.stream_id].trailers = dict(event.headers)
            case h2.events.DataReceived():
                self.answers[event.stream_id].body += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                self.answers[event.stream_id].ended = True
            case h2.events.StreamReset():
                self.answers[event.stream_id].reset = event.error_code
            case h2.events.ConnectionTerminated():
                self.goaways.append(event)
                # h2 takes GOAWAY for the end of everything; open streams go on (RFC 9113, 6.8).
                self.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
            case h2.events.PingAckReceived():
                self.pings += 1


def exchange(address: str, content: bytes) -> bytes:
    """Sends any bytes on a connection of their own; everything that came back until the server closed it."""
    with connected(address) as peer:
        peer.sendall(content)
        found = b""
        try:
            while piece := peer.recv(1 << 16):
                found += piece
        except ConnectionResetError:
            pass
        return found
