"""The native HTTP/2 session against h2, an independent stack: every call is answered once, every limit holds, no byte kills it."""

from __future__ import annotations

import gc
import re
import struct
import sys
import time
import tracemalloc
from urllib.parse import unquote

import h2.errors
import h2.exceptions
import h2.settings
import hpack
import pytest
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st

from inferd._core.grpc import message as pool
from inferd._core.grpc.call import NO_DEADLINE
from inferd._core.grpc.message import Message
from inferd._core.http2.session import nghttp2_version_text
from inferd._core.http2.stream import Http2Call
from inferd.errors import InvalidArgument, RequestError, ResourceExhausted
from tests._core.http2_client import (
    EMPTY_SETTINGS,
    INFER,
    PREFACE,
    STREAM,
    TASK_NBYTES,
    UNARY,
    Client,
    Served,
    frame,
    headers,
    in_memory,
    messages,
)
from tests.http2_peer import open_streams, reset_streams

OK = (0, "")
UNITS_NS = {"n": 1, "u": 1000, "m": 10**6, "S": 10**9, "M": 60 * 10**9, "H": 3600 * 10**9}  # of grpc-timeout


def echo(call: Http2Call) -> None:
    call.reply(call.message)


def test_version_of_the_loaded_library() -> None:
    assert tuple(map(int, nghttp2_version_text().split(".")[:2])) >= (1, 61)


# ---- answers


@pytest.mark.parametrize("nbytes", [0, 1, 507, 512, 513, 16_384, 70_000, 3_000_000])
def test_unary_answer(nbytes: int) -> None:
    client = Client(Served(echo))
    content = bytes(i % 251 for i in range(nbytes))
    stream_id = client.call(content)
    assert messages(client.bodies[stream_id]) == [content]
    assert client.headers[stream_id] == {":status": "200", "content-type": "application/grpc"}
    assert client.status(stream_id) == OK
    assert stream_id in client.ended
    assert client.connection.calls == 0


def test_answer_from_plain_bytes_and_wrapped_messages() -> None:
    client = Client(served := Served())
    for answer in (b"plain", Message.wrap(b"wrapped"), bytearray(b"array")):
        stream_id = client.call(b"x")
        served.calls.pop().reply(answer)
        client.exchange()
        assert messages(client.bodies[stream_id]) == [bytes(answer)]


@given(st.integers(1, 40))
@settings(deadline=None, max_examples=20)
def test_request_in_pieces_of_any_size(step: int) -> None:
    client = Client(Served(echo))
    stream_id = client.open()
    client.send(stream_id, frame(b"0123456789" * 10), step=step)
    assert messages(client.bodies[stream_id]) == [b"0123456789" * 10]


def test_bytes_that_arrive_one_at_a_time() -> None:
    client = Client(Served(echo))
    stream_id = client.open()
    client.h2.send_data(stream_id, frame(b"slow"), end_stream=True)
    for byte in client.h2.data_to_send():
        client.connection.receive(bytes((byte,)))
    client.exchange()
    assert messages(client.bodies[stream_id]) == [b"slow"]


def test_rejections_that_nobody_reads_have_a_limit() -> None:
    """Who never heard how many streams are allowed may open any number, and each too many is rejected with a frame."""
    client = Client(Served(max_streams=4), greet=False)
    client.connection.receive(client.h2.data_to_send())
    client.connection.pause_writing()
    opened = 0
    while not client.closed_by_server and opened < 10_000:
        for _ in range(100):
            client.open()
        opened += 100
        client.connection.receive(client.h2.data_to_send())
    assert 1000 <= opened < 1200
    assert client.served.server.totals["protocol_errors"] == 1


def test_rejections_are_no_fault_while_they_are_read() -> None:
    client = Client(served := Served(max_streams=4), greet=False)
    client.connection.receive(client.h2.data_to_send())
    for first in range(1, 10_000, 200):
        client.connection.receive(open_streams(first, 100))
        served.run_scheduled()
    assert not client.closed_by_server
    assert client.connection.calls == 4
    assert len(re.findall(b"\0\0\x04\x03\0.{4}\0\0\0\x07", b"".join(client.written), re.DOTALL)) == 4996  # RST_STREAM with REFUSED_STREAM


def test_many_calls_share_one_write() -> None:
    client = Client(served := Served())
    streams = [client.open() for _ in range(50)]
    for number, stream_id in enumerate(streams):
        client.h2.send_data(stream_id, frame(b"%d" % number), end_stream=True)
    client.exchange()
    for call in reversed(served.calls):
        call.reply(bytes(call.message) + b"!")
    served.run_scheduled()
    assert len(client.written) == 1
    client.exchange()
    assert [messages(client.bodies[stream_id]) for stream_id in streams] == [[b"%d!" % number] for number in range(50)]


