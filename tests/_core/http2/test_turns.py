"""Turns: what a connection sends, however costly, is worked on for a while, then it is the others' turn. With turns of no length every
piece is one, whatever the machine."""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Iterator

import h2.settings
import pytest

from inferd._core.http2.session import Session
from inferd._core.http2.stream import Http2Call
from tests._core.http2.test_session import raw_frame
from tests._core.http2_client import INFER, Client, Served, frame, messages
from tests.http2_peer import open_streams, reset_streams

PIECE_NBYTES = 1 << 10
S = 10**9


def served_in_turns(turn_ns: int = 0, *, echoes: bool = False) -> Served:
    """Calls are answered at once, or kept."""
    served = Served(lambda call: call.reply(call.message)) if echoes else Served()
    served.server.turn_ns = turn_ns
    return served


def arrive(client: Client, content: bytes) -> None:
    """As a transport reads it; nothing else of the loop runs."""
    memoryview(client.session.get_buffer(-1))[: len(content)] = content  # type: ignore[arg-type]
    client.session.buffer_updated(len(content))


def served_slowly(call_ns: int) -> Served:
    """Each call takes so long."""

    def take(call: Http2Call) -> None:
        until_ns = time.monotonic_ns() + call_ns
        while time.monotonic_ns() < until_ns:
            pass
        served.calls.append(call)

    served = Served(take)
    return served


def old_client(served: Served) -> Client:
    client = Client(served)
    client.session.counted_ns -= 3600 * S
    return client


def names(served: Served) -> list[str]:
    return [each.__name__ for each in served.scheduled]


def rejected_calls(count: int) -> Iterator[bytes]:
    return (open_streams(stream, 1, "/no.Such/Method") for stream in range(1, 2 * count, 2))


def calls(client: Client, count: int) -> bytes:
    for number in range(count):
        client.h2.send_data(client.open(INFER), frame(b"%d" % number), end_stream=True)
    return client.h2.data_to_send()


def test_a_turn_ends_and_the_next_goes_on_where_it_was() -> None:
    client = Client(served := served_in_turns())
    content = calls(client, 200)
    assert len(content) > 3 * PIECE_NBYTES
    arrive(client, content)
    seen = [len(served.calls)]
    assert 0 < seen[0] < 200
    while len(served.calls) < 200:
        served.scheduled.pop(0)()
        seen.append(len(served.calls))
    assert len(seen) > 3
    for call in served.calls:
        call.reply(call.message)
    client.exchange()
    assert [messages(client.bodies[1 + 2 * number]) for number in range(200)] == [[b"%d" % number] for number in range(200)]


def sessions() -> int:
    gc.collect()
    return sum(isinstance(each, Session) for each in gc.get_objects())


def test_who_is_closed_waits_for_no_turn_and_no_write() -> None:
    before = sessions()
    served = served_in_turns(echoes=True)
    held, dirty = Client(served), Client(served)
    arrive(held, calls(held, 200))
    arrive(dirty, calls(dirty, 1))
    assert sessions() == before + 2
    for client in (held, dirty):
        client.session.close()
    del client, held, dirty
    assert sessions() == before, "though the loop comes to its scheduled calls only now"
    served.run_scheduled()


def test_others_are_served_between_two_turns() -> None:
    attacker, good = Client(served := served_in_turns(echoes=True)), Client(served)
    arrive(attacker, reset_streams(1, 300))
    stream_id = good.open()
    good.h2.send_data(stream_id, frame(b"me too"), end_stream=True)
    good.session.receive(good.h2.data_to_send())
    served.scheduled.pop(0)()
    assert served.server.totals["calls"] < 300
    good.exchange()
    assert messages(good.bodies[stream_id]) == [b"me too"]
    assert served.server.totals["calls"] == 301


def test_turns_have_a_length_by_default() -> None:
    """500 rejections, each of which raises an exception, take many times as long as a turn on any machine."""
    client = Client(served := Served())
    served.server.turn_ns = served.default_turn_ns
    content = b"".join(rejected_calls(500))
    assert len(content) <= len(client.session.get_buffer(-1))  # type: ignore[arg-type]
    arrive(client, content)
    assert 0 < served.server.totals["calls"] < 500
    client.session.close()


