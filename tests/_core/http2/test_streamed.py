"""ModelStreamInfer on a session, against h2: responses in the order of requests, errors in band, a client that sends or reads too much."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator

import pytest

from inferd._core.grpc import message as pool
from inferd._core.grpc.call import Call, StreamHandler
from inferd._core.grpc.message import Message
from inferd.errors import DeadlineExceeded, InvalidArgument, RequestError, ResourceExhausted, Unavailable
from tests._core.http2_client import INFER_STREAM, Client, Served, frame, messages

OK = (0, "")


class Streaming(StreamHandler):
    """Keeps the calls for the test to answer. A request that begins with "!" is wrong. A response is "<...>", an error in band "!..."."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.cancelled: list[int] = []

    def take(self, call: Call) -> None:
        if bytes(call.message).startswith(b"!"):
            raise InvalidArgument(f"{bytes(call.message).decode()} is wrong")
        call.work = Work(self, len(self.calls))
        self.calls.append(call)

    def wrap(self, response: Message) -> Message:
        return Message(b"<%b>" % bytes(response))

    def rejection(self, request: Message, error: RequestError) -> Message:
        return Message(f"!{error}".encode())


class Work:
    """What works for a call."""

    def __init__(self, handler: Streaming, number: int) -> None:
        self.handler, self.number = handler, number

    def cancel(self) -> None:
        self.handler.cancelled.append(self.number)


class Stream:
    """One stream of one client."""

    def __init__(self, *headers: tuple[str, str], **settings: object) -> None:
        self.handler = Streaming()
        self.served = Served(infer_stream=self.handler, **settings)
        self.client = Client(self.served)
        self.id = self.client.open(INFER_STREAM, *headers)

    @property
    def calls(self) -> list[Call]:
        return self.handler.calls

    def send(self, *contents: bytes, end: bool = False) -> None:
        self.client.send(self.id, b"".join(map(frame, contents)), end=end, step=1 << 20)

    def reply(self, *numbers: int) -> None:
        for number in numbers:
            self.calls[number].reply(b"%d" % number)
        self.client.exchange()

    @property
    def responses(self) -> list[bytes]:
        return messages(self.client.bodies[self.id])

    @property
    def status(self) -> tuple[int, str] | None:
        return self.client.status(self.id) if self.id in self.client.ended else None


