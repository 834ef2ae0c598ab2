"""How the servers are reached, said once for both clients: addresses, TLS, channel arguments, and whether a token may go there.

A connection makes the channels of senders: gRPC's own, or those of HTTP, which take and return the same messages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import grpc
import grpc.aio

from inferd_client import security, targets
from inferd_client.calls import Metadata, metadata_pairs
from inferd_client.security import TLS
from inferd_client.urls import is_url

__all__ = ["Compression", "Connection", "Options", "connection"]

Options: TypeAlias = Sequence[tuple[str, Any]]
Compression: TypeAlias = Literal["gzip", "deflate"]

ALGORITHMS = {"deflate": grpc.Compression.Deflate, "gzip": grpc.Compression.Gzip}

CHANNEL_OPTIONS: Options = (
    # Tensors are large: gRPC's own limit of 4 MB on responses is for small messages. The server keeps its limits.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that was restarted is back in a second, not in the two minutes that gRPC may wait.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 10_000),
)


class Connection(Protocol):
    """The settings that channels are made from. exposed: an address that no token may go to, for others could read it.
    lacks_credentials: whether TLS was left out where it could have been used."""

    @property
    def targets(self) -> tuple[str, ...]: ...
    @property
    def exposed(self) -> str | None: ...
    @property
    def lacks_credentials(self) -> bool: ...

    def __str__(self) -> str:
        """The addresses, and whether others can read what is sent."""

    def channel(self, target: str) -> Any:
        """A blocking channel to one of the addresses."""

    def for_asyncio(self) -> Callable[[str], Any]:
        """Makes channels of asyncio, on its event loop. Raises ModuleNotFoundError where a library is missing."""


@dataclass(frozen=True)
class GrpcConnection:
    """credentials: None is plain text."""

    targets: tuple[str, ...]
    credentials: grpc.ChannelCredentials | None
    options: tuple[tuple[str, Any], ...]
    exposed: str | None = None

    def __str__(self) -> str:
        return f"{', '.join(self.targets)} ({'plaintext' if security.is_plaintext(self.credentials) else 'TLS'})"

    @property
    def lacks_credentials(self) -> bool:
        return self.credentials is None

    def channel(self, target: str) -> grpc.Channel:
        options = self.options_for(target)
        if self.credentials is None:
            return grpc.insecure_channel(target, options=options)
        return grpc.secure_channel(target, self.credentials, options=options)

    def for_asyncio(self) -> Callable[[str], grpc.aio.Channel]:
        return self._aio_channel

    def _aio_channel(self, target: str) -> grpc.aio.Channel:
        options = self.options_for(target)
        if self.credentials is None:
            return grpc.aio.insecure_channel(target, options=options)
        return grpc.aio.secure_channel(target, self.credentials, options=options)

    def options_for(self, target: str) -> list[tuple[str, Any]]:
        """Channel arguments. Connections within this machine use no proxy, whatever the environment says."""
        own = security.NO_PROXY if targets.is_local(target) else []
        # gRPC keeps the first of several arguments of one name; the caller's must win.
        return list(dict([*CHANNEL_OPTIONS, *own, *self.options]).items())


def connection(
    target: str | Sequence[str],
    *,
    credentials: grpc.ChannelCredentials | None = None,
    tls: TLS | None = None,
    token: object = None,
    token_in_plaintext: bool = False,
    metadata: Metadata | None = None,
    compression: Compression | None = None,
    options: Options = (),
) -> Connection:
    """The Connection of these arguments.

    Raises ValueError for arguments that do not go together, and OSError for a certificate that cannot be read. Raises TypeError for a tls
    or a token of another type."""
    addresses = targets.checked(target)
    if tls is not None and not isinstance(tls, TLS):
        raise TypeError(f"tls: expected TLS(...), got {type(tls).__name__}; pass tls=TLS() for a public authority, or tls=TLS(ca='ca.pem')")
    if token is not None and not callable(token):
        security.bearer(token)
    if compression is not None and compression not in ALGORITHMS:
        raise ValueError(f"compression: expected one of {', '.join(ALGORITHMS)}, or None, got {compression!r}")
    found: Connection
    if not is_url(addresses[0]):
        found = _grpc(addresses, credentials, tls, compression, options, token_in_plaintext=token_in_plaintext)
    elif credentials is not None:
        raise ValueError("credentials: they are gRPC's; for an https:// URL pass tls=TLS(...)")
    elif options:
        raise ValueError("options: they are arguments of gRPC's channels, which a URL has not")
    else:
        from inferd_client.http_connection import HttpConnection  # most clients never do

        found = HttpConnection.to(addresses, tls, compression, token_in_plaintext=token_in_plaintext)
    if token is not None and found.exposed is not None:
        security.refuse_plaintext("token", found.exposed)
    metadata_pairs(metadata, exposed=found.exposed)
    return found


def _grpc(
    addresses: tuple[str, ...],
    credentials: grpc.ChannelCredentials | None,
    tls: TLS | None,
    compression: Compression | None,
    options: Options,
    *,
    token_in_plaintext: bool,
) -> GrpcConnection:
    if tls is not None:
        if credentials is not None:
            raise ValueError("tls: credentials are given, too; one of the two says how to connect")
        credentials = tls.credentials()
        options = [*tls.options(), *options]
    if compression is not None:
        options = [("grpc.default_compression_algorithm", int(ALGORITHMS[compression])), *options]
    exposed = security.exposed(addresses, options) if security.is_plaintext(credentials) and not token_in_plaintext else None
    return GrpcConnection(addresses, credentials, tuple(options), exposed)
