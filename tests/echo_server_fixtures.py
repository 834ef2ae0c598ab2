"""The native transport by itself: a service table without models, which echoes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from inferd import errors
from inferd._core.grpc.call import Call
from inferd.config import Address, Settings
from inferd.part.method import Method
from inferd.protocol import health
from inferd.serving.security.tls import Tls
from inferd.serving.transports.native import NativeTransport

ECHO, WATCH = "/test.T/Echo", "/test.T/Watch"


class Echo:
    """A service table without models: echoes, and streams as many messages as it is told."""

    def methods(self) -> dict[str, Method]:
        request, response = health.HealthCheckRequest, health.HealthCheckResponse
        return {
            ECHO: Method("infer", lambda call: call.reply(call.message)),
            WATCH: Method("stream", self.watch, request, response),
        }

    async def watch(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            for status in range(len(request.service)):
                yield health.HealthCheckResponse(status=status % 4)

    def reject(self, call: Call, error: Exception) -> None:
        call.fail(error if isinstance(error, errors.RequestError) else errors.Internal("see the log"))


@asynccontextmanager
async def serving(
    *addresses: Address, methods: dict[str, Method] | None = None, **settings: Any
) -> AsyncIterator[tuple[NativeTransport, list[str]]]:
    """A transport that is stopped whatever happens: uvloop waits for ever to close a loop with open connections."""
    echo = Echo()
    given = Settings(**settings)
    transport = NativeTransport(methods or echo.methods(), given, echo.reject, tls=Tls(given) if given.tls_cert is not None else None)
    bound = await transport.start(list(addresses or (Address("127.0.0.1", 0),)))
    try:
        yield transport, [str(address) for address in bound]
    finally:
        await transport.stop(0)


def look(transport: NativeTransport, now_s: float) -> None:
    """At all connections, at a moment that a test chooses: from now on the transport has no looks of its own."""
    transport._look_timer.cancel()
    for connection in list(transport.connections):
        transport._look_at(connection, int(now_s * 10**9))
