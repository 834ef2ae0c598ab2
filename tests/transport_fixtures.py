"""Serves a hand-made service table on either transport, for tests that need no model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio

from inferd._core.grpc.call import Call
from inferd.config import Address, Settings
from inferd.errors import Internal, RequestError
from inferd.part.method import Method
from inferd.serving.transports.grpcio import GrpcioTransport
from inferd.serving.transports.native import NativeTransport

TRANSPORTS = {"native": NativeTransport, "grpcio": GrpcioTransport}
LIMIT_S = 20  # longer than anything in a test takes; a test that reaches it has failed


def reject(call: Call, error: Exception) -> None:
    call.fail(error if isinstance(error, RequestError) else Internal(f"unexpected in a test: {error!r}"))


@asynccontextmanager
async def serving(transport: str, methods: Mapping[str, Method]) -> AsyncIterator[str]:
    """The address of a server that lives as long as the block."""
    server: Any = TRANSPORTS[transport](methods, Settings(), reject)
    [bound] = await server.start([Address("127.0.0.1", 0)])
    try:
        yield str(bound)
    finally:
        await server.stop(0)


@asynccontextmanager
async def channel_to(transport: str, methods: Mapping[str, Method]) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(transport, methods) as address, grpc.aio.insecure_channel(address) as channel:
        yield channel


async def ask(channel: grpc.aio.Channel, methods: Mapping[str, Method], name: str, request: Any) -> Any:
    """The answer of a unary method, as its message."""
    return methods[name].response_type.FromString(await channel.unary_unary(name)(request.SerializeToString(), timeout=LIMIT_S))
