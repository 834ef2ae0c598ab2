"""Frames that ask for nothing: how many a client may send, what it hears then, and that no client that works meets the limit."""

from __future__ import annotations

import struct

import h2.errors
import pytest

from inferd._core.http2.stream import Http2Call
from tests._core.http2.test_session import raw_frame
from tests._core.http2_client import INFER, STREAM, Client, Served, drain, frame
from tests.http2_peer import open_streams, reset_streams

S = 10**9
BURST = 10_000  # ten seconds' worth of the default rate
PING = raw_frame(6, 0, 0, b"12345678")


def echo(call: Http2Call) -> None:
    call.reply(call.message)


def feed(client: Client, content: bytes) -> None:
    """As a client does that sends without looking up; nothing of it is read by h2, which would object."""
    step = 9000
    for begin in range(0, len(content), step):
        client.connection.receive(content[begin : begin + step])
        client.served.run_scheduled()
    arrived, client.written[:] = b"".join(client.written), []
    for event in client.h2.receive_data(arrived) if arrived else ():
        client.take(event)


def window_update(stream_id: int) -> bytes:
    return raw_frame(8, 0, stream_id, struct.pack(">I", 1))


FLOODS = {
    "settings": raw_frame(4, 0, 0, b""),
    "settings of values": raw_frame(4, 0, 0, struct.pack(">HI", 4, 65_535)),
    "answers to PINGs that nobody sent": raw_frame(6, 1, 0, b"12345678"),
    "windows of the connection": window_update(0),
    "windows of a closed stream": window_update(1),
    "priority": raw_frame(2, 0, 3, struct.pack(">IB", 0, 15)),
    "empty data": raw_frame(0, 0, 3, b""),
    "frames that nobody knows": raw_frame(0xF0, 0, 0, b""),
    "frames of other extensions": raw_frame(10, 0, 0, b"\0\0"),
    "padding": raw_frame(0, 8, 3, b"\x03\0\0\0"),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_ends_the_connection(flood: str) -> None:
    client = Client(served := Served(echo))
    client.call(b"stream 1 is closed")
    client.open(STREAM)  # and 3 open
    client.exchange()
    feed(client, FLOODS[flood] * (BURST - 100))
    assert (client.closed_by_server, served.server.totals["flooding"]) == (False, 0)
    feed(client, FLOODS[flood] * BURST)
    assert client.closed_by_server
    [goaway] = client.goaways
    assert (goaway.error_code, goaway.additional_data) == (h2.errors.ErrorCodes.ENHANCE_YOUR_CALM, b"too_many_control_frames")
    assert (served.server.totals["flooding"], served.server.totals["pinging"], served.server.totals["protocol_errors"]) == (1, 0, 0)
    client.connection.close()
    assert served.server.calls == 0


@pytest.mark.parametrize("apart", [2, 10_000])
def test_numbers_of_streams_that_are_left_out_bring_no_frames_along(apart: int) -> None:
    client = Client(served := Served(echo))
    for number in range(8):
        client.connection.receive(
            open_streams(1 + apart * number, 1, "/no.Such/Method") + FLOODS["frames that nobody knows"] * (BURST // 4)
        )
    assert (client.closed_by_server, served.server.totals["flooding"]) == (True, 1)
    client.connection.close()


def test_what_comes_in_one_read_beyond_what_may_wait_to_be_answered_is_a_flood() -> None:
    client = Client(served := Served(echo))
    client.connection.receive(PING * 1100)
    assert client.closed_by_server
    assert (served.server.totals["flooding"], served.server.totals["protocol_errors"]) == (1, 0)
    client.connection.close()


@pytest.mark.parametrize(
    "large",
    [
        raw_frame(10, 0, 0, bytes(16_000)),
        raw_frame(0xFF, 0, 0, bytes(16_000)),
    ],
)
def test_a_large_frame_that_asks_for_nothing_counts_for_many(large: bytes) -> None:
    client = Client(served := Served(echo))
    client.call(b"stream 1 is closed")
    for _ in range(600):
        client.connection.receive(large)
    assert not client.closed_by_server
    for _ in range(5000):  # 200 at once would do, and as many more as come while this machine is slow
        client.connection.receive(large)
        if client.closed_by_server:
            break
    assert (client.closed_by_server, served.server.totals["flooding"]) == (True, 1)


def test_headers_of_open_streams_are_no_control_frames() -> None:
    client = Client(served := Served(echo))
    for _ in range(3 * BURST // 2):
        stream_id = client.open(STREAM)
        client.exchange()
        client.h2.send_headers(stream_id, [("a", "b")], end_stream=True)
        client.exchange()
        served.started.pop()[0].end()
        client.exchange()
    assert (client.closed_by_server, served.server.totals["flooding"]) == (False, 0)


def test_headers_that_come_too_late_bring_no_frames_along() -> None:
    """Behind a GOAWAY they open no stream."""
    client = Client(served := Served(echo))
    client.open(STREAM)
    client.exchange()
    drain(client.connection)
    client.exchange()
    for number in range(12):
        late = open_streams(1001 + 2 * (number // 6), 1, "/no.Such/Method")
        client.connection.receive(late + FLOODS["frames that nobody knows"] * (BURST // 8))
    assert (client.closed_by_server, served.server.totals["flooding"]) == (True, 1)
    client.connection.close()


def test_what_is_taken_is_not_ignored() -> None:
    """However much it is, and however it is cut up."""
    window = 1 << 16
    client = Client(served := Served(echo, stream_window_nbytes=window, connection_window_nbytes=window))
    body = raw_frame(0, 0, 1, frame(bytes(100)))
    client.open(STREAM)
    client.exchange()
    for at in range(5000):
        client.connection.receive(body[: at % len(body)])
        client.connection.receive(body[at % len(body) :])
        served.started[0][0].take_message()
        served.run_scheduled()
    assert (client.closed_by_server, served.server.totals["flooding"]) == (False, 0)


def test_the_allowance_comes_back_with_time() -> None:
    """At a million a second all of this is nothing."""
    client = Client(served := Served(echo, max_control_frame_rate=1_000_000, min_ping_interval_ns=1))
    feed(client, window_update(0) * 30_000)
    for _ in range(100):
        feed(client, PING)
    assert (client.closed_by_server, served.server.totals["flooding"], served.server.totals["pinging"]) == (False, 0, 0)
    assert client.status(client.call(b"x")) == (0, "")


def test_what_calls_bring_with_them_is_not_counted() -> None:
    """A client that opens windows for each call and each response of it, far beyond the burst."""
    client = Client(served := Served(echo, max_control_frame_rate=10))
    for _ in range(200):
        stream_id = client.call(bytes(10_000))
        client.connection.receive(window_update(0) * 3 + window_update(stream_id) * 2)
    assert (client.closed_by_server, served.server.totals["flooding"]) == (False, 0)
    feed(client, window_update(0) * 210)
    assert client.closed_by_server


# ---- streams that are reset


RATE = 1000  # of resets, which a sanitizer's build on a busy machine outruns, too
RESETS = 5 * RATE  # five seconds' worth


def made_to_reset(first: int, count: int) -> bytes:
    """Streams whose windows the client lets grow too far, so that it is the server that resets them."""
    grow = struct.pack(">I", 2**31 - 1)
    return b"".join(open_streams(stream, 1) + raw_frame(8, 0, stream, grow) for stream in range(first, first + 2 * count, 2))


def test_resets_by_the_server_that_the_client_provokes_count() -> None:
    client = Client(served := Served(echo, max_reset_rate=RATE))
    for first in range(1, 2 * RESETS, 1000):
        client.connection.receive(made_to_reset(first, 500))
        served.run_scheduled()
        assert not client.closed_by_server
    for first in range(2 * RESETS + 1, 20 * RESETS, 1000):
        if not client.closed_by_server:
            client.connection.receive(made_to_reset(first, 500))
            served.run_scheduled()
    assert client.closed_by_server
    assert b"too_many_resets" in b"".join(client.written)[-100:]
    assert (served.server.totals["resetting"], served.server.totals["protocol_errors"]) == (1, 0)
    client.connection.close()


def test_the_rate_of_resets_is_a_setting() -> None:
    for rate, cut in ((10, True), (100, False)):
        client = Client(served := Served(echo, max_reset_rate=rate))
        client.connection.receive(reset_streams(1, 100))
        assert (client.closed_by_server, served.server.totals["resetting"]) == (cut, int(cut))
        client.connection.close()


def test_resets_of_streams_that_are_closed_count() -> None:
    client = Client(served := Served(echo, max_reset_rate=10))
    stream_id = client.call(b"x")
    client.connection.receive(raw_frame(3, 0, stream_id, struct.pack(">I", 8)) * 100)
    assert client.closed_by_server
    assert served.server.totals["resetting"] == 1
    client.connection.close()


# ---- PING


def test_pings_without_calls() -> None:
    client = Client(served := Served(echo, min_ping_interval_ns=3600 * S))
    feed(client, PING * 3)
    assert not client.closed_by_server
    feed(client, PING)
    assert client.closed_by_server
    [goaway] = client.goaways
    assert (goaway.error_code, goaway.additional_data) == (h2.errors.ErrorCodes.ENHANCE_YOUR_CALM, b"too_many_pings")
    assert (served.server.totals["pinging"], served.server.totals["flooding"]) == (1, 0)
    client.connection.close()


PIECE = 60_000  # within the windows that h2 and the server here begin with, and more than half of them


@pytest.mark.parametrize("how", ["response", "trailers", "message", "part of a response", "part of a request"])
def test_each_frame_of_a_call_that_the_server_writes_resets_the_ping_strikes(how: str) -> None:
    """DATA, HEADERS and WINDOW_UPDATE do, as in grpc-core: its clients probe the bandwidth by PINGs while they read."""
    client = Client(served := Served(min_ping_interval_ns=3600 * S, stream_window_nbytes=1 << 16, connection_window_nbytes=1 << 16))
    client.open(STREAM)
    upload = client.open(INFER)
    client.exchange()
    stream_id = client.call(b"x")
    client.reads = False
    if how == "part of a response":
        served.calls.pop().reply(bytes(100 * PIECE))
        client.exchange()
    client.send(upload, struct.pack(">BI", 0, 100 * PIECE), end=False)
    for _ in range(20):
        feed(client, PING * 3)
        match how:
            case "response":
                client.call(b"x")
                served.calls.pop().reply(b"y")
            case "trailers":
                client.call(b"x", "/no.Such/Method")
            case "message":
                served.started[0][0].write(b"news")
            case "part of a response":
                client.h2.acknowledge_received_data(PIECE, stream_id)
            case "part of a request":
                client.send(upload, bytes(PIECE), end=False)
        client.exchange()
        assert not client.closed_by_server
    feed(client, PING * 4)
    assert client.closed_by_server
    client.connection.close()


def test_our_answers_to_pings_are_no_pings() -> None:
    client = Client(Served(echo, min_ping_interval_ns=3600 * S))
    feed(client, raw_frame(6, 1, 0, b"12345678") * 100)
    assert not client.closed_by_server
    assert client.status(client.call(frame(b"x"))) == (0, "")
