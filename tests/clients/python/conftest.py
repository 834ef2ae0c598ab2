"""A real server for the client's tests, and both kinds of client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from inferd_client import AsyncClient, Client

from tests.echo_server import Awaited, EchoServer

Kind: TypeAlias = type[Client | AsyncClient]


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


@pytest.fixture
def client(server: EchoServer, connect: Callable[..., Awaited]) -> Awaited:
    return connect(server.target, timeout=30)
