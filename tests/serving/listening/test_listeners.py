"""Sockets that are bound before they listen: free ports, names with several addresses, Unix sockets, and what is in use; and who has
connected when they are closed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from inferd.config import Address, Settings
from inferd.errors import StartError
from inferd.serving.listening.listeners import Listener, adopt, bind, close_empty, ready_addresses
from inferd.serving.processes.systemd import Inherited

SETTINGS = Settings(socket_mode=0o600)


def connects(listener: socket.socket) -> bool:
    with socket.socket(listener.family) as client:
        try:
            client.connect(listener.getsockname())
        except ConnectionRefusedError:
            return False
        return True


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_free_port_that_answers_once_it_listens(host: str) -> None:
    (listener,) = bind(Address(host, 0, tls=True), SETTINGS)
    assert listener.address == Address(host, listener.socket.getsockname()[1], tls=True)
    assert not connects(listener.socket)
    listener.listen()
    assert connects(listener.socket)
    listener.close()


def test_all_addresses_of_a_name_have_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [*socket.getaddrinfo("127.0.0.1", 0, type=socket.SOCK_STREAM), *socket.getaddrinfo("::1", 0, type=socket.SOCK_STREAM)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    listeners = bind(Address("two.example", 0), SETTINGS)
    assert [listener.socket.family for listener in listeners] == [socket.AF_INET, socket.AF_INET6]
    assert len({listener.address.port for listener in listeners}) == 1
    for listener in listeners:
        listener.close()


def test_what_is_in_use_or_is_no_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{port}: it is in use; .* choose another port"):
            bind(Address("127.0.0.1", port), SETTINGS)
        with pytest.raises(StartError, match="--http-port off"):
            bind(Address("127.0.0.1", port, http=True), SETTINGS)
    with pytest.raises(StartError, match="cannot listen on no"):
        bind(Address("no.such.host.invalid", 0), SETTINGS)


def test_what_the_ready_line_says() -> None:
    bound = [Address("::1", 1), Address("::1", 2, http=True), Address("", 0, "/a"), Address("", 0, "/b", http=True)]
    assert ready_addresses(bound) == {"grpc": "[::1]:1", "http": "[::1]:2", "listen": ["unix:/a", "http:unix:/b"]}
    assert ready_addresses(bound[:1]) == {"grpc": "[::1]:1"}


def test_two_that_are_bound_and_one_that_listens_first() -> None:
    (one,) = bind(Address("127.0.0.1", 0), SETTINGS)
    (other,) = bind(one.address, SETTINGS)
    one.listen()
    with pytest.raises(StartError, match="it is in use"):
        other.listen()
    one.close()
    other.close()


def test_a_unix_socket_goes_with_its_listener(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))  # and leaves its file
    (listener,) = bind(Address("", 0, str(path)), SETTINGS)
    assert path.stat().st_mode & 0o777 == 0o600
    assert connects(listener.socket), "at once: a server that starts meanwhile would take it for a file that was left behind"
    with pytest.raises(StartError, match="choose another one, or stop the process there"):
        bind(Address("", 0, str(path)), SETTINGS)
    listener.listen()
    assert connects(listener.socket)
    listener.close()
    assert not path.exists()
    path.write_text("a file of somebody's")
    with pytest.raises(StartError, match="cannot listen on unix:"):
        bind(Address("", 0, str(path)), SETTINGS)
    assert path.exists()


def test_the_file_of_a_server_that_came_later_stays(tmp_path: Path) -> None:
    address = Address("", 0, str(tmp_path / "s"))
    (old,) = bind(address, SETTINGS)
    (tmp_path / "s").unlink()
    (new,) = bind(address, SETTINGS)
    new.listen()
    old.close()
    assert connects(new.socket)
    new.close()
    assert not (tmp_path / "s").exists()


def test_sockets_of_others_are_left_as_they_are(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "s"))
        assert adopt(Inherited(tcp, False), tls=True).address == Address("127.0.0.1", tcp.getsockname()[1], tls=True)
        listener = adopt(Inherited(unix, True), tls=True)
        assert listener.address == Address("", 0, str(tmp_path / "s"), tls=False, http=True)
        listener.close()
    assert (tmp_path / "s").exists()


def test_an_abstract_name() -> None:
    with socket.socket(socket.AF_UNIX) as free:
        free.bind("")  # the kernel chooses a name
        name = "@" + free.getsockname()[1:].decode()
    (listener,) = bind(Address("", 0, name), SETTINGS)
    listener.listen()
    assert connects(listener.socket)
    assert adopt(Inherited(listener.socket, False), tls=False).address == listener.address
    listener.close()


# ---- the last who connect


def connected(stack: ExitStack, listener: Listener, count: int) -> None:
    for _ in range(count):
        client = stack.enter_context(socket.socket(listener.socket.family))
        client.connect(listener.socket.getsockname())


def accepting(stack: ExitStack, accepted: list[Listener], most: int) -> Callable[[Listener], bool]:
    def accept(listener: Listener) -> bool:
        for _ in range(most):
            try:
                stack.enter_context(listener.socket.accept()[0])
            except BlockingIOError:
                return True
            accepted.append(listener)
        return False

    return accept


async def test_who_has_connected_is_accepted_before_a_socket_is_closed(tmp_path: Path) -> None:
    (tcp,), (unix,) = bind(Address("127.0.0.1", 0), SETTINGS), bind(Address("", 0, str(tmp_path / "s")), SETTINGS)
    tcp.listen()
    accepted: list[Listener] = []
    with ExitStack() as stack:
        connected(stack, tcp, 10)
        connected(stack, unix, 5)
        address = tcp.socket.getsockname()
        accept = accepting(stack, accepted, 3)

        def accept_and_look(listener: Listener) -> bool:
            assert not (tmp_path / "s").exists(), "somebody could come meanwhile"
            return accept(listener)

        await close_empty([tcp, unix], accept_and_look)
        assert (accepted.count(tcp), accepted.count(unix)) == (10, 5)
        assert accepted[:6] == [tcp] * 3 + [unix] * 3, "nobody waits for all of another socket"
        assert (tcp.socket.fileno(), unix.socket.fileno()) == (-1, -1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)


async def test_who_waits_at_a_socket_of_others_is_theirs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as theirs, ExitStack() as stack:
        theirs.settimeout(5)
        listener = adopt(Inherited(theirs.dup(), False), tls=False)
        connected(stack, listener, 1)
        await close_empty([listener], lambda _: pytest.fail("it is not ours to accept"))
        assert listener.socket.fileno() == -1
        theirs.accept()[0].close()


async def test_sockets_are_closed_when_nobody_can_be_accepted_in_time() -> None:
    listeners = [*bind(Address("127.0.0.1", 0), SETTINGS), *bind(Address("127.0.0.1", 0), SETTINGS)]
    tried = asyncio.Event()

    def accept(listener: Listener) -> bool:
        tried.set()
        return False

    closing = asyncio.create_task(close_empty(listeners, accept))
    await tried.wait()
    closing.cancel()
    with suppress(asyncio.CancelledError):
        await closing
    assert [listener.socket.fileno() for listener in listeners] == [-1, -1]
