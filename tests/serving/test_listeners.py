"""Sockets that are bound before they listen: free ports, names with several addresses, Unix sockets, and what is in use."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from inferd.config import Address, Settings
from inferd.errors import StartError
from inferd.serving.listeners import adopt, bind

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
    with pytest.raises(StartError, match="cannot listen on no"):
        bind(Address("no.such.host.invalid", 0), SETTINGS)


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
    with pytest.raises(StartError, match="choose another path, or stop who listens there"):
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
        assert adopt(tcp, tls=True).address == Address("127.0.0.1", tcp.getsockname()[1], tls=True)
        listener = adopt(unix, tls=True)
        assert (listener.address, listener.address.tls) == (Address("", 0, str(tmp_path / "s")), False)
        listener.close()
    assert (tmp_path / "s").exists()


def test_an_abstract_name() -> None:
    with socket.socket(socket.AF_UNIX) as free:
        free.bind("")  # the kernel chooses a name
        name = "@" + free.getsockname()[1:].decode()
    (listener,) = bind(Address("", 0, name), SETTINGS)
    listener.listen()
    assert connects(listener.socket)
    assert adopt(listener.socket, tls=False).address == listener.address
    listener.close()
