"""Real servers for the client's tests, both kinds of client, and a clock that nobody waits for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import inferd_client.aio
import inferd_client.client
import pytest
from inferd_client import AsyncClient, Client, aio_sender, sender

from tests.echo_server import Awaited, EchoServer

Kind: TypeAlias = type[Client | AsyncClient]
AtEachPause: TypeAlias = Callable[[Callable[[], object]], None]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EchoServer]:
    server = EchoServer(tmp_path)
    yield server
    server.cancelled.set()
    server.stop()


@pytest.fixture(params=[Client, AsyncClient])
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


@pytest.fixture
async def connect(kind: Kind) -> AsyncIterator[Callable[..., Awaited]]:
    """Makes clients of one kind, with Client's arguments, and closes them when the test is over."""
    clients: list[Awaited] = []

    def make(*arguments: Any, **keywords: Any) -> Awaited:
        clients.append(Awaited(kind(*arguments, **keywords)))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


class ManualClock:
    """The clients' clock: it stands, but for their pauses, which take no time. pauses: how long each would have been, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []
        self.paused: Callable[[], object] = lambda: None  # called at each pause

    def __call__(self) -> float:
        return self.now

    def pause(self, _closed: object, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        self.paused()

    async def async_pause(self, closed: object, seconds: float) -> None:
        self.pause(closed, seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """For clients of one address: what connects takes real time."""
    clock = ManualClock()
    for module in (inferd_client.client, inferd_client.aio, sender, aio_sender):
        monkeypatch.setattr(module, "monotonic", clock)
    monkeypatch.setattr(sender, "_pause", clock.pause)
    monkeypatch.setattr(aio_sender, "_pause", clock.async_pause)
    return clock


@pytest.fixture
def at_each_pause(monkeypatch: pytest.MonkeyPatch) -> AtEachPause:
    """Has something called whenever a client begins to wait before it tries again."""
    pause, async_pause = sender._pause, aio_sender._pause

    def begin(call: Callable[[], object]) -> None:
        def noticed(*arguments: Any) -> None:
            call()
            pause(*arguments)

        async def async_noticed(*arguments: Any) -> None:
            call()
            await async_pause(*arguments)

        monkeypatch.setattr(sender, "_pause", noticed)
        monkeypatch.setattr(aio_sender, "_pause", async_noticed)

    return begin


@pytest.fixture
def client(server: EchoServer, connect: Callable[..., Awaited]) -> Awaited:
    return connect(server.target, timeout=30)
