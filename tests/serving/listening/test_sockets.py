"""Sockets that listen, by themselves."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from inferd.config import Address, Settings
from inferd.errors import StartError
from inferd.serving.listening import sockets
from inferd.serving.listening.listeners import bind
from inferd.serving.listening.sockets import free_path, name_of, not_listening, unix_socket

STARTED, ROUNDS = 6, 50  # processes, and how often each starts a server


def test_nobody_connects_before_a_socket_file_has_its_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, chmod = tmp_path / "s.sock", os.chmod

    def early(file: str, mode: int) -> None:
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
            client.connect(str(path))
        chmod(file, mode)

    monkeypatch.setattr(os, "chmod", early)
    with unix_socket(Address("", 0, str(path)), 0o640) as opened:
        assert path.stat().st_mode & 0o777 == 0o640
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


def test_a_file_is_stale_when_nobody_listens(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    address = Address("", 0, path)
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(path)
    with free_path(address):
        assert not os.path.exists(path)
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
        busy.bind(path)
        busy.listen(0)
        first.connect(path)  # and nobody else has room
        with pytest.raises(OSError) as caught, free_path(address):
            pass
        assert caught.value.errno == errno.EADDRINUSE
        assert os.path.exists(path)


# A process that takes a path whenever it is told to, and leaves its socket's file, as if it were killed.
TAKE = """
import sys
from contextlib import ExitStack
from inferd.config import Address
from inferd.serving.listening.sockets import not_listening, unix_socket
address = Address("", 0, sys.argv[1])
for _ in sys.stdin:
    with ExitStack() as stack:
        try:
            stack.enter_context(unix_socket(address, 0o600))
            print("serves", flush=True)
        except OSError as error:
            print(not_listening(address, error), flush=True)
        next(sys.stdin)
    print("left", flush=True)
"""


def test_of_servers_that_start_at_once_one_has_the_path(tmp_path: Path) -> None:
    """All find a stale file there, and each must leave alone what another has put in its place."""
    path = str(tmp_path / "s")
    started = [
        subprocess.Popen([sys.executable, "-c", TAKE, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        for _ in range(STARTED)
    ]

    def tell(word: str) -> list[str]:
        for process in started:
            assert process.stdin is not None
            process.stdin.write(f"{word}\n")
        return sorted(process.stdout.readline().strip() for process in started if process.stdout is not None)

    try:
        for _ in range(ROUNDS):
            answers = tell("take it")
            assert [answer == "serves" for answer in answers] == [False] * (STARTED - 1) + [True]
            assert all("it is in use" in answer for answer in answers[:-1])
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
            assert os.listdir(tmp_path) == ["s"]
            assert set(tell("leave it")) == {"left"}, "who asked while one still serves would hold the lock as that one asks"
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_a_folder_that_another_server_has_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "LOCK_TRIES", 1)
    address = Address("", 0, str(tmp_path / "s"))
    with free_path(address):
        says = (
            "another process holds a lock on its folder; expected a path that is free: choose one in another folder, or stop that process"
        )
        assert why_not(address) == f"cannot listen on {address}: {says}"
    unix_socket(address, -1).close()
    assert os.listdir(tmp_path) == ["s"]


def test_why_a_path_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(str(tmp_path / "datagrams"))
        for name, reason, cure in (
            ("datagrams", "a socket of another kind is there, of datagrams perhaps", "take away what is there"),
            ("x" * 108, "it is too long", "choose one of up to 107 bytes"),
            ("x" * 300, "it is too long", "choose one of up to 107 bytes"),
            ("no/such/folder", "its folder does not exist", "choose another one, or make the folder"),
            ("file", "the file there is no socket", "take away what is there"),
            ("folder", "the file there is no socket", "take away what is there"),
            ("link", "the file there is no socket", "take away what is there"),
            ("file/s", "not a directory", "choose one in a folder where this user may make files"),
        ):
            address = Address("", 0, str(tmp_path / name))
            says = why_not(address)
            assert says.startswith(f"cannot listen on {address}: {reason}; expected a path that is free: ")
            assert says.endswith(cure)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["datagrams", "file", "folder", "link"]


def why_not(address: Address) -> str:
    with pytest.raises(OSError) as caught:
        unix_socket(address, -1)
    return str(not_listening(address, caught.value))


def test_why_an_abstract_name_cannot_be_had(tmp_path: Path) -> None:
    address, long = Address("", 0, f"@{tmp_path.name}-{os.getpid()}"), Address("", 0, "@" + "x" * 108)
    with unix_socket(address, -1):
        says = "it is in use; expected a name that is free: choose another one, or stop the process there"
        assert why_not(address) == f"cannot listen on {address}: {says}"
    assert why_not(long) == f"cannot listen on {long}: it is too long; expected a name that is free: choose one of up to 107 bytes"
    unix_socket(address._replace(path=address.path.ljust(108, "x")), -1).close()


def test_why_a_port_cannot_be_had() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for host, reason, cure in (
            ("127.0.0.1", "it is in use", "choose another port (0 picks a free one) or host, or stop the process there"),
            ("203.0.113.1", "it is no address of this machine", "choose another host, or 0.0.0.0 or :: for all that it has"),
            ("no.such.host.invalid", "the host's name has no address here", "choose another host, or 0.0.0.0 or :: for all that it has"),
        ):
            address = Address(host, port)
            with pytest.raises(StartError) as caught:
                bind(address, Settings())
            says = f"cannot listen on {address}: {reason}; expected a free address of this machine: {cure}"
            assert str(caught.value) == says
    privileged = str(not_listening(Address("127.0.0.1", 80), PermissionError(errno.EACCES, "no")))
    assert privileged.endswith("choose a higher port (0 picks a free one), or give the process CAP_NET_BIND_SERVICE")


def test_abstract_names(tmp_path: Path) -> None:
    address = Address("", 0, f"@{tmp_path.name}-{os.getpid()}")
    with unix_socket(address, 0o600) as opened:
        assert name_of(opened.getsockname()) == address.path
    assert name_of("/run/x") == "/run/x"
