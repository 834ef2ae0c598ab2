"""Receive admission: who gets credit when many large messages come, and what memory they take meanwhile."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from typing import Any

import pytest

from inferd._core.grpc import message as pool
from inferd.errors import ResourceExhausted
from tests._core.http1 import served as http1
from tests._core.http2.test_streamed import Stream
from tests._core.http2_client import STREAM, Client, Served, frame

KiB, MiB = 1 << 10, 1 << 20
FIRST = 64 * KiB  # what comes of a message without credit
PLACES = 16 * MiB  # RECEIPT_NBYTES
LOOKS = 5  # PLACE_LOOKS
LARGE = bytes(4 * MiB)
OK = (0, "")
NO_ROOM, LATE = 8, 4
S = 10**9


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    gc.collect()
    before = pool.in_use()
    yield
    pool.set_budget(1 << 30)
    gc.collect()
    assert pool.in_use() == before


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served(stream_window_nbytes=FIRST)
    yield made
    made.let_go()


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    made = Client(served)
    yield made
    made.connection.close()


def begin(client: Client, body: bytes = LARGE, *arguments: Any) -> int:
    """Sends as much as comes unasked."""
    stream_id = client.open(*arguments)
    wire = frame(body)
    for at in range(0, FIRST, 16 * KiB):
        client.h2.send_data(stream_id, wire[at : at + 16 * KiB])
    client.exchange()
    return stream_id


def finish(client: Client, stream_id: int, body: bytes = LARGE) -> None:
    client.send(stream_id, frame(body)[FIRST:])


def credit(client: Client, stream_id: int) -> int:
    return int(client.h2.streams[stream_id].outbound_flow_control_window)


def look(served: Served, times: int) -> None:
    for _ in range(times):
        (timer,) = served.later
        served.later.clear()
        timer[1]()
    served.run_scheduled()


def fill(client: Client) -> list[int]:
    """All places are taken, by messages that do not go on."""
    return [begin(client) for _ in range(PLACES // len(LARGE))]


def test_credit_is_for_those_that_fit_and_the_others_wait_their_turn(served: Served, client: Client) -> None:
    streams = [begin(client) for _ in range(7)]
    assert [credit(client, stream) >= len(LARGE) - FIRST for stream in streams] == [True] * 4 + [False] * 3
    assert [credit(client, stream) for stream in streams[4:]] == [0, 0, 0]
    for number in range(3):  # in order of arrival, as soon as a message is let go
        finish(client, streams[number])
        assert served.calls.pop().message is not None
        client.h2.reset_stream(streams[number])
        client.exchange()
        gc.collect()
        client.exchange()
        waiting = [stream for stream in streams[4:] if credit(client, stream) == 0]
        assert waiting == streams[5 + number :]


def test_what_came_without_credit_and_after_it_is_one_message(served: Served, client: Client) -> None:
    first = fill(client)
    body = bytes(number % 251 for number in range(300 * KiB))
    stream = begin(client, body)
    client.h2.reset_stream(first[0])
    client.exchange()
    finish(client, stream, body)
    assert [bytes(call.message) for call in served.calls] == [body]


def test_a_small_message_waits_for_no_large_one(served: Served, client: Client) -> None:
    fill(client)
    waiting = [begin(client) for _ in range(40)]
    for nbytes in (10, 60_000, 64 * KiB):
        client.call(bytes(nbytes))
        assert len(served.calls.pop().message) == nbytes
    assert all(credit(client, stream) == 0 for stream in waiting)


def test_a_message_larger_than_all_places_comes_alone(served: Served, client: Client) -> None:
    small = begin(client)
    huge = begin(client, bytes(2 * PLACES))
    behind = begin(client)
    assert (credit(client, huge), credit(client, behind)) == (0, 0)
    client.h2.reset_stream(small)
    client.exchange()
    assert credit(client, huge) >= 2 * PLACES - FIRST
    assert credit(client, behind) == 0
    finish(client, huge, bytes(2 * PLACES))
    assert len(served.calls.pop().message) == 2 * PLACES
    client.h2.reset_stream(huge)
    client.exchange()
    assert credit(client, behind) > 0


def test_who_leaves_gives_the_place_back(client: Client, served: Served) -> None:
    places = fill(client)
    waiting = [begin(client) for _ in range(3)]
    client.h2.reset_stream(waiting[0])  # of those that wait, too
    client.h2.reset_stream(places[2])
    client.exchange()
    assert credit(client, waiting[1]) > 0
    assert credit(client, waiting[2]) == 0
    other = Client(served)
    stream = begin(other)
    assert credit(other, stream) == 0
    client.connection.close()
    other.exchange()
    assert credit(other, stream) > 0
    other.connection.close()


@pytest.mark.parametrize("sends", [False, True], ids=["nothing", "slowly"])
def test_a_place_is_lost_after_a_while_and_its_credit_stays(served: Served, client: Client, sends: bool) -> None:
    wire, sent = frame(LARGE), FIRST
    places = fill(client)
    waiting = [begin(client) for _ in range(5)]
    for _ in range(LOOKS):
        client.exchange()
        assert credit(client, waiting[0]) == 0
        if sends:
            client.send(places[0], wire[sent : sent + len(LARGE) // LOOKS], end=False)
            sent += len(LARGE) // LOOKS
        look(served, 1)
    client.exchange()
    assert [credit(client, stream) > 0 for stream in waiting] == [True] * 4 + [False]
    client.send(places[0], wire[sent:])
    assert len(served.calls.pop().message) == len(LARGE)


def test_nothing_stays_reserved_for_who_sends_nothing(served: Served, client: Client) -> None:
    before = pool.in_use()
    begin(client, bytes(12 * MiB))
    assert pool.in_use() - before >= 12 * MiB
    begin(client, bytes(12 * MiB))
    look(served, LOOKS - 1)
    assert pool.in_use() - before >= 12 * MiB
    (timer,) = served.later
    timer[1]()
    assert pool.in_use() - before < MiB


def test_a_whole_message_whose_model_is_slow_holds_up_nobody_for_long(served: Served, client: Client) -> None:
    for stream in fill(client):
        finish(client, stream)
    assert len(served.calls) == 4
    waiting = begin(client)
    assert credit(client, waiting) == 0
    look(served, 2)
    client.exchange()
    assert credit(client, waiting) > 0


def test_connections_take_turns(served: Served, client: Client) -> None:
    places = fill(client)
    for _ in range(10):
        begin(client)
    other = Client(served)
    stream = begin(other)
    for place, expected in ((places[0], False), (places[1], True)):
        client.h2.reset_stream(place)
        client.exchange()
        other.exchange()
        assert (credit(other, stream) > 0) == expected
    other.connection.close()


def test_the_message_goes_first_that_would_be_whole_first(served: Served, client: Client) -> None:
    """Others have 16 MiB each. One has a little, and comes last, again and again."""
    others = [Client(served) for _ in range(20)]
    waiting = [(client, begin(client, bytes(PLACES)))]
    waiting += [(each, begin(each, bytes(PLACES))) for each in others]
    body = bytes(FIRST + KiB)
    for _ in range(5):
        (holder, held), waiting = waiting[0], waiting[1:]
        assert credit(holder, held) > 0
        stream = begin(client, body)
        assert credit(client, stream) == 0
        holder.h2.reset_stream(held)
        holder.exchange()
        client.exchange()
        assert credit(client, stream) > 0
        for each, one in waiting:
            each.exchange()
            assert credit(each, one) == 0
        client.send(stream, frame(body)[FIRST:])
        served.calls.pop().reply(b"")
        gc.collect()
        served.run_scheduled()
        waiting[0][0].exchange()
    for each in others:
        each.connection.close()


def test_a_rejection_comes_before_the_bytes(served: Served, client: Client) -> None:
    pool.set_budget(pool.in_use() + 5 * MiB)  # places for half of it
    accepted = begin(client)
    rejected = begin(client)
    assert client.status(rejected)[0] == NO_ROOM
    assert client.headers[rejected]["grpc-status-details-bin"]  # RetryInfo
    [error] = served.errors
    assert isinstance(error, ResourceExhausted)
    assert (error.reason, error.retry_after_ns > 0) == ("message_memory", True)
    finish(client, accepted)
    assert len(served.calls.pop().message) == len(LARGE)


def test_memory_that_is_gone_when_its_turn_comes(served: Served, client: Client) -> None:
    places = fill(client)
    waiting = begin(client)
    held = pool.Message(bytes(32 * MiB))  # a response, or what another request became
    pool.set_budget(pool.in_use() - len(LARGE))
    client.h2.reset_stream(places[0])
    client.exchange()
    assert client.status(waiting)[0] == NO_ROOM
    del held


def test_what_others_touched_of_a_block_is_charged(served: Served, client: Client) -> None:
    """A message is finished, the next one is begun and left: its block is resident, whoever sent the bytes."""
    before = pool.in_use()
    for _ in range(8):
        call = client.call(bytes(MiB - KiB))
        served.calls.clear()
        client.h2.reset_stream(call)
        client.exchange()
        stream = client.open()
        client.send(stream, frame(bytes(MiB - KiB))[: 36 * KiB], end=False)
    begin(client, LARGE)  # others wait: what does not come is not reserved any more
    for _ in range(4):
        begin(client, LARGE)
    look(served, LOOKS)
    assert pool.in_use() - before >= 8 * (MiB - KiB)


def test_who_waits_for_credit_does_not_stall_but_its_deadline_counts(served: Served, client: Client) -> None:
    fill(client)
    waiting, late = begin(client), begin(client, LARGE)
    hurried = begin(client, LARGE, "/inference.GRPCInferenceService/ModelInfer", ("grpc-timeout", "2S"))
    begun_ns = time.monotonic_ns()
    for second in (1, 100):
        client.connection.end_late_calls(begun_ns + second * S, -1, 60 * S, 60 * S)
        client.exchange()
    assert waiting not in client.headers
    assert late not in client.headers
    assert client.status(hurried)[0] == LATE


def test_a_stream_of_large_messages(served: Served) -> None:
    stream = Stream(stream_window_nbytes=FIRST)
    for number in range(12):
        stream.send(b"%d" % number + LARGE)
        assert len(stream.calls[number].message) > len(LARGE)
        stream.reply(number)
    open_nbytes = stream.client.h2.local_flow_control_window(stream.id)
    assert open_nbytes <= 2 * FIRST, "between two messages it is as narrow as before"
    stream.client.connection.close()
    stream.served.let_go()


def test_streams_wait_their_turn_too(served: Served, client: Client) -> None:
    places = fill(client)
    watch = begin(client, LARGE, STREAM)
    assert credit(client, watch) == 0
    client.h2.reset_stream(places[0])
    client.exchange()
    assert credit(client, watch) > 0
    finish(client, watch)
    ((call, _),) = served.started
    assert len(call.take_message()) == len(LARGE)  # type: ignore[arg-type]


def test_padding_does_not_use_up_the_credit(served: Served, client: Client) -> None:
    stream = client.open()
    wire = frame(bytes(MiB))
    while wire:
        room = client.h2.local_flow_control_window(stream)
        assert room > 300
        piece = min(len(wire), 1000, room - 256)
        client.h2.send_data(stream, wire[:piece], pad_length=255)
        wire = wire[piece:]
        client.exchange()
    client.h2.end_stream(stream)
    client.exchange()
    assert len(served.calls.pop().message) == MiB


# ---- HTTP/1.1


@pytest.fixture
def rest() -> Iterator[http1.Served]:
    made = http1.Served()
    yield made
    made.calls.clear()


def upload(rest: http1.Served, *fields: bytes, nbytes: int = PLACES // 2) -> tuple[http1.Wire, bytes]:
    """A connection whose request has begun, and what is left of it."""
    wire, request = http1.Wire(rest), http1.infer(bytes(nbytes), *fields)
    wire.send(request[:1000])
    return wire, request[1000:]


def test_bodies_wait_unread(rest: http1.Served) -> None:
    uploads = [upload(rest) for _ in range(4)]
    for wire, left in uploads:
        wire.connection.receive(left)
    assert len(rest.calls) == 2
    small = http1.Wire(rest).send(http1.infer())
    assert bytes(rest.calls.pop().message) == b"hello"
    for answered in range(2):
        rest.calls.pop(0).reply(b"{}")
        gc.collect()
        rest.run()
        assert len(rest.calls) == 2, answered
    for wire, _ in uploads:
        wire.close()
    small.close()


def test_a_client_that_asks_first_is_told_to_send_once_it_has_its_place(rest: http1.Served) -> None:
    first, second = upload(rest), upload(rest)
    third, left = upload(rest, b"Expect: 100-continue")
    assert third.written == b""
    first[0].close()
    rest.run()
    assert third.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    third.written.clear()
    third.send(left)
    assert len(rest.calls.pop().message) == PLACES // 2
    assert third.written == b"", "it was told once"
    second[0].close()
    third.close()


def test_a_body_that_no_longer_waits(rest: http1.Served) -> None:
    """Its client left, or its deadline passed: the next one has its turn."""
    first, second = upload(rest), upload(rest)
    gone, late, next_one = upload(rest), upload(rest, b"Grpc-Timeout: 1S", b"X: y"), upload(rest)
    gone[0].close()
    late[0].connection.end_late_calls(time.monotonic_ns() + 100 * S, -1, 1000 * S, 1000 * S)
    first[0].close()
    second[0].close()
    rest.run()
    next_one[0].send(next_one[1])
    assert len(rest.calls) == 1
    for wire in (late[0], next_one[0]):
        wire.close()


def test_a_chunked_body_waits_once_it_has_become_large(rest: http1.Served) -> None:
    first, second = upload(rest), upload(rest, nbytes=PLACES // 2 - MiB)
    chunk = b"%x\r\n%b\r\n" % (MiB, bytes(MiB))
    head = http1.INFER + b"Transfer-Encoding: chunked\r\n\r\n"
    wires = [http1.Wire(rest) for _ in range(2)]
    for wire in wires:
        wire.connection.receive(head + 2 * chunk + b"0\r\n\r\n")
    assert len(rest.calls) == 1, "it grew, and the other one waits"
    assert len(rest.calls.pop().message) == 2 * MiB
    first[0].close()
    rest.run()
    assert len(rest.calls.pop().message) == 2 * MiB
    for wire in (second[0], *wires):
        wire.close()


def test_rest_over_http_2(served: Served) -> None:
    """With a length, or none."""
    rest = Served(stream_window_nbytes=FIRST, http_handler=lambda call, head: served.calls.append(call))
    client = Client(rest)
    fill(client)
    for fields in ([("content-length", str(MiB))], []):
        stream = client.h2.get_next_available_stream_id()
        named = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/v2/models/m/infer"), *fields]
        client.h2.send_headers(stream, named)
        client.h2.send_data(stream, bytes(16 * KiB))
        client.exchange()
        assert credit(client, stream) == 48 * KiB
        for _ in range(3):
            client.h2.send_data(stream, bytes(16 * KiB))
        client.exchange()
        if not fields:  # nobody knows that it is large, until it is
            assert credit(client, stream) > 0
            client.h2.send_data(stream, bytes(16 * KiB))
            client.exchange()
            before = credit(client, stream)
            client.h2.send_data(stream, bytes(before))
            client.exchange()
        assert credit(client, stream) == 0
    client.connection.close()
    rest.let_go()
