"""Sockets that are read, and that are looked at again, some in each iteration of a loop; and what is forgotten stays so."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from inferd._core.http2.poller import Sockets
from inferd._core.http2.server_state import ServerState
from tests._core.http2_client import INFER, Client, Served, frame
from tests.wire import LIMIT_S

WOKEN = 8  # _core/http2/limits.pxd
EVENTS = 64
RECEIVE_NBYTES = 64 << 10
LITTLE_NBYTES = 4 << 10
RESET = b"\1\0\0\0\0\0\0\0"


def unused(*_: object) -> Any:
    raise AssertionError


class Reader:
    """One end of a pair of sockets, and what is told of it."""

    def __init__(self, pair: tuple[socket.socket, socket.socket]) -> None:
        self.near, self.far = pair
        self.nbytes: list[int] = []
        self.errors: list[int] = []
        self.woken = 0
        self.when_read: Callable[[], None] = lambda: None

    def buffer_updated(self, nbytes: int) -> None:
        self.nbytes.append(nbytes)
        self.when_read()

    def hang_up(self, error: int) -> None:
        self.errors.append(error)

    def wake(self) -> None:
        self.woken += 1


class Setting:
    def __init__(self, opened: ExitStack) -> None:
        self._opened = opened
        self.server = ServerState({}, start=unused, reject=unused, unserved=unused, schedule=unused, call_later=unused, in_thread=unused)
        self.sockets = Sockets(self.server)
        opened.callback(self.sockets.close)

    def reader(self, pair: tuple[socket.socket, socket.socket] | None = None) -> Reader:
        reader = Reader(pair or socket.socketpair())
        for end in (reader.near, reader.far):
            self._opened.enter_context(end)
        reader.near.setblocking(False)
        return reader

    def read(self) -> Reader:
        reader = self.reader()
        self.sockets.read(reader.near.fileno(), reader)
        return reader

    def asleep(self) -> Reader:
        reader = self.reader()
        self.sockets.wake(reader.near.fileno(), reader, Reader.wake)
        return reader


@pytest.fixture
def setting() -> Iterator[Setting]:
    with ExitStack() as opened:
        yield Setting(opened)


def test_what_has_come_is_read(setting: Setting) -> None:
    speaking, silent = setting.read(), setting.read()
    speaking.far.send(b"abc")
    setting.sockets.serve()
    setting.sockets.serve()
    assert (speaking.nbytes, silent.nbytes) == ([3], [])
    assert bytes(memoryview(setting.server)[:3]) == b"abc"


def test_all_that_is_there_is_read_until_the_session_has_had_its_turn(setting: Setting) -> None:
    reader = setting.read()
    sent = 0
    reader.far.setblocking(False)
    while sent < 2 * RECEIVE_NBYTES:
        sent += reader.far.send(bytes(2 * RECEIVE_NBYTES - sent))
    reader.when_read = lambda: setting.sockets.forget(reader.near.fileno(), reader)
    setting.sockets.serve()
    assert reader.nbytes == [RECEIVE_NBYTES]
    reader.when_read = lambda: None
    setting.sockets.read(reader.near.fileno(), reader)
    setting.sockets.serve()
    assert sum(reader.nbytes) == sent


def test_the_end_and_an_error_are_told_once(setting: Setting) -> None:
    closed = setting.read()
    closed.far.close()
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname())
        reset = setting.reader((server.accept()[0], far))
        setting.sockets.read(reset.near.fileno(), reset)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        far.close()
        for _ in range(2):
            setting.sockets.serve()
    assert (closed.errors, len(reset.errors)) == ([0], 1)
    assert reset.errors[0] != 0
    assert len(setting.sockets) == 0


def test_some_of_those_that_sleep_are_woken_at_a_time_and_all_in_the_end(setting: Setting) -> None:
    readers = [setting.asleep() for _ in range(2 * WOKEN + 1)]
    for number, reader in enumerate(readers[:-1]):
        reader.far.close() if number % 2 else reader.far.send(b"x")
    for count in (WOKEN, 2 * WOKEN, 2 * WOKEN):
        setting.sockets.serve()
        assert sum(reader.woken for reader in readers) == count
    assert [reader.woken for reader in readers] == [1] * 2 * WOKEN + [0]
    assert len(setting.sockets) == 1


def test_however_many_are_woken_who_is_read_waits_for_a_few_of_them(setting: Setting) -> None:
    readers = [setting.asleep() for _ in range(4 * EVENTS)]
    read = setting.read()
    for reader in (*readers, read):
        reader.far.send(b"x")
    setting.sockets.serve()
    assert read.nbytes == [1]
    assert sum(reader.woken for reader in readers) == WOKEN


def test_a_number_that_is_read_for_another_by_now_is_read_on(setting: Setting) -> None:
    before = setting.asleep()
    descriptor = before.near.fileno()
    before.near.close()
    pair = socket.socketpair()
    after = setting.reader(pair if pair[0].fileno() == descriptor else pair[::-1])
    setting.sockets.read(descriptor, after)
    setting.sockets.forget(descriptor, before)
    after.far.send(b"x")
    setting.sockets.serve()
    assert after.nbytes == [1]


def test_an_iteration_serves_as_long_as_its_turns_last_and_then_the_others(setting: Setting) -> None:
    readers = [setting.read() for _ in range(2 * EVENTS + 2)]
    for reader in readers:
        reader.far.send(b"x")
    setting.server.iteration_ns = setting.server.light_iteration_ns = 0
    setting.sockets.serve()
    assert sum(len(reader.nbytes) for reader in readers) == EVENTS
    setting.server.light_iteration_ns = 10**12
    setting.sockets.serve()
    assert all(reader.nbytes == [1] for reader in readers)


def test_who_is_always_readable_is_not_served_twice_before_others(setting: Setting) -> None:
    readers = [setting.read() for _ in range(2 * EVENTS)]
    setting.server.iteration_ns = setting.server.light_iteration_ns = 0
    for reader in readers:
        reader.when_read = partial(reader.far.send, b"x")
        reader.far.send(b"x")
    for count in (1, 2, 3):
        setting.sockets.serve()
        setting.sockets.serve()
        assert {len(reader.nbytes) for reader in readers} == {count}


def test_what_is_read_at_one_moment_is_one_iteration_of_the_loop(setting: Setting) -> None:
    """Light reads, too, wait for their turn when it has lasted long enough; a callback for each iteration would not tell of these."""
    client = Client(served := Served())
    reader = setting.reader()
    sockets = Sockets(served.server)
    sockets.read(reader.near.fileno(), client.session)
    for limit_ns, calls in ((0, 0), (10**12, 2)):
        served.server.iteration_ns = served.server.light_iteration_ns = limit_ns
        client.h2.send_data(client.open(INFER), frame(b"light"), end_stream=True)
        reader.far.send(client.h2.data_to_send())
        sockets.serve()
        assert len(served.calls) == calls
        served.run_scheduled()
    sockets.close()
    client.session.close()


def test_what_is_forgotten_stays_so(setting: Setting) -> None:
    read, asleep, other = setting.read(), setting.asleep(), setting.read()
    for reader in (read, asleep, other):
        reader.far.send(b"x")
    setting.sockets.forget(other.near.fileno(), read)
    setting.sockets.forget(read.near.fileno(), read)
    setting.sockets.forget(asleep.near.fileno(), asleep)
    setting.sockets.forget(asleep.near.fileno(), asleep)
    setting.sockets.forget(-1, read)
    setting.sockets.serve()
    assert (read.nbytes, asleep.woken, other.nbytes) == ([], 0, [1])


def test_who_is_ended_by_another_before_its_turn_is_not_read(setting: Setting) -> None:
    readers = [setting.read() for _ in range(2)]
    for reader, other in zip(readers, reversed(readers), strict=True):
        reader.far.send(b"x")
        reader.when_read = lambda other=other: setting.sockets.forget(other.near.fileno(), other)  # type: ignore[misc]
    setting.sockets.serve()
    assert sorted(reader.nbytes for reader in readers) == [[], [1]]


def test_a_descriptor_that_is_anothers_by_now_is_not_forgotten(setting: Setting) -> None:
    """By TLS a socket is closed before its connection hears of it."""
    before = setting.asleep()
    descriptor = before.near.fileno()
    before.near.close()
    pair = socket.socketpair()
    after = setting.reader(pair if pair[0].fileno() == descriptor else pair[::-1])
    assert after.near.fileno() == descriptor
    setting.sockets.wake(descriptor, after, Reader.wake)
    setting.sockets.forget(descriptor, before)
    after.far.send(b"x")
    setting.sockets.serve()
    assert (before.woken, after.woken) == (0, 1)


def test_an_error_of_one_is_logged_and_the_others_are_served(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    readers = [setting.read() for _ in range(2)]
    for reader in readers:
        reader.far.send(b"x")
        reader.when_read = unused
    setting.sockets.serve()
    assert [reader.nbytes for reader in readers] == [[1], [1]]
    assert [record.name for record in caplog.records] == ["inferd.http2"] * 2


def test_after_the_end_there_is_nothing(setting: Setting) -> None:
    reader = setting.read()
    setting.sockets.close()
    setting.sockets.close()
    assert (len(setting.sockets), setting.sockets.fileno()) == (0, -1)
    with pytest.raises(OSError, match="Bad file descriptor"):
        setting.sockets.read(reader.near.fileno(), reader)


async def test_a_loop_is_told_until_all_were_served(setting: Setting) -> None:
    loop = asyncio.get_running_loop()
    readers = [setting.read() for _ in range(EVENTS + 2)]
    for reader in readers:
        reader.far.send(b"x")
    loop.add_reader(setting.sockets, setting.sockets.serve)
    async with asyncio.timeout(LIMIT_S):
        while not all(reader.nbytes for reader in readers):
            await asyncio.sleep(0)
    loop.remove_reader(setting.sockets)


def test_little_is_read_of_each_while_much_waits_for_its_turn(setting: Setting) -> None:
    """What the kernel holds of thousands of connections is nobody else's memory."""
    served = Served()
    setting.server = served.server
    setting.sockets = Sockets(served.server)
    waiting, closed, reader = Client(served), Client(served), setting.read()
    served.run_scheduled()
    served.server.iteration_ns = served.server.light_iteration_ns = 0
    served.server.max_held_nbytes = 1
    held_nbytes = 0
    for client in (waiting, closed):
        for _ in range(30):
            client.h2.send_data(client.open(INFER), frame(bytes(100)), end_stream=True)
        sent = client.h2.data_to_send()
        memoryview(served.server)[: len(sent)] = sent  # type: ignore[arg-type]
        client.session.buffer_updated(len(sent))
        held_nbytes += len(sent)
    assert served.server.held_nbytes == held_nbytes
    reader.far.sendall(bytes(2 * LITTLE_NBYTES))
    setting.sockets.serve()
    assert reader.nbytes == [LITTLE_NBYTES]
    closed.session.close()
    served.run_scheduled()
    assert served.server.held_nbytes == 0
    reader.far.sendall(bytes(2 * LITTLE_NBYTES))
    setting.sockets.serve()
    assert reader.nbytes == [LITTLE_NBYTES, 3 * LITTLE_NBYTES]
    waiting.session.close()
    setting.sockets.close()
