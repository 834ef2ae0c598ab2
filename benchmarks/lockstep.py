"""An HTTP/2 client in lockstep: it sends the requests of all streams at once, and the next ones when all responses are there.

They are calls of their own, or messages of one stream a connection. In a closed loop the requests of a round drift apart, and how many
meet in a batch varies with every run. In lockstep all of them do: the server is stopped while the client sends. Never in here: latency,
TLS, flow control of large messages.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
from collections.abc import Mapping
from typing import Self

DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
WINDOW_UPDATE = 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WHOLE_WINDOW = 2**31 - 1 - 65_535  # beyond the first window: no response of a bounded run waits for more
HPACK_TABLE_NBYTES = 4096
RECEIVE_NBYTES = 64 << 10


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


class Field(ctypes.Structure):
    """nghttp2_nv"""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("value", ctypes.c_char_p),
        ("name_nbytes", ctypes.c_size_t),
        ("value_nbytes", ctypes.c_size_t),
        ("flags", ctypes.c_uint8),
    )


def header_blocks(headers: Mapping[str, str]) -> tuple[bytes, bytes]:
    """The same headers as libnghttp2 compresses them for the first request of a connection, and for each later one."""
    library = ctypes.CDLL("libnghttp2.so.14")
    deflater = ctypes.c_void_p()
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    fields = (Field * len(pairs))(*(Field(name, value, len(name), len(value), 0) for name, value in pairs))
    library.nghttp2_hd_deflate_new(ctypes.byref(deflater), HPACK_TABLE_NBYTES)
    blocks = []
    for _ in range(2):
        block = ctypes.create_string_buffer(HPACK_TABLE_NBYTES)
        nbytes = library.nghttp2_hd_deflate_hd(deflater, block, ctypes.c_size_t(len(block)), fields, ctypes.c_size_t(len(pairs)))
        blocks.append(block.raw[:nbytes])
    library.nghttp2_hd_deflate_del(deflater)
    return blocks[0], blocks[1]


class Request:
    """What is sent on every stream. headers: the pseudo-headers first. body: a gRPC message with its prefix; empty: there is none."""

    def __init__(self, headers: Mapping[str, str], body: bytes = b"") -> None:
        self._first_block, self._block = header_blocks(headers)
        self._body = body

    def opening(self, stream: int) -> bytes:
        """The headers of a stream whose messages come later, the first one of its connection."""
        return frame(HEADERS, END_HEADERS, stream, self._first_block)

    def further(self, stream: int) -> bytes:
        """The same for each later one."""
        return frame(HEADERS, END_HEADERS, stream, self._block)

    def message(self, stream: int) -> bytes:
        return frame(DATA, 0, stream, self._body)

    def frames(self, stream: int) -> bytes:
        block = self._first_block if stream == 1 else self._block
        if not self._body:
            return frame(HEADERS, END_HEADERS | END_STREAM, stream, block)
        return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, self._body)


class Connection:
    def __init__(self, host: str, port: int, request: Request) -> None:
        self._request = request
        self._socket = socket.create_connection((host, port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(PREFACE + frame(SETTINGS, 0, 0) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WHOLE_WINDOW)))
        self._stream = 1
        self._received = b""
        self._bodies: dict[int, bytes] = {}  # of the streams that have not ended

    def send(self, requests: int) -> None:
        """One write for all of them."""
        streams = range(self._stream, self._stream + 2 * requests, 2)
        self._stream += 2 * requests
        self._bodies = dict.fromkeys(streams, b"")
        self._socket.sendall(b"".join(self._request.frames(stream) for stream in streams))

    def receive(self) -> list[bytes]:
        """The bodies of all responses, in the order in which they ended."""
        ended = []
        while self._waits():
            received = self._socket.recv(RECEIVE_NBYTES)
            if not received:
                raise RuntimeError("the server closed the connection")
            self._received += received
            while (taken := self._take_frame()) is not None:
                ended += taken
        return ended

    def _take_frame(self) -> list[bytes] | None:
        """The body that one frame ended, if it did; None: no whole frame is there."""
        if len(self._received) < 9:
            return None
        length = int.from_bytes(self._received[:3])
        kind, flags, stream = struct.unpack(">BBI", self._received[3:9])
        if len(self._received) < 9 + length:
            return None
        payload, self._received = self._received[9 : 9 + length], self._received[9 + length :]
        if kind in (GOAWAY, RST_STREAM):
            raise RuntimeError(f"the server sent a frame of type {kind}: {payload!r}")
        if kind == SETTINGS and not flags & ACK:
            self._socket.sendall(frame(SETTINGS, ACK, 0))
        return self._take(kind, flags, stream, payload) if kind in (DATA, HEADERS) else []

    def _waits(self) -> bool:
        return bool(self._bodies)

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> list[bytes]:
        if kind == DATA:
            self._bodies[stream] += payload
        return [self._bodies.pop(stream)] if flags & END_STREAM else []

    def close(self) -> None:
        self._socket.close()


class StreamingConnection(Connection):
    """All requests are messages of one stream, each in a frame of its own."""

    def __init__(self, host: str, port: int, request: Request) -> None:
        super().__init__(host, port, request)
        self._socket.sendall(request.opening(1) + frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", WHOLE_WINDOW)))
        self._waiting = 0
        self._part = b""  # of a response

    def send(self, requests: int) -> None:
        self._waiting = requests
        self._socket.sendall(self._request.message(1) * requests)

    def _waits(self) -> bool:
        return self._waiting > 0

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> list[bytes]:
        """The responses that are whole."""
        if flags & END_STREAM:
            raise RuntimeError("the server ended the stream")
        found = []
        if kind == DATA:
            self._part += payload
        while len(self._part) >= 5 and len(self._part) >= (end := 5 + int.from_bytes(self._part[1:5])):
            found.append(self._part[:end])
            self._part = self._part[end:]
        self._waiting -= len(found)
        return found


class Lockstep:
    """So many connections with so many streams each, to a server that is a child of this process. All responses must be the same.

    streaming: each connection has one stream with so many messages in flight.
    """

    def __init__(self, pid: int, address: str, request: Request, connections: int, streams: int, streaming: bool = False) -> None:
        host, _, port = address.rpartition(":")
        self._pid, self._streams = pid, streams
        kind = StreamingConnection if streaming else Connection
        self._connections = [kind(host, int(port), request) for _ in range(connections)]
        self._body: bytes | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.close()

    def run(self, rounds: int) -> int:
        """The number of requests. A round is a request on each stream."""
        for _ in range(rounds):
            self._send()
            for connection in self._connections:
                for body in connection.receive():
                    self._body = self._body or body
                    if body != self._body or not body:
                        raise RuntimeError(f"responses differ: {body!r}, {self._body!r}")
        return rounds * len(self._connections) * self._streams

    def _send(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)
        os.waitpid(self._pid, os.WUNTRACED)
        try:
            for connection in self._connections:
                connection.send(self._streams)
        finally:
            os.kill(self._pid, signal.SIGCONT)
