"""How the servers are reached, said once for both clients: addresses, TLS, channel arguments, and whether a token may go there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import grpc

from inferd_client import security, targets
from inferd_client.calls import Metadata, metadata_pairs
from inferd_client.security import TLS

__all__ = ["Compression", "Connection", "Options", "connection"]

Options: TypeAlias = Sequence[tuple[str, Any]]
Compression: TypeAlias = Literal["gzip", "deflate"]

ALGORITHMS = {"deflate": grpc.Compression.Deflate, "gzip": grpc.Compression.Gzip}

CHANNEL_OPTIONS: Options = (
    # Tensors are large: gRPC's own limit of 4 MB on answers is for small messages. The server keeps its limits.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that was restarted is back in a second, not in the two minutes that gRPC may wait.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 10_000),
)


@dataclass(frozen=True)
class Connection:
    """What channels are made of. credentials: None is plain text. exposed: an address that no token may go to, for others could read it."""

    targets: tuple[str, ...]
    credentials: grpc.ChannelCredentials | None
    options: tuple[tuple[str, Any], ...]
    exposed: str | None = None

    def __str__(self) -> str:
        """The addresses, and whether others can read what is sent."""
        return f"{', '.join(self.targets)} ({'plaintext' if security.is_plaintext(self.credentials) else 'TLS'})"

    def options_for(self, target: str) -> list[tuple[str, Any]]:
        """Channel arguments. What stays on this machine goes through no proxy, whatever the environment says."""
        own = security.NO_PROXY if targets.is_local(target) else []
        # Of arguments of one name gRPC keeps the first; the caller's are to count.
        return list(dict([*CHANNEL_OPTIONS, *own, *self.options]).items())


def connection(
    target: str | Sequence[str],
    *,
    credentials: grpc.ChannelCredentials | None,
    tls: TLS | None,
    token: object,
    token_in_plaintext: bool,
    metadata: Metadata | None,
    compression: Compression | None,
    options: Options,
) -> Connection:
    """Raises ValueError for arguments that do not go together, TypeError for a token that is no text, OSError for a certificate that
    cannot be read."""
    addresses = targets.checked(target)
    if tls is not None:
        if credentials is not None:
            raise ValueError("tls: credentials are given, too; one of the two says how to connect")
        credentials = tls.credentials()
        options = [*tls.options(), *options]
    if compression is not None:
        if compression not in ALGORITHMS:
            raise ValueError(f"compression: expected one of {', '.join(ALGORITHMS)}, or None, got {compression!r}")
        options = [("grpc.default_compression_algorithm", int(ALGORITHMS[compression])), *options]
    if token is not None and not callable(token):
        security.bearer(token)
    exposed = security.exposed(addresses, options) if security.is_plaintext(credentials) and not token_in_plaintext else None
    if token is not None and exposed is not None:
        security.refuse_plaintext("token", exposed)
    metadata_pairs(metadata, exposed=exposed)
    return Connection(addresses, credentials, tuple(options), exposed)
