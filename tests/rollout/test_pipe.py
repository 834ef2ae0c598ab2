"""Messages between a server and a candidate's process: whatever the other end sends."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from inferd.rollout.messages import Mirrored, Progress
from inferd.rollout.pipe import MAX_NBYTES, Closed, Pipe


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    first, second = socket.socketpair()
    with first, second:
        yield first, second


def test_a_message_and_its_bytes_arrive(ends: tuple[socket.socket, socket.socket]) -> None:
    """More of them than the socket and one call of the system take."""
    message = Mirrored("id", [("x", "FP32", (1, 2), 8)], [], 3)
    parts = [bytes([number % 256]) * 4000 for number in range(600)]
    sending = threading.Thread(target=Pipe(ends[0]).send, args=(message, [*parts, memoryview(b""), b"end"]))
    sending.start()
    got, content = Pipe(ends[1]).receive(Mirrored)
    sending.join()
    assert got == message
    assert content == b"".join(parts) + b"end"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x01",
        struct.pack("<II", 4, 0) + b"ab",
        struct.pack("<II", 1, 8) + b"\x80",
        struct.pack("<II", 4, 0) + b"\xc1\xc1\xc1\xc1",
        struct.pack("<II", 1, 0) + b"\x01",
        struct.pack("<II", MAX_NBYTES, 1),
        struct.pack("<II", 2000, 0) + b"\x91" * 2000,
    ],
)
def test_what_is_no_message_ends_it(ends: tuple[socket.socket, socket.socket], sent: bytes) -> None:
    ends[0].sendall(sent)
    ends[0].shutdown(socket.SHUT_WR)
    with pytest.raises(Closed):
        Pipe(ends[1]).receive(Progress)


def test_an_end_that_does_not_read_is_found(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].settimeout(0.001)
    with pytest.raises(TimeoutError):
        Pipe(ends[0]).send(Progress(1, 0.0), [bytes(1 << 24)])
    ends[1].close()
    with pytest.raises(Closed):
        Pipe(ends[0]).send(Progress(1, 0.0), [bytes(1 << 24)])
