"""Sockets that listen, by themselves."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from inferd.config import Address
from inferd.serving.sockets import bound_unix_socket, listening, name_of


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
