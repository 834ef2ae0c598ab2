"""The load generator's connections against h2, over a socket pair: what is sent when, and what each kind of response counts as."""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferd._core.load.generator import Generator
from inferd._core.load.http2 import Http2
from inferd.bench.measurement import BUCKETS, Histogram
from inferd.bench.worker import CODES
from inferd.protocol import inference
from tests.http2_peer import EMPTY_SETTINGS, framed
from tests.wire import LIMIT_S

HEADERS = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/inference.GRPCInferenceService/ModelInfer"),
    (b":authority", b"test"),
    (b"content-type", b"application/grpc"),
]
OK = [("grpc-status", "0")]
PING_OF_A_STREAM = b"\0\0\x08\6\0\0\0\0\1" + bytes(8)  # a stream has none


def response(**changed: Any) -> inference.ModelInferResponse:
    made = inference.ModelInferResponse(model_name="m", model_version="1")
    made.outputs.add(name="y", datatype="FP32").shape.extend([2, 3])
    made.raw_output_contents.append(bytes(24))
    for name, value in changed.items():
        setattr(made, name, value)
    return made


RESPONSE = response().SerializeToString()


class Server:
    """An HTTP/2 server on one end of a socket pair, driven by the test: `requests` holds the whole body of each stream that has ended."""

    def __init__(self, generator: Generator, number: int = 0, streams: int = 100) -> None:
        self.socket, self.client = socket.socketpair()
        self.client.setblocking(False)
        self.socket.setblocking(False)
        self.http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.http2.local_settings = h2.settings.Settings(False, {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: streams})
        self.http2.initiate_connection()
        self.bodies: dict[int, bytes] = {}
        self.headers: dict[int, dict[str, str]] = {}
        self.requests: dict[int, bytes] = {}
        self.resets: dict[int, int] = {}
        self.over: set[int] = set()
        generator.add(self.client.fileno(), number)

    def read(self) -> None:
        """Takes what has come, and sends what is there to send."""
        self.take()
        self.send()

    def take(self) -> None:
        try:
            content = self.socket.recv(1 << 20)
        except BlockingIOError:
            content = b""
        for event in self.http2.receive_data(content) if content else ():
            if isinstance(event, h2.events.RequestReceived):
                self.headers[event.stream_id] = dict(event.headers)
                self.bodies[event.stream_id] = b""
            elif isinstance(event, h2.events.DataReceived):
                self.bodies[event.stream_id] += event.data
                self.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.requests[event.stream_id] = self.bodies[event.stream_id]
            elif isinstance(event, h2.events.StreamReset):
                self.resets[event.stream_id] = event.error_code

    def send(self) -> None:
        self.socket.sendall(self.http2.data_to_send())

    def answer(self, stream: int, body: bytes = framed(RESPONSE), trailers: Any = OK, status: str = "200", step: int = 1 << 20) -> None:
        """Headers, the body in pieces of `step` bytes, trailers."""
        self.http2.send_headers(stream, [(":status", status), ("content-type", "application/grpc")])
        for at in range(0, len(body), step):
            self.http2.send_data(stream, body[at : at + step])
            if step < 100:
                self.send()
        self.http2.send_headers(stream, trailers, end_stream=True)
        self.send()

    def close(self) -> None:
        self.socket.close()
        self.client.close()


@pytest.fixture
def made() -> Iterator[Callable[..., tuple[Generator, Server]]]:
    """Makes a generator with one connection, and closes all at the end. greeted: the server has sent its SETTINGS, first of all."""
    pairs: list[tuple[Generator, Server]] = []

    def make(
        bodies: tuple[bytes, ...] = (b"question",),
        headers: Sequence[tuple[bytes, bytes]] = HEADERS,
        *,
        streams: int = 100,
        greeted: bool = True,
        **options: Any,
    ) -> tuple[Generator, Server]:
        generator = Generator(bodies, Http2(headers), **options)
        server = Server(generator, streams=streams)
        pairs.append((generator, server))
        if greeted:
            server.send()
            assert not generator.greet(time.monotonic_ns() + int(LIMIT_S * 1e9))
        return generator, server

    yield make
    for generator, server in pairs:
        generator.close()
        server.close()


def pump(generator: Generator, server: Server, until: Callable[[], bool]) -> None:
    """Runs both sides in turn until something has happened."""
    limit_s = time.monotonic() + LIMIT_S
    while not until():
        assert time.monotonic() < limit_s
        generator.run(time.monotonic_ns() + 500_000)
        server.read()


def answer_all(generator: Generator, server: Server) -> None:
    """Answers every request until as many as were allowed are over."""
    answered: set[int] = set()

    def all_answered() -> bool:
        for stream in server.requests.keys() - answered:
            server.answer(stream)
            answered.add(stream)
        return generator.exhausted and not generator.outstanding

    pump(generator, server, all_answered)


def answer_every(generator: Generator, server: Server, count: int, *, under_way: int = 0) -> None:
    """Answers so many requests. under_way: on other connections."""
    answered: set[int] = set()

    def all_answered() -> bool:
        for stream in server.requests.keys() - answered:
            server.answer(stream)
            answered.add(stream)
        return len(answered) == count and generator.outstanding == under_way

    pump(generator, server, all_answered)


def counted(generator: Generator) -> tuple[dict[str, int], list[Histogram]]:
    """How many requests ended how, and the three distributions (latency, service, lateness)."""
    histograms = [Histogram(), Histogram(), Histogram()]
    codes, totals, _ = generator.collect(*(histogram.counts for histogram in histograms))
    for histogram, (sum_ns, max_ns, min_ns) in zip(histograms, totals, strict=True):
        histogram.sum_ns, histogram.max_ns, histogram.min_ns = sum_ns, max_ns, min_ns
    return {CODES[code]: count for code, count in enumerate(codes) if count}, histograms


def samples(generator: Generator) -> list[list[int]]:
    """(intended, sent, done, code) of each request."""
    found: list[list[int]] = np.frombuffer(generator.take_samples()[0], np.int64).reshape(-1, 4).tolist()
    return found


def one_request(made: Any, answer: Callable[[Server, int], None], **options: Any) -> tuple[dict[str, int], dict[int, bytes]]:
    """What the only request, answered like that, is counted as."""
    generator, server = made(**options)
    generator.start(0, streams=1, requests=1)
    pump(generator, server, lambda: bool(server.requests))
    answer(server, 1)
    pump(generator, server, lambda: not generator.outstanding)
    return counted(generator)[0], generator.messages()


# ---- what is sent, and when ----------------------------------------------------------------------------------------------