def test_what_came_before_the_transport_was_held_keeps_its_place() -> None:
    client = Client(served := served_in_turns())
    content = calls(client, 300)
    arrive(client, content[:10_000])
    arrive(client, content[10_000:])
    served.run_scheduled()
    assert [bytes(call.message) for call in served.calls] == [b"%d" % number for number in range(300)]


def test_a_connection_that_is_lost_within_its_turns_leaves_nothing() -> None:
    client = Client(served := served_in_turns())
    arrive(client, calls(client, 200))
    client.session.close()
    seen = len(served.calls)
    served.run_scheduled()
    assert (len(served.calls), served.server.calls) == (seen, 0)


def test_who_is_quick_to_read_is_read_at_once() -> None:
    client = Client(served := served_in_turns(S))
    arrive(client, calls(client, 200))
    assert len(served.calls) == 200


def test_a_message_is_copied_in_few_turns() -> None:
    """The payload of DATA costs little: a look at the clock for each piece of it would cost more than it does."""
    client = Client(served := served_in_turns())
    client.h2.send_data(client.open(), frame(bytes(16_000)), end_stream=True)
    arrive(client, client.h2.data_to_send())
    turns = 1
    while not served.calls:
        served.scheduled.pop(0)()
        turns += 1
    assert turns <= 5, "the last of which begins the call"


def test_a_message_that_became_whole_when_the_turn_was_over_begins_in_the_next() -> None:
    """A last byte is ten bytes of a frame, and may begin what takes long: a hundred of them stand in a piece."""
    client = Client(served := served_in_turns(S))
    streams = [client.open(INFER) for _ in range(60)]
    for stream in streams:
        client.h2.send_data(stream, frame(bytes(2000))[:-1])
    client.exchange()
    for stream in streams:
        client.h2.send_data(stream, b"\0", end_stream=True)
    last_bytes = client.h2.data_to_send()
    assert len(last_bytes) <= PIECE_NBYTES
    served.server.turn_ns = 0
    arrive(client, last_bytes)
    began = [len(served.calls)]
    while len(served.calls) < 60:
        served.scheduled.pop(0)()
        began.append(len(served.calls))
    assert sorted(set(began)) == list(range(61)), "one in each turn"


def test_who_is_gone_before_its_call_begins_is_not_begun() -> None:
    client = Client(served := served_in_turns())
    client.h2.send_data(client.open(INFER), frame(bytes(2000)), end_stream=True)
    arrive(client, client.h2.data_to_send())
    while served.server.calls == 0:
        served.scheduled.pop(0)()
    client.session.close()
    served.run_scheduled()
    assert (served.calls, served.server.calls) == ([], 0)


def test_first_turns_of_many_connections_are_spread_over_iterations() -> None:
    """But for light ones, who read what a call or two are."""
    many = [Client(served := served_in_turns(S))]
    many += [Client(served) for _ in range(9)]
    light = Client(served)
    served.run_scheduled()
    served.server.iteration_ns, served.server.light_iteration_ns = 0, S
    for client in many:
        arrive(client, calls(client, 60))
    assert served.calls == []
    light.h2.send_data(light.open(INFER), frame(b"light"), end_stream=True)
    arrive(light, light.h2.data_to_send())
    assert [bytes(call.message) for call in served.calls] == [b"light"]
    served.server.turn_ns = 0
    served.run_scheduled()
    assert len(served.calls) == 601


def test_light_turns_of_many_connections_are_spread_over_iterations_too() -> None:
    many = [Client(served := served_in_turns(S))]
    many += [Client(served) for _ in range(9)]
    served.run_scheduled()
    served.server.iteration_ns = served.server.light_iteration_ns = 0
    arrive(many[0], calls(many[0], 60))
    for client in many[1:]:
        arrive(client, calls(client, 1))
    assert served.calls == []
    served.run_scheduled()
    assert len(served.calls) == 69


