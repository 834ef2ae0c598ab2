"""HTTP/2 in as few bytes as it can be said in: for connections with one request, and for requests that are reset at once.

h2load resets nothing, and gRPC's libraries resume no TLS session. Blocking sockets, every wait bounded. Never in here: measuring.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from workloads import INFER_PATH

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING = 0, 1, 3, 4, 6
END_STREAM, END_HEADERS, ACK = 1, 4, 1
CANCEL = struct.pack(">I", 8)
PIECE = 100  # requests that are sent and reset at once
LIMIT_S = 30.0


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def hello() -> bytes:
    """With what a client begins: its preface and its settings, all of them as by default."""
    return PREFACE + frame(SETTINGS, 0, 0, b"")


def request(message: bytes, stream: int = 1) -> bytes:
    """A ModelInfer call, headers and message."""
    fields = {":method": "POST", ":scheme": "http", ":path": INFER_PATH, ":authority": "test"}
    fields |= {"te": "trailers", "content-type": "application/grpc"}
    block = b"".join(b"%c%c%b%c%b" % (0, len(name), name.encode(), len(value), value.encode()) for name, value in fields.items())
    body = struct.pack(">BI", 0, len(message)) + message
    return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, body)


def frames(connection: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    """Kind, flags and payload of each frame that comes. ConnectionError when no more will."""
    received = b""
    while True:
        while len(received) >= 9 and len(received) >= (size := 9 + int.from_bytes(received[:3], "big")):
            yield received[3], received[4], received[9:size]
            received = received[size:]
        piece = connection.recv(1 << 16)
        if not piece:
            raise ConnectionError("the server closed the connection")
        received += piece


def read_answer(connection: socket.socket) -> None:
    """Up to the end of the only stream. ValueError for an answer that does not end with grpc-status 0."""
    for kind, flags, payload in frames(connection):
        if kind == HEADERS and flags & END_STREAM:
            if not payload.endswith((b"\x010", b"\x81\x07")):  # "0", as it is or by Huffman's code
                raise ValueError("the answer is an error")
            return


def cancel(address: str, message: bytes, count: int) -> None:
    """Asks so many times on one connection and resets each request at once. Returns when the server has seen all of it."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), LIMIT_S) as connection:
        connection.sendall(hello())
        for first in range(0, count, PIECE):
            streams = range(2 * first + 1, 2 * min(first + PIECE, count) + 1, 2)
            connection.sendall(b"".join(request(message, stream) + frame(RESET, 0, stream, CANCEL) for stream in streams))
        connection.sendall(frame(PING, 0, 0, bytes(8)))
        come = frames(connection)
        while next(come)[:2] != (PING, ACK):
            pass