def test_a_closed_loop_keeps_its_streams_in_flight(made) -> None:
    generator, server = made(bodies=(b"first", b"second", b"third"))
    generator.start(0, streams=4)
    pump(generator, server, lambda: len(server.requests) == 4)
    assert generator.outstanding == 4
    assert [server.requests[stream] for stream in (1, 3, 5, 7)] == [framed(body) for body in (b"first", b"second", b"third", b"first")]
    for stream in (5, 1):
        server.answer(stream)
    pump(generator, server, lambda: len(server.requests) == 6)
    assert (generator.outstanding, generator.sent) == (4, 6)
    assert counted(generator)[0] == {"OK": 2}
    generator.stop()
    for stream in (3, 7, 9, 11):
        server.answer(stream)
    pump(generator, server, lambda: not generator.outstanding)
    assert (generator.sent, generator.exhausted) == (6, True)
    assert counted(generator)[0] == {"OK": 4}, "each is counted once"


def test_as_many_requests_as_were_allowed(made) -> None:
    generator, server = made()
    generator.start(0, streams=3, requests=5)
    answer_all(generator, server)
    assert (len(server.requests), generator.sent) == (5, 5)


def test_what_every_request_says(made) -> None:
    generator, server = made()
    generator.start(0, streams=1)
    pump(generator, server, lambda: bool(server.requests))
    assert list(server.headers[1].items()) == [(name.decode(), value.decode()) for name, value in HEADERS]


def test_latency_counts_from_the_time_that_a_request_was_meant_for(made) -> None:
    """One that was due a second ago has waited that second: the schedule does not wait for the server."""
    generator, server = made()
    now_ns = time.monotonic_ns()
    due_ns = np.array([now_ns - 1_000_000_000, now_ns - 1_000_000], np.int64)
    generator.start(0)
    generator.arrive(due_ns[:1])
    generator.arrive(due_ns[1:])
    pump(generator, server, lambda: len(server.requests) == 2)
    for stream in (1, 3):
        server.answer(stream)
    pump(generator, server, lambda: not generator.outstanding)
    codes, (latency, service, lateness) = counted(generator)
    assert codes == {"OK": 2}
    assert latency.max_ns >= 1_000_000_000 > latency.min_ns >= 1_000_000
    assert lateness.max_ns >= 1_000_000_000
    assert service.max_ns < latency.max_ns - 900_000_000


def test_nothing_is_sent_before_its_time(made) -> None:
    generator, server = made()
    generator.start(0)
    generator.arrive(np.array([time.monotonic_ns() + 3_600_000_000_000], np.int64))
    generator.run(time.monotonic_ns() + 2_000_000)
    server.read()
    assert (generator.sent, generator.arrivals_waiting, server.headers) == (0, 1, {})


def test_what_is_meant_for_the_end_of_a_run_is_the_next_ones(made) -> None:
    """What comes then may be counted otherwise, as at the end of the warm-up."""
    generator, server = made()
    end_ns = time.monotonic_ns() + 1_000_000
    generator.start(0)
    generator.arrive(np.array([end_ns - 1, end_ns, end_ns], np.int64))
    while generator.run(end_ns) < end_ns:
        pass
    assert (generator.sent, generator.overdue(end_ns + 1)) == (1, 2)
    answer_every(generator, server, 3)


def test_what_is_late_of_the_warm_up_is_none_of_the_number_of_requests(made) -> None:
    generator, server = made()
    now_ns = time.monotonic_ns()
    generator.start(now_ns, requests=2)
    generator.arrive(np.full(7, now_ns - 1_000_000, np.int64))
    generator.arrive(np.full(5, now_ns, np.int64))
    assert (generator.overdue(now_ns), generator.overdue(now_ns + 1)) == (7, 9), "three of them are not allowed"
    answer_every(generator, server, 9)
    assert (counted(generator)[0], generator.exhausted) == ({"OK": 2}, True)
    assert (generator.overdue(now_ns + 1), generator.arrivals_waiting) == (0, 3)


def test_warm_up_is_counted_nowhere(made) -> None:
    generator, server = made(verify_every=1, sample_room=10)
    generator.start(time.monotonic_ns() + 3_600_000_000_000, streams=1)
    pump(generator, server, lambda: bool(server.requests))
    server.answer(1)
    pump(generator, server, lambda: 3 in server.requests)
    generator.stop()
    server.answer(3, trailers=[("grpc-status", "13")])
    pump(generator, server, lambda: not generator.outstanding)
    codes, histograms = counted(generator)
    assert (codes, [histogram.count for histogram in histograms]) == ({}, [0, 0, 0])
    assert (generator.take_responses(), generator.take_samples()) == (([], 0), (b"", 0))


def test_what_is_left_of_a_closed_loops_warm_up_is_measured_from_its_sending(made) -> None:
    """Nothing else is asked there while it waits: a server that has stalled before the measuring begins would hide in it."""
    generator, server = made(sample_room=10)
    generator.start(2**62, streams=3)
    pump(generator, server, lambda: len(server.requests) == 3)
    server.answer(1)
    pump(generator, server, lambda: len(server.requests) == 4)
    begun_ns = time.monotonic_ns()
    generator.start(begun_ns, streams=3)
    generator.stop()
    for stream in (3, 5, 7):
        server.answer(stream)
    pump(generator, server, lambda: not generator.outstanding)
    codes, (latency, service, _) = counted(generator)
    assert (codes, latency.count, service.count) == ({"OK": 3}, 3, 3), "but not what was answered before"
    assert all(intended_ns == sent_ns < begun_ns < done_ns for intended_ns, sent_ns, done_ns, _ in samples(generator))


def test_what_is_left_of_the_warm_up_is_among_the_number_of_requests(made) -> None:
    generator, server = made()
    generator.start(2**62, streams=3)
    pump(generator, server, lambda: len(server.requests) == 3)
    generator.start(time.monotonic_ns(), streams=3, requests=5)
    answer_all(generator, server)
    assert (generator.sent, counted(generator)[0]) == (5, {"OK": 5})


def test_what_is_left_of_an_open_loops_warm_up_counts_once_nobody_waits_any_longer(made) -> None:
    """Its response is none of the measured time, whose own arrivals wait, too, where the server stalls; having none at all is."""
    generator, server = made()
    now_ns = time.monotonic_ns()
    generator.start(now_ns)
    generator.arrive(np.array([now_ns - 2_000_000_000, now_ns - 1_000_000_000, now_ns], np.int64))
    pump(generator, server, lambda: len(server.requests) == 3)
    server.answer(1)
    pump(generator, server, lambda: generator.outstanding == 2)
    assert counted(generator)[0] == {}
    assert generator.give_up() == 2
    codes, (latency, _, _) = counted(generator)
    assert (codes, latency.count) == ({"unanswered": 2}, 2)
    assert latency.max_ns >= 1_000_000_000


@pytest.mark.parametrize("streams", [1, 0])
def test_before_the_measuring_begins_no_wait_is_a_latency(made, streams: int) -> None:
    generator, server = made()
    now_ns = time.monotonic_ns()
    generator.start(now_ns + 3_600_000_000_000, streams=streams)
    if not streams:
        generator.arrive(np.array([now_ns], np.int64))
    pump(generator, server, lambda: len(server.requests) == 1)
    generator.count_waiting(time.monotonic_ns(), 0)
    assert counted(generator)[1][0].count == 0


