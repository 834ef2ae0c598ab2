"""The parts that both clients share: the table of RPCs, metadata of calls, reading of responses. Sends nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from inferd_client import messages, security
from inferd_client.errors import InferenceError

__all__ = [
    "HEALTH_CHECK",
    "MODEL_CONFIG",
    "MODEL_INFER",
    "MODEL_LOAD",
    "MODEL_METADATA",
    "MODEL_READY",
    "MODEL_STATISTICS",
    "MODEL_UNLOAD",
    "NOT_YET",
    "READY_PAUSE_S",
    "REPORT_LABELS",
    "REPOSITORY_INDEX",
    "SERVER_LIVE",
    "SERVER_METADATA",
    "SERVER_READY",
    "HealthStatus",
    "Labels",
    "Metadata",
    "Order",
    "Pairs",
    "Response",
    "Rpc",
    "checked_timeout",
    "closed",
    "health_status",
    "is_repeatable",
    "label_requests",
    "load_request",
    "may_be_datatype",
    "metadata_pairs",
    "not_ready",
    "read",
    "unload_request",
]

Metadata: TypeAlias = Mapping[str, str | bytes] | Sequence[tuple[str, str | bytes]]
HealthStatus: TypeAlias = Literal["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]
Labels: TypeAlias = Mapping[str, str | float] | Iterable[tuple[str, int, str | float]]
"""Labels by request id, of its first row; or request id, row and label."""
Pairs: TypeAlias = tuple[tuple[str, str | bytes], ...] | None

MOST_LABELS = 1000  # of one message
LONGEST_TIMEOUT_S = 1e9  # some 30 years; a deadline after 2262, where nanoseconds in 64 bits end, gRPC takes for one that is over

Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True)
class Rpc(Generic[Response]):
    """One unary RPC: its path and the class of its responses."""

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
MODEL_LOAD = Rpc(_SERVICE + "RepositoryModelLoad", messages.RepositoryModelLoadResponse)
MODEL_UNLOAD = Rpc(_SERVICE + "RepositoryModelUnload", messages.RepositoryModelUnloadResponse)
REPORT_LABELS = Rpc("/inferd.v1.Feedback/Report", messages.ReportLabelsResponse)
HEALTH_CHECK = Rpc("/grpc.health.v1.Health/Check", messages.HealthCheckResponse)


UNCONNECTED = ("failed to connect", "Socket closed")  # gRPC's words where no server listens, and also where a server speaks TLS
TLS_HINT = "; if the server speaks TLS, pass tls=TLS(ca=...)"
UNTRUSTED = {  # gRPC's words of a certificate that it does not take, with the cure
    "CERTIFICATE_VERIFY_FAILED": "; its certificate is not trusted: pass tls=TLS(ca=...), the authority that has signed it",
    "Hostname Verification Check failed": "; its certificate is for another name: pass tls=TLS(server_name=...), the one that it is for",
}


def response_of(outcome: bytes | InferenceError, *, plaintext: bool) -> bytes:
    """The bytes of a response. Raises the error that a call ended with."""
    if not isinstance(outcome, InferenceError):
        return outcome
    if outcome.code is grpc.StatusCode.UNAVAILABLE and any(words in outcome.message for words in UNCONNECTED):
        outcome.message += TLS_HINT if plaintext else next((cure for words, cure in UNTRUSTED.items() if words in outcome.message), "")
    try:
        raise outcome
    finally:
        del outcome  # else it holds this frame, and this frame it


def closed() -> InferenceError:
    """The error of a call that is in flight when its client is closed, or comes later."""
    return InferenceError(grpc.StatusCode.CANCELLED, "the client was closed")


NOT_YET = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)  # while a server starts
READY_PAUSE_S = 0.1  # between two looks at a server that is not ready


def not_ready(model: str, servers: object, timeout: float, seen: str) -> InferenceError:
    """How a wait ends that took too long. seen: at the last look."""
    who = f"model {model!r} of {servers}" if model else str(servers)
    return InferenceError(grpc.StatusCode.DEADLINE_EXCEEDED, f"{who}: not ready within {timeout:g} s: {seen}")


def may_be_datatype(error: Exception) -> bool:
    """Whether a request may have been rejected for the datatype of an input."""
    return isinstance(error, InferenceError) and error.code is grpc.StatusCode.INVALID_ARGUMENT


class Order(NamedTuple):
    """A change of the server's models, which is sent once."""

    rpc: Rpc[Any]
    request: bytes