def test_a_late_second_answer_is_dropped() -> None:
    client = Client(served := Served())
    stream_id = client.call(b"x")
    call = served.calls[0]
    call.reply(b"first")
    call.reply(b"second")
    call.fail(InvalidArgument("third"))
    client.exchange()
    assert messages(client.bodies[stream_id]) == [b"first"]
    call.reply(b"after the stream is closed")
    client.exchange()


def test_errors_are_trailers_only() -> None:
    client = Client(served := Served())
    stream_id = client.call(b"x")
    served.calls[0].fail(InvalidArgument("input 'ä': 100% wrong"))
    client.exchange()
    code, text = client.status(stream_id)
    assert (code, unquote(text)) == (3, "input 'ä': 100% wrong")
    assert client.headers[stream_id][":status"] == "200"
    assert stream_id not in client.bodies


def test_retry_info_travels() -> None:
    client = Client(served := Served())
    stream_id = client.call(b"x")
    served.calls[0].fail(ResourceExhausted("full", retry_after_ns=1_500_000_000))
    client.exchange()
    assert client.headers[stream_id]["grpc-status-details-bin"]


def test_an_exception_of_the_service_becomes_an_answer() -> None:
    def broken(call: Http2Call) -> None:
        raise RuntimeError("secret")

    client = Client(served := Served(broken))
    stream_id = client.call(b"x")
    assert client.status(stream_id) == (13, "fault")
    assert isinstance(served.errors[0], RuntimeError)
    assert "secret" not in str(client.headers)


def test_memory_of_an_answer_is_free_when_it_is_sent() -> None:
    gc.collect()
    before = held()
    client = Client(Served(echo))
    client.call(bytes(100_000))
    gc.collect()
    assert pool.in_use() == before


# ---- deadlines and metadata