def test_counts_are_those_of_the_samples(made) -> None:
    """The native buckets are the ones that Python's Histogram fills."""
    generator, server = made(sample_room=100)
    generator.start(0, streams=8, requests=64)
    answered: set[int] = set()

    def all_answered() -> bool:
        for stream in sorted(server.requests.keys() - answered)[:3]:
            server.answer(stream)
            answered.add(stream)
        return generator.exhausted and not generator.outstanding

    pump(generator, server, all_answered)
    taken = samples(generator)
    assert len(taken) == 64
    expected = Histogram()
    for intended_ns, sent_ns, done_ns, code in taken:
        assert intended_ns == sent_ns <= done_ns
        assert code == 0
        expected.record(done_ns - intended_ns)
    latency = counted(generator)[1][0]
    assert (latency.counts == expected.counts).all()
    assert (latency.sum_ns, latency.max_ns, latency.min_ns) == (expected.sum_ns, expected.max_ns, expected.min_ns)


def test_a_body_larger_than_every_window(made) -> None:
    body = bytes(range(256)) * 4096
    generator, server = made(bodies=(body,))
    generator.start(0, streams=2, requests=2)
    pump(generator, server, lambda: len(server.requests) == 2)
    assert set(server.requests.values()) == {framed(body)}


# ---- what a response counts as --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", range(1, 17))
def test_every_status_with_its_message(made, code: int) -> None:
    codes, messages = one_request(
        made, lambda server, stream: server.answer(stream, b"", [("grpc-status", str(code)), ("grpc-message", "for a reason")])
    )
    assert codes == {CODES[code]: 1}
    assert messages == {code: b"for a reason"}


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "OK without a response"),
        (framed(RESPONSE) * 2, "more than one response"),
        (framed(RESPONSE) + b"\0\0", "more than one response"),
        (framed(RESPONSE)[:-1], "OK without a response"),
        (framed(RESPONSE, compressed=1), "compressed"),
        (framed(RESPONSE[:-1]), "a field is longer than what holds it"),
        (framed(b""), "no output"),
        (framed(response(model_name="x" * 100).SerializeToString(), nbytes=1 << 31), "larger than the limit"),
    ],
)
def test_a_response_that_is_none(made, body: bytes, fault: str) -> None:
    codes, messages = one_request(made, lambda server, stream: server.answer(stream, body))
    assert codes == {"malformed": 1}
    assert fault in messages[17].decode()


@pytest.mark.parametrize("step", [1, 3, 7])
def test_a_response_in_many_pieces(made, step: int) -> None:
    generator, server = made(verify_every=1)
    generator.start(0, streams=1, requests=1)
    pump(generator, server, lambda: bool(server.requests))
    server.answer(1, step=step)
    pump(generator, server, lambda: not generator.outstanding)
    assert counted(generator)[0] == {"OK": 1}
    assert generator.take_responses() == ([(0, RESPONSE)], 0)


@pytest.mark.parametrize(("status", "name"), [("400", "INTERNAL"), ("404", "UNIMPLEMENTED"), ("503", "UNAVAILABLE"), ("418", "UNKNOWN")])
def test_http_without_grpc(made, status: str, name: str) -> None:
    assert one_request(made, lambda server, stream: server.answer(stream, b"", [("x", "y")], status))[0] == {name: 1}


@pytest.mark.parametrize(("status", "name"), [("500", "UNKNOWN"), ("503", "UNAVAILABLE")])
@pytest.mark.parametrize("body", [framed(RESPONSE), b""])
def test_http_that_says_no_makes_a_status_of_ok_none(made, status: str, name: str, body: bytes) -> None:
    codes, messages = one_request(made, lambda server, stream: server.answer(stream, body, OK, status))
    assert codes == {name: 1}
    assert messages == {CODES.index(name): b"HTTP status " + status.encode()}


def test_http_that_says_no_leaves_a_status_that_says_more(made) -> None:
    trailers = [("grpc-status", "8"), ("grpc-message", "full")]
    codes, messages = one_request(made, lambda server, stream: server.answer(stream, b"", trailers, "503"))
    assert (codes, messages) == ({"RESOURCE_EXHAUSTED": 1}, {8: b"full"})


def test_a_response_without_a_status_says_so(made) -> None:
    codes, messages = one_request(made, lambda server, stream: server.answer(stream, trailers=[("x", "y")]))
    assert (codes, messages) == ({"UNKNOWN": 1}, {2: b"the response ended without a grpc-status"})


@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto", "application/grpc;x=y", "Application/gRPC"])
def test_a_content_type_of_grpc(made, content_type: str) -> None:
    codes, _ = one_request(made, lambda server, stream: answer_as(server, stream, [("content-type", content_type)], OK))
    assert codes == {"OK": 1}


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([("content-type", "text/html")], b"content-type text/html"),
        ([("content-type", "application/grpc-web")], b"content-type application/grpc-web"),
        ([("content-type", "a%41" + "b" * 1000)], (b"content-type a?41" + b"b" * 1000)[:255]),
        ([], b"the response has no content-type"),
    ],
)
def test_a_response_of_another_content_type_is_none(made, headers: list[tuple[str, str]], said: bytes) -> None:
    """Whatever it says beside it, as for other gRPC clients; but a status that names an error is heeded, and so is a message."""
    told = [("grpc-status", "8"), ("grpc-message", "full")]
    for trailers, expected in ((OK, (2, said)), ([("x", "y")], (2, said)), (told[:1], (8, said)), (told, (8, b"full"))):
        codes, messages = one_request(made, lambda server, stream, trailers=trailers: answer_as(server, stream, headers, trailers))
        code, message = expected
        assert codes == {CODES[code]: 1}
        assert messages == ({code: message} if headers or code == 2 or trailers is told else {})


def answer_as(server: Server, stream: int, headers: list[tuple[str, str]], trailers: list[tuple[str, str]]) -> None:
    server.http2.send_headers(stream, [(":status", "200"), *headers])
    server.http2.send_data(stream, framed(RESPONSE))
    server.http2.send_headers(stream, trailers, end_stream=True)
    server.send()


def begin(server: Server, stream: int, *, end: bool = False) -> None:
    """A status of OK where none may stand: before the message."""
    server.http2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc"), *OK])
    server.http2.send_data(stream, framed(RESPONSE), end_stream=end)
    server.send()