def label_requests(model: str, labels: Labels) -> Iterator[messages.ReportLabelsRequest]:
    """Messages of as many labels as a server takes at once."""
    told = ((request_id, 0, label) for request_id, label in labels.items()) if isinstance(labels, Mapping) else iter(labels)
    while some := list(islice(told, MOST_LABELS)):
        request = messages.ReportLabelsRequest(model_name=model)
        for request_id, row, label in some:
            made = request.labels.add(request_id=request_id, row=row)
            if isinstance(label, str):
                made.text = label
            else:
                made.number = label
        yield request


def load_request(model: str, version: int | None, config: str | None) -> Order:
    """RepositoryModelLoad with what was given."""
    request = messages.RepositoryModelLoadRequest(model_name=model)
    if version is not None:
        request.parameters["version"].int64_param = version
    if config is not None:
        request.parameters["config"].string_param = config
    return Order(MODEL_LOAD, request.SerializeToString())


def unload_request(model: str, version: int | None) -> Order:
    """RepositoryModelUnload with what was given."""
    request = messages.RepositoryModelUnloadRequest(model_name=model)
    if version is not None:
        request.parameters["version"].int64_param = version
    return Order(MODEL_UNLOAD, request.SerializeToString())


def read(rpc: Rpc[Response], message: bytes) -> Response:
    """Raises InferenceError(INTERNAL) when the bytes are no such message."""
    try:
        return rpc.response.FromString(message)
    except DecodeError as error:
        raise InferenceError(grpc.StatusCode.INTERNAL, f"the server's response cannot be read: {error}") from error


def is_repeatable(parameters: Mapping[str, object] | None) -> bool:
    """Whether an inference may reach servers more than once: not a step of a sequence, which Triton's stateful models count."""
    return parameters is None or "sequence_id" not in parameters


def metadata_pairs(*sources: Metadata | None, token: tuple[str, str] | None = None, exposed: str | None = None) -> Pairs:
    """Client-wide and call metadata together, names in lower case as gRPC wants them; None when there is none.

    token:    sent as well, unless the metadata holds another authorization.
    exposed:  the connection's. Raises ValueError for metadata that holds an authorization then: it may go where a token may.
    """
    pairs = tuple(
        (name.lower(), value)
        for source in sources
        if source is not None
        for name, value in (source.items() if isinstance(source, Mapping) else source)
    )
    if exposed is not None and any(name == security.AUTHORIZATION for name, _ in pairs):
        security.refuse_plaintext("metadata: authorization", exposed)
    if token is not None and all(name != token[0] for name, _ in pairs):
        pairs = (*pairs, token)
    return pairs or None


def checked_timeout(timeout: float | None) -> float | None:
    """Seconds that gRPC can count. Raises ValueError for those that never were, or never end."""
    if timeout is not None and not 0 <= timeout < float("inf"):
        raise ValueError(f"timeout: expected seconds, 0 or more, or None for as long as it takes, got {timeout}")
    return None if timeout is None else min(timeout, LONGEST_TIMEOUT_S)


def health_status(response: messages.HealthCheckResponse) -> HealthStatus:
    """The status by its name; a number that this client does not know yet is UNKNOWN."""
    statuses: dict[int, HealthStatus] = {1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
    return statuses.get(response.status, "UNKNOWN")
