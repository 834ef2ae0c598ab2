"""Turns of sockets: one read each, as many as the budget of an iteration allows, and clients that send little go first."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress

import pytest

from inferd._core.net.poller import Poller
from tests._core.http2_client import UNARY
from tests._core.http2_sockets import CLOSED, GREETING, OPEN, READ_NBYTES, UNKNOWN, Peer, Sockets

PING = b"\0\0\x08\x06\0\0\0\0\0" + b"12345678"
EMPTY = b"\0\0\0\xff\0\0\0\0\0"  # the dearest way to use a read: 1,820 frames of a kind that nobody knows
FLOOD = GREETING + 100 * UNKNOWN  # more than 100 KB


def received(client: socket.socket) -> bytes:
    """All that is there now."""
    try:
        return client.recv(1 << 16)
    except BlockingIOError:
        return b""


def read_in_a_turn(sockets: Sockets) -> int:
    before = sockets.server.totals["received_nbytes"]
    sockets.turn()
    return sockets.server.totals["received_nbytes"] - before


def test_a_turn_is_one_read_and_a_budget_of_nothing_one_turn() -> None:
    with Sockets() as sockets:
        sockets.poller.budget_ns = 0
        _, client = sockets.connect()
        client.sendall(FLOOD)
        reads = [read_in_a_turn(sockets) for _ in range(len(FLOOD) // READ_NBYTES + 2)]
        assert max(reads) == READ_NBYTES
        assert sum(reads) == len(FLOOD)


def test_a_large_budget_is_used_up_in_one_iteration() -> None:
    with Sockets() as sockets:
        sockets.poller.budget_ns = 3600 * 10**9
        for _ in range(3):
            sockets.connect()[1].sendall(FLOOD)
        assert read_in_a_turn(sockets) == 3 * len(FLOOD)


def test_work_that_is_left_goes_on_in_the_next_iteration_without_an_event() -> None:
    with Sockets() as sockets:
        sockets.poller.budget_ns = 0
        _, client = sockets.connect()
        client.sendall(FLOOD)
        sockets.poller.serve()
        assert not select.select([sockets.poller], [], [], 0)[0], "epoll has said it once"
        while sockets.served.scheduled:
            sockets.served.run_next()
        assert sockets.server.totals["received_nbytes"] == len(FLOOD)


def test_a_light_client_goes_before_floods() -> None:
    """Counted in turns: each iteration has one. With round robin alone it would wait for a turn of each."""
    count = 50
    with Sockets(max_control_frame_rate=10**6) as sockets:
        sockets.poller.budget_ns = 0
        floods = {sockets.connect()[1]: GREETING for _ in range(count)}
        for flood in floods:
            flood.setblocking(False)
        connection, light = sockets.connect()
        light.setblocking(False)
        light.sendall(GREETING)

        def turn() -> None:
            for flood, left in floods.items():  # they always have more
                with suppress(BlockingIOError):
                    floods[flood] = left[flood.send(left) :] or 4 * READ_NBYTES // len(EMPTY) * EMPTY
            sockets.turn()

        while connection.state != OPEN:
            turn()
        for _ in range(5 * count):  # each has used up a quantum
            turn()
        waits = []
        received(light)
        for _ in range(20):
            light.sendall(PING)
            waits.append(0)
            while not received(light):
                turn()
                waits[-1] += 1
                assert waits[-1] < 10 * count
        assert max(waits) <= count // 4


@pytest.mark.parametrize(("path", "goes_first"), [(UNARY, True), ("/a.B/Unknown", False)])
def test_a_client_with_wrong_calls_lets_others_go_first(path: str, goes_first: bool) -> None:
    """Each rejection costs a whole quantum. Four calls alone leave some of one."""
    with Sockets() as sockets:
        sockets.poller.budget_ns = 0
        peers = [Peer(sockets, sockets.connect()[1]) for _ in range(2)]
        asked = peers[0]
        for _ in range(4):  # the greeting, the settings' acknowledgement, and small turns of both
            for peer in peers:
                peer.h2.ping(bytes(8))
                peer.move()
            sockets.settle()
        for _ in range(4):
            asked.ask(path)
        asked.move()
        sockets.turn()
        for peer in peers:
            peer.move()
            peer.pings = 0
            peer.h2.ping(bytes(8))
            peer.move()
        while not any(peer.pings for peer in peers):
            sockets.turn()
            for peer in peers:
                peer.move()
        assert bool(asked.pings) is goes_first


def test_a_socket_that_is_forgotten_has_no_turn_any_more() -> None:
    """Also where epoll told of it in the same iteration."""
    with Sockets() as sockets:
        pairs = [sockets.connect() for _ in range(3)]
        for _, client in pairs:
            client.sendall(GREETING)
        for connection, _ in pairs[:2]:
            connection.abort()
        assert len(sockets.poller) == 1
        sockets.settle()
        assert [connection.state for connection, _ in pairs] == [CLOSED, CLOSED, OPEN]
        assert sockets.server.totals["received_nbytes"] == len(GREETING)


def test_a_descriptor_that_is_used_again_is_another_socket() -> None:
    with Sockets() as sockets:
        first, client = sockets.connect()
        number = first.descriptor
        client.sendall(GREETING)
        first.abort()
        second, client = sockets.connect()
        assert second.descriptor == number, "the kernel gives the lowest one"
        client.sendall(GREETING)
        sockets.settle()
        assert (first.state, second.state) == (CLOSED, OPEN)


def test_a_turn_that_could_not_be_scheduled_comes_with_the_next_event(caplog: pytest.LogCaptureFixture) -> None:
    scheduled: list[Callable[[], None]] = []
    fails = [RuntimeError("the loop is closed")]

    def schedule(callback: Callable[[], None]) -> None:
        if fails:
            raise fails.pop()
        scheduled.append(callback)

    with Sockets() as sockets:
        sockets.poller.close()
        sockets.poller = Poller(schedule)
        sockets.poller.budget_ns = 0
        _, client = sockets.connect()
        client.sendall(FLOOD)
        sockets.poller.serve()
        assert "a turn could not be scheduled" in caplog.text
        assert not scheduled
        sockets.connect()
        sockets.poller.serve()
        while scheduled:
            scheduled.pop()()
        assert sockets.server.totals["received_nbytes"] == len(FLOOD)


def test_after_its_end_it_serves_nobody() -> None:
    with Sockets() as sockets:
        descriptor = sockets.poller.fileno()
        sockets.connect()
        sockets.poller.close()
        assert (len(sockets.poller), sockets.poller.fileno()) == (0, -1)
        sockets.poller.close()
        with pytest.raises(OSError):
            os.fstat(descriptor)
