"""Ports: clients are let in by turns, few in each iteration of the loop; handshakes begin when all of a hello is there; what happens
when there are too many clients, or no file descriptor is left."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import resource
import select
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
import trustme

from inferd._core.http2.poller import Sockets
from inferd._core.http2.server_state import ServerState
from inferd.config import Address
from inferd.serving import ports
from inferd.serving.listeners import Listener
from inferd.serving.ports import ACCEPTS, GONE, MAX_HELLO_RECORDS, Port, Rejections, TlsPort, hello_nbytes
from tests import models
from tests.certificates import OWN_CONNECTION
from tests.command import FREE_PORTS, Serving
from tests.wire import LIMIT_S

WOKEN = 8  # _core/http2/limits.pxd
BETWEEN_HANDSHAKES = 4  # iterations of the loop, as docs/operations.md says


class Scarce(socket.socket):
    """A socket that listens, and finds no memory for the first three clients."""

    rejections = 3

    def accept(self) -> tuple[socket.socket, Any]:
        if self.rejections:
            self.rejections -= 1
            raise OSError(errno.ENOMEM, "none is left")
        return super().accept()


class Greeter(asyncio.Protocol):
    def __init__(self, made: Callable[[], None]) -> None:
        self._made = made

    def connection_made(self, transport: asyncio.WriteTransport) -> None:  # type: ignore[override]
        self._made()
        transport.write(b"hello")
        transport.close()


class Iterations:
    """Of the loop, while the block runs: how much more `count()` says at the end of each."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count, self.more = count, [0]
        self._before = count()
        self._loop = asyncio.get_running_loop()
        self._going = True

    def __enter__(self) -> Self:
        self._look()
        return self

    def __exit__(self, *_: object) -> None:
        self._going = False

    def _look(self) -> None:
        now = self._count()
        self.more.append(now - self._before)
        self._before = now
        if self._going:
            self._loop.call_soon(self._look)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def listening(opened: socket.socket) -> Listener:
    return Listener(opened, Address(*opened.getsockname()))


def close(port: Port) -> None:
    for listener in port.release():
        listener.close()
    port.cut_off()


def sockets_of_the_loop() -> Sockets:
    def unused(*_: object) -> Any:
        raise AssertionError

    sockets = Sockets(ServerState({}, start=unused, reject=unused, unserved=unused, schedule=unused, call_later=unused, in_thread=unused))
    asyncio.get_running_loop().add_reader(sockets, sockets.serve)
    return sockets


def port_of_tls(
    authority: trustme.CA, listener: socket.socket, *, full: bool = False, begun: list[str] | None = None
) -> tuple[TlsPort, list[str]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    rejected: list[str] = []

    def greeter(made: Callable[[], None]) -> Any:
        if begun is not None:
            begun.append("one")
        return Greeter(made)

    port = TlsPort(
        [listening(listener)],
        context,
        greeter,
        lambda: full,
        lambda: rejected.append("one"),
        Rejections(),
        sockets_of_the_loop(),
        handshake_s=LIMIT_S,
        shutdown_s=LIMIT_S,
    )
    return port, rejected


def greeting(authority: trustme.CA, address: tuple[str, int]) -> bytes:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with socket.create_connection(address, LIMIT_S) as plain, context.wrap_socket(plain, server_hostname="localhost") as made:
        return made.recv(100)


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


async def test_it_accepts_again_when_there_is_memory_again(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "PAUSE_S", 0.001)
    listener = Scarce()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    port, _ = port_of_tls(authority, listener)
    try:
        assert await asyncio.to_thread(greeting, authority, listener.getsockname()) == b"hello"
        assert (listener.rejections, port.failed) == (0, 0)
    finally:
        close(port)


async def test_beyond_the_limit_nobody_gets_a_handshake(authority: trustme.CA) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port, rejected = port_of_tls(authority, listener, full=True)
    try:
        with pytest.raises(OSError):
            await asyncio.to_thread(greeting, authority, listener.getsockname())
        assert (rejected, port.unfinished, port.failed) == (["one"], 0, 0)
    finally:
        close(port)


async def test_what_is_no_handshake_is_counted(authority: trustme.CA) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port, _ = port_of_tls(authority, listener)
    try:

        def chat() -> None:
            with socket.create_connection(listener.getsockname(), LIMIT_S) as plain:
                plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
                while plain.recv(100):
                    pass

        await asyncio.to_thread(chat)
        while port.unfinished:
            await asyncio.sleep(0)
        assert port.failed == 1
        assert await asyncio.to_thread(greeting, authority, listener.getsockname()) == b"hello"
    finally:
        close(port)


async def test_whatever_ends_a_handshake_is_counted(authority: trustme.CA) -> None:
    """Not errors of TLS alone."""

    class Unreadable(ssl.SSLObject):
        def getpeercert(self, binary_form: bool = False) -> Any:
            raise ArithmeticError

    listener = socket.create_server(("127.0.0.1", 0))
    port, _ = port_of_tls(authority, listener)
    port._context.sslobject_class = Unreadable
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    try:
        with suppress(OSError):
            assert await asyncio.to_thread(greeting, authority, listener.getsockname()) == b""
        await until(lambda: not port.unfinished)
        gc.collect()
        assert port.failed == 1
        assert not any("never retrieved" in each["message"] for each in told)
    finally:
        close(port)


async def test_a_closed_port_accepts_nobody(authority: trustme.CA) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    port, _ = port_of_tls(authority, listener)
    close(port)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, LIMIT_S)


