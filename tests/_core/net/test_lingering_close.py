"""The end of a socket: its client gets the last bytes, and holds it no longer than the limits say. The clock is a number."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from inferd._core.net.lingering_close import LingeringClose
from tests._core.http2_sockets import Sockets, tcp_pair
from tests.wire import LIMIT_S

S = 10**9
WINDOW_NBYTES = 100_000
RECEIVE_NBYTES = 64 << 10  # _core/net/server_state.pxd
TIMEOUT_S, TIME_S = 2, 30  # _core/net/lingering_close.pxd


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    with Sockets(connection_window_nbytes=WINDOW_NBYTES) as made:
        yield made


def closing(
    sockets: Sockets, unsent: bytes | None = None, *, kind: str = "unix", hung_up: bool = False
) -> tuple[LingeringClose, socket.socket]:
    """One that has begun, and its client."""
    near, far = socket.socketpair() if kind == "unix" else tcp_pair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
    near.setblocking(False)
    sockets.opened.enter_context(far)
    far.settimeout(LIMIT_S)
    if hung_up:
        far.shutdown(socket.SHUT_WR)
    made = LingeringClose(sockets.server, near, None if unsent is None else bytearray(unsent), hung_up)
    made.start(sockets.poller)
    return made, far


def is_over(sockets: Sockets, made: LingeringClose) -> bool:
    return made not in sockets.server.lingering and made.descriptor == -1


@pytest.mark.parametrize("kind", ["unix", "tcp"])
@pytest.mark.parametrize("hung_up", [False, True])
def test_a_client_that_reads_slowly_and_still_sends_gets_all(sockets: Sockets, kind: str, hung_up: bool) -> None:
    content = bytes(range(256)) * 2000
    made, client = closing(sockets, content, kind=kind, hung_up=hung_up)
    found = b""
    while len(found) < len(content):
        sockets.turn()
        if not hung_up:
            client.sendall(b"still here")
        if made.unsent_nbytes == 0 or made.unsent_nbytes < len(content) - len(found):
            found += client.recv(3000)
    sockets.until(lambda: made.unsent_nbytes == 0)
    assert client.recv(1) == b"", "its end is said"
    assert found == content
    client.close()
    sockets.until(lambda: is_over(sockets, made))


def test_a_client_that_has_all_and_closes_ends_it(sockets: Sockets) -> None:
    made, client = closing(sockets)
    sockets.settle()
    assert client.recv(1) == b""
    assert not is_over(sockets, made), "the client may still send, and would be answered by a reset"
    client.close()
    sockets.settle()
    assert is_over(sockets, made)


@pytest.mark.parametrize("unsent", [None, bytes(200_000)])
def test_a_reset_ends_it(sockets: Sockets, unsent: bytes | None) -> None:
    made, client = closing(sockets, unsent, kind="tcp")
    sockets.turn()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    sockets.until(lambda: is_over(sockets, made))


@pytest.mark.parametrize("unsent", [None, bytes(500_000)])
def test_a_client_that_sends_for_ever_is_cut_off(sockets: Sockets, unsent: bytes | None) -> None:
    """As many bytes are thrown away as its window let be on their way, and one read in a turn."""
    sockets.poller.budget_ns = 0
    made, client = closing(sockets, unsent)
    client.setblocking(False)
    sent = turns = 0
    while not is_over(sockets, made):
        with suppress(BlockingIOError):
            sent += client.send(bytes(RECEIVE_NBYTES))
        sockets.turn()
        turns += 1
    assert turns >= 2
    assert WINDOW_NBYTES <= sent < WINDOW_NBYTES + 3 * RECEIVE_NBYTES + 212_992, "the rest lay in the kernel"


@pytest.mark.parametrize("unsent", [None, bytes(500_000)])
def test_a_client_that_does_nothing_is_cut_off_after_a_timeout(sockets: Sockets, unsent: bytes | None) -> None:
    made, _ = closing(sockets, unsent)
    sockets.settle()
    made.look(1 * S)
    made.look((1 + TIMEOUT_S) * S - 1)
    assert not is_over(sockets, made)
    made.look((1 + TIMEOUT_S) * S)
    assert is_over(sockets, made)
    made.look(100 * S)


@pytest.mark.parametrize("moves", ["sends", "reads"])
def test_a_client_that_moves_has_longer_but_not_for_ever(sockets: Sockets, moves: str) -> None:
    made, client = closing(sockets, bytes(500_000) if moves == "reads" else None)
    sockets.settle()
    for now_s in range(1, 1 + TIME_S):
        if moves == "sends":
            client.sendall(b"x")
        else:
            client.recv(8000)
        sockets.settle()
        made.look(now_s * S)
        assert not is_over(sockets, made), now_s
    client.sendall(b"x")
    sockets.settle()
    made.look((1 + TIME_S) * S)
    assert is_over(sockets, made)


def test_a_drain_does_not_wait_for_a_client_that_only_sends(sockets: Sockets) -> None:
    made, client = closing(sockets)
    sockets.server.stopping = True
    for now_s in range(1, 1 + TIMEOUT_S):
        client.sendall(b"x")
        sockets.settle()
        made.look(now_s * S)
        assert not is_over(sockets, made)
    client.sendall(b"x")
    sockets.settle()
    made.look((1 + TIMEOUT_S) * S)
    assert is_over(sockets, made)


def test_abort_closes_at_once(sockets: Sockets) -> None:
    made, client = closing(sockets, bytes(500_000), kind="tcp")
    client.sendall(b"x")
    made.abort()
    assert is_over(sockets, made)
    made.abort()
    with suppress(ConnectionResetError):
        while client.recv(1 << 16):
            pass
    sockets.settle()
