"""Which worker gets the next connection, and what waits where none takes it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from inferd.config import Address, Settings
from inferd.serving.listening.listeners import Listener
from inferd.serving.processes import dispatcher
from inferd.serving.processes.channel import Channel
from inferd.serving.processes.child import MAX_UNTAKEN, QUIET_LOOKS, Child
from inferd.serving.processes.supervisor import Supervisor
from inferd.serving.processes.worker import until_look_s
from tests.server_fixtures import LIMIT_S

PLAIN = Address("127.0.0.1", 8001)


@contextmanager
def closed_at_end(*children: Child) -> Iterator[None]:
    try:
        yield
    finally:
        for child in children:
            child.channel.close()
            child.theirs.close()


async def supervisor_of(*children: Child) -> Supervisor:
    supervisor = Supervisor(Settings(), len(children), (), lambda: None)
    supervisor.workers.children.update({child.number: child for child in children})
    return supervisor


def ready_child(number: int, connections: int) -> Child:
    child = Child(number)
    child.state = "ready"
    child.reported(taken=0, ended=-connections, able=True)
    return child


async def test_who_has_least_gets_the_next_connection() -> None:
    children = [ready_child(1, 5), ready_child(2, 0), ready_child(3, 2)]
    supervisor = await supervisor_of(*children)
    ours, other = socket.socketpair()
    with ours, other, closed_at_end(*children):
        for expected in ([5, 1, 2], [5, 2, 2], [5, 2, 3], [5, 3, 3], [5, 3, 4]):
            supervisor.dispatcher._hand_on(ours.dup(), PLAIN)
            assert [child.connections for child in children] == expected
        children[1].theirs.close()  # it has ended: the next one has it
        supervisor.dispatcher._hand_on(ours.dup(), PLAIN)
        assert [child.connections for child in children] == [5, 3, 5]
        children[2].silent_looks = children[0].silent_looks = QUIET_LOOKS
        supervisor.dispatcher._hand_on(ours.dup(), PLAIN)
        assert [child.connections for child in children] == [6, 3, 5]  # of two that have as many, who has waited longer
        children[2].silent_looks += 1
        supervisor.dispatcher._hand_on(ours.dup(), PLAIN)
        assert [child.connections for child in children] == [7, 3, 5]  # it may hang
        children[0].reported(taken=0, ended=0, able=False)
        assert supervisor.dispatcher._next() is None


class FakeWorker:
    """Takes connections at once, and finds those that have ended when it looks, at its own times on a manual clock."""

    def __init__(self, number: int, started_s: float) -> None:
        self.child = ready_child(number, 0)
        self.taken = self.open = self.ended = 0
        self.look_s = started_s

    def take(self) -> None:
        self.taken += 1
        self.open += 1
        self.report()

    def look_until(self, now_s: float) -> None:
        while self.look_s <= now_s:
            self.ended = self.taken - self.open
            self.report()
            self.look_s += until_look_s(self.look_s)

    def report(self) -> None:
        self.child.reported(taken=self.taken, ended=self.ended, able=True)


@pytest.mark.parametrize("processes", [2, 3])
async def test_connections_that_come_right_after_others_have_ended_are_spread(processes: int) -> None:
    """Whenever a load begins and ends between two looks of the workers, which were started at other times."""
    fakes = [FakeWorker(number, 1000 + 0.0377 * number) for number in range(processes)]
    children = [fake.child for fake in fakes]
    supervisor = await supervisor_of(*children)
    ours, client = socket.socketpair()
    with ours, client, closed_at_end(*children):
        now_s = 1001.0
        for load in range(200):
            now_s += 0.0031 * (load % 40)  # up to two looks and a half
            for _ in range(1 + load % 9):
                for fake in fakes:
                    fake.look_until(now_s)
                supervisor.dispatcher._hand_on(ours.dup(), PLAIN)
                (taker,) = [fake for fake in fakes if read_words(Channel(fake.child.theirs))]
                taker.take()
                now_s += 0.0002
            opened = [fake.open for fake in fakes]
            assert max(opened) - min(opened) <= 1
            for fake in fakes:
                fake.open = 0


async def test_who_takes_nothing_gets_no_more_than_its_channel_holds() -> None:
    child = ready_child(1, 0)
    supervisor = await supervisor_of(child)
    ours, other = socket.socketpair()
    with ours, other, closed_at_end(child):
        for _ in range(MAX_UNTAKEN):
            supervisor.dispatcher._hand_on(ours.dup(), PLAIN)
        assert supervisor.dispatcher._next() is None
        assert child.channel.send("stop"), "there is room for other words"
        child.reported(taken=1, ended=0, able=True)
        assert supervisor.dispatcher._next() is child


def fill(child: Child) -> Channel:
    """Its channel: with what is said while it does not read. The other end."""
    while child.channel.send("not_ready"):
        pass
    return Channel(child.theirs)


def read_words(theirs: Channel) -> list[str]:
    """The kinds of all that waits, but for what `fill` says."""
    messages = [message for message in iter(theirs.receive, None) if message.kind != "not_ready"]
    for message in messages:
        if message.descriptor >= 0:
            os.close(message.descriptor)
    return [message.kind for message in messages]


async def test_who_does_not_read_for_a_moment_stays_in_service(caplog: pytest.LogCaptureFixture) -> None:
    full, other = children = ready_child(1, 0), ready_child(2, 5)
    supervisor = await supervisor_of(*children)
    ours, client = socket.socketpair()
    with ours, client, closed_at_end(*children):
        theirs = fill(full)
        supervisor.dispatcher._hand_on(ours.dup(), PLAIN)
        assert [child.connections for child in children] == [0, 6]
        assert not caplog.text, "no client waits"
        fill(other)
        for _ in range(2):
            supervisor.dispatcher._hand_on(ours.dup(), PLAIN._replace(tls=True))
        assert supervisor.dispatcher._next() is None
        assert "clients wait: no worker takes connections" in caplog.text
        assert [child.state for child in children] == ["ready", "ready"]
        assert not read_words(theirs)
        theirs.send("report", taken=0, ended=0, able=True, missed=False)
        supervisor.workers._hear(full)
        assert read_words(theirs) == ["connection", "connection"]
        assert [child.connections for child in children] == [2, 6]
        assert supervisor.dispatcher._next() is full


async def test_a_client_whom_no_worker_took_is_sent_away_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    child = ready_child(1, 0)
    supervisor = await supervisor_of(child)
    ours, client = socket.socketpair()
    with client, closed_at_end(child):
        client.settimeout(LIMIT_S)
        fill(child)
        supervisor.dispatcher._hand_on(ours, PLAIN)
        supervisor.dispatcher.close()
        assert client.recv(1) == b""
    assert "a client is sent away: no worker took its connection" in caplog.text


class NoDescriptors:
    """A listening socket of a process that may open nothing more."""

    def __init__(self, opened: socket.socket) -> None:
        self.opened, self.asked = opened, 0

    def fileno(self) -> int:
        return self.opened.fileno()

    def accept(self) -> tuple[socket.socket, object]:
        self.asked += 1
        if self.asked == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return self.opened.accept()


async def test_without_a_descriptor_connections_wait(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(dispatcher, "NO_DESCRIPTOR_PAUSE_S", 0)
    child = ready_child(1, 0)
    supervisor = await supervisor_of(child)
    with socket.create_server(("127.0.0.1", 0)) as opened, closed_at_end(child):
        opened.setblocking(False)
        full = NoDescriptors(opened)
        supervisor.dispatcher._listeners = [Listener(full, Address("127.0.0.1", 0), ours=False)]  # type: ignore[arg-type]
        supervisor.dispatcher.open()
        with socket.create_connection(opened.getsockname()):
            async with asyncio.timeout(LIMIT_S):
                while not child.connections:
                    await asyncio.sleep(0)
        supervisor.dispatcher._pause()
    assert full.asked >= 2
    assert "connections wait: none can be accepted (Too many open files)" in caplog.text