def test_who_has_little_to_say_is_before_who_has_much() -> None:
    """Late by chance, a good client has two calls in one read: beside thousands with more it would be late for good."""
    busy = [Client(served := served_in_turns(S))]
    busy += [Client(served) for _ in range(4)]
    late = Client(served)
    served.run_scheduled()
    served.server.iteration_ns = served.server.light_iteration_ns = 0
    for client in busy:
        arrive(client, calls(client, 200))
    arrive(late, calls(late, 2))
    assert served.calls == []
    served.server.turn_ns = 0
    served.run_scheduled()
    assert [bytes(call.message) for call in served.calls[:2]] == [b"0", b"1"]
    assert len(served.calls) == 1002


@pytest.mark.parametrize("ago_ns", [0, 3600 * S])
def test_who_has_waited_often_is_behind_who_has_not(ago_ns: int) -> None:
    """However little it says each time: what its turns took is not forgotten soon, and is in the end."""

    served = served_slowly(200_000)
    often, seldom, other = (old_client(served) for _ in range(3))
    served.run_scheduled()
    served.server.iteration_ns = served.server.light_iteration_ns = 0
    arrive(often, calls(often, 25))
    assert served.calls == []
    served.run_scheduled()
    arrive(other, calls(other, 1))  # else what is read next would be part of the turn
    often.session.counted_ns -= ago_ns
    for client in (often, seldom):
        arrive(client, calls(client, 25))
    assert len(served.calls) == 26
    served.run_scheduled()
    first, second = (often, seldom) if ago_ns else (seldom, often)
    assert [call.connection for call in served.calls[26:]] == [first.session] * 25 + [second.session] * 25


def test_who_is_new_waits_with_the_others() -> None:
    """Connections that are made for one turn each are before none that is there."""
    new = Client(served := served_in_turns(S))
    old = old_client(served)
    served.run_scheduled()
    served.server.iteration_ns = served.server.light_iteration_ns = 0
    for client in (new, old):
        arrive(client, calls(client, 25))
    served.run_scheduled()
    assert [call.connection for call in served.calls] == [old.session] * 25 + [new.session] * 25


@pytest.mark.parametrize("count", [1, 25])
def test_who_has_little_to_do_waits_with_those_who_seldom_wait(count: int) -> None:
    """And has the time of light reads, as what comes anew has."""
    first = Client(served := served_in_turns(0))
    others = [Client(served) for _ in range(5)]
    served.run_scheduled()
    served.server.iteration_ns = served.server.light_iteration_ns = 0
    arrive(first, calls(first, 25))
    for client in others:
        arrive(client, calls(client, count))
    assert served.calls == []
    served.server.light_iteration_ns = S
    while not served.calls:
        served.scheduled.pop(0)()
    assert {call.connection for call in served.calls} == {each.session for each in (others if count == 1 else [])} | {first.session}
    served.run_scheduled()


def test_what_comes_anew_has_the_time_that_those_left_who_waited() -> None:
    served = served_slowly(2_000_000)
    waiting, busy, begins, new = (Client(served) for _ in range(4))
    served.run_scheduled()
    served.server.iteration_ns = served.server.light_iteration_ns = 0
    for client, count in ((busy, 100), (waiting, 1)):
        arrive(client, calls(client, count))
    assert served.calls == []
    served.server.turn_ns, served.server.light_iteration_ns = 0, 1_000_000
    while not served.calls:
        served.scheduled.pop(0)()
    begun = len(served.calls)
    assert 2 <= begun < 101
    arrive(begins, calls(begins, 25))  # the next iteration
    arrive(new, calls(new, 1))
    assert len(served.calls) == begun
    served.run_scheduled()
    assert len(served.calls) == 127