def test_a_status_before_the_message_is_none(made) -> None:
    """Whatever comes after it: only what ends a response says how it ended, as for any gRPC client."""
    codes, messages = one_request(made, lambda server, stream: begin(server, stream, end=True))
    assert (codes, messages) == ({"UNKNOWN": 1}, {2: b"the response ended without a grpc-status"})

    def begin_and_reset(server: Server, stream: int) -> None:
        begin(server, stream)
        reset(server, stream, 2)

    codes, messages = one_request(made, begin_and_reset)
    assert (codes, messages) == ({"INTERNAL": 1}, {13: b"the stream was reset: INTERNAL_ERROR"})


def test_a_status_that_comes_alone_ends_the_response(made) -> None:
    def refuse(server: Server, stream: int) -> None:
        server.http2.send_headers(stream, [(":status", "200"), ("grpc-status", "8"), ("grpc-message", "full")], end_stream=True)
        server.send()

    assert one_request(made, refuse) == ({"RESOURCE_EXHAUSTED": 1}, {8: b"full"})


@pytest.mark.parametrize(
    ("trailers", "said"),
    [
        ([("grpc-status", "99")], b"grpc-status 99"),
        ([("grpc-status", "zero%41")], b"grpc-status zero?41"),
        ([("grpc-status", "9" * 1000)], (b"grpc-status " + b"9" * 1000)[:255]),
        ([("grpc-status", "99"), ("grpc-message", "odd")], b"odd"),
        ([("grpc-message", "odd"), ("grpc-status", "99")], b"odd"),
    ],
)
def test_a_status_that_grpc_does_not_have_is_told(made, trailers: list[tuple[str, str]], said: bytes) -> None:
    assert one_request(made, lambda server, stream: server.answer(stream, trailers=trailers)) == ({"UNKNOWN": 1}, {2: said})


def reset(server: Server, stream: int, error: int) -> None:
    server.http2.reset_stream(stream, error)
    server.send()


@pytest.mark.parametrize(
    ("error", "name", "word"),
    [(8, "CANCELLED", b"CANCEL"), (11, "RESOURCE_EXHAUSTED", b"ENHANCE_YOUR_CALM"), (2, "INTERNAL", b"INTERNAL_ERROR")],
)
@pytest.mark.parametrize("begun", [True, False])
def test_a_reset_stream(made, error: int, name: str, word: bytes, begun: bool) -> None:
    def answer(server: Server, stream: int) -> None:
        if begun:
            server.http2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        reset(server, stream, error)

    codes, messages = one_request(made, answer)
    assert (codes, messages) == ({name: 1}, {CODES.index(name): b"the stream was reset: " + word})


def test_a_refused_stream_is_asked_again_and_its_latency_counts_on(made) -> None:
    """The server has not looked at it: a gRPC client tells nobody. It keeps its place in a closed loop."""
    generator, server = made(bodies=(b"first", b"second"), sample_room=10)
    generator.start(0, streams=2)
    pump(generator, server, lambda: len(server.requests) == 2)
    begun_ns = time.monotonic_ns()
    reset(server, 1, 7)
    pump(generator, server, lambda: len(server.requests) == 3)
    assert (server.requests[5], generator.outstanding, generator.sent) == (framed(b"first"), 2, 2)
    generator.stop()
    for stream in (3, 5):
        server.answer(stream)
    pump(generator, server, lambda: not generator.outstanding)
    assert (counted(generator)[0], generator.messages()) == ({"OK": 2}, {})
    assert all(sample[1] < begun_ns for sample in samples(generator))


def test_a_refused_stream_is_asked_again_twice_at_most(made) -> None:
    generator, server = made()
    generator.start(0, streams=1, requests=1)
    refused: set[int] = set()

    def all_refused() -> bool:
        for stream in server.requests.keys() - refused:
            reset(server, stream, 7)
            refused.add(stream)
        return not generator.outstanding and bool(refused)

    pump(generator, server, all_refused)
    assert len(refused) == 3
    assert (counted(generator)[0], generator.messages()) == ({"UNAVAILABLE": 1}, {14: b"the stream was reset: REFUSED_STREAM"})


@pytest.mark.parametrize("body", [None, framed(RESPONSE)])
def test_a_response_that_does_not_wait_for_the_whole_request_ends_it(made, body: bytes | None) -> None:
    """A server that refuses a large request reads no more of it, and may not say so: the status counts, the rest is not sent."""
    generator, server = made(bodies=(bytes(1 << 20),))
    generator.start(0, streams=2, requests=5)
    answered: set[int] = set()

    def answer_at_the_headers() -> bool:
        for stream in server.headers.keys() - answered:
            answered.add(stream)
            if body is not None:
                server.answer(stream, body)
            else:
                fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "8"), ("grpc-message", "too large")]
                server.http2.send_headers(stream, fields, end_stream=True)
                server.send()
        return generator.exhausted and not generator.outstanding

    pump(generator, server, answer_at_the_headers)
    pump(generator, server, lambda: len(server.resets) == 5)
    assert (set(server.resets.values()), server.requests) == ({0}, {})
    if body is None:
        assert (counted(generator)[0], generator.messages()) == ({"RESOURCE_EXHAUSTED": 5}, {8: b"too large"})
    else:
        assert counted(generator)[0] == {"OK": 5}


def test_a_deadline_cancels(made) -> None:
    generator, server = made(deadline_ns=2_000_000)
    generator.start(0, streams=1, requests=1)
    pump(generator, server, lambda: bool(server.resets))
    assert server.resets == {1: 8}
    codes, (latency, service, _) = counted(generator)
    assert codes == {"DEADLINE_EXCEEDED": 1}
    assert latency.count == service.count == 1
    assert latency.min_ns >= 2_000_000


@pytest.mark.parametrize("code", [1, 4])
def test_a_deadline_that_the_server_notices_first_took_its_time_too(made, code: int) -> None:
    """A server that refuses at once what it will not make in time is not fast for that; grpcio's calls it CANCELLED."""
    generator, server = made(deadline_ns=3_600_000_000_000)
    generator.start(0, streams=1, requests=1)
    pump(generator, server, lambda: bool(server.requests))
    server.answer(1, b"", [("grpc-status", str(code)), ("grpc-message", "too late")])
    pump(generator, server, lambda: not generator.outstanding)
    codes, (latency, _, _) = counted(generator)
    assert (codes, generator.messages()) == ({CODES[code]: 1}, {code: b"too late"})
    assert latency.min_ns >= 3_600_000_000_000


@pytest.mark.parametrize(("body", "status"), [(framed(RESPONSE), "0"), (b"", "0"), (b"", "1"), (b"", "8")])
def test_what_comes_after_the_deadline_is_no_response(made, body: bytes, status: str) -> None:
    """It lies in the socket when the generator looks, before there was a chance to cancel: no gRPC client would still take it."""
    generator, server = made(deadline_ns=1, sample_room=1)
    client = h2.connection.H2Connection()  # whose request is answered before the generator has sent its own
    client.initiate_connection()
    client.send_headers(1, HEADERS, end_stream=True)
    server.http2.receive_data(client.data_to_send())
    server.answer(1, body, [("grpc-status", status)])
    generator.start(0, streams=1, requests=1)
    generator.run(time.monotonic_ns() + int(LIMIT_S * 1e9))
    histograms = [Histogram(), Histogram(), Histogram()]
    codes, totals, answered = generator.collect(*(histogram.counts for histogram in histograms))
    assert ({CODES[code]: count for code, count in enumerate(codes) if count}, answered) == ({"DEADLINE_EXCEEDED": 1}, 0)
    assert sum(histograms[0].counts) == 1 < totals[0][2], "which took so long at least"
    assert samples(generator)[0][3] == 4