def client_hello() -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


def connected(stack: ExitStack, listener: socket.socket, count: int, first: bytes = b"") -> list[socket.socket]:
    """Clients whom the kernel has connected, and who have sent this."""
    clients = [stack.enter_context(socket.create_connection(listener.getsockname(), LIMIT_S)) for _ in range(count)]
    for client in clients:
        client.sendall(first)
    return clients


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0)


async def test_clients_that_come_at_once_are_let_in_by_turns() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    begun: list[str] = []

    def greeter(made: Callable[[], None]) -> Any:
        begun.append("one")
        return Greeter(made)

    with ExitStack() as stack:
        clients = connected(stack, listener, 5 * ACCEPTS)
        port = Port([listening(listener)], greeter, lambda: False, lambda: None)
        with Iterations(lambda: len(begun)) as iterations:
            await until(lambda: len(begun) == len(clients) and not port.unfinished)
        assert max(iterations.more) <= ACCEPTS
        assert [await asyncio.to_thread(client.recv, 100) for client in clients] == [b"hello"] * len(clients)
        close(port)


async def test_clients_that_are_handed_over_at_once_are_let_in_by_turns() -> None:
    begun: list[str] = []

    def greeter(made: Callable[[], None]) -> Any:
        begun.append("one")
        return Greeter(made)

    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(5 * ACCEPTS)]
        port = Port([], greeter, lambda: False, lambda: None)
        with Iterations(lambda: len(begun)) as iterations:
            for one, other in pairs:
                stack.enter_context(one)
                port.take(other)
            assert port.unfinished == len(pairs)
            await until(lambda: not port.unfinished)
        assert max(iterations.more) <= ACCEPTS
        assert [await asyncio.to_thread(one.recv, 100) for one, _ in pairs] == [b"hello"] * len(pairs)


async def test_hellos_that_come_at_once_are_answered_by_turns(authority: trustme.CA) -> None:
    """However long ago their clients have connected."""
    listener = socket.create_server(("127.0.0.1", 0))
    begun: list[str] = []
    port, _ = port_of_tls(authority, listener, begun=begun)
    hello = client_hello()
    with ExitStack() as stack:
        clients = connected(stack, listener, 10, hello[:-1])
        await until(lambda: port.unfinished == len(clients))
        with Iterations(lambda: len(begun)) as iterations:
            for client in clients:
                client.sendall(hello[-1:])
            await until(lambda: len(begun) == len(clients))
        starts = [at for at, more in enumerate(iterations.more) if more]
        assert max(iterations.more) == 1
        assert min(later - earlier for earlier, later in pairwise(starts)) >= BETWEEN_HANDSHAKES
        close(port)


async def test_a_handshake_begins_when_all_of_the_hello_is_there(authority: trustme.CA) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    begun: list[str] = []
    port, _ = port_of_tls(authority, listener, begun=begun)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    made = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        made.do_handshake()
    hello = outgoing.read()
    with ExitStack() as stack:
        [client] = connected(stack, listener, 1)
        for at in range(len(hello)):
            client.sendall(hello[at : at + 1])
            if at % 100 == 0:
                await asyncio.sleep(0)
            assert not begun

        def rest() -> bytes:
            while True:
                try:
                    made.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    incoming.write(client.recv(1 << 16))
            client.sendall(outgoing.read())
            while True:
                try:
                    return made.read(100)
                except ssl.SSLWantReadError:
                    incoming.write(client.recv(1 << 16))

        assert await asyncio.to_thread(rest) == b"hello"
        assert (begun, port.failed) == (["one"], 0)
        close(port)


@pytest.mark.parametrize("sent", [0, 3, 50, None], ids=["nothing", "part of a header", "part of a hello", "all of it"])
async def test_who_has_left_costs_no_handshake(authority: trustme.CA, sent: int | None) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    begun: list[str] = []
    with ExitStack() as stack:
        [client] = connected(stack, listener, 1, client_hello()[:sent])
        client.close()
        port, _ = port_of_tls(authority, listener, begun=begun)
        await until(lambda: port.failed == 1)
        assert (begun, port.unfinished) == ([], 0)
        close(port)


