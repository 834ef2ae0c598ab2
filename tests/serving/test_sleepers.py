"""Sleeping connections: a few are woken in each iteration of the loop, nobody is who was discarded, and nobody's client sees any of it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from inferd.serving import native
from inferd.serving.sleepers import WOKEN, Sleepers
from tests import models
from tests.certificates import Files
from tests.http2_peer import EMPTY_SETTINGS, PREFACE
from tests.served import LIMIT_S, Served, until

LIVE = "/inference.GRPCInferenceService/ServerLive"
LATER_NS = 10**18


class Sleeping:
    """One end of a pair of sockets."""

    def __init__(self, sleepers: Sleepers, opened: ExitStack, tell: Callable[[Sleeping], None]) -> None:
        self.near, self.far = (opened.enter_context(end) for end in socket.socketpair())
        self.wake = lambda: tell(self)
        sleepers.add(self.near.fileno(), self)


async def test_some_are_woken_in_each_iteration_and_all_in_the_end() -> None:
    loop = asyncio.get_running_loop()
    sleepers, woken, iterations = Sleepers(loop), [], 0
    with ExitStack() as opened:
        opened.callback(sleepers.close)
        all_of_them = [Sleeping(sleepers, opened, woken.append) for _ in range(3 * WOKEN)]
        for each in all_of_them[:-1]:
            each.far.send(b"x") if len(woken) % 2 else each.far.close()
        async with asyncio.timeout(LIMIT_S):
            while len(woken) < len(all_of_them) - 1:
                before = len(woken)
                await asyncio.sleep(0)
                assert len(woken) - before <= WOKEN
                iterations += len(woken) > before
        assert iterations == 3
        assert set(woken) == set(all_of_them[:-1])
        assert len(sleepers) == 1, "the one that nothing came for"


async def test_who_is_discarded_is_not_woken() -> None:
    sleepers, woken = Sleepers(asyncio.get_running_loop()), []
    with ExitStack() as opened:
        opened.callback(sleepers.close)
        gone, there = (Sleeping(sleepers, opened, woken.append) for _ in range(2))
        sleepers.discard(gone.near.fileno())
        sleepers.discard(gone.near.fileno())
        sleepers.discard(-1)
        for each in (gone, there):
            each.far.send(b"x")
        async with asyncio.timeout(LIMIT_S):
            while not woken:
                await asyncio.sleep(0)
        assert woken == [there]
        assert len(sleepers) == 0


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files.made(tmp_path_factory.mktemp("tls") / "server")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.repository(tmp_path_factory.mktemp("models"), {"m": models.identity()})


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "STALL_CHECK_S", 0.001)


def asleep(served: Served) -> int:
    return len(served.server._transport.sleepers)


def connections(served: Served) -> int:
    return int(served.server._transport.open_connections)


@pytest.mark.parametrize("uvloop", [True, False])
@pytest.mark.parametrize("tls", [False, True])
def test_a_silent_connection_sleeps_and_its_client_sees_nothing_of_it(files: Files, model: Path, tls: bool, uvloop: bool) -> None:
    settings: dict[str, Any] = files.settings() if tls else {}
    with Served(model, uvloop=uvloop, **settings) as served:
        with files.channel(served.address) if tls else grpc.insecure_channel(served.address) as channel:
            for _ in range(3):
                assert channel.unary_unary(LIVE)(b"", timeout=LIMIT_S) == b"\x08\x01"
                until(lambda: asleep(served) == 1)
        until(lambda: connections(served) == 0)
        assert asleep(served) == 0


def test_many_that_are_gone_at_once(model: Path) -> None:
    with Served(model) as served, socket.socket() as first:
        host, port = served.address.rsplit(":", 1)
        with ExitStack() as opened:
            for _ in range(10 * WOKEN):
                peer = opened.enter_context(socket.create_connection((host, int(port)), LIMIT_S))
                peer.sendall(PREFACE + EMPTY_SETTINGS)
            until(lambda: asleep(served) == 10 * WOKEN)
            first.connect((host, int(port)))
        until(lambda: connections(served) == 1)


def test_who_sleeps_by_tls_says_its_last_word(files: Files, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server waits for it, and reads it."""
    monkeypatch.setattr(native, "CLOSE_TIMEOUT_S", 3600.0)
    context = ssl.create_default_context(cadata=files.authority.cert_pem.bytes().decode())
    context.set_alpn_protocols(["h2"])
    with Served(model, max_connection_idle_s=1, **files.settings()) as served:
        host, port = served.address.rsplit(":", 1)
        with (
            socket.create_connection((host, int(port)), LIMIT_S) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as made,
        ):
            made.sendall(PREFACE + EMPTY_SETTINGS)
            until(lambda: asleep(served) == 1)
            for later in range(3):
                served.on_loop(lambda later=later: served.server._transport._age(LATER_NS + later))
            while made.recv(1024):
                pass
            made.unwrap()
            until(lambda: connections(served) == 0)