@pytest.mark.parametrize(("bodies", "every"), [(1, 1), (4, 4), (5, 20), (64, 16)])
def test_responses_of_every_body_are_drawn(made, bodies: int, every: int) -> None:
    """About one in so many, and not those of the same bodies again and again."""
    count = bodies * every * 8
    generator, server = made(bodies=tuple(bytes([body]) for body in range(bodies)), verify_every=every)
    generator.start(0, streams=64, requests=count)
    answer_all(generator, server)
    responses, lost = generator.take_responses()
    assert count / every / 2 < len(responses) + lost < count / every * 2
    assert {body for body, _ in responses} == set(range(bodies))


def settled(generator: Generator, server: Server, limit: int) -> None:
    """One request and its response, by which the server's limit of streams is known, too."""
    server.http2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: limit})
    server.send()
    generator.start(2**62, streams=1)
    pump(generator, server, lambda: bool(server.requests))
    generator.stop()
    server.answer(1)
    pump(generator, server, lambda: not generator.outstanding)
    server.requests.clear()


def test_what_exceeds_the_servers_limit_of_streams_waits(made) -> None:
    """And is timed from its own beginning."""
    generator, server = made()
    settled(generator, server, 2)
    generator.start(0, streams=5, requests=5)
    for _ in range(5):
        generator.run(time.monotonic_ns() + 500_000)
        server.read()
    assert (len(server.requests), generator.outstanding, generator.held_back) == (2, 5, 3)
    answered: set[int] = set()

    def all_answered() -> bool:
        assert len(server.requests.keys() - answered) <= 2
        for stream in server.requests.keys() - answered:
            server.answer(stream)
            answered.add(stream)
        return not generator.outstanding

    pump(generator, server, all_answered)
    assert counted(generator)[0] == {"OK": 5}


def test_nothing_is_asked_before_the_server_has_said_what_it_allows(made) -> None:
    """It would refuse the rest, or take it for an attack."""
    generator, server = made(streams=2, greeted=False)
    generator.start(0, streams=5, requests=5)
    generator.run(time.monotonic_ns() + 2_000_000)
    server.take()
    assert (server.headers, generator.outstanding, generator.held_back) == ({}, 5, 0)
    assert generator.greet(time.monotonic_ns() + 2_000_000), "it is still to come"
    server.send()
    assert not generator.greet(time.monotonic_ns() + int(LIMIT_S * 1e9))
    for _ in range(5):
        generator.run(time.monotonic_ns() + 500_000)
        server.read()
    assert len(server.headers) == 2
    answer_all(generator, server)
    assert counted(generator)[0] == {"OK": 5}


def test_whoever_waits_for_settings_is_told_when_a_connection_dies(made) -> None:
    generator, server = made(greeted=False)
    server.socket.close()
    assert not generator.greet(time.monotonic_ns() + int(LIMIT_S * 1e9))
    assert generator.take_dead() == [0]
    assert not generator.greet(time.monotonic_ns() + int(LIMIT_S * 1e9)), "there is nobody to wait for"


def test_what_waited_on_a_connection_that_died_before_it_was_sent_is_asked_on_another(made) -> None:
    generator, server = made(greeted=False)
    generator.start(0, streams=2, requests=2)
    generator.run(time.monotonic_ns() + 500_000)
    server.socket.close()
    while not generator.take_dead():
        generator.run(time.monotonic_ns() + 500_000)
    assert (generator.outstanding, counted(generator)[0]) == (2, {})
    again = Server(generator, 5)
    answer_every(generator, again, 2)
    assert counted(generator)[0] == {"OK": 2}
    again.close()


def test_a_deadline_ends_those_that_wait_without_a_word_to_the_server(made) -> None:
    generator, server = made(deadline_ns=100_000_000)  # within which the one that settles is answered
    settled(generator, server, 1)
    generator.start(0)
    generator.arrive(np.full(50_000, time.monotonic_ns(), np.int64))
    pump(generator, server, lambda: not generator.outstanding and not generator.arrivals_waiting)
    assert counted(generator)[0] == {"DEADLINE_EXCEEDED": 50_000}
    assert len(server.headers) < 100


def test_what_has_less_time_left_than_responses_take_does_not_take_the_time_of_others(made) -> None:
    """One after the other all would be sent too late. The response takes more than half of the deadline: the next one has less left."""
    second_ns = 1_000_000_000
    generator, server = made(deadline_ns=second_ns, streams=1)
    generator.start(0)
    begun_ns = time.monotonic_ns()
    generator.arrive(np.full(2, begun_ns, np.int64))
    pump(generator, server, lambda: bool(server.requests) and time.monotonic_ns() > begun_ns + 0.55 * second_ns)
    server.answer(1)
    pump(generator, server, lambda: not generator.outstanding)
    assert counted(generator)[0] == {"OK": 1, "DEADLINE_EXCEEDED": 1}
    assert list(server.headers) == [1], "it is not sent"
    assert generator.messages() == {4: b"waited in the generator for a stream until it was too late"}


def test_responses_are_read_while_much_is_due(made) -> None:
    """They would grow old unread, past their deadlines, while all that is due is sent."""
    generator, server = made(streams=1_000)
    generator.start(0)
    generator.arrive(np.full(1_000, time.monotonic_ns(), np.int64))
    while not generator.sent:
        generator.run(time.monotonic_ns() + 100_000)
    assert generator.sent < 1_000, "it looks up before all is sent"
    pump(generator, server, lambda: generator.sent == 1_000)


def test_a_server_is_told_what_is_left_of_the_time_of_a_request_that_was_kept_here(made) -> None:
    second_ns = 1_000_000_000
    generator, server = made(headers=[*HEADERS, (b"grpc-timeout", b"3600S")], deadline_ns=3600 * second_ns)
    settled(generator, server, 1)
    generator.start(0, streams=3, requests=3)
    begun_ns = time.monotonic_ns()
    answer_all(generator, server)
    told = [server.headers[stream]["grpc-timeout"] for stream in sorted(server.headers)]
    assert told[:2] == ["3600S", "3600S"], "at once"
    units_ns = {"S": second_ns, "m": 1_000_000, "u": 1_000, "n": 1}
    left_ns = [int(text[:-1]) * units_ns[text[-1]] for text in told[2:]]
    assert len(left_ns) == 2
    assert all(3600 * second_ns - (time.monotonic_ns() - begun_ns) - 1_000_000 <= left < 3600 * second_ns for left in left_ns)
    assert left_ns[1] <= left_ns[0]


