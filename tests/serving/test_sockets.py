"""Sockets that listen, by themselves: ports of TLS when there are too many clients, or no file descriptor is left."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from inferd.config import Address
from inferd.serving import sockets
from inferd.serving.sockets import TlsPort, bound_unix_socket, listening, name_of
from tests.wire import LIMIT_S


class Scarce(socket.socket):
    """A socket that listens, and finds no file descriptor for the first three clients."""

    refusals = 3

    def accept(self) -> tuple[socket.socket, Any]:
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.EMFILE, "none is left")
        return super().accept()


class Greeter(asyncio.Protocol):
    def connection_made(self, transport: asyncio.WriteTransport) -> None:  # type: ignore[override]
        transport.write(b"hello")
        transport.close()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def port_of_tls(authority: trustme.CA, listener: socket.socket, *, full: bool = False) -> tuple[TlsPort, list[str]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    refused: list[str] = []
    port = TlsPort(
        [listener],
        context,
        Greeter,  # type: ignore[arg-type]
        lambda: full,
        lambda: refused.append("one"),
        handshake_s=LIMIT_S,
        shutdown_s=LIMIT_S,
    )
    return port, refused


def greeting(authority: trustme.CA, address: tuple[str, int]) -> bytes:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with socket.create_connection(address, LIMIT_S) as plain, context.wrap_socket(plain, server_hostname="localhost") as made:
        return made.recv(100)


async def test_it_accepts_again_when_there_are_descriptors_again(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "PAUSE_S", 0.001)
    listener = Scarce()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    port, _ = port_of_tls(authority, listener)
    try:
        assert await asyncio.to_thread(greeting, authority, listener.getsockname()) == b"hello"
        assert (listener.refusals, port.failed) == (0, 0)
    finally:
        port.close()


async def test_beyond_the_limit_nobody_gets_a_handshake(authority: trustme.CA) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port, refused = port_of_tls(authority, listener, full=True)
    try:
        with pytest.raises(OSError):
            await asyncio.to_thread(greeting, authority, listener.getsockname())
        assert (refused, port.handshakes, port.failed) == (["one"], 0, 0)
    finally:
        port.close()


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
        while port.handshakes:
            await asyncio.sleep(0)
        assert port.failed == 1
        assert await asyncio.to_thread(greeting, authority, listener.getsockname()) == b"hello"
    finally:
        port.close()


async def test_a_closed_port_accepts_nobody(authority: trustme.CA) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    port, _ = port_of_tls(authority, listener)
    port.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, LIMIT_S)


async def test_a_name_with_several_addresses() -> None:
    opened = await listening(Address("localhost", 0), reuse_port=False)
    try:
        assert {one.getsockname()[0] for one in opened} <= {"127.0.0.1", "::1"}
        assert all(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for one in opened)
    finally:
        for one in opened:
            one.close()


async def test_of_two_ports_of_one_number_the_second_is_refused() -> None:
    [first] = await listening(Address("127.0.0.1", 0), reuse_port=False)
    with first, pytest.raises(OSError) as caught:
        await listening(Address("127.0.0.1", first.getsockname()[1]), reuse_port=False)
    assert caught.value.errno == errno.EADDRINUSE


def test_nobody_connects_before_a_socket_file_has_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with bound_unix_socket(Address("", 0, str(path)), 0o640) as bound, socket.socket(socket.AF_UNIX) as early:
        assert path.stat().st_mode & 0o777 == 0o640
        assert not bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        with pytest.raises(ConnectionRefusedError):
            early.connect(str(path))


def test_abstract_names(tmp_path: Path) -> None:
    address = Address("", 0, f"@{tmp_path.name}-{os.getpid()}")
    with bound_unix_socket(address, 0o600) as bound:
        assert name_of(bound.getsockname()) == address.path
    assert name_of("/run/x") == "/run/x"
