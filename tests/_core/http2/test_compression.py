"""Compressed requests and responses on a session: what the loop does at once, what it leaves to a thread, and who leaves meanwhile.

`Served.conversions` holds what was left to a thread until a test lets it run.
"""

from __future__ import annotations

import gc
import gzip
import random
import struct
import time
import zlib
from urllib.parse import unquote

import pytest

from inferd._core.grpc import message as pool
from inferd._core.grpc.compression import Conversion
from inferd._core.grpc.message import Message
from inferd._core.http2.stream import Http2Call
from inferd._core.net.stream_socket import StreamSocket
from inferd.errors import InvalidArgument, ResourceExhausted
from tests._core.http2_client import INFER, STREAM, UNARY, Client, Served, drain, frame, messages

KiB, MiB = 1 << 10, 1 << 20
OK = (0, "")
SMALL = b"a small message, " * 20
LARGE = random.Random(1).randbytes(100 * KiB)  # too much for the loop, compressed or not
WIDE = bytes(200 * KiB)  # little when it comes, too much when it is decompressed
NOISE = random.Random(2).randbytes(4 * KiB)  # which nothing makes smaller


def echo(call: Http2Call) -> None:
    call.reply(call.message)


def compressed(content: bytes, encoding: str) -> bytes:
    return frame(gzip.compress(content) if encoding == "gzip" else zlib.compress(content), compressed=1)


def call(
    client: Client, body: bytes, path: str = INFER, *, encoding: str | None = "gzip", accepts: str | None = None, end: bool = True
) -> int:
    extra = [("grpc-encoding", encoding)] if encoding else []
    extra += [("grpc-accept-encoding", accepts)] if accepts else []
    stream_id = client.open(path, *extra)
    client.send(stream_id, body, end=end)
    return stream_id


def windows(nbytes: int) -> bytes:
    """Opens the connection's window and that of its first stream."""
    return b"".join(struct.pack(">BHBBII", 0, 4, 8, 0, stream_id, nbytes) for stream_id in (0, 1))


def answer(client: Client, stream_id: int) -> tuple[str | None, list[tuple[int, bytes]]]:
    """grpc-encoding, and each message with its flag, decompressed."""
    encoding = client.headers[stream_id].get("grpc-encoding")
    body, found = client.bodies[stream_id], []
    while body:
        flag, nbytes = struct.unpack(">BI", body[:5])
        content = body[5 : 5 + nbytes]
        if flag:
            content = gzip.decompress(content) if encoding == "gzip" else zlib.decompress(content)
        found.append((flag, content))
        body = body[5 + nbytes :]
    return encoding, found


# ---- requests


def test_a_small_request_is_decompressed_at_once(encoding: str, before: int) -> None:
    client = Client(served := Served(echo))
    stream_id = call(client, compressed(SMALL, encoding), encoding=encoding)
    assert messages(client.bodies[stream_id]) == [SMALL]
    assert client.status(stream_id) == OK
    assert (served.server.totals["decompressed"], served.server.totals["decompressed_nbytes"]) == (1, len(SMALL))
    assert "grpc-encoding" not in client.headers[stream_id]


@pytest.mark.parametrize("content", [LARGE, WIDE], ids=["large", "wide"])
def test_a_large_request_is_a_threads(content: bytes, encoding: str, before: int) -> None:
    client = Client(served := Served(echo))
    stream_id = call(client, compressed(content, encoding), encoding=encoding)
    assert len(served.conversions) == 1
    assert stream_id not in client.headers
    assert client.connection.calls == 1
    served.run_conversions()
    client.exchange()
    assert messages(client.bodies[stream_id]) == [content]
    assert client.status(stream_id) == OK
    assert client.connection.calls == 0


def test_a_message_that_is_not_compressed_under_an_encoding_that_is(encoding: str) -> None:
    client = Client(served := Served(echo))
    stream_id = call(client, frame(SMALL), encoding=encoding)
    assert messages(client.bodies[stream_id]) == [SMALL]
    assert served.server.totals["decompressed"] == 0