@pytest.mark.parametrize(
    ("deadline_ns", "least", "most"),
    [
        (50_000_000_000, "10000000u", "49999999u"),
        (99_999_999_999, "90000000u", "99999999u"),
        (100_000_000_000, "90000000u", "99999999u"),
        (200_000_000_000, "100000m", "199999m"),
        (10**14, "90000000m", "99999999m"),
        (2 * 10**14, "100000S", "199999S"),
        (2**62, "99999999S", "99999999S"),
    ],
)
def test_what_is_left_has_eight_digits_at_most(made, deadline_ns: int, least: str, most: str) -> None:
    """In the smallest unit that does, and never more than it is."""
    generator, server = made(headers=[*HEADERS, (b"grpc-timeout", b"whole")], deadline_ns=deadline_ns, greeted=False)
    generator.start(0, streams=1, requests=1)
    pump(generator, server, lambda: bool(server.headers))  # it had to wait for the server's SETTINGS
    told = server.headers[1]["grpc-timeout"]
    assert told[-1] == least[-1]
    assert int(least[:-1]) <= int(told[:-1]) <= int(most[:-1])


def say_goaway(generator: Generator, server: Server, last_stream: int) -> None:
    """And the generator reads it."""
    server.http2.close_connection(last_stream_id=last_stream)
    server.socket.sendall(server.http2.data_to_send())
    generator.run(time.monotonic_ns() + 2_000_000)


def test_goaway_sends_those_that_wait_elsewhere(made) -> None:
    """What this end kept back is asked on the next connection, where there is one."""
    generator, server = made()
    settled(generator, server, 1)
    generator.start(0, streams=3, requests=3)
    pump(generator, server, lambda: len(server.requests) == 1)
    say_goaway(generator, server, 3)
    assert (generator.outstanding, counted(generator)[0]) == (3, {})
    again = Server(generator, 5)
    answer_every(generator, again, 2, under_way=1)
    codes, (latency, _, lateness) = counted(generator)
    assert (codes, latency.count, lateness.count) == ({"OK": 2}, 2, 0), "each was sent once"
    again.close()


def test_what_a_server_that_goes_away_has_not_looked_at_is_asked_again(made) -> None:
    """Streams above GOAWAY's last were never worked on: a gRPC client asks them again, and its user waits, but sees no error."""
    generator, server = made(sample_room=10)
    begun_ns = time.monotonic_ns()
    generator.start(0)
    generator.arrive(np.array([begun_ns] * 3, np.int64))
    pump(generator, server, lambda: len(server.requests) == 3)
    say_goaway(generator, server, 1)
    assert (generator.outstanding, counted(generator)[0]) == (3, {})
    again = Server(generator, 5)
    answer_every(generator, again, 2, under_way=1)
    assert [again.requests[stream] for stream in (1, 3)] == [framed(b"question")] * 2, "whole"
    assert counted(generator)[0] == {"OK": 2}
    assert [sample[0] for sample in samples(generator)] == [begun_ns] * 2, "as late as they were"
    server.socket.close()
    while not generator.take_dead():
        generator.run(time.monotonic_ns() + 500_000)
    assert (counted(generator)[0], generator.outstanding, generator.sent) == ({"connection": 1}, 0, 3)
    again.close()


def test_a_request_is_not_asked_again_for_ever(made) -> None:
    generator, server = made()
    generator.start(0, streams=1, requests=1)
    servers = [server, Server(generator, 1), Server(generator, 2)]
    refused = 0
    limit_s = time.monotonic() + LIMIT_S
    while generator.outstanding or not refused:
        assert time.monotonic() < limit_s
        generator.take_dead()
        generator.run(time.monotonic_ns() + 500_000)
        for one in servers:
            one.read()
            if one.requests:
                one.requests.clear()
                refused += 1
                say_goaway(generator, one, 0)
    assert (refused, counted(generator)[0]) == (3, {"UNAVAILABLE": 1})
    for one in servers[1:]:
        one.close()


@pytest.mark.parametrize(("end", "name"), [("give_up", "unanswered"), ("close", "connection"), ("run", "DEADLINE_EXCEEDED")])
def test_what_finds_no_other_connection_is_counted(made, end: str, name: str) -> None:
    generator, server = made(deadline_ns=20_000_000 if end == "run" else 0)
    generator.start(0, streams=2, requests=2)
    pump(generator, server, lambda: len(server.requests) == 2)
    say_goaway(generator, server, 0)
    while not generator.take_dead():  # nothing is left on it
        generator.run(time.monotonic_ns() + 500_000)
    if end == "run":
        limit_s = time.monotonic() + LIMIT_S
        while generator.outstanding and time.monotonic() < limit_s:
            generator.run(time.monotonic_ns() + 500_000)
    else:
        assert generator.outstanding == 2
        getattr(generator, end)()
    assert (generator.outstanding, counted(generator)[0]) == (0, {name: 2})


def test_a_closed_loop_is_as_large_after_a_connection_went_away(made) -> None:
    """What was refused fills the place of what the next connection would have asked."""
    generator, server = made()
    generator.start(0, streams=2)
    pump(generator, server, lambda: len(server.requests) == 2)
    say_goaway(generator, server, 0)
    while not generator.take_dead():
        generator.run(time.monotonic_ns() + 500_000)
    again = Server(generator, 5)
    for _ in range(6):
        pump(generator, again, lambda: len(again.requests) >= 2)
        assert generator.outstanding == 2
        stream = min(again.requests)
        again.answer(stream)
        del again.requests[stream]
    again.close()


def test_what_is_given_up_is_unanswered_and_took_its_time(made) -> None:
    generator, server = made()
    generator.start(0)
    generator.arrive(np.array([time.monotonic_ns() - 5_000_000_000] * 3, np.int64))
    pump(generator, server, lambda: len(server.requests) == 3)
    server.answer(1)
    pump(generator, server, lambda: generator.outstanding == 2)
    assert generator.give_up() == 2
    codes, (latency, service, _) = counted(generator)
    assert codes == {"OK": 1, "unanswered": 2}
    assert (latency.count, service.count) == (3, 3)
    assert latency.min_ns >= 5_000_000_000