Open = Callable[..., Stream]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens streams. In the end nothing of them is held."""
    streams: list[Stream] = []

    def open_stream(*headers: tuple[str, str], **settings: object) -> Stream:
        streams.append(Stream(*headers, **settings))
        return streams[-1]

    before = pool.in_use()
    yield open_stream
    for stream in streams:
        stream.client.connection.close()
        stream.calls.clear()
        stream.served.let_go()
    streams.clear()
    assert pool.in_use() == before


def test_responses_come_in_the_order_of_requests_and_the_stream_ends_after_them(opened: Open) -> None:
    stream = opened()
    stream.send(*(b"%d" % number for number in range(6)))
    stream.reply(1, 3)
    assert stream.responses == []
    stream.reply(0, 2)
    assert stream.responses == [b"<0>", b"<1>", b"<2>", b"<3>"]
    stream.send(end=True)
    assert stream.status is None
    stream.reply(5, 4)
    assert stream.responses[4:] == [b"<4>", b"<5>"]
    assert stream.status == OK
    assert stream.client.connection.calls == 0


def test_a_stream_without_requests_ends_with_ok(opened: Open) -> None:
    stream = opened()
    stream.send(end=True)
    assert (stream.responses, stream.status) == ([], OK)


def test_requests_in_pieces_of_any_size_and_many_responses_in_one_frame(opened: Open) -> None:
    stream = opened(max_stream_requests=300)
    contents = [b"%d" % number * (number % 50) for number in range(300)]
    stream.client.send(stream.id, b"".join(map(frame, contents)), end=False, step=7)
    assert [bytes(call.message) for call in stream.calls] == contents
    for call in stream.calls:
        call.reply(call.message)
    stream.client.exchange()
    assert stream.responses == [b"<%b>" % content for content in contents]


def test_an_error_is_told_in_band_at_its_place_and_the_stream_goes_on(opened: Open) -> None:
    stream = opened()
    stream.send(b"0", b"!1", b"2")
    assert stream.responses == []
    stream.reply(0)
    assert stream.responses == [b"<0>", b"!!1 is wrong"]
    stream.calls[1].fail(ResourceExhausted("full"))
    stream.send(end=True)
    assert stream.responses[2:] == [b"!full"]
    assert stream.status == OK


def test_an_error_ends_the_stream_for_a_client_that_asked_for_a_status(opened: Open) -> None:
    """A request that is wrong by itself does not, as in Triton."""
    stream = opened(("triton_grpc_error", "true"))
    stream.send(b"0", b"!1", b"2", b"3")
    stream.calls[1].fail(ResourceExhausted("full"))
    stream.send(b"4")
    assert len(stream.calls) == 3, "none begins behind the error"
    stream.reply(2)
    assert stream.status is None
    stream.reply(0)
    assert stream.responses == [b"<0>", b"!!1 is wrong"]
    assert stream.status == (8, "full")


@pytest.mark.parametrize("reads", [True, False])
def test_a_client_with_many_requests_waits_and_all_are_served(opened: Open, reads: bool) -> None:
    """At most max_stream_requests are in flight, those included whose responses nobody reads; the rest stays in the window."""
    stream = opened(max_stream_requests=4, stream_window_nbytes=65_535)
    stream.client.reads = reads
    room = 65_535
    content = b"x" * 1000
    sent = room // 1005 if reads else 60
    stream.send(*[content] * sent)
    begun = 0
    while begun < len(stream.calls):
        assert len(stream.calls) - begun <= 4
        for call in stream.calls[begun:]:
            begun += 1
            call.reply(b"y" * 30_000 if not reads else b"y")
        stream.client.exchange()
    if reads:
        assert begun == sent
        assert stream.client.h2.local_flow_control_window(stream.id) > room // 2, "what was taken opens the window again"
    else:
        assert 4 <= begun <= 8, "the windows take two responses of 30 KB, four wait"


def test_a_turn_begins_some_requests_and_the_next_one_goes_on(opened: Open) -> None:
    stream = opened(max_stream_requests=1000)
    stream.client.h2.send_data(stream.id, b"".join(frame(b"%d" % number) for number in range(200)))
    stream.client.connection.receive(stream.client.h2.data_to_send())
    assert len(stream.calls) == 64
    stream.client.exchange()
    assert [bytes(call.message) for call in stream.calls] == [b"%d" % number for number in range(200)]


def test_requests_of_many_bytes_wait_for_those_before_them(opened: Open) -> None:
    stream = opened(stream_window_nbytes=64 << 20, connection_window_nbytes=64 << 20)
    stream.send(bytes(16 << 20), b"1", b"2")
    assert len(stream.calls) == 1
    stream.reply(0)
    assert len(stream.calls) == 3


def test_a_reset_cancels_all_and_frees_all_memory(opened: Open) -> None:
    stream = opened(max_stream_requests=3)
    stream.send(*(b"%d" % number for number in range(5)))
    stream.reply(1)
    stream.client.h2.reset_stream(stream.id)
    stream.client.exchange()
    assert stream.handler.cancelled == [0, 2]
    for call in stream.calls:
        call.reply(b"late")
        call.fail(InvalidArgument("late"))
    assert stream.client.connection.calls == 0


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"\0\0\0\0", 3, "expected a 5-byte prefix, got 4"),
        (frame(b"cut")[:-1], 3, "1 bytes before the message did"),
        (b"\x02\0\0\0\0", 13, "compressed flag"),
        (frame(b"", 1)[:1] + b"\0\0\0\0", 13, "grpc-encoding"),
        (frame(bytes(70_000)), 8, "at most 60000 bytes"),
    ],
)
def test_bytes_that_are_no_message_end_the_stream(opened: Open, body: bytes, code: int, words: str) -> None:
    stream = opened(max_message_nbytes=60_000)
    stream.send(b"0")
    stream.client.send(stream.id, body, end=True)
    assert stream.status is not None
    assert stream.status[0] == code
    assert words in stream.status[1]
    assert stream.handler.cancelled == [0]


def test_compressed_requests_and_responses_keep_their_order(opened: Open) -> None:
    stream = opened(("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip"), compression="gzip")
    long = bytes(200_000)
    stream.client.send(stream.id, frame(gzip.compress(long), 1) + frame(gzip.compress(b"short"), 1) + frame(b"plain"), end=True)
    assert [bytes(call.message) for call in stream.calls] == [b"short", b"plain"], "a thread has the long one"
    stream.served.run_conversions()
    stream.client.exchange()
    assert sorted(len(call.message) for call in stream.calls) == [5, 5, 200_000]
    for call in stream.calls:
        call.reply(call.message)
    while stream.served.conversions:
        stream.served.run_conversions()
        stream.client.exchange()
    body, found = stream.client.bodies[stream.id], []
    while body:
        nbytes = int.from_bytes(body[1:5])
        content, body = body[: 5 + nbytes], body[5 + nbytes :]
        found.append(gzip.decompress(content[5:]) if content[0] else content[5:])
    assert found == [b"<%b>" % long, b"<short>", b"<plain>"]
    assert stream.status == OK


def test_a_client_that_reads_nothing_loses_the_stream(opened: Open) -> None:
    stream = opened()
    stream.client.reads = False
    stream.send(b"0", b"1", b"2")
    for call in stream.calls[:2]:
        call.reply(b"y" * 70_000)
    stream.client.exchange()
    second = 10**9
    for now in range(1, 12):
        stream.client.connection.end_late_calls(now * second, -1, 5 * second, 5 * second)
    stream.client.exchange()
    assert (stream.client.resets, stream.client.connection.calls) == ({stream.id: 8}, 0)
    assert stream.handler.cancelled == [2]


def test_what_finds_no_room_is_told_in_band_or_ends_the_stream(opened: Open) -> None:
    stream = opened(max_unread_nbytes=100_000)
    stream.client.reads = False
    stream.send(b"0", b"1", b"2", b"3")
    stream.calls[0].reply(b"y" * 90_000)
    stream.calls[1].reply(b"y" * 90_000)
    assert [type(error) for error in stream.served.errors] == [ResourceExhausted]
    stream.client.reads = True
    stream.client.exchange()
    stream.client.h2.increment_flow_control_window(1 << 20)
    stream.client.h2.increment_flow_control_window(1 << 20, stream.id)
    stream.reply(2, 3)
    found = stream.responses
    assert [len(found[0]), found[2:]] == [90_002, [b"<2>", b"<3>"]]
    assert found[1].startswith(b"!this connection has ")
    stream.send(b"4", b"5")
    stream.client.connection.pause_writing()
    stream.calls[4].reply(b"y" * 100_000)  # nothing else waits: one of any size may
    stream.send(b"6", b"7")
    assert len(stream.calls) == 6, "there is no room for a response, nor to say so in band"
    stream.client.connection.resume_writing()
    stream.client.exchange()
    stream.reply(5)
    assert stream.responses[5:] == [b"<5>"]
    assert stream.status is not None
    assert stream.status[0] == 8


def test_the_deadline_is_the_streams(opened: Open) -> None:
    stream = opened(("grpc-timeout", "1n"))
    stream.send(b"0", b"1")
    stream.calls[0].fail(DeadlineExceeded("it passed in the queue"))
    stream.client.exchange()
    assert stream.status == (4, "it passed in the queue")
    assert stream.handler.cancelled == [1]


def test_an_idle_stream_ends_at_its_deadline_and_otherwise_lives(opened: Open) -> None:
    late, idle = opened(("grpc-timeout", "1n")), opened()
    for stream in (late, idle):
        stream.send(b"0")
        stream.reply(0)
        begun_ns = time.monotonic_ns()
        for second in range(100):
            stream.client.connection.end_late_calls(begun_ns + second * 10**9, -1, 5 * 10**9, 5 * 10**9)
        stream.client.exchange()
    assert late.status is not None
    assert late.status[0] == 4
    assert idle.status is None


def test_a_drain_answers_what_is_in_flight_and_ends_the_stream(opened: Open) -> None:
    stream = opened()
    stream.send(b"0")
    stream.served.server.stopping = True
    stream.send(b"1")

    def look(first: int) -> None:
        for now in range(first, first + 5):
            stream.client.connection.end_late_calls(now * 10**9, -1, 10**9, 10**9)
        stream.client.exchange()

    look(1)
    assert stream.status is None
    stream.reply(0)
    look(10)
    assert stream.responses == [b"<0>"]
    assert stream.status is not None
    assert stream.status[0] == Unavailable.code
    assert len(stream.calls) == 1
