"""Ports: clients are let in a few in each iteration of the loop; what happens when there is no descriptor or memory."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import select
import socket
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from inferd.config import Address
from inferd.serving.listening import ports
from inferd.serving.listening.listeners import Listener
from inferd.serving.listening.ports import ACCEPTS, Port
from tests import models
from tests.certificates import OWN_CONNECTION
from tests.command import FREE_PORTS, Serving
from tests.wire import LIMIT_S


class Scarce(socket.socket):
    """A socket that listens, and fails for the first clients."""

    errors: list[OSError]

    def accept(self) -> tuple[socket.socket, Any]:
        if self.errors:
            raise self.errors.pop()
        return super().accept()


class Clients:
    """What a port does with clients: greets them, and closes."""

    def __init__(self) -> None:
        self.served = self.rejected = 0

    def take(self, client: socket.socket) -> None:
        self.served += 1
        client.send(b"hello")
        client.close()

    def reject(self) -> None:
        self.rejected += 1

    def port(self, *opened: socket.socket) -> Port:
        listeners = [Listener(each, Address(*each.getsockname())) for each in opened]
        return Port(listeners, self.take, self.reject)


@asynccontextmanager
async def listening(opened: socket.socket | None = None) -> AsyncIterator[tuple[Clients, tuple[str, int]]]:
    clients, listener = Clients(), opened or socket.create_server(("127.0.0.1", 0))
    port = clients.port(listener)
    try:
        yield clients, listener.getsockname()
    finally:
        for each in port.release():
            each.close()
        port.close()


def greeting(address: tuple[str, int]) -> bytes:
    with socket.create_connection(address, LIMIT_S) as client:
        return client.recv(100)


def test_without_a_descriptor_left_clients_are_closed_at_once(tmp_path: Path) -> None:
    """They would wait in the backlog for as long as the others stay; and it accepts again when there is one."""
    model = models.write(tmp_path, "double", models.doubled())
    with Serving(tmp_path, model, *FREE_PORTS) as server, ExitStack() as stack:
        host, _, port = server.addresses["grpc"].rpartition(":")
        process = server.process.pid
        room = 5
        limit = 1 + max(int(each) for each in os.listdir(f"/proc/{process}/fd")) + room
        resource.prlimit(process, resource.RLIMIT_NOFILE, (limit, limit))
        clients = [stack.enter_context(socket.create_connection((host, int(port)), LIMIT_S)) for _ in range(40)]
        closed: set[socket.socket] = set()
        limit_s = time.monotonic() + LIMIT_S
        while len(closed) < len(clients) // 2:
            assert time.monotonic() < limit_s, "they wait in the backlog"
            readable, _, _ = select.select(set(clients) - closed, [], [], 1.0)
            closed |= {client for client in readable if left(client)}
        for client in clients:
            client.close()
        while True:  # until the server has seen that they are gone
            assert time.monotonic() < limit_s, "it accepts nobody any more"
            with grpc.insecure_channel(server.addresses["grpc"], OWN_CONNECTION) as channel, suppress(grpc.RpcError):
                channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=LIMIT_S)
                break


def left(client: socket.socket) -> bool:
    """Whether the server has closed it; it says nothing else before a client does."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


async def test_it_accepts_again_when_there_is_memory_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that has left before it was accepted is no reason to pause."""
    monkeypatch.setattr(ports, "PAUSE_S", 0.001)
    listener = Scarce()
    listener.errors = [OSError(errno.ENOMEM, "none is left"), ConnectionAbortedError(), OSError(errno.ENOMEM, "none is left")]
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    async with listening(listener) as (clients, address):
        assert await asyncio.to_thread(greeting, address) == b"hello"
        assert (listener.errors, clients.rejected) == ([], 0)


async def test_want_of_descriptors_is_said_once_in_a_while(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Scarce()
    listener.errors = []
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    async with listening(listener) as (clients, address):
        for warnings, pause_s in ((1, ports.WARNING_S), (1, ports.WARNING_S), (2, 0.0)):
            monkeypatch.setattr(ports, "WARNING_S", pause_s)
            listener.errors.append(OSError(errno.EMFILE, "none is left"))
            assert await asyncio.to_thread(greeting, address) == b""
            assert [record.getMessage()[:29] for record in caplog.records] == warnings * ["no file descriptor is left: n"]
        assert await asyncio.to_thread(greeting, address) == b"hello"
        assert (clients.served, clients.rejected) == (1, 3)


async def test_a_released_port_accepts_nobody_by_itself() -> None:
    clients, listener = Clients(), socket.create_server(("127.0.0.1", 0))
    port = clients.port(listener)
    [released] = port.release()
    with socket.create_connection(listener.getsockname(), LIMIT_S) as client:
        for _ in range(10):
            await asyncio.sleep(0)
        assert clients.served == 0
        assert not port.accept(released, 1)
        assert port.accept(released, 1), "nobody waits any more"
        assert client.recv(100) == b"hello"
        released.close()
        port.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(client.getpeername(), LIMIT_S)


async def test_clients_that_come_at_once_are_let_in_a_few_in_each_iteration() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(listener.getsockname(), LIMIT_S)) for _ in range(5 * ACCEPTS)]
        async with listening(listener) as (clients, _):
            before, more = 0, []
            async with asyncio.timeout(LIMIT_S):
                while clients.served < len(opened):
                    await asyncio.sleep(0)
                    more.append(clients.served - before)
                    before = clients.served
        assert max(more) <= ACCEPTS
        assert [client.recv(100) for client in opened] == [b"hello"] * len(opened)
