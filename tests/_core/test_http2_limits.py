"""Limits of a session that nothing else is about: windows, header blocks in many pieces, answers to frames that nobody reads."""

from __future__ import annotations

import pytest

from tests._core.http2_wire import (
    ACK,
    BLOCK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    SETTINGS,
    STREAM_ID,
    Wire,
)
from tests._core.test_http2 import raw_frame

pytestmark = pytest.mark.usefixtures("nothing_stays")

WINDOW_NBYTES = 100_000
PINGS, ACKS = raw_frame(PING, 0, 0, bytes(8)), 1000  # MAX_OUTBOUND_ACKS


def opened(count: int, nbytes: int, **settings: int) -> Wire:
    """So many streams whose messages nobody takes, and so many bytes on each."""
    wire = Wire(**settings)
    for number in range(STREAM_ID, STREAM_ID + 2 * count, 2):
        wire.send(raw_frame(HEADERS, END_HEADERS, number, BLOCK))
        for begin in range(0, nbytes, 1 << 14):
            wire.send(raw_frame(DATA, 0, number, bytes(min(nbytes - begin, 1 << 14))))
    assert len(wire.served.started) == count
    return wire


def test_the_window_of_a_stream() -> None:
    wire = opened(1, WINDOW_NBYTES, stream_window_nbytes=WINDOW_NBYTES)
    came = wire.send(raw_frame(DATA, 0, STREAM_ID, bytes(20)))
    assert wire.outcome(came, STREAM_ID) == "s:FLOW"
    wire.close()


def test_the_window_of_a_connection() -> None:
    wire = opened(5, WINDOW_NBYTES // 5, connection_window_nbytes=WINDOW_NBYTES)
    came = wire.send(raw_frame(DATA, 0, STREAM_ID, bytes(20)))
    assert wire.outcome(came, STREAM_ID) == "c:FLOW"
    wire.close()


@pytest.mark.parametrize(("pieces", "expected"), [(1, "-"), (8, "-"), (9, "c:CALM"), (100_000, "c:CALM")])
def test_continuations_of_a_header_block(pieces: int, expected: str) -> None:
    """Empty ones cost time and are no headers that a limit of bytes would count: MAX_CONTINUATIONS."""
    wire = Wire()
    more = raw_frame(CONTINUATION, 0, STREAM_ID, b"") * (pieces - 1)
    came = wire.send(raw_frame(HEADERS, END_STREAM, STREAM_ID, BLOCK), more, raw_frame(CONTINUATION, END_HEADERS, STREAM_ID, b""))
    assert wire.outcome(came, STREAM_ID) == expected
    wire.close()


@pytest.mark.parametrize("asked", [PINGS, raw_frame(SETTINGS, 0, 0, b"")])
def test_acknowledgements_that_nobody_reads(asked: bytes) -> None:
    """MAX_OUTBOUND_ACKS"""
    wire = Wire()
    wire.session.pause_writing()
    assert wire.send(asked * ACKS) == []
    assert not wire.ended
    assert wire.send(asked) == []
    assert wire.ended
    wire.close()


def test_acknowledgements_that_are_read_have_no_such_limit() -> None:
    wire = Wire()
    for _ in range(3):
        came = wire.send(PINGS * ACKS)
        assert [(one.kind, one.flags) for one in came] == [(PING, ACK)] * ACKS
    wire.close()