@pytest.mark.parametrize("sent", [0, None], ids=["nothing", "a hello"])
async def test_clients_that_are_gone_at_one_moment_are_sent_away_some_in_each_iteration(authority: trustme.CA, sent: int | None) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    count = 4 * WOKEN
    with ExitStack() as stack:
        port, _ = port_of_tls(authority, listener)
        clients = connected(stack, listener, count, b"")
        await until(lambda: port.unfinished == count)
        with Iterations(lambda: port.failed) as iterations:
            for client in clients:
                client.sendall(client_hello()[:sent])
                client.close()
            await until(lambda: port.failed == count)
        assert max(iterations.more) <= WOKEN + GONE
        close(port)


def ends(client: socket.socket) -> bool:
    """It is sent away: it finds the end, and not its own limit."""
    with suppress(ConnectionResetError):
        while client.recv(1 << 16):
            pass
    return True


async def test_who_is_cut_off_finds_the_end(authority: trustme.CA) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port, _ = port_of_tls(authority, listener)
    with ExitStack() as stack:
        clients = connected(stack, listener, 2, b"\x16") + connected(stack, listener, 5, client_hello())
        await until(lambda: port.unfinished == len(clients))
        close(port)
        await until(lambda: port.unfinished == 0)
        assert all([await asyncio.to_thread(ends, client) for client in clients])


async def test_who_is_cut_off_before_a_turn_came_finds_the_end() -> None:
    port = Port([], lambda _: pytest.fail("nobody is served"), lambda: False, lambda: None)
    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(2 * ACCEPTS)]
        for one, other in pairs:
            stack.enter_context(one)
            one.settimeout(LIMIT_S)
            port.take(other)
        port._turn()  # some have it, and their tasks have not begun
        assert port.unfinished == len(pairs)
        port.cut_off()
        await until(lambda: port.unfinished == 0)
        assert all([await asyncio.to_thread(ends, one) for one, _ in pairs])


async def test_who_is_silent_within_the_handshake_is_sent_away(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not who waits for a turn, which is nobody's silence, nor who sends, or could not have sent for so long."""
    monkeypatch.setattr(ports, "HANDSHAKE_ITERATIONS", 10**9)  # one handshake, and no other
    monkeypatch.setattr(ports, "_silent_s", lambda client: silences[client.getpeername()])
    listener = socket.create_server(("127.0.0.1", 0))
    port, _ = port_of_tls(authority, listener)
    with ExitStack() as stack:
        [begun] = connected(stack, listener, 1, client_hello())
        await until(lambda: len(port._making) == 1)
        [waiting] = connected(stack, listener, 1, client_hello())
        quiet, sending = connected(stack, listener, 2, b"\x16")
        silences = dict.fromkeys([each.getsockname() for each in (begun, waiting, quiet)], 20.0) | {sending.getsockname(): 5.0}
        await until(lambda: (port.unfinished, len(port._line)) == (4, 1))
        port.end_silent(10.0)
        assert (port.unfinished, port.failed) == (4, 0)
        port._since_s = {client: since_s - 20 for client, since_s in port._since_s.items()}
        port.end_silent(10.0)
        await until(lambda: port.unfinished == 2)
        assert port.failed == 2
        assert all([await asyncio.to_thread(ends, client) for client in (begun, quiet)])
        for left in (waiting, sending):
            left.setblocking(False)
            with pytest.raises(BlockingIOError):
                left.recv(1)
        close(port)


def test_how_long_a_client_is_silent() -> None:
    """Since anything came from it, or went to it."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), LIMIT_S) as client,
    ):
        opened, _ = listener.accept()
        with opened:
            for sender in (client, opened):
                end_s = time.monotonic() + LIMIT_S
                while (before_s := ports._silent_s(opened)) < 0.05:
                    assert time.monotonic() < end_s
                sender.sendall(b"x")
                while ports._silent_s(opened) >= before_s:
                    assert time.monotonic() < end_s
                    sender.sendall(b"x")
        assert ports._silent_s(opened) == 0.0, "it is gone"


def test_how_long_a_hello_is() -> None:
    """Read as it comes: asked for is never more than there is of it, and all of it in the end."""
    hello = client_hello()
    message = hello[5:]
    split = b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2) + piece for piece in (message[:2], message[2:100], message[100:]))
    for whole in (hello, split):
        assert hello_nbytes(whole) == len(whole)
        assert hello_nbytes(whole + b"more") == len(whole)
        for end in range(len(whole)):
            assert end < hello_nbytes(whole[:end]) <= len(whole)
    for none in (b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\0\0", b"\x16\x03\x01\0\1\1" * (MAX_HELLO_RECORDS + 1)):
        assert hello_nbytes(none) <= len(none)


def test_of_many_clients_that_are_rejected_one_a_second_has_a_line(caplog: pytest.LogCaptureFixture) -> None:
    rejections = Rejections()
    with caplog.at_level(logging.INFO, "inferd"):
        for number in range(25):
            rejections.tell(100 + number / 10, f"client {number}")
        rejections.tell(200.0, "the last")
    assert [record.getMessage() for record in caplog.records] == [
        "rejected: client 0",
        "rejected: client 10; 9 more were rejected before it",
        "rejected: client 20; 9 more were rejected before it",
        "rejected: the last; 4 more were rejected before it",
    ]
