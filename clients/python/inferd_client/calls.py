"""What both clients share: the table of RPCs, the channel's options, how targets and metadata are read. Sends nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from google.protobuf.message import Message

from inferd_client import messages

__all__ = [
    "CHANNEL_OPTIONS",
    "HEALTH_CHECK",
    "MODEL_CONFIG",
    "MODEL_INFER",
    "MODEL_METADATA",
    "MODEL_READY",
    "MODEL_STATISTICS",
    "REPOSITORY_INDEX",
    "SERVER_LIVE",
    "SERVER_METADATA",
    "SERVER_READY",
    "HealthStatus",
    "Metadata",
    "Options",
    "Response",
    "Rpc",
    "checked_target",
    "health_status",
    "metadata_pairs",
]

Metadata: TypeAlias = Mapping[str, str | bytes] | Sequence[tuple[str, str | bytes]]
HealthStatus: TypeAlias = Literal["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]
Options: TypeAlias = Sequence[tuple[str, Any]]

# Tensors are large: gRPC's own limit of 4 MB on answers is for small messages. The server keeps its limits.
CHANNEL_OPTIONS: Options = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))

Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True)
class Rpc(Generic[Response]):
    """One unary RPC: its path and the class of its answers."""

    path: str
    response: type[Response]


_SERVICE = "/inference.GRPCInferenceService/"

MODEL_INFER = _SERVICE + "ModelInfer"
SERVER_LIVE = Rpc(_SERVICE + "ServerLive", messages.ServerLiveResponse)
SERVER_READY = Rpc(_SERVICE + "ServerReady", messages.ServerReadyResponse)
MODEL_READY = Rpc(_SERVICE + "ModelReady", messages.ModelReadyResponse)
SERVER_METADATA = Rpc(_SERVICE + "ServerMetadata", messages.ServerMetadataResponse)
MODEL_METADATA = Rpc(_SERVICE + "ModelMetadata", messages.ModelMetadataResponse)
MODEL_CONFIG = Rpc(_SERVICE + "ModelConfig", messages.ModelConfigResponse)
MODEL_STATISTICS = Rpc(_SERVICE + "ModelStatistics", messages.ModelStatisticsResponse)
REPOSITORY_INDEX = Rpc(_SERVICE + "RepositoryIndex", messages.RepositoryIndexResponse)
HEALTH_CHECK = Rpc("/grpc.health.v1.Health/Check", messages.HealthCheckResponse)


def checked_target(target: str) -> str:
    """The target as gRPC takes it. Raises ValueError for a URL, which gRPC would look up as a host name."""
    scheme, separator, rest = target.partition("://")
    if separator and scheme in ("http", "https", "grpc", "grpcs"):
        hint = "; for TLS pass credentials=grpc.ssl_channel_credentials()" if scheme in ("https", "grpcs") else ""
        raise ValueError(f"target: expected host:port or unix:path, got the URL {target!r}: write {rest.rstrip('/')!r}{hint}")
    return target


def metadata_pairs(*sources: Metadata | None) -> tuple[tuple[str, str | bytes], ...] | None:
    """Client-wide and call metadata together, names in lower case as gRPC wants them; None when there is none."""
    pairs = tuple(
        (name.lower(), value)
        for source in sources
        if source is not None
        for name, value in (source.items() if isinstance(source, Mapping) else source)
    )
    return pairs or None


def health_status(response: messages.HealthCheckResponse) -> HealthStatus:
    """The status by its name; a number that this client does not know yet is UNKNOWN."""
    statuses: dict[int, HealthStatus] = {1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
    return statuses.get(response.status, "UNKNOWN")