def test_who_sends_little_that_takes_long_waits_with_the_others() -> None:
    """A read of 510 bytes may hold thirty calls: only the first such read of a connection passes."""
    costly = Client(served := served_in_turns(S))
    served.run_scheduled()
    served.server.iteration_ns, served.server.light_iteration_ns, served.server.light_ns = 0, S, -1
    arrive(costly, calls(costly, 1))
    assert len(served.calls) == 1
    arrive(costly, calls(costly, 1))
    assert len(served.calls) == 1
    served.server.light_ns = S
    served.run_scheduled()
    assert len(served.calls) == 2
    arrive(costly, calls(costly, 1))
    assert len(served.calls) == 3, "its last read was a light one"


def with_open_calls(served: Served, count: int) -> Client:
    client = old_client(served)
    client.exchange()
    for _ in range(count):
        client.open()
    client.exchange()
    return client


@pytest.mark.parametrize("count", [100, 101])
def test_little_that_may_concern_many_calls_is_no_light_read(count: int) -> None:
    """As a change of all their windows is: fifteen bytes."""
    many = with_open_calls(served := served_in_turns(S), count)
    served.server.iteration_ns, served.server.light_iteration_ns = 0, S
    many.open()
    arrive(many, many.h2.data_to_send())
    assert served.server.calls == count + (count == 100)
    served.run_scheduled()
    many.session.close()


@pytest.mark.parametrize("count", [100, 101])
def test_nor_is_it_before_others_that_wait(count: int) -> None:
    served = served_in_turns(S)
    many, new, old = with_open_calls(served, count), Client(served), old_client(served)
    served.run_scheduled()
    served.server.iteration_ns = served.server.light_iteration_ns = 0
    for client in (new, many, old):
        arrive(client, calls(client, 25))
    assert not served.calls
    served.run_scheduled()
    first, second, third = (many, new, old) if count == 100 else (old, new, many)  # one of each line in an iteration
    assert [call.connection for call in served.calls] == [first.session] * 25 + [second.session] * 25 + [third.session] * 25
    many.session.close()


def test_a_payload_that_is_thrown_away_hides_nothing() -> None:
    """DATA of a stream that is closed: what comes behind it is worked on in turns as anything."""
    client = Client(served := served_in_turns())
    stream_id = client.open()
    client.h2.reset_stream(stream_id)
    client.exchange()
    arrive(client, raw_frame(0, 0, stream_id, bytes(16_000))[:-1])
    arrive(client, b"\0" + calls(client, 300))
    assert len(served.calls) < 300
    client.exchange()
    assert len(served.calls) == 300


def test_a_turn_goes_on_while_the_loop_reads_on() -> None:
    """libuv reads a full buffer after the other, 32 times, before it looks at another connection."""
    client = Client(served := served_in_turns())
    buffer_nbytes = len(client.session.get_buffer(-1))  # type: ignore[arg-type]
    stream_id = client.open()
    client.exchange()
    message = raw_frame(0, 1, stream_id, frame(bytes(3 * buffer_nbytes)))
    arrive(client, message[:PIECE_NBYTES])
    assert "next_turn" not in names(served), "all of it was read"
    at = PIECE_NBYTES
    for _ in range(2):
        arrive(client, message[at : at + buffer_nbytes])
        at += buffer_nbytes
        assert names(served)[-1] == "next_turn", "more is there, and the turn is over"
        served.scheduled.pop()()
    served.server.turn_ns = S
    client.session.receive(message[at : at + 10])
    arrive(client, message[at + 10 :])
    assert "next_turn" not in names(served)
    assert [len(call.message) for call in served.calls] == [3 * buffer_nbytes]


def test_of_those_whose_turn_is_over_one_goes_on_in_each_iteration() -> None:
    clients = [Client(served := served_in_turns())]
    clients += [Client(served), Client(served)]
    for client in clients:
        arrive(client, reset_streams(1, 300))
    total, more = served.server.totals["calls"], []
    for _ in range(6):
        [turn] = [each for each in served.scheduled if each.__name__ == "next_turn"]
        served.scheduled.remove(turn)
        turn()
        more.append(served.server.totals["calls"] - total)
        total = served.server.totals["calls"]
    assert all(0 < count < 100 for count in more), "a piece each"
    served.run_scheduled()
    assert served.server.totals["calls"] == 900