def test_what_waits_long_shows_though_it_is_not_over(made) -> None:
    generator, server = made()
    now_ns = time.monotonic_ns()
    generator.start(now_ns - 8_000_000_000)
    generator.arrive(np.array([now_ns - seconds * 1_000_000_000 for seconds in (9, 7, 5, 3)], np.int64))  # the first is of the warm-up
    pump(generator, server, lambda: len(server.requests) == 4)
    counted(generator)
    generator.count_waiting(time.monotonic_ns(), 4_000_000_000)
    codes, (latency, service, _) = counted(generator)
    assert (codes, latency.count, service.count, generator.outstanding) == ({}, 3, 3, 4)
    assert latency.min_ns >= 5_000_000_000
    assert latency.max_ns >= 9_000_000_000
    for stream in list(server.requests):
        server.answer(stream)
    pump(generator, server, lambda: not generator.outstanding)
    assert counted(generator)[0] == {"OK": 3}, "nothing was ended"


def test_responses_to_warm_up_requests_are_responses_of_the_time_in_which_they_come(made) -> None:
    """Throughput is what comes out; else a server that is asked too much would seem to give less."""
    generator, server = made()
    begun_ns = time.monotonic_ns()
    generator.start(begun_ns)
    generator.arrive(np.array([begun_ns - 1_000_000, begun_ns], np.int64))
    pump(generator, server, lambda: len(server.requests) == 2)
    for stream in (1, 3):
        server.answer(stream)
    pump(generator, server, lambda: not generator.outstanding)
    arrays = [np.zeros(BUCKETS, np.uint64) for _ in range(3)]
    codes, _, answered = generator.collect(*arrays)
    assert (codes[0], answered) == (1, 2)


def test_what_exceeds_the_most_that_may_be_under_way_is_no_lateness_and_not_forgotten(made) -> None:
    most = 100_000
    generator, server = made()
    settled(generator, server, 1)
    begun_ns = time.monotonic_ns()
    generator.start(0)
    generator.arrive(np.full(most + 8, begun_ns, np.int64))
    pump(generator, server, lambda: generator.outstanding == most and generator.blocked)
    counted(generator)
    stream = max(server.requests)
    server.answer(stream)
    pump(generator, server, lambda: generator.arrivals_waiting == 7)
    codes, (latency, _, lateness) = counted(generator)
    assert (codes, latency.count, lateness.count) == ({"OK": 1}, 1, 0), "it was sent late because the server did not answer"
    assert (generator.overdue(begun_ns), generator.overdue(begun_ns + 1)) == (0, 7)
    generator.count_waiting(begun_ns + 1, 0)
    codes, (latency, service, _) = counted(generator)
    assert (codes, latency.count, service.count) == ({}, most + 7, most + 7), "what could not be sent waits, too"
    assert generator.give_up_overdue(time.monotonic_ns()) == 7
    codes, (latency, service, _) = counted(generator)
    assert (codes, latency.count, service.count) == ({"unanswered": 7}, 7, 7)
    assert generator.give_up() == most


# ---- connections that go -------------------------------------------------------------------------------------------------


def test_a_connection_that_is_closed_loses_its_requests(made) -> None:
    generator, server = made()
    generator.start(0, streams=2)
    pump(generator, server, lambda: len(server.requests) == 2)
    server.socket.close()
    while not (dead := generator.take_dead()):
        generator.run(time.monotonic_ns() + 500_000)
    assert dead == [0]
    assert (counted(generator)[0], generator.messages()) == ({"connection": 2}, {18: b"the server closed the connection"})
    assert generator.outstanding == 0
    again = Server(generator, 5)
    pump(generator, again, lambda: len(again.requests) == 2)
    generator.close()
    assert counted(generator)[0] == {"connection": 2}
    again.close()


def test_a_connection_that_is_reset_says_so(made) -> None:
    generator = made()[0]
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as client:
        accepted = listening.accept()[0]
        client.setblocking(False)
        generator.take_dead()
        generator.close()
        generator.add(client.fileno(), 1)
        generator.start(0, streams=1)
        accepted.sendall(EMPTY_SETTINGS)
        while generator.greet(time.monotonic_ns() + 500_000):
            pass
        generator.run(time.monotonic_ns() + 500_000)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()
        while not generator.take_dead():
            generator.run(time.monotonic_ns() + 500_000)
        assert (counted(generator)[0], generator.messages()) == ({"connection": 1}, {18: b"Connection reset by peer"})


def test_what_a_server_said_before_it_closed_is_read_where_it_takes_nothing_more(made) -> None:
    generator, server = made()
    generator.start(0, streams=3, requests=3)
    pump(generator, server, lambda: len(server.requests) == 3)
    server.answer(1)
    server.http2.close_connection(11, b"enough", last_stream_id=5)
    server.socket.sendall(server.http2.data_to_send())
    server.socket.close()
    generator.start(0, streams=4, requests=1)  # it writes before it reads
    generator.run(time.monotonic_ns() + 500_000)
    assert generator.take_dead() == [0]
    assert (counted(generator)[0], generator.messages()) == ({"OK": 1, "connection": 2}, {18: b"GOAWAY ENHANCE_YOUR_CALM: enough"})
    assert generator.outstanding == 1, "what it has not looked at waits for another connection"


@pytest.mark.parametrize(
    ("error", "debug", "said"),
    [
        (11, b"too many\nresets \x1b[1m 100%25", b"GOAWAY ENHANCE_YOUR_CALM: too many?resets ?[1m 100?25"),
        (2, b"", b"GOAWAY INTERNAL_ERROR"),
        (0, b"x" * 10_000, b"GOAWAY NO_ERROR: " + b"x" * 239),
    ],
)
def test_why_a_server_went_away(made, error: int, debug: bytes, said: bytes) -> None:
    """Its last word, printable and not endless, is what is said of the requests that were lost with it, be they asked or refused."""
    generator, server = made()
    generator.start(0, streams=2)
    pump(generator, server, lambda: len(server.requests) == 2)
    server.http2.close_connection(last_stream_id=2**31 - 1)  # gives notice
    server.http2.close_connection(error, debug, last_stream_id=1)
    server.socket.sendall(server.http2.data_to_send())
    server.socket.close()
    while not generator.take_dead():
        generator.run(time.monotonic_ns() + 500_000)
    generator.close()
    assert (counted(generator)[0], generator.messages()) == ({"connection": 2}, {18: said})


def lose(generator: Generator, server: Server) -> None:
    """The only connection, with a request of the warm-up."""
    generator.start(2**62, streams=1)
    pump(generator, server, lambda: bool(server.requests))
    generator.stop()
    server.socket.close()
    while not generator.take_dead():
        generator.run(time.monotonic_ns() + 500_000)


