"""The generator for a schedule of somebody else's, against h2 over a socket pair: what is asked when, and what is told once it is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from inferd._core.load.http2 import Http2
from inferd._core.load.scheduled_load import ScheduledLoad
from inferd.bench.measurement import BUCKETS, Histogram
from tests._core.load.test_generator import HEADERS, Server
from tests.http2_peer import framed
from tests.wire import LIMIT_S

BODIES = (b"zero", b"one", b"two")
ROOM = 65_536  # that may wait, see scheduled_load.pyx


@pytest.fixture
def made() -> Iterator[Callable[..., tuple[ScheduledLoad, list[Server]]]]:
    """Makes a ScheduledLoad with some connections, and closes all at the end."""
    pairs: list[tuple[ScheduledLoad, list[Server]]] = []

    def make(connections: int = 1, **options: Any) -> tuple[ScheduledLoad, list[Server]]:
        load = ScheduledLoad(BODIES, Http2(HEADERS), **options)
        load.start(0)
        pairs.append((load, [Server(load, number) for number in range(connections)]))
        return pairs[-1]

    yield make
    for load, servers in pairs:
        load.close()
        for server in servers:
            server.close()


def pump(load: ScheduledLoad, servers: list[Server], until: Callable[[], bool]) -> list[int]:
    """Runs both sides in turn until something has happened; the tags that were told."""
    told: list[int] = []
    limit_s = time.monotonic() + LIMIT_S
    while not until():
        assert time.monotonic() < limit_s
        told += load.run(time.monotonic_ns() + 500_000)
        for server in servers:
            server.read()
    return told


def until_told(load: ScheduledLoad, count: int) -> list[int]:
    told: list[int] = []
    limit_s = time.monotonic() + LIMIT_S
    while len(told) < count:
        assert time.monotonic() < limit_s
        told += load.run(time.monotonic_ns() + 500_000)
    return told


def collected(load: ScheduledLoad) -> tuple[list[int], Histogram]:
    scratch = [np.zeros(BUCKETS, np.uint64) for _ in range(3)]
    codes, totals, _ = load.collect(*scratch)
    return codes, Histogram(scratch[0], *totals[0])


def test_what_is_asked_for_is_asked_on_all_connections_in_turn_and_told_by_its_tag(made: Any) -> None:
    load, servers = made(connections=2)
    load.schedule([2**64 - 1, 8, 9], [2, 0, 1])
    told = pump(load, servers, lambda: sum(len(server.requests) for server in servers) == 3)
    assert told == []
    assert sorted(len(server.requests) for server in servers) == [1, 2]
    assert {body for server in servers for body in server.requests.values()} == {framed(body) for body in BODIES}
    tags = dict(zip((framed(body) for body in (b"two", b"zero", b"one")), (2**64 - 1, 8, 9), strict=True))
    for server in servers:
        for stream, body in server.requests.items():
            server.answer(stream)
            assert until_told(load, 1) == [tags[body]]
    codes, latency = collected(load)
    assert (codes[0], sum(codes), latency.count) == (3, 3, 3)
    assert load.last_ended_ns >= load.under_way_ns > 0


def test_whoever_asks_wakes_a_loop_that_sleeps(made: Any) -> None:
    """It would sleep for an hour; the server side is a thread that answers one request."""
    load, [server] = made()
    server.socket.settimeout(LIMIT_S)
    hour_ns = 3_600_000_000_000

    def answer() -> None:
        server.socket.setblocking(True)
        while not server.requests:
            server.read()
        server.answer(1)

    answering = threading.Thread(target=answer)
    asking = threading.Thread(target=load.schedule, args=([7], [0]))
    answering.start()
    asking.start()
    assert load.run(time.monotonic_ns() + hour_ns) == [7]
    for thread in (asking, answering):
        thread.join()
    stopping = threading.Thread(target=load.stop)
    stopping.start()
    assert load.run(time.monotonic_ns() + hour_ns) == []
    stopping.join()
    assert load.stopped


def test_no_more_is_under_way_than_was_allowed(made: Any) -> None:
    load, [server] = made(at_once=2)
    load.schedule(list(range(5)), [0, 1, 2, 0, 1])
    pump(load, [server], lambda: len(server.requests) == 2)
    assert (load.outstanding, load.waiting_count) == (2, 3)
    told: list[int] = []
    answered: set[int] = set()
    while len(told) < 5:
        told += pump(load, [server], lambda: len(server.requests) > len(answered) or load.finished == 5)
        for stream in set(server.requests) - answered:
            assert load.outstanding <= 2
            answered.add(stream)
            server.answer(stream)
            told += until_told(load, 1)
    assert sorted(told) == list(range(5))


def test_a_ring_that_is_full_holds_up_whoever_asks_until_the_loop_has_asked_or_is_stopped(made: Any) -> None:
    load, _ = made(connections=0)  # nothing can be asked
    load.schedule([0] * ROOM, [0] * ROOM)
    assert load.waiting_count == ROOM
    blocked = threading.Thread(target=load.schedule, args=([1], [0]))
    blocked.start()
    load.run(time.monotonic_ns() + 1_000_000)
    assert blocked.is_alive()
    load.stop()
    blocked.join(LIMIT_S)
    assert not blocked.is_alive()
    assert load.waiting_count == ROOM
    load.schedule([2], [0])  # changes nothing any more
    assert load.waiting_count == ROOM


def test_all_of_more_than_the_ring_holds_is_asked_for_once(made: Any) -> None:
    """Nobody answers: each request is over by its deadline, which is always now."""
    load, [server] = made(at_once=4096, deadline_ns=1)
    tags = list(range(2 * ROOM + 5))
    asking = threading.Thread(target=load.schedule, args=(tags, [0] * len(tags)))
    asking.start()
    told: list[int] = []
    limit_s = time.monotonic() + LIMIT_S
    while len(told) < len(tags):
        assert time.monotonic() < limit_s
        told += load.run(time.monotonic_ns() + 500_000)
        with suppress(BlockingIOError):
            server.socket.recv(1 << 20)
    assert sorted(told) == tags
    asking.join()
    codes, _ = collected(load)
    assert (codes[4], sum(codes)) == (len(tags), len(tags))


def test_what_a_lost_connection_takes_along_is_told_as_over(made: Any) -> None:
    load, servers = made(connections=2)
    load.schedule([5, 6], [0, 1])
    pump(load, servers, lambda: all(server.requests for server in servers))
    servers[0].socket.close()
    while not load.has_dead:
        load.run(time.monotonic_ns() + 500_000)
    [number] = load.take_dead()
    assert number == 0
    [lost] = load.run(time.monotonic_ns())
    assert lost in (5, 6)
    servers[1].answer(1)
    assert until_told(load, 1) == [11 - lost]
    codes, _ = collected(load)
    assert (codes[0], codes[18]) == (1, 1)


def test_what_is_asked_for_without_a_connection_waits_for_one(made: Any) -> None:
    load, servers = made(connections=0)
    load.schedule([3], [1])
    load.run(time.monotonic_ns() + 1_000_000)
    assert (load.waiting_count, load.outstanding) == (1, 0)
    servers.append(Server(load))
    pump(load, servers, lambda: bool(servers[0].requests))
    servers[0].answer(1)
    assert until_told(load, 1) == [3]


@pytest.mark.parametrize(
    ("tags", "bodies", "error"),
    [([1], [3], IndexError), ([1], [-1], IndexError), ([1, 2], [0], ValueError), ([-1], [0], OverflowError), ([2**64], [0], OverflowError)],
)
def test_what_cannot_be_asked_is_refused(made: Any, tags: list[int], bodies: list[int], error: type[Exception]) -> None:
    load, _ = made()
    with pytest.raises(error):
        load.schedule(tags, bodies)
    assert load.waiting_count == 0


def test_as_many_as_no_one_could_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="at_once: expected 0 to 100000"):
        ScheduledLoad(BODIES, Http2(HEADERS), at_once=100_001)
