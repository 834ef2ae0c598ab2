"""Sockets that listen, by themselves."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from inferd.config import Address
from inferd.serving.sockets import listening, name_of, not_listening, remove_stale, unix_socket


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
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(path)
    remove_stale(path)
    assert not os.path.exists(path)
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
        busy.bind(path)
        busy.listen(0)
        first.connect(path)  # and nobody else has room
        with pytest.raises(OSError) as caught:
            remove_stale(path)
        assert caught.value.errno == errno.EADDRINUSE
        assert os.path.exists(path)


def test_why_a_path_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(str(tmp_path / "datagrams"))
        for name, reason in (
            ("datagrams", "a socket of another kind is there, of datagrams perhaps"),
            ("x" * 108, "the path is too long"),
            ("no/such/folder", "its folder does not exist"),
            ("file", "what is there is no socket"),
            ("folder", "what is there is no socket"),
            ("link", "what is there is no socket"),
            ("file/s", "not a directory"),
        ):
            address = Address("", 0, str(tmp_path / name))
            with pytest.raises(OSError) as caught:
                unix_socket(address, -1)
            assert str(not_listening(address, caught.value)).startswith(f"cannot listen on {address}: {reason}; expected ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["datagrams", "file", "folder", "link"]


def test_abstract_names(tmp_path: Path) -> None:
    address = Address("", 0, f"@{tmp_path.name}-{os.getpid()}")
    with unix_socket(address, 0o600) as opened:
        assert name_of(opened.getsockname()) == address.path
    assert name_of("/run/x") == "/run/x"
