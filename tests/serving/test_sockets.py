"""Sockets that listen, by themselves."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from inferd.config import Address
from inferd.serving.sockets import free_path, listening, name_of, not_listening, unix_socket

STARTED, ROUNDS = 6, 50  # processes, and how often each starts a server


async def test_a_name_with_several_addresses() -> None:
    opened = await listening(Address("localhost", 0), reuse_port=False)
    try:
        assert {one.getsockname()[0] for one in opened} <= {"127.0.0.1", "::1"}
        assert all(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for one in opened)
    finally:
        for one in opened:
            one.close()


async def test_of_two_ports_of_one_number_the_second_is_rejected() -> None:
    [first] = await listening(Address("127.0.0.1", 0), reuse_port=False)
    with first, pytest.raises(OSError) as caught:
        await listening(Address("127.0.0.1", first.getsockname()[1]), reuse_port=False)
    assert caught.value.errno == errno.EADDRINUSE


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
from inferd.serving.sockets import not_listening, unix_socket
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


def test_a_path_that_another_server_is_taking_is_in_use(tmp_path: Path) -> None:
    """And a lock that one left behind when it was killed is nobody's."""
    address = Address("", 0, str(tmp_path / "s"))
    with free_path(address):
        assert (tmp_path / "s.lock").stat().st_mode & 0o777 == 0o600
        with pytest.raises(OSError) as caught:
            unix_socket(address, -1)
        assert caught.value.errno == errno.EADDRINUSE
    (tmp_path / "s.lock").write_bytes(b"")
    unix_socket(address, -1).close()
    assert os.listdir(tmp_path) == ["s"]


def test_what_is_not_ours_is_no_lock_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address, lock = Address("", 0, str(tmp_path / "s")), tmp_path / "s.lock"

    def rejected() -> str:
        with pytest.raises(OSError) as caught:
            unix_socket(address, -1)
        return str(not_listening(address, caught.value))

    makes: list[Callable[[], object]] = [
        lambda: lock.write_text("mine"),
        lock.mkdir,
        lambda: lock.symlink_to("nothing"),
        lambda: os.mkfifo(lock),
    ]
    for make in makes:
        make()
        found = lock.lstat()
        assert rejected() == (
            f"cannot listen on {address}: '{lock}', which it locks for a moment, is taken: it is no empty file, as a lock is; expected "
            "a path that is free, and so with .lock behind it: choose another path, or take away what is there"
        )
        assert (lock.lstat().st_ino, lock.lstat().st_mode) == (found.st_ino, found.st_mode)
        lock.rmdir() if lock.is_dir() else lock.unlink()

    lock.touch()
    monkeypatch.setattr(os, "geteuid", lambda: lock.stat().st_uid + 1)
    assert f"'{lock}', which it locks for a moment, is taken: it is another user's (uid {lock.stat().st_uid}); expected " in rejected()
    assert os.listdir(tmp_path) == ["s.lock"]


def test_who_holds_a_lock_and_where_none_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = Address("", 0, str(tmp_path / "s"))
    with free_path(address):
        with pytest.raises(OSError) as caught:
            unix_socket(address, -1)
        says = f"cannot listen on {address}: it is in use: another process holds '{tmp_path}/s.lock'; expected "
        assert str(not_listening(address, caught.value)).startswith(says)

    def read_only(path: str, *_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(OSError) as caught:
        unix_socket(address, -1)
    says = f"'{tmp_path}/s.lock', which it locks for a moment, cannot be made and locked: read-only file system; expected "
    assert says in str(not_listening(address, caught.value))


def test_a_lock_that_somebody_else_has_put_in_its_place_stays(tmp_path: Path) -> None:
    lock = tmp_path / "s.lock"
    with free_path(Address("", 0, str(tmp_path / "s"))):
        (tmp_path / "other").touch()
        (tmp_path / "other").rename(lock)
    assert os.listdir(tmp_path) == ["s.lock"]
    with free_path(Address("", 0, str(tmp_path / "s"))):
        lock.unlink()
    assert os.listdir(tmp_path) == []


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
            ("file", "what is there is no socket", "take away what is there"),
            ("folder", "what is there is no socket", "take away what is there"),
            ("link", "what is there is no socket", "take away what is there"),
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
        says = "it is in use; expected a name that is free: choose another one, or stop who listens there"
        assert why_not(address) == f"cannot listen on {address}: {says}"
    assert why_not(long) == f"cannot listen on {long}: it is too long; expected a name that is free: choose one of up to 107 bytes"
    unix_socket(address._replace(path=address.path.ljust(108, "x")), -1).close()


async def test_why_a_port_cannot_be_had() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for host, reason, cure in (
            ("127.0.0.1", "it is in use", "choose another port (0 picks a free one) or host, or stop who listens there"),
            ("203.0.113.1", "it is no address of this machine", "choose another host, or 0.0.0.0 or :: for all that it has"),
            ("no.such.host.invalid", "the host's name has no address here", "choose another host, or 0.0.0.0 or :: for all that it has"),
        ):
            address = Address(host, port)
            with pytest.raises(OSError) as caught:
                await listening(address, reuse_port=False)
            says = f"cannot listen on {address}: {reason}; expected a free address of this machine: {cure}"
            assert str(not_listening(address, caught.value)) == says
    privileged = str(not_listening(Address("127.0.0.1", 80), PermissionError(errno.EACCES, "no")))
    assert privileged.endswith("choose a higher port (0 picks a free one), or give the process CAP_NET_BIND_SERVICE")


def test_abstract_names(tmp_path: Path) -> None:
    address = Address("", 0, f"@{tmp_path.name}-{os.getpid()}")
    with unix_socket(address, 0o600) as opened:
        assert name_of(opened.getsockname()) == address.path
    assert name_of("/run/x") == "/run/x"