@pytest.mark.parametrize("encoding", [None, "identity"])
def test_a_flag_without_an_encoding(encoding: str | None) -> None:
    client = Client(Served())
    stream_id = call(client, compressed(SMALL, "gzip"), encoding=encoding)
    code, text = client.status(stream_id)
    assert code == 13
    assert "send grpc-encoding: gzip or deflate with it" in unquote(text)


@pytest.mark.parametrize("encoding", ["snappy", "br", "GZIP", "gzip, deflate", "gzi", "gzipp", "", "identity2"])
def test_other_encodings_are_told_what_is_accepted(encoding: str) -> None:
    client = Client(served := Served(echo))
    stream_id = client.open(INFER, ("grpc-encoding", encoding))
    client.send(stream_id, frame(b"x"))
    code, text = client.status(stream_id)
    assert code == 12
    assert "expected identity, deflate or gzip" in unquote(text)
    assert client.headers[stream_id]["grpc-accept-encoding"] == "identity, deflate, gzip"
    assert [error.reason for error in served.errors] == ["compression"]  # type: ignore[attr-defined]


def test_a_bomb_is_rejected(encoding: str, before: int) -> None:
    client = Client(served := Served(echo, max_message_nbytes=MiB))
    stream_id = call(client, compressed(bytes(50 * MiB), encoding), encoding=encoding)
    pool.set_budget(pool.in_use() + 2 * MiB)
    served.run_conversions()
    client.exchange()
    code, text = client.status(stream_id)
    assert code == 8
    assert f"at most {MiB} bytes (max_message_bytes; less where a method needs less) once it is decompressed" in unquote(text)
    assert client.status(call(client, compressed(SMALL, encoding), encoding=encoding)) == OK


def test_a_message_that_is_larger_compressed_than_the_limit() -> None:
    client = Client(Served(echo, max_message_nbytes=KiB))
    assert client.status(call(client, compressed(LARGE, "gzip")))[0] == 8


@pytest.mark.parametrize("size", [SMALL, LARGE, WIDE], ids=["small", "large", "wide"])
def test_what_cannot_be_decompressed_is_rejected(size: bytes, encoding: str, before: int) -> None:
    client = Client(served := Served(echo))
    whole = compressed(size, encoding)
    for body in (frame(whole[5:-1], compressed=1), frame(whole[5:] + b"x", compressed=1), frame(b"x" + whole[5:], compressed=1)):
        stream_id = call(client, body, encoding=encoding)
        served.run_conversions()
        client.exchange()
        code, text = client.status(stream_id)
        assert code == 13
        assert f"bytes of {encoding}, as grpc-encoding says" in unquote(text)
    assert served.server.totals["decompressed"] == 0
    assert client.status(call(client, frame(b"x"))) == OK


def test_the_message_memory_is_too_small_for_what_comes_out(before: int) -> None:
    client = Client(served := Served(echo))
    stream_id = call(client, compressed(WIDE, "gzip"))
    pool.set_budget(pool.in_use() + 100_000)
    served.run_conversions()
    client.exchange()
    code, text = client.status(stream_id)
    assert code == 8
    assert "message_memory_bytes" in unquote(text)


def test_the_loop_does_a_little_for_each_read(encoding: str) -> None:
    """Small messages that become large together: some at once, the rest by threads, and with the next read some again."""
    client = Client(served := Served(echo))
    content = bytes(20 * KiB)
    for _ in range(2):
        streams = [client.open(INFER, ("grpc-encoding", encoding)) for _ in range(30)]
        for stream_id in streams:
            client.h2.send_data(stream_id, compressed(content, encoding), end_stream=True)
        client.exchange()
        at_once = 30 - len(served.conversions)
        assert 1 <= at_once <= 5
        served.run_conversions()
        client.exchange()
        assert all(messages(client.bodies[stream_id]) == [content] for stream_id in streams)


def test_tiny_messages_are_all_done_at_once() -> None:
    client = Client(served := Served(echo))
    streams = [client.open(INFER, ("grpc-encoding", "gzip")) for _ in range(200)]
    for stream_id in streams:
        client.h2.send_data(stream_id, compressed(b"%d" % stream_id, "gzip"), end_stream=True)
    client.exchange()
    assert not served.conversions
    assert all(messages(client.bodies[stream_id]) == [b"%d" % stream_id] for stream_id in streams)