def test_what_was_due_while_there_was_no_connection_is_no_lateness(made) -> None:
    """It waited for the server, and that is in its latency."""
    generator, server = made(sample_room=10)
    lose(generator, server)
    generator.start(0)
    assert generator.blocked
    due_ns = time.monotonic_ns()
    generator.arrive(np.array([due_ns, due_ns + 1_000_000], np.int64))
    while time.monotonic_ns() < due_ns + 5_000_000:
        generator.run(time.monotonic_ns() + 500_000)
    assert (generator.blocked, generator.sent, generator.overdue(due_ns + 1)) == (True, 1, 1)
    again = Server(generator, 5)
    pump(generator, again, lambda: len(again.requests) == 2)
    answer_every(generator, again, 2)
    codes, (latency, service, lateness) = counted(generator)
    assert (codes, latency.count, lateness.count) == ({"OK": 2}, 2, 0)
    assert latency.max_ns == service.max_ns >= 5_000_000
    generator.arrive(np.array([time.monotonic_ns()], np.int64))
    pump(generator, again, lambda: len(again.requests) == 3)
    again.answer(max(again.requests))
    pump(generator, again, lambda: generator.outstanding == 0)
    codes, (latency, service, lateness) = counted(generator)
    assert (codes, latency.count, lateness.count) == ({"OK": 1}, 1, 1)
    again.close()


def test_what_was_due_and_finds_no_connection_any_more_is_lost_with_it(made) -> None:
    generator, server = made(sample_room=10)
    lose(generator, server)
    generator.start(0, requests=3)
    due_ns = time.monotonic_ns()
    generator.arrive(np.array([due_ns], np.int64))
    generator.run(time.monotonic_ns() + 500_000)
    generator.arrive(np.array([due_ns + 1, due_ns + 2, due_ns + 3], np.int64))
    assert (generator.overdue(due_ns + 2), generator.overdue(due_ns + 10)) == (2, 3), "more than three were not allowed"
    assert generator.give_up_overdue(due_ns + 2) == 2
    codes, (latency, _, _) = counted(generator)
    assert (codes, latency.count) == ({"connection": 2}, 0)
    assert [(sample[0], sample[3]) for sample in samples(generator)] == [(due_ns, 18), (due_ns + 1, 18)]


def test_a_server_that_says_goaway_is_asked_nothing_new(made) -> None:
    generator, server = made()
    generator.start(0, streams=2)
    pump(generator, server, lambda: len(server.requests) == 2)
    server.http2.close_connection(last_stream_id=3)
    frames = server.http2.data_to_send()
    server.socket.sendall(frames)
    generator.run(time.monotonic_ns() + 500_000)
    assert (generator.sent, generator.outstanding) == (2, 2), "what is under way may still be answered"


def test_rubbish_ends_the_connection(made) -> None:
    generator, server = made()
    generator.start(0, streams=1)
    pump(generator, server, lambda: bool(server.requests))
    server.socket.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
    while not (dead := generator.take_dead()):
        generator.run(time.monotonic_ns() + 500_000)
    assert dead == [0]
    assert generator.messages() == {18: b"what the server sent is no HTTP/2"}


def test_a_session_that_has_failed_is_asked_nothing(made) -> None:
    """A response makes room for the next request, and behind it comes what is no HTTP/2: the next request is not begun any more, which the
    library would end at once, and the one after it, without coming back."""
    generator, server = made()
    generator.start(0, streams=1, requests=1000)
    pump(generator, server, lambda: bool(server.requests))
    server.http2.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
    server.http2.send_data(1, framed(RESPONSE))
    server.http2.send_headers(1, OK, end_stream=True)
    server.socket.sendall(server.http2.data_to_send() + PING_OF_A_STREAM)
    while not (dead := generator.take_dead()):
        generator.run(time.monotonic_ns() + 500_000)
    assert (dead, generator.sent, generator.outstanding) == ([0], 2, 1), "the second waits for another connection"
    again = Server(generator, 5)
    pump(generator, again, lambda: bool(again.requests))
    generator.close()
    assert counted(generator)[0] == {"OK": 1, "connection": 1}
    again.close()


def misbehave(server: Server, chance: random.Random) -> None:
    """One of the things that a server may do at any time."""
    streams = [stream for stream in server.headers if stream not in server.over and stream not in server.resets]
    if not streams:
        return
    stream = chance.choice(streams)
    server.over.add(stream)
    match chance.randrange(8):
        case 0:
            server.http2.reset_stream(stream, chance.choice([0, 2, 7, 7, 8, 11]))
        case 1:
            server.http2.send_headers(stream, [(":status", chance.choice(["200", "500"])), ("grpc-status", "8")], end_stream=True)
        case 2:
            server.answer(stream, framed(RESPONSE)[: chance.randrange(60)])
        case 3:
            server.http2.send_headers(stream, [(":status", "200")])
            server.http2.reset_stream(stream, 7)
        case 4:
            server.http2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: chance.randrange(1, 6)})
            server.answer(stream)
        case 5 if not chance.randrange(5):
            server.http2.close_connection(last_stream_id=stream)
            server.send()
            server.socket.close()
        case _:
            server.answer(stream)


@given(seed=st.integers(0, 2**32), streams=st.sampled_from([0, 1, 7]), deadline_ns=st.sampled_from([0, 200_000, 3_600_000_000_000]))
@settings(max_examples=60)
def test_each_request_is_counted_once_whatever_the_server_does(seed: int, streams: int, deadline_ns: int) -> None:
    """Resets and ends streams early, breaks off responses, changes its limit of streams, goes away, while large bodies are under way."""
    chance = random.Random(seed)
    headers = [*HEADERS, (b"grpc-timeout", b"1S")]
    generator = Generator([bytes(size) for size in (10, 70_000, 300_000)], Http2(headers), deadline_ns=deadline_ns, sample_room=1000)
    servers = [Server(generator, number, streams=3) for number in range(2)]
    generator.start(0, streams=streams, requests=100)
    if not streams:
        generator.arrive(np.full(100, time.monotonic_ns(), np.int64))
    for _ in range(150):
        generator.run(time.monotonic_ns() + 20_000)
        for number in generator.take_dead():
            servers[number].close()
            servers[number] = Server(generator, number, streams=3)
        for server in servers:
            with suppress(OSError, h2.exceptions.ProtocolError):  # an end is closed, or a stream that the generator has cancelled
                server.read()
                misbehave(server, chance)
                server.send()
    generator.give_up()
    codes, _ = counted(generator)
    assert (generator.outstanding, sum(codes.values())) == (0, generator.sent)
    assert len(samples(generator)) == generator.sent
    generator.close()
    for server in servers:
        server.close()


# ---- use --------------------------------------------------------------------------------------------------------------------


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one body"):
        Generator([], Http2(HEADERS))
    with pytest.raises(ValueError, match="negative"):
        Generator([b""], Http2(HEADERS), deadline_ns=-1)
    generator = Generator([b""], Http2(HEADERS))
    with pytest.raises(ValueError, match="streams"):
        generator.start(0, streams=-1)
    with pytest.raises(ValueError, match="buckets"):
        generator.collect(*(np.zeros(size, np.uint64) for size in (BUCKETS, BUCKETS, 1)))
    with pytest.raises(OSError, match="epoll_ctl"):
        generator.add(10_000)
    assert generator.run(time.monotonic_ns() + 10**12) < time.monotonic_ns(), "nothing to wait for: it returns at once"