FLUSH_FRAMES = 32  # of what is written, between two looks at the clock


def with_shut_answers(served: Served, count: int) -> Client:
    """So many responses wait until the client opens all their windows by one SETTINGS."""
    client = Client(served)
    client.reads = False
    client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    client.exchange()
    for _ in range(count):
        client.call(b"x")
    client.exchange()
    return client


def written(client: Client) -> int:
    """Frames of DATA that the session has handed to its transport."""
    content, count = b"".join(client.written), 0
    while content:
        count += content[3] == 0
        content = content[9 + int.from_bytes(content[:3], "big") :]
    return count


def test_who_gets_much_gets_it_by_turns_behind_the_others() -> None:
    served = served_in_turns(10**12, echoes=True)
    client, other, third = with_shut_answers(served, 300), with_shut_answers(served, 300), Client(served)
    for each in (client, other):
        arrive(each, raw_frame(4, 0, 0, b"\0\4\0\0\0\1"))
    third.h2.ping(b"12345678")
    arrive(third, third.h2.data_to_send())
    served.server.flush_ns = served.server.flush_iteration_ns = 0
    served.scheduled.clear()
    served.server.flush_iteration_ns = S
    served.server.next_flush()
    assert third.written
    assert written(client) + written(other) == 600, "in one iteration, as long as there is time"
    client.written.clear()
    other.written.clear()
    for each in (client, other, third):
        arrive(each, raw_frame(4, 0, 0, b"\0\4\0\0\0\2") if each is not third else raw_frame(6, 0, 0, bytes(8)))
    third.written.clear()
    served.server.flush_iteration_ns = 0
    seen = []
    while served.scheduled:
        served.run_next()
        seen.append((written(client), written(other), bool(third.written)))
    assert seen[0][1:] == (0, False), "when the time of an iteration is over the others are the first of the next"
    first = next(i for i, (_, _, answered) in enumerate(seen) if answered)
    assert max(seen[first][:2]) < 200, "who gets little waits for no more than a turn of each"
    for one, following in itertools.pairwise(seen):
        assert following[0] - one[0] <= 2 * FLUSH_FRAMES >= following[1] - one[1]
    assert seen[-1] == (300, 300, True)
    for each in (client, other, third):
        each.session.close()


def test_who_is_closed_waits_for_no_turn_of_what_it_gets() -> None:
    served = served_in_turns(10**12, echoes=True)
    client = with_shut_answers(served, 300)
    served.server.flush_ns = served.server.flush_iteration_ns = 0
    arrive(client, raw_frame(4, 0, 0, b"\0\4\0\0\0\1"))
    served.server.next_flush()
    assert 0 < written(client) < 300
    left, before, there = client.written, b"".join(client.written), sessions()
    client.session.close()
    del client
    assert sessions() == there - 1, "though the loop comes to its write only now"
    served.run_scheduled()
    assert b"".join(left) == before


def test_who_delivers_answers_schedules_no_more_than_one_flush() -> None:
    """However often it does while another waits for its turn."""
    served = served_in_turns(10**12, echoes=True)
    client = with_shut_answers(served, 300)
    served.server.flush_ns = served.server.flush_iteration_ns = 0
    arrive(client, raw_frame(4, 0, 0, b"\0\4\0\0\0\1"))
    served.server.flush()
    before = written(client)
    for _ in range(10):
        served.server.flush()
    assert written(client) == before, "those who wait have their turns at an iteration's end"
    assert names(served).count("next_flush") == 1
    served.run_scheduled()
    assert written(client) == 300
    client.session.close()


def test_the_last_words_have_no_turns() -> None:
    """GOAWAY stands behind what waits already."""
    client = with_shut_answers(served := served_in_turns(10**12, echoes=True), 300)
    served.server.flush_ns = 0
    arrive(client, raw_frame(4, 0, 0, b"\0\4\0\0\0\1"))
    while not client.closed_by_server:
        arrive(client, raw_frame(6, 0, 0, bytes(8)) * 3000)
    assert written(client) == 300
    assert b"too_many_control_frames" in client.written[-1]