def test_other_calls_pass_one_that_is_being_decompressed() -> None:
    client = Client(served := Served(echo))
    large = call(client, compressed(LARGE, "gzip"))
    assert client.status(call(client, frame(b"x"), encoding=None)) == OK
    assert large not in client.headers
    served.run_conversions()
    client.exchange()
    assert client.status(large) == OK


def test_a_service_that_fails_with_a_decompressed_request_is_answered_for() -> None:
    def broken(call: Http2Call) -> None:
        raise RuntimeError("secret")

    client = Client(served := Served(broken))
    stream_id = call(client, compressed(LARGE, "gzip"))
    served.run_conversions()
    client.exchange()
    assert client.status(stream_id) == (13, "fault")


def test_no_thread_takes_it() -> None:
    def end(connection: StreamSocket, conversion: Conversion) -> None:
        raise RuntimeError("the threads were closed")

    client = Client(served := Served(echo, run_on_thread=end))
    stream_id = call(client, compressed(LARGE, "gzip"))
    assert client.status(stream_id) == (13, "fault")
    assert isinstance(served.errors[0], RuntimeError)
    client.connection.close()
    served.let_go()


# ---- who leaves, or is late, meanwhile


@pytest.mark.parametrize("how", ["reset", "lost"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_client_that_leaves_while_its_request_is_decompressed(how: str, when: str, before: int) -> None:
    """Before a thread has taken it, and after: when the loop has not heard of it yet."""
    client = Client(served := Served())
    stream_id = call(client, compressed(LARGE, "gzip"))
    (conversion,) = served.conversions
    if when == "after":
        conversion.run()
        assert pool.in_use() - before >= len(LARGE)
    if how == "reset":
        client.h2.reset_stream(stream_id)
        client.exchange()
    else:
        client.connection.close()
    gc.collect()
    assert pool.in_use() == before
    served.run_conversions()
    assert (served.calls, served.errors) == ([], [])
    assert (served.server.calls, served.server.totals["abandoned"]) == (0, 1)


def test_a_deadline_that_passes_while_the_request_waits_for_a_thread(before: int) -> None:
    client = Client(served := Served())
    stream_id = client.open(INFER, ("grpc-encoding", "gzip"), ("grpc-timeout", "1H"))
    client.send(stream_id, compressed(LARGE, "gzip"))
    hour = 3600 * 10**9
    now = time.monotonic_ns()
    client.connection.end_late_calls(now, -1, 10 * hour, 10 * hour)
    assert client.connection.calls == 1
    client.connection.end_late_calls(now + hour, -1, 10 * hour, 10 * hour)
    client.exchange()
    assert client.status(stream_id)[0] == 4
    gc.collect()
    assert pool.in_use() == before
    served.run_conversions()
    assert served.calls == []


def test_a_deadline_that_a_thread_sees() -> None:
    client = Client(served := Served())
    stream_id = client.open(INFER, ("grpc-encoding", "gzip"), ("grpc-timeout", "1n"))
    client.send(stream_id, compressed(LARGE, "gzip"))
    served.run_conversions()
    client.exchange()
    assert client.status(stream_id) == (4, "the deadline passed before the request was decompressed")
    assert served.calls == []


def test_waiting_for_a_thread_is_no_stall() -> None:
    client = Client(served := Served(echo))
    stream_id = call(client, compressed(LARGE, "gzip"))
    for second in range(100):
        assert not client.connection.end_late_calls(second * 10**9, -1, 10**9, 10**9)
    assert client.connection.calls == 1
    served.run_conversions()
    client.exchange()
    assert client.status(stream_id) == OK


def test_a_drain_waits_for_it() -> None:
    client = Client(served := Served(echo))
    call(client, compressed(LARGE, "gzip"))
    drain(client.connection)
    served.run_scheduled()
    assert not client.closed_by_server
    served.run_conversions()
    assert not client.closed_by_server
    client.connection.receive(windows(MiB))
    served.run_scheduled()
    assert LARGE[-1000:] in b"".join(client.written)
    assert client.closed_by_server


# ---- methods that are not the hot one


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_a_cold_unary_call(content: bytes) -> None:
    client = Client(served := Served())
    call(client, compressed(content, "gzip"), UNARY)
    served.run_conversions()
    ((started, _),) = served.started
    assert bytes(started.message) == content
    client.connection.close()


def test_a_stream_of_messages_of_every_kind(encoding: str, before: int) -> None:
    client = Client(served := Served())
    contents = [SMALL, LARGE, b"", WIDE, NOISE, LARGE, SMALL]
    bodies = [compressed(content, encoding) if number % 2 else frame(content) for number, content in enumerate(contents)]
    bodies[2] = frame(b"", compressed=1)
    stream_id = call(client, b"".join(bodies), STREAM, encoding=encoding, end=False)
    ((started, _),) = served.started
    heard: list[None] = []
    started.listener = lambda: heard.append(None)
    found: list[bytes] = []
    client.send(stream_id, b"")
    while not (started.half_closed and started.request_over and len(found) == len(contents)):
        message = started.take_message()
        if message is None:
            heard.clear()
            assert not started.request_over
            assert started.take_message() is None, "a thread has it"
            served.run_conversions()
            assert heard
        else:
            found.append(bytes(message))
        client.exchange()
    assert found == contents
    assert started.take_message() is None
    started.end()
    client.exchange()
    assert client.status(stream_id) == OK
    del message
    served.started.clear()


def test_a_streams_message_that_cannot_be_decompressed() -> None:
    client = Client(served := Served())
    call(client, frame(LARGE[:10_000], compressed=1) + frame(LARGE, compressed=1), STREAM, end=False)
    ((started, _),) = served.started
    with pytest.raises(Exception, match="something else"):
        started.take_message()
    assert started.take_message() is None
    served.run_conversions()
    with pytest.raises(Exception, match="something else"):
        started.take_message()


@pytest.mark.parametrize("how", ["fail", "end", "reset", "lost"])
def test_a_stream_that_ends_while_its_message_is_decompressed(how: str, before: int) -> None:
    client = Client(served := Served())
    stream_id = call(client, compressed(LARGE, "gzip"), STREAM, end=False)
    ((started, _),) = served.started
    assert started.take_message() is None
    match how:
        case "fail":
            started.fail(InvalidArgument("no more"))
        case "end":
            started.end()
        case "reset":
            client.h2.reset_stream(stream_id)
        case "lost":
            client.connection.close()
    client.exchange()
    gc.collect()
    assert pool.in_use() == before
    served.run_conversions()
    assert started.take_message() is None
    assert served.server.calls == 0


# ---- answers


@pytest.mark.parametrize(
    ("accepts", "taken"),
    [
        ("gzip", True),
        ("identity, deflate, gzip", True),
        ("identity,deflate,gzip", True),
        ("gzip,br", True),
        ("br ,gzip, x", True),
        ("identity, deflate", False),
        ("identity", False),
        ("", False),
        ("gzipp", False),
        ("xgzip, gzi", False),
        (",", False),
        (None, False),
    ],
)
def test_answers_are_compressed_for_clients_that_take_it(accepts: str | None, taken: bool) -> None:
    client = Client(Served(echo, compression="gzip"))
    content = bytes(range(256)) * 8
    stream_id = client.open(INFER, *([] if accepts is None else [("grpc-accept-encoding", accepts)]))
    client.send(stream_id, frame(content))
    assert answer(client, stream_id) == ("gzip" if taken else None, [(int(taken), content)])
    assert client.status(stream_id) == OK


def test_both_encodings_of_answers(encoding: str, before: int) -> None:
    client = Client(served := Served(echo, compression=encoding))
    content = bytes(range(256)) * 8
    stream_id = call(client, compressed(content, encoding), encoding=encoding, accepts="identity, deflate, gzip")
    assert answer(client, stream_id) == (encoding, [(1, content)])
    assert len(client.bodies[stream_id]) < 600
    assert served.server.totals["compressed"] == 1
    assert served.server.totals["saved_nbytes"] == len(content) + 5 - len(client.bodies[stream_id])


@pytest.mark.parametrize("content", [bytes(1023), NOISE], ids=["small", "noise"])
def test_what_is_not_worth_it_is_not_compressed(content: bytes, encoding: str, before: int) -> None:
    client = Client(served := Served(echo, compression=encoding))
    stream_id = call(client, frame(content), encoding=None, accepts=encoding)
    assert answer(client, stream_id) == (None, [(0, content)])
    assert served.server.totals["compressed"] == 0


def test_without_the_setting_nothing_is_compressed() -> None:
    client = Client(Served(echo))
    stream_id = call(client, compressed(bytes(5000), "gzip"), accepts="gzip")
    assert answer(client, stream_id) == (None, [(0, bytes(5000))])


def test_rejections_are_as_ever() -> None:
    client = Client(Served(lambda call: call.fail(InvalidArgument("no")), compression="gzip"))
    stream_id = call(client, compressed(SMALL, "gzip"), accepts="gzip")
    assert client.status(stream_id) == (3, "no")
    assert "grpc-encoding" not in client.headers[stream_id]


@pytest.mark.parametrize("content", [WIDE, LARGE], ids=["zeros", "noise"])
def test_a_large_answer_is_compressed_by_a_thread(content: bytes, encoding: str, before: int) -> None:
    client = Client(served := Served(compression=encoding))
    stream_id = call(client, frame(b"x"), encoding=None, accepts=encoding)
    waiting = served.calls.pop()
    waiting.reply(Message(content))
    waiting.reply(b"a second answer")
    waiting.fail(InvalidArgument("or none"))
    client.exchange()
    assert stream_id not in client.headers
    served.run_conversions()
    client.exchange()
    assert answer(client, stream_id) == (encoding if content is WIDE else None, [(int(content is WIDE), content)])
    assert client.status(stream_id) == OK


def test_the_loop_compresses_a_little_between_two_reads() -> None:
    client = Client(served := Served(compression="gzip"))
    content = bytes(range(256)) * 20
    streams = [call(client, frame(b"x"), encoding=None, accepts="gzip") for _ in range(20)]
    for waiting in served.calls:
        waiting.reply(content)
    assert 1 <= 20 - len(served.conversions) <= 4
    served.run_conversions()
    client.exchange()
    assert all(answer(client, stream_id) == ("gzip", [(1, content)]) for stream_id in streams)


def test_without_memory_for_the_compressed_one_the_answer_goes_as_it_is(before: int) -> None:
    client = Client(served := Served(compression="gzip"))
    stream_id = call(client, frame(b"x"), encoding=None, accepts="gzip")
    content = bytes(range(256)) * 1000
    served.calls.pop().reply(Message(content))
    pool.set_budget(pool.in_use() + 100)
    served.run_conversions()
    client.exchange()
    assert answer(client, stream_id) == (None, [(0, content)])


def test_without_a_thread_the_answer_goes_as_it_is() -> None:
    def end(connection: StreamSocket, conversion: Conversion) -> None:
        raise RuntimeError("the threads were closed")

    client = Client(Served(echo, compression="gzip", run_on_thread=end))
    stream_id = call(client, frame(WIDE), encoding=None, accepts="gzip")
    assert answer(client, stream_id) == (None, [(0, WIDE)])


@pytest.mark.parametrize("how", ["reset", "lost"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_client_that_leaves_while_its_answer_is_compressed(how: str, when: str, before: int) -> None:
    client = Client(served := Served(compression="gzip", max_unread_nbytes=300 * KiB))
    other = call(client, frame(b"x"), encoding=None, accepts="gzip")
    stream_id = call(client, frame(b"x"), encoding=None, accepts="gzip")
    waiting = served.calls.pop()
    waiting.reply(Message(WIDE))
    if when == "after":
        served.conversions[0].run()
    if how == "reset":
        client.h2.reset_stream(stream_id)
        client.exchange()
    else:
        client.connection.close()
    gc.collect()
    assert pool.in_use() - before <= KiB  # the other request
    served.run_conversions()
    if how == "reset":
        served.calls.pop().reply(WIDE)  # has room again
        served.run_conversions()
        client.exchange()
        assert answer(client, other) == ("gzip", [(1, WIDE)])
    served.calls.clear()


def test_answers_that_are_being_compressed_count_as_unread() -> None:
    client = Client(served := Served(compression="gzip", max_unread_nbytes=500 * KiB))
    streams = [call(client, frame(b"x"), encoding=None, accepts="gzip") for _ in range(10)]
    for waiting in served.calls:
        waiting.reply(Message(WIDE))
    assert len(served.conversions) == 2
    served.run_conversions()
    client.exchange()
    rejected = [stream_id for stream_id in streams if "grpc-status" in client.headers[stream_id]]
    assert len(rejected) == 8
    assert "max_unread_bytes" in unquote(client.status(rejected[0])[1])


def test_a_drain_waits_for_an_answer_that_is_compressed() -> None:
    client = Client(served := Served(compression="gzip"))
    call(client, frame(b"x"), encoding=None, accepts="gzip")
    served.calls.pop().reply(Message(WIDE))
    drain(client.connection)
    served.run_scheduled()
    assert not client.closed_by_server
    served.run_conversions()
    served.run_scheduled()
    assert b"grpc-status" not in b"".join(client.written), "it is in HPACK's table"
    assert client.closed_by_server


def test_messages_of_a_streaming_answer(encoding: str, before: int) -> None:
    client = Client(served := Served(compression=encoding))
    stream_id = call(client, b"", STREAM, encoding=None, accepts=encoding, end=False)
    ((started, _),) = served.started
    heard: list[None] = []
    started.listener = lambda: heard.append(None)
    for content in (b"first", WIDE, NOISE, LARGE, bytes(5000)):
        heard.clear()
        started.write(content)
        client.exchange()
        if served.conversions:
            assert started.sending
            served.run_conversions()
            client.exchange()
        assert not started.sending
        assert heard
    started.end()
    client.exchange()
    expected = [(0, b"first"), (1, WIDE), (0, NOISE), (0, LARGE), (1, bytes(5000))]
    assert answer(client, stream_id) == (encoding, expected)
    assert client.status(stream_id) == OK


def test_a_streaming_answer_that_fails_while_it_is_compressed(before: int) -> None:
    client = Client(served := Served(compression="gzip"))
    for first in (b"", b"first"):
        stream_id = call(client, b"", STREAM, encoding=None, accepts="gzip", end=False)
        started, _ = served.started.pop()
        if first:
            started.write(first)
            client.exchange()
        started.write(WIDE)
        started.fail(InvalidArgument("no more"))
        client.exchange()
        assert client.status(stream_id) == (3, "no more")
        served.run_conversions()
        client.exchange()
        assert [content for _, content in answer(client, stream_id)[1]] == ([first] if first else [])


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_an_answer_for_which_there_is_no_memory_is_rejected(compression: str, before: int) -> None:
    """Of a method whose responses are made as bytes: a rejection, not silence."""
    client = Client(served := Served(compression=compression))
    stream_id = call(client, frame(b"x"), UNARY, encoding=None, accepts="gzip")
    ((started, _),) = served.started
    pool.set_budget(pool.in_use() + 1000)
    with pytest.raises(ResourceExhausted) as caught:
        started.reply(bytes(2000))
    started.fail(caught.value)
    client.exchange()
    assert client.status(stream_id)[0] == 8
    del caught
    served.started.clear()


def test_references_return(before: int) -> None:
    """A conversion and its call point at each other until it is over."""
    live = pool.live()
    client = Client(served := Served(echo, compression="gzip"))
    for content in (SMALL, WIDE, LARGE, bytes(5000)):
        for _ in range(3):
            stream_id = call(client, compressed(content, "gzip"), accepts="gzip")
            served.run_conversions()  # of the request
            served.run_conversions()  # and of the response
            client.exchange()
            assert client.status(stream_id) == OK
    gc.collect()
    assert pool.live() == live
