"""Limits of a session that nothing else is about: windows, header blocks in many pieces, answers to frames that nobody reads."""

from __future__ import annotations

import zlib
from urllib.parse import unquote

import h2.errors
import pytest

from inferd._core.grpc import message as pool
from tests._core.http2.test_session import raw_frame
from tests._core.http2_client import INFER, STREAM, UNARY, Client, Served, cold, drain, frame
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
from tests._core.server_limits import LIMITS

pytestmark = pytest.mark.usefixtures("nothing_stays")

WINDOW_NBYTES = 100_000
PINGS, ACKS = raw_frame(PING, 0, 0, bytes(8)), 1000  # a second's worth of max_control_frame_rate


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


def test_the_window_of_a_connection_is_for_all_streams() -> None:
    """Whatever waits on some: each byte of it is consumed as it comes."""
    wire = opened(5, WINDOW_NBYTES // 2, connection_window_nbytes=WINDOW_NBYTES)
    came = wire.send(raw_frame(DATA, 0, STREAM_ID, bytes(20)))
    assert wire.outcome(came, STREAM_ID) == "-"
    wire.close()


@pytest.mark.parametrize(("pieces", "expected"), [(1, "-"), (8, "-"), (9, "c:CALM"), (100_000, "c:CALM")])
def test_continuations_of_a_header_block(pieces: int, expected: str) -> None:
    """Empty ones cost time and are no headers that a limit of bytes would count: max_continuation_frames."""
    wire = Wire()
    more = raw_frame(CONTINUATION, 0, STREAM_ID, b"") * (pieces - 1)
    came = wire.send(raw_frame(HEADERS, END_STREAM, STREAM_ID, BLOCK), more, raw_frame(CONTINUATION, END_HEADERS, STREAM_ID, b""))
    assert wire.outcome(came, STREAM_ID) == expected
    wire.close()


@pytest.mark.parametrize("asked", [PINGS, raw_frame(SETTINGS, 0, 0, b"")])
def test_acknowledgements_that_nobody_reads(asked: bytes) -> None:
    wire = Wire()
    wire.connection.pause_writing()
    assert wire.send(asked * ACKS) == []
    assert not wire.ended
    assert wire.send(asked) == [], "not even GOAWAY finds room"
    assert wire.ended
    wire.close()


def test_acknowledgements_that_are_read_have_no_such_limit() -> None:
    wire = Wire()
    for _ in range(3):
        came = wire.send(PINGS * ACKS)
        assert [(one.kind, one.flags) for one in came] == [(PING, ACK)] * ACKS
    wire.close()


def test_answers_that_wait_and_continuations_are_settings() -> None:
    wire = Wire(max_control_frame_rate=10, max_continuations=1)
    wire.connection.pause_writing()
    wire.send(PINGS * 11)
    assert wire.ended
    wire.close()
    wire = Wire(max_continuations=1)
    came = wire.send(raw_frame(HEADERS, END_STREAM, STREAM_ID, BLOCK), *[raw_frame(CONTINUATION, 0, STREAM_ID, b"")] * 2)
    assert wire.outcome(came, STREAM_ID) == "c:CALM"
    wire.close()


# ---- streams of all connections


def test_streams_of_all_connections_together() -> None:
    """Of more than 16 a connection has no more than are left to all: those of many leave room to others."""
    served = Served(max_calls=100)
    greedy, other, late = Client(served), Client(served), Client(served)
    opened = []
    for client in (greedy, other):
        streams = [client.open() for _ in range(60)]
        client.exchange()
        rejected = [stream_id for stream_id in streams if stream_id in client.resets]
        assert {client.resets[stream_id] for stream_id in rejected} == {h2.errors.ErrorCodes.REFUSED_STREAM}
        opened.append(60 - len(rejected))
    assert opened == [50, 25]
    assert (served.server.calls, served.server.totals["refused"]) == (75, 45)
    answered = [late.call(b"x") for _ in range(16)]
    assert not late.resets
    for call in served.calls:
        call.reply(b"y")
    served.let_go()
    del call
    late.exchange()
    assert [late.bodies[stream_id] for stream_id in answered] == [frame(b"y")] * 16
    greedy.connection.close()
    stream_id = other.open(INFER, ("name", "the table of the headers is whole"))
    other.exchange()
    assert stream_id not in other.resets
    other.connection.close()
    late.connection.close()


def test_each_connection_has_some_streams_whatever_others_have() -> None:
    served = Served(max_calls=1)
    clients = [Client(served) for _ in range(3)]
    for client in clients:
        streams = [client.open() for _ in range(17)]
        client.exchange()
        assert list(client.resets) == streams[16:]
    for client in clients:
        client.connection.close()


def test_a_stream_counts_for_what_its_task_takes() -> None:
    before = pool.in_use()
    client = Client(Served())
    for count in range(1, 4):
        client.open(STREAM)
        client.exchange()
        assert pool.in_use() == before + count * 4096
    client.connection.close()
    assert pool.in_use() == before


# ---- messages of methods that need small ones


@pytest.mark.parametrize("path", [UNARY, STREAM])
@pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate"])
def test_messages_of_other_methods(path: str, encoding: str) -> None:
    """A method's own limit holds for what comes, and for what that becomes."""
    client = Client(served := Served())
    served.server = type(served.server)(
        {UNARY: cold("unary", 4096), STREAM: cold("stream", 4096)},
        start=lambda call, method: served.started.append((call, method)),
        reject=served.reject,
        unserved=lambda path: NotImplementedError(path),  # type: ignore[arg-type, return-value]
        schedule=served.scheduled.append,
        call_later=lambda seconds, callback: None,
        run_on_thread=lambda session, conversion: served.conversions.append(conversion),
        **LIMITS,
    )
    client.connection.close()
    for nbytes in (4096, 4097, 30_000):
        client = Client(served)
        body = bytes(nbytes)
        if encoding == "identity":
            stream_id = client.open(path)
            client.send(stream_id, frame(body))
        else:
            packer = zlib.compressobj(9, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
            stream_id = client.open(path, ("grpc-encoding", encoding))
            client.send(stream_id, frame(packer.compress(body) + packer.flush(), 1))
        if path == STREAM and stream_id not in client.headers:
            try:
                message = served.started[-1][0].take_message()
                assert message is not None
                assert len(message) == 4096
            except Exception as error:
                served.reject(served.started[-1][0], error)
                client.exchange()
        assert (stream_id in client.headers) == (nbytes > 4096)
        if nbytes > 4096:
            code, text = client.status(stream_id)
            assert (code, "at most 4096 bytes" in unquote(text)) == (8, True)
        client.connection.close()
        served.started.clear()
    served.let_go()


# ---- errors are counted, each once


WRONG = {
    "a frame that is too large": raw_frame(DATA, 0, 1, b"")[:0] + (1 << 20 | 1).to_bytes(3, "big") + b"\0\0\0\0\0\1",
    "33 settings": raw_frame(SETTINGS, 0, 0, b"\0\3\0\0\0\1" * 33),
    "a window that opens by nothing": raw_frame(8, 0, 0, bytes(4)),
    "a PING of 7 bytes": raw_frame(PING, 0, 0, bytes(7)),
    "HPACK that is none": raw_frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
    "DATA of no stream": raw_frame(DATA, 0, 0, b"x"),
    "PUSH_PROMISE": raw_frame(5, END_HEADERS, 1, bytes(4)),
    "an even stream": raw_frame(HEADERS, END_HEADERS, 2, BLOCK),
    "too many CONTINUATION frames": raw_frame(HEADERS, 0, 1, BLOCK) + raw_frame(CONTINUATION, 0, 1, b"") * 9,
}


@pytest.mark.parametrize("draining", [False, True])
@pytest.mark.parametrize("what", WRONG)
def test_an_error_that_ends_a_connection_is_counted(what: str, draining: bool) -> None:
    wire = Wire()
    if draining:
        wire.connection.drain()
    wire.send(WRONG[what])
    assert (wire.ended, wire.served.server.totals["protocol_errors"]) == (True, 1)
    wire.close()


def test_who_leaves_or_is_told_to_leave_is_no_error() -> None:
    for told in (True, False):
        wire = Wire()
        if told:
            drain(wire.connection)
        else:
            wire.send(raw_frame(7, 0, 0, bytes(8)))
        wire.served.run_scheduled()
        assert (wire.ended, wire.served.server.totals["protocol_errors"]) == (True, 0)
        wire.close()