def test_deadline() -> None:
    client = Client(served := Served())
    before = time.monotonic_ns()
    client.call(b"x", INFER, ("grpc-timeout", "5S"))
    assert before + 5 * 10**9 <= served.calls[0].deadline_ns <= time.monotonic_ns() + 5 * 10**9
    client.call(b"x")
    assert served.calls[1].deadline_ns == NO_DEADLINE


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 99_999_999), st.sampled_from(sorted(UNITS_NS)))
def test_any_timeout(amount: int, unit: str) -> None:
    client = Client(served := Served())
    before = time.monotonic_ns()
    client.call(b"x", INFER, ("grpc-timeout", f"{amount}{unit}"))
    timeout_ns = min(amount * UNITS_NS[unit], NO_DEADLINE // 4)
    assert before + timeout_ns <= served.calls[0].deadline_ns <= time.monotonic_ns() + timeout_ns


@pytest.mark.parametrize("value", ["", "5", "S", "-1S", "1.5S", "123456789S", "5x", "1d", "1 m", "m1", "1mm"])
def test_malformed_timeout_is_rejected(value: str) -> None:
    client = Client(Served())
    stream_id = client.call(b"x", INFER, ("grpc-timeout", value))
    code, text = client.status(stream_id)
    assert code == 3
    assert "grpc-timeout" in text


def held() -> int:
    """Bytes of the pool in use, without what other tests left for the collector."""
    gc.collect()
    return pool.in_use()


@pytest.mark.parametrize("path", [INFER, UNARY, STREAM])
def test_metadata_is_read_and_not_kept(path: str) -> None:
    before = held()
    client = Client(Served())
    client.open(path, ("big", "x" * 10_000), *((f"k{i}", "") for i in range(100)))
    client.exchange()
    assert pool.in_use() == before + (0 if path == INFER else TASK_NBYTES)
    stream_id = client.open(path, ("big", "x" * 20_000))
    client.exchange()
    assert client.status(stream_id)[0] == 8
    client.connection.close()


# ---- bytes that are no message count in the budget of messages


@pytest.mark.parametrize("path", [UNARY, STREAM])
@pytest.mark.parametrize("how", ["answered", "reset", "lost"])
def test_a_task_counts_until_its_stream_is_closed(path: str, how: str) -> None:
    before = held()
    client = Client(served := Served())
    stream_id = client.open(path)
    client.exchange()
    assert pool.in_use() == before + TASK_NBYTES
    if how == "answered":
        client.send(stream_id, frame(b"") if path == UNARY else b"")
        served.started[0][0].end()
        served.started.clear()
    elif how == "reset":
        client.h2.reset_stream(stream_id)
    else:
        client.connection.close()
    client.exchange()
    assert pool.in_use() == before


def test_tasks_beyond_the_budget_are_rejected() -> None:
    client = Client(served := Served())
    before = held()
    try:
        pool.set_budget(before + (room := 10_000 + before // 256))  # what others hold counts for what is left free
        streams = [client.open(STREAM) for _ in range(4)]
        client.exchange()
        assert len(served.started) == 2
        for stream_id in streams[2:]:
            code, text = client.status(stream_id)
            assert code == 8
            assert "message_memory_bytes" in unquote(text)
        assert pool.in_use() <= before + room
        client.h2.reset_stream(streams[0])
        client.exchange()
        client.open(STREAM)
        client.exchange()
        assert len(served.started) == 3
    finally:
        pool.set_budget(1 << 30)
        client.connection.close()
    assert pool.in_use() == before


def test_of_an_unknown_path_little_is_kept() -> None:
    client = Client(served := Served())
    client.call(b"x", "/" + "x" * 10_000)
    ((_, text),) = (client.status(1),)
    assert len(text) < 300
    assert len(served.errors) == 1


def test_what_waits_behind_a_streams_message_counts() -> None:
    client = Client(served := Served())
    stream_id = client.open(STREAM)
    client.exchange()
    ((call, _),) = served.started
    before = held()
    client.send(stream_id, frame(bytes(500)) + frame(bytes(50_000)) + frame(bytes(100_000)), end=False)
    assert 150_000 < pool.in_use() - before < 152_000
    assert len(call.take_message()) == 500  # type: ignore[arg-type]
    assert len(call.take_message()) == 50_000  # type: ignore[arg-type]
    gc.collect()
    assert 100_000 <= pool.in_use() - before < 132 * 1024  # its block
    assert len(call.take_message()) == 100_000  # type: ignore[arg-type]
    assert call.take_message() is None
    gc.collect()
    assert pool.in_use() == before
    client.send(stream_id, frame(b"a") + frame(bytes(50_000)), end=False)
    client.h2.reset_stream(stream_id)
    client.exchange()
    served.started.clear()
    del call
    gc.collect()
    assert pool.in_use() == before - TASK_NBYTES


def test_what_waits_behind_a_streams_message_has_the_budget_for_its_limit() -> None:
    client = Client(served := Served())
    before = held()
    try:
        pool.set_budget(before + (room := 98_000 + before // 20))  # what others hold counts for what is left free
        streams = [client.open(STREAM) for _ in range(3)]
        for stream_id in streams:
            client.send(stream_id, frame(b"a") + bytes(40_000), end=False)
        assert pool.in_use() <= before + room
        code, text = client.status(streams[2])
        assert code == 8
        assert "message_memory_bytes" in unquote(text)
        assert [call.settled for call, _ in served.started] == [False, False, True]
    finally:
        pool.set_budget(1 << 30)
        client.connection.close()
    served.started.clear()
    gc.collect()
    assert pool.in_use() == before


def test_a_stream_whose_backlog_never_empties_keeps_only_what_waits() -> None:
    client = Client(served := Served())
    stream_id = client.open(STREAM)
    client.exchange()
    ((call, _),) = served.started
    before = held()
    for _ in range(300):
        client.send(stream_id, frame(bytes(10_000)) * 2, end=False)
        call.take_message()
        if call.message is None:
            continue
        if pool.in_use() - before > 200_000:
            call.take_message()
        assert pool.in_use() - before < 300_000
    client.connection.close()


# ---- rejections


@pytest.mark.parametrize(
    ("keywords", "status"),
    [({"method": "GET"}, "405"), ({"content_type": "application/json"}, "415"), ({"content_type": "application/grpcx"}, "415")],
)
def test_what_is_not_grpc_gets_an_http_status(keywords: dict[str, str], status: str) -> None:
    client = Client(served := Served(echo))
    stream_id = client.call(b"x", **keywords)
    assert client.headers[stream_id][":status"] == status
    assert b"gRPC" in client.bodies[stream_id]
    assert not served.calls
    assert client.connection.calls == 0


def test_what_is_not_grpc_gets_an_answer_though_its_words_find_no_room() -> None:
    before = pool.in_use()
    pool.set_budget(before + 1)
    try:
        client = Client(Served(echo))
        client.connection.end_late_calls(0, -1, 1, 1)
        stream_id = client.open(method="GET", end=True)
        client.exchange()
        assert client.status(stream_id)[0] == 8
        assert client.connection.calls == 0
    finally:
        pool.set_budget(1 << 30)
    client.connection.close()
    assert pool.in_use() == before


@pytest.mark.parametrize(
    ("keywords", "more"),
    [
        ({"method": "GET"}, ()),
        ({"content_type": "text/plain"}, ()),
        ({}, (("connection", "close"),)),  # which nghttp2 rejects by itself
        ({}, (("x", "~" * 60_000),)),  # more than is read
    ],
)
def test_of_what_is_no_call_no_token_is_kept(keywords: dict[str, str], more: tuple[tuple[str, str], ...]) -> None:
    """Nor counted, before the authenticator has seen it: the streams stay open, since nothing of what ends them is taken."""
    client = Client(Served(echo, authenticator=lambda _method, _token: True))
    client.reads = False
    client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    client.exchange()
    client.connection.pause_writing()
    tracemalloc.start()
    for number in range(50):
        fields = headers(INFER, ("authorization", f"{number:2} " + "~" * 12_000), *more, **keywords)
        block = hpack.Encoder().encode(fields, huffman=False)
        client.connection.receive(raw_frame(1, 5, 1 + 2 * number, block))
    del block
    snapshot = tracemalloc.take_snapshot()
    tracemalloc.stop()
    assert client.connection.calls == 50
    assert sum(trace.size > 12_000 for trace in snapshot.traces) < 5
    client.connection.close()


def test_answers_of_a_connection_share_it_whatever_a_client_asks_for() -> None:
    """As a proxy's many clients do: one that came first, or is urgent by RFC 9218, is before no other."""
    client = Client(served := Served())
    client.reads = False
    client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 30})
    client.exchange()
    streams = [client.open(INFER, ("priority", "u=0")), client.open()]
    for stream_id in streams:
        client.send(stream_id, frame(b"x"))
    for call in served.calls:
        call.reply(bytes(1 << 20))
    client.h2.increment_flow_control_window(1 << 18)
    client.exchange()
    one, other = (len(client.bodies[stream_id]) for stream_id in streams)
    assert one + other == 65_535 + (1 << 18)
    assert abs(one - other) <= 1 << 15
    client.connection.close()


@pytest.mark.parametrize("content_type", ["application/grpc+proto", "application/grpc;charset=utf-8"])
def test_content_types_of_grpc(content_type: str) -> None:
    client = Client(Served(echo))
    assert client.status(client.call(b"x", content_type=content_type)) == OK


def test_unknown_method() -> None:
    client = Client(Served())
    assert client.status(client.call(b"x", "/no.Such/Method")) == (12, "no method /no.Such/Method")


@pytest.mark.parametrize(
    "pieces", [[b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"], [b"P", b"OST / HTTP/1.1\r\n\r\n"], [b"PRI *", b" HTTP/1.1\r\n"]]
)
def test_http_1_is_told_what_this_port_is(pieces: list[bytes]) -> None:
    served = Served()
    written: list[bytes] = []
    closed: list[bool] = []
    connection = in_memory(served.server, written.append, lambda: closed.append(True))
    for piece in pieces:
        assert written == []
        connection.receive(piece)
        served.run_scheduled()
    assert closed == [True]
    head, _, body = written[0].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 505 ")
    assert b"Content-Length: %d\r\n" % len(body) in head + b"\r\n"
    assert b"gRPC" in body
    connection.receive(b"more")
    connection.close()


def test_a_message_over_the_limit_is_rejected_when_its_length_is_known() -> None:
    client = Client(served := Served(max_message_nbytes=1000))
    stream_id = client.open()
    client.send(stream_id, frame(bytes(1001))[:20], end=False)
    code, text = client.status(stream_id)
    assert code == 8
    assert "at most 1000 bytes" in unquote(text)
    assert "got 1001" in unquote(text)
    assert client.resets[stream_id] == h2.errors.ErrorCodes.NO_ERROR
    client.call(bytes(1000))
    assert len(served.calls) == 1


def test_other_streams_go_on_when_one_is_rejected() -> None:
    client = Client(served := Served(max_message_nbytes=1000))
    good = client.open()
    client.send(good, frame(b"good")[:6], end=False)
    bad = client.open()
    client.send(bad, frame(bytes(2000)), end=True)
    client.send(good, frame(b"good")[6:])
    served.calls[0].reply(b"answer")
    client.exchange()
    assert client.status(bad)[0] == 8
    assert messages(client.bodies[good]) == [b"answer"]


@pytest.mark.parametrize(
    ("body", "code", "word"),
    [
        (b"", 12, "got none"),
        (b"\0\0", 3, "5-byte prefix"),
        (frame(b"0123456789")[:-1], 3, "ended 1 bytes before"),
        (frame(b"a") + frame(b"b"), 12, "got more"),
        (frame(b"a") + b"\0", 12, "got more"),
        (frame(b"a", compressed=1), 13, "grpc-encoding does not say"),
        (frame(b"a", compressed=7), 13, "compressed flag"),
    ],
)
def test_bad_framing(body: bytes, code: int, word: str) -> None:
    client = Client(served := Served())
    stream_id = client.open()
    client.send(stream_id, body)
    status = client.status(stream_id)
    assert status[0] == code
    assert word in unquote(status[1])
    assert not served.calls


def test_metadata_over_the_limit_is_rejected() -> None:
    client = Client(served := Served(max_header_nbytes=1000))
    stream_id = client.call(b"x", INFER, ("big", "x" * 2000))
    code, text = client.status(stream_id)
    assert code == 8
    assert "max_header_bytes" in text
    stream_id = client.call(b"x", INFER, *((f"k{i}", "") for i in range(200)))
    assert client.status(stream_id)[0] == 8
    assert not served.calls


def test_a_bomb_of_headers_is_not_read() -> None:
    """A byte of HPACK can stand for kilobytes that were sent once. The stream is reset, the connection goes on."""
    client = Client(served := Served(echo, max_header_nbytes=16 << 10))
    client.call(b"x", INFER, ("bomb", "x" * 3000))
    stream_id = client.call(b"x", INFER, *[("bomb", "x" * 3000)] * 10)
    assert client.status(stream_id)[0] == 8, "a little too much is rejected with a word"
    stream_id = client.call(b"x", INFER, *[("bomb", "x" * 3000)] * 1000)
    assert client.resets[stream_id] == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM, "gRPC's RESOURCE_EXHAUSTED"
    assert stream_id not in client.headers
    stream_id = client.call(b"x")
    assert client.status(stream_id) == OK
    assert client.connection.calls == 0
    assert not served.errors[1:]


@pytest.mark.parametrize(("count", "read"), [(3, True), (1000, False)])
def test_a_bomb_of_trailers_is_not_read(count: int, read: bool) -> None:
    client = Client(Served(echo, max_header_nbytes=16 << 10))
    client.call(b"x", INFER, ("bomb", "x" * 3000))
    for _ in range(2):
        stream_id = client.open()
        client.send(stream_id, frame(b"x"), end=False)
        client.h2.send_headers(stream_id, [("bomb", "x" * 3000)] * count, end_stream=True)
        client.exchange()
        assert (client.resets.get(stream_id) == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM) != read
        assert (stream_id in client.trailers) == read
    assert client.status(client.call(b"x")) == OK
    assert client.connection.calls == 0


def test_a_path_beyond_the_limit_is_called_that() -> None:
    client = Client(Served(max_header_nbytes=1000))
    stream_id = client.h2.get_next_available_stream_id()
    fields = [(":path", "/" + "x" * 2000), (":method", "POST"), (":scheme", "http"), (":authority", "test")]
    client.h2.send_headers(stream_id, fields, end_stream=True)
    client.exchange()
    assert client.status(stream_id)[0] == 8


def test_streams_over_the_limit_are_rejected_one_by_one_until_the_client_knows_it() -> None:
    client = Client(served := Served(max_streams=3), greet=False)
    streams = [client.call(b"x") for _ in range(5)]
    client.greet()
    assert len(served.calls) == 3
    assert {client.resets.get(stream_id) for stream_id in streams[3:]} == {h2.errors.ErrorCodes.REFUSED_STREAM}
    for call in served.calls:
        call.reply(b"y")
    client.exchange()
    assert all(client.status(stream_id) == OK for stream_id in streams[:3])


def test_a_client_that_ignores_the_limit_is_cut_off() -> None:
    client = Client(served := Served(max_streams=3))
    client.h2.remote_settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] = 100
    client.h2.remote_settings.acknowledge()
    for _ in range(4):
        client.call(b"x")
    assert len(served.calls) == 3
    assert client.goaways[0].error_code == h2.errors.ErrorCodes.PROTOCOL_ERROR
    client.connection.close()
    assert all(call.settled for call in served.calls)


def test_answers_that_nobody_reads_are_bounded() -> None:
    client = Client(served := Served(echo, max_unread_nbytes=200_000))
    client.reads = False
    for _ in range(10):
        client.call(bytes(60_000))
    rejected = [error for error in served.errors if isinstance(error, ResourceExhausted)]
    assert rejected
    assert "max_unread_bytes" in str(rejected[0])
    assert pool.in_use() < 10 * 64 * 1024
    client.connection.close()


def test_answers_that_are_ready_all_at_once_are_bounded_too() -> None:
    client = Client(served := Served(max_unread_nbytes=200_000))
    client.reads = False
    streams = [client.call(b"x") for _ in range(10)]
    answer = bytes(60_000)
    before = held()
    for call in served.calls:
        call.reply(answer)
    assert pool.in_use() - before < 5 * 65_536
    client.exchange()
    rejected = [stream_id for stream_id in streams if stream_id in client.headers and "grpc-status" in client.headers[stream_id]]
    assert len(rejected) == 7
    assert {client.status(stream_id)[0] for stream_id in rejected} == {8}
    client.connection.close()


def test_an_answer_over_the_limit_is_given_when_nothing_else_waits() -> None:
    client = Client(Served(echo, max_unread_nbytes=1000))
    assert client.status(client.call(bytes(5000))) == OK
    assert client.status(client.call(bytes(5000))) == OK


def test_announcing_much_takes_nothing_from_others() -> None:
    attacker, good = Client(served := Served(echo)), Client(served)
    before = held()
    try:
        pool.set_budget(before + 1_000_000)
        for _ in range(50):
            attacker.send(attacker.open(), frame(bytes(900_000))[:5], end=False)
        assert pool.in_use() - before < 50_000
        stream_id = good.call(bytes(400_000))
        assert good.status(stream_id) == OK
    finally:
        pool.set_budget(1 << 30)
    attacker.connection.close()


def test_no_memory_for_a_message() -> None:
    client = Client(Served(echo))
    try:
        pool.set_budget(pool.in_use() + 1000)
        stream_id = client.call(bytes(5000))
        assert client.status(stream_id)[0] == 8
    finally:
        pool.set_budget(1 << 30)
    assert client.status(client.call(bytes(5000))) == OK


# ---- the client goes away


class Waiting:
    def __init__(self) -> None:
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1


def test_reset_cancels_the_request() -> None:
    client = Client(served := Served())
    stream_id = client.call(b"x")
    call = served.calls[0]
    call.work = waiting = Waiting()
    client.h2.reset_stream(stream_id)
    client.exchange()
    assert waiting.cancelled == 1
    assert call.settled
    call.reply(b"too late")
    client.exchange()
    assert served.server.totals["abandoned"] == 1
    assert served.server.calls == 0


def test_lost_connection_cancels_all_and_gives_memory_back() -> None:
    gc.collect()
    before, live = pool.in_use(), pool.live()
    client = Client(served := Served())
    waiting = []
    for _ in range(20):
        client.call(bytes(10_000))
        served.calls[-1].work = Waiting()
        waiting.append(served.calls[-1].work)
    partial = client.open()
    client.send(partial, frame(bytes(10_000))[:5000], end=False)
    assert pool.in_use() > before
    client.connection.close()
    client.connection.close()
    assert [request.cancelled for request in waiting] == [1] * 20
    served.calls.clear()
    gc.collect()
    assert (pool.in_use(), pool.live()) == (before, live)
    assert (served.server.calls, served.server.connections) == (0, 0)


def test_a_call_outlives_its_connection() -> None:
    client = Client(served := Served())
    client.call(b"x")
    client.connection.close()
    served.calls[0].reply(b"y")
    served.calls[0].fail(InvalidArgument("z"))
    served.run_scheduled()


def test_a_client_whose_deadlines_pass_is_not_cut_off() -> None:
    """1024 requests under way, each reset after 10 ms, while the server stood still for a second."""
    client = Client(served := Served())
    client.connection.receive(reset_streams(1, 100_000))
    assert (client.closed_by_server, client.connection.calls, served.calls) == (False, 0, [])
    client.h2.highest_outbound_stream_id = 200_001 - 2
    stream_id = client.call(b"x")
    served.calls[0].reply(b"y")
    client.exchange()
    assert (messages(client.bodies[stream_id]), client.goaways) == ([b"y"], [])


def test_rapid_reset_ends_the_connection() -> None:
    client = Client(Served(max_reset_rate=1000))  # which a sanitizer's build on a busy machine outruns, too
    for first in range(1, 100_000, 1000):
        client.connection.receive(reset_streams(first, 500))
        client.served.run_scheduled()
        if client.closed_by_server:
            break
    assert client.closed_by_server
    client.connection.close()
    assert (client.connection.calls, client.served.server.totals["resetting"]) == (0, 1)


def test_references_return() -> None:
    client = Client(served := Served())
    client.call(b"x")
    call = served.calls.pop()
    assert sys.getrefcount(call) == 3  # here, in the argument, and the stream's
    call.reply(b"y")
    client.exchange()
    assert sys.getrefcount(call) == 2


# ---- streaming calls


def stream(client: Client) -> tuple[int, Http2Call, list[None]]:
    stream_id = client.open(STREAM)
    client.exchange()
    call, _ = client.served.started[-1]
    changes: list[None] = []
    call.listener = lambda: changes.append(None)
    return stream_id, call, changes


def test_stream_both_ways() -> None:
    client = Client(Served())
    stream_id, call, changes = stream(client)
    assert call.take_message() is None
    client.send(stream_id, frame(b"one") + frame(b"two"), end=False)
    assert changes
    assert bytes(call.take_message()) == b"one"  # type: ignore[arg-type]
    call.write(b"answer one")
    client.exchange()
    assert messages(client.bodies[stream_id]) == [b"answer one"]
    assert bytes(call.take_message()) == b"two"  # type: ignore[arg-type]
    assert call.take_message() is None
    assert not call.half_closed
    client.send(stream_id, b"")
    assert call.half_closed
    call.write(b"answer two")
    call.end()
    client.exchange()
    assert messages(client.bodies[stream_id]) == [b"answer one", b"answer two"]
    assert client.status(stream_id) == OK


def test_stream_ends_with_an_error_after_messages() -> None:
    client = Client(Served())
    stream_id, call, _ = stream(client)
    call.write(b"one")
    client.exchange()
    call.fail(InvalidArgument("no more"))
    client.exchange()
    assert client.status(stream_id) == (3, "no more")
    assert client.resets[stream_id] == h2.errors.ErrorCodes.NO_ERROR


def test_stream_without_any_message_ends_well() -> None:
    client = Client(Served())
    stream_id, call, _ = stream(client)
    client.send(stream_id, b"")
    call.end()
    client.exchange()
    assert client.status(stream_id) == OK


def test_stream_back_pressure_from_a_slow_reader_here() -> None:
    client = Client(Served(stream_window_nbytes=65_535, connection_window_nbytes=1 << 20))
    stream_id, call, _ = stream(client)
    sent = 0
    while (room := client.h2.local_flow_control_window(stream_id)) > 0:
        nbytes = min(room, 10_000)
        client.h2.send_data(stream_id, frame(bytes(nbytes - 5)) if nbytes >= 5 else bytes(nbytes))
        sent += nbytes
        client.exchange()
    assert 65_535 <= sent <= 65_535 + 10_005  # the first message was taken over, the rest waits unconsumed
    taken = 0
    while (message := call.take_message()) is not None:
        taken += len(message) + 5
        client.exchange()
    assert taken >= 60_000
    assert client.h2.local_flow_control_window(stream_id) > 30_000


def test_stream_back_pressure_from_a_client_that_does_not_read() -> None:
    client = Client(Served())
    client.reads = False
    stream_id, call, changes = stream(client)
    call.write(bytes(100_000))
    client.exchange()
    assert call.sending
    changes.clear()
    client.h2.increment_flow_control_window(100_000)
    client.h2.increment_flow_control_window(100_000, stream_id)
    client.exchange()
    assert not call.sending
    assert changes


@pytest.mark.parametrize("how", ["reset", "fail", "end", "garbage"])
def test_what_is_left_of_a_stream_leaves_the_connections_window(how: str) -> None:
    client = Client(Served(max_message_nbytes=100_000, stream_window_nbytes=65_535, connection_window_nbytes=65_535))
    for _ in range(5):
        stream_id, call, _ = stream(client)
        room = client.h2.local_flow_control_window(stream_id)
        assert room > 50_000
        client.send(stream_id, frame(b"first") + (bytes(40_000) if how != "garbage" else b"\xff" * 40_000), end=False)
        match how:
            case "reset":
                client.h2.reset_stream(stream_id)
            case "fail":
                call.fail(InvalidArgument("no"))
            case "end":
                call.end()
            case "garbage":
                with pytest.raises(RequestError):
                    call.take_message()
                call.fail(InvalidArgument("no"))
        client.exchange()


def test_listener_hears_that_the_client_left() -> None:
    client = Client(Served())
    stream_id, call, changes = stream(client)
    client.h2.reset_stream(stream_id)
    client.exchange()
    assert changes
    assert call.settled
    call.write(b"x")
    call.end()


def test_broken_message_in_a_stream() -> None:
    client = Client(served := Served(max_message_nbytes=100))
    stream_id, call, _ = stream(client)
    client.send(stream_id, frame(b"good") + frame(bytes(200)), end=False)
    assert call.message is not None
    with pytest.raises(ResourceExhausted):
        call.take_message()
    assert not served.errors


@pytest.mark.parametrize("cut", [1, 4, 7])
def test_a_stream_that_ends_within_a_message_is_rejected_whenever_that_is_seen(cut: int) -> None:
    client = Client(Served())
    stream_id, call, _ = stream(client)
    client.send(stream_id, frame(b"whole") + frame(b"other")[:cut])  # the rest waits until the first is taken
    assert call.half_closed
    assert bytes(call.take_message()) == b"whole"  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"the stream ended 3 bytes before|expected a 5-byte prefix, got [14] bytes"):
        call.take_message()


# ---- unary methods that are not the hot one


def test_cold_unary_call_starts_when_its_message_is_there() -> None:
    client = Client(served := Served())
    stream_id = client.open(UNARY)
    client.exchange()
    assert not served.started
    client.send(stream_id, frame(b"question"))
    ((call, method),) = served.started
    assert (bytes(call.message), method.kind, call.method_row) == (b"question", "unary", method)
    call.reply(b"answer")
    client.exchange()
    assert messages(client.bodies[stream_id]) == [b"answer"]


# ---- leaving


def test_drain_answers_what_is_under_way_and_ends() -> None:
    client = Client(served := Served())
    stream_id = client.call(b"x")
    client.connection.drain()
    client.connection.take_keepalive_step(0, 0)
    client.exchange()
    assert client.goaways[0].last_stream_id == 2**31 - 1
    assert not client.closed_by_server
    client.connection.take_keepalive_step(10**9, 0)
    client.exchange()
    assert client.goaways[-1].last_stream_id == stream_id
    assert not client.closed_by_server
    served.calls[0].reply(b"y")
    served.run_scheduled()
    assert client.closed_by_server
    assert b"".join(client.written)


def test_paused_transport_gets_nothing() -> None:
    client = Client(served := Served())
    client.call(b"x")
    client.connection.pause_writing()
    served.calls[0].reply(b"y")
    served.run_scheduled()
    assert not client.written
    client.connection.resume_writing()
    served.run_scheduled()
    assert client.written


def test_a_transport_that_fails_stops_no_other_connection() -> None:
    def fail(written: bytes) -> None:
        raise RuntimeError("the handler is closed")

    served = Served()
    broken, good = in_memory(served.server, fail), Client(served)
    good_id = good.call(b"x")
    broken.receive(PREFACE + EMPTY_SETTINGS)
    served.calls[0].reply(b"y")
    good.exchange()
    assert messages(good.bodies[good_id]) == [b"y"]
    broken.close()


# ---- any bytes


def feed(pieces: list[bytes]) -> None:
    """Feeds a session and looks that it ends clean, whatever came."""
    served = Served(echo)
    connection = in_memory(served.server, lambda written: None)
    for piece in pieces:
        connection.receive(piece)
        served.run_scheduled()
    connection.close()
    assert served.server.calls == 0


@given(st.lists(st.binary(max_size=200), max_size=5))
@settings(deadline=None)
def test_random_bytes(pieces: list[bytes]) -> None:
    feed(pieces)
    feed([PREFACE, *pieces])


def raw_frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream_id) + payload


stream_ids = st.integers(0, 9) | st.integers(0, 2**31 - 1)
frames = st.builds(raw_frame, st.integers(0, 12), st.integers(0, 255), stream_ids, st.binary(max_size=60))


@given(st.lists(frames, max_size=12))
@settings(deadline=None, max_examples=150)
def test_random_frames(sequence: list[bytes]) -> None:
    feed([PREFACE, EMPTY_SETTINGS, *sequence])


def conversation() -> bytes:
    """What a well-behaved client sends for two calls."""
    client = Client(Served(echo))
    recorded = bytearray()
    receive = client.connection.receive

    class Recording:
        def receive(self, source: bytes) -> None:
            recorded.extend(source)
            receive(source)

    client.connection = Recording()  # type: ignore[assignment]
    client.call(b"first")
    client.call(bytes(300), INFER, ("tenant", "a"))
    return PREFACE + bytes(recorded)


RECORDED = conversation()


@given(st.integers(len(PREFACE), len(RECORDED) - 1), st.integers(0, 255))
@settings(deadline=None, max_examples=200)
def test_one_byte_changed(position: int, value: int) -> None:
    feed([RECORDED[:position] + bytes((value,)) + RECORDED[position + 1 :]])


def test_cut_at_every_byte() -> None:
    for position in range(len(RECORDED)):
        feed([RECORDED[:position]])


def test_headers_are_what_a_client_sends() -> None:
    assert dict(headers())[":path"] == INFER


def test_what_many_connections_get_at_once_is_written_in_several_goes() -> None:
    """A flush writes a MiB or so; the rest is for the turns that follow."""
    served = Served(lambda call: call.reply(bytes(200_000)))
    clients = [Client(served) for _ in range(20)]
    for client in clients:
        client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
        client.h2.increment_flow_control_window(1 << 20)
        client.exchange()
    for client in clients:
        stream_id = client.open()
        client.h2.send_data(stream_id, frame(b""), end_stream=True)
        client.connection.receive(client.h2.data_to_send())
    before = served.server.totals["sent_nbytes"]
    served.server.flush()
    assert 1 << 20 <= served.server.totals["sent_nbytes"] - before < (1 << 20) + 200_000 + 1000
    for client in clients:
        client.exchange()
        assert len(client.bodies[1]) == 5 + 200_000
