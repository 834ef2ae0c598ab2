"""The sockets of a server: gRPC, REST and metrics, on their addresses. Never in here: methods and models, the server's life (server.py)."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING

from inferd.errors import StartError
from inferd.serving.listening.listeners import announce
from inferd.serving.parts.connections import Connections
from inferd.serving.parts.credentials import Credentials
from inferd.serving.processes.systemd import addresses
from inferd.serving.rest.service import RestService
from inferd.serving.security.access import Access, is_local
from inferd.serving.security.tls import Tls
from inferd.serving.transports.native import NativeTransport

if TYPE_CHECKING:
    from collections.abc import Sequence
    from socket import socket

    from inferd.config import Address, Settings
    from inferd.observe.scrape import ScrapeServer
    from inferd.serving.parts.registry import Parts
    from inferd.serving.processes.systemd import Inherited
    from inferd.serving.service import InferenceService
    from inferd.serving.transports.transport import Transport


class Edge:
    """sockets: inherited ones that listen already, in place of grpc_port and http_port. Raises ConfigError and StartError."""

    def __init__(self, settings: Settings, sockets: Sequence[Inherited], parts: Parts, service: InferenceService) -> None:
        self._settings, self._sockets, self._parts, self._service = settings, sockets, parts, service
        self._access = Access(settings)
        self._tls = Tls(settings) if settings.tls_cert is not None else None
        self._rest = RestService(
            parts.resources(),
            settings.cors_origin,
            is_local=is_local(settings.addresses(grpc=False)),
            check_change=self._access.check_change,
        )
        self._grpc = self._native() if settings.transport == "native" else self._grpcio()
        self._http = self._grpc if settings.transport == "native" or not settings.serves_http else self._native()
        self._transports = list(dict.fromkeys([self._grpc, self._http]))
        self.flushes = [transport.flush for transport in self._transports]
        self.fixed = self._grpc.fixed
        self._scrapes: ScrapeServer | None = None
        parts.add(Connections(self._transports))
        parts.add(Credentials(self._access, self._tls, self._access_changed))

    def _native(self) -> Transport:
        """Makes the native transport. Beside grpcio it serves REST's port, which takes gRPC, too."""
        rest = (self._rest, self._service.rest_infer) if self._settings.serves_http else None
        return NativeTransport(self._parts.methods(), self._settings, self._service.reject, self._access, self._tls, rest)

    def _grpcio(self) -> Transport:
        if find_spec("grpc") is None:
            raise StartError("transport: grpcio is not installed; pip install 'inferd[grpcio]'")
        from inferd.serving.transports.grpcio import GrpcioTransport

        return GrpcioTransport(self._parts.methods(), self._settings, self._service.reject, self._access, self._tls)

    def _of(self, *, http: bool) -> Transport:
        return self._http if http else self._grpc

    def bind(self) -> list[Address]:
        """Binds all addresses except those of inherited sockets. Returns the real addresses."""
        wanted = addresses(self._settings, self._sockets)
        bound = []
        for transport in self._transports:
            bound += transport.bind([address for address in wanted if self._of(http=address.http) is transport])
        if (metrics := self._settings.metrics_address) is not None:
            self._scrapes = self._parts.metrics().bind(metrics.host, metrics.port)
        return bound

    async def open(self, bound: list[Address]) -> dict[str, object]:
        """Serves on all addresses, including those of bind(). Returns the real ones, as Server.start does."""
        tls = self._tls is not None
        bound = [*[await self._of(http=given.http).adopt(given, tls) for given in self._sockets], *bound]
        for transport in self._transports:
            await transport.start()
        return announce(bound, self._settings, self._scrapes)

    def take(self, opened: socket, tls: bool, http: bool) -> None:
        """Serves a connection that another process accepted. http: it is one of REST."""
        self._of(http=http).take(opened, tls, http)

    @property
    def open_connections(self) -> int:
        return sum(transport.open_connections for transport in self._transports)

    async def stop(self, timeout_s: float) -> None:
        """Drains all connections. Metrics are served until close()."""
        await asyncio.gather(*(transport.stop(timeout_s) for transport in self._transports))

    def close(self) -> None:
        if self._scrapes is not None:
            self._scrapes.close()
            self._scrapes = None

    def _access_changed(self) -> None:
        for transport in self._transports:
            transport.access_changed()
