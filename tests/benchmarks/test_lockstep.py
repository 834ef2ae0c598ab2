"""The client in lockstep: the bodies of responses, however they are cut, and what ends a run."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from lockstep import ACK, DATA, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, Connection, Request, StreamingConnection, frame


class Named:
    """Frames that a test can tell apart."""

    def frames(self, stream: int) -> bytes:
        return b"<%d>" % stream

    def opening(self, stream: int) -> bytes:
        return b"<opens %d>" % stream

    message = frames


@contextmanager
def connected(responses: bytes, requests: int, kind: type[Connection] = Connection) -> Iterator[tuple[Connection, list[bytes]]]:
    """A connection whose requests are sent, to a peer that sends `responses` byte by byte and closes; and all that the peer received."""
    received: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        with listener.accept()[0] as peer:
            for byte in responses:
                peer.sendall(bytes([byte]))
            peer.shutdown(socket.SHUT_WR)
            while more := peer.recv(4096):
                received.append(more)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        connection = kind("127.0.0.1", listener.getsockname()[1], cast("Request", Named()))
        try:
            connection.send(requests)
            yield connection, received
        finally:
            connection.close()
            thread.join(timeout=60)


def test_a_body_is_put_together_from_its_frames() -> None:
    frames = [frame(SETTINGS, 0, 0), frame(HEADERS, 0, 3), frame(DATA, 0, 3, b"ab"), frame(HEADERS, 0, 1), frame(DATA, 0, 1, b"xy")]
    frames += [frame(DATA, 0, 3, b"c"), frame(HEADERS, END_STREAM, 3), frame(DATA, END_STREAM, 1, b"z")]
    with connected(b"".join(frames), 2) as (connection, received):
        assert connection.receive() == [b"abc", b"xyz"]
    sent = b"".join(received)
    assert sent.startswith(PREFACE)
    assert sent.endswith(b"<1><3>" + frame(SETTINGS, ACK, 0))


@pytest.mark.parametrize("kind", [GOAWAY, RST_STREAM])
def test_a_server_that_ends_a_stream_or_connection_ends_the_run(kind: int) -> None:
    with connected(frame(kind, 0, 1, b"why"), 1) as (connection, _), pytest.raises(RuntimeError, match="why"):
        connection.receive()


def test_a_connection_that_closes_ends_the_run() -> None:
    with connected(frame(HEADERS, 0, 1), 1) as (connection, _), pytest.raises(RuntimeError, match="closed"):
        connection.receive()


def test_messages_of_a_stream_are_responses_however_they_are_cut() -> None:
    messages = [b"\0\0\0\0\2ab", b"\0\0\0\0\0", b"\0\0\0\0\1c"]
    body = b"".join(messages)
    frames = frame(HEADERS, 0, 1) + frame(DATA, 0, 1, body[:9]) + frame(DATA, 0, 1, body[9:])
    with connected(frames, 3, StreamingConnection) as (connection, received):
        assert connection.receive() == messages
    assert b"<opens 1>" in b"".join(received)
    assert b"".join(received).endswith(b"<1><1><1>")
    with connected(frame(HEADERS, END_STREAM, 1), 1, StreamingConnection) as (connection, _), pytest.raises(RuntimeError, match="ended"):
        connection.receive()
