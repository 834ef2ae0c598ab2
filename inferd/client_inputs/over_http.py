"""Inferences as whole requests of HTTP/1.1, for a sender that knows bytes alone, and what comes back as the message that gRPC would bring.

The JSON and the tensors behind it are the client package's. Never in here: connections, and when something is sent.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, NamedTuple, Self

from inferd import __version__
from inferd.client_inputs.targets import require_client
from inferd.config import Address
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BINARY = "binary_tensor_data"  # the extension, as a server lists it
JSON_NBYTES = struct.Struct("=q")  # how the load generator has it in front of a response; -1 stands for all of it


class HttpEndpoint(NamedTuple):
    """A server behind a URL. address: its socket. authority: for `Host`. prefix: what comes before /v2. text: the URL."""

    address: Address
    authority: str
    prefix: str
    text: str

    @classmethod
    def of(cls, text: str) -> Self:
        """Raises ConfigError."""
        require_client()
        from inferd_client.urls import parse_url

        try:
            url = parse_url(text)
        except ValueError as error:
            raise ConfigError(str(error)[0].upper() + str(error)[1:]) from None
        return cls(Address(url.host, url.port, url.path, url.tls, http=True), url.authority, url.prefix, str(url))


def whole_requests(
    endpoint: HttpEndpoint, bodies: Sequence[bytes], metadata: Iterable[tuple[str, str]], *, binary: bool, timeout_ms: float = 0.0
) -> list[bytes]:
    """Serialized ModelInferRequests as they travel. binary: tensors follow the JSON as bytes. timeout_ms: 0 for none.

    Raises ConfigError where JSON cannot hold a tensor."""
    require_client()
    from inferd_client.rest_infer import infer_request

    common = [("Host", endpoint.authority), ("User-Agent", f"inferd-bench/{__version__}"), *metadata]
    if timeout_ms:
        common.append(("Inferd-Timeout-Ms", str(max(1, math.ceil(timeout_ms)))))
    made = []
    for index, body in enumerate(bodies):
        try:
            request = infer_request(body, binary=binary)
        except ValueError as error:
            raise ConfigError(f"request {index}: {error}") from None
        content = b"".join(request.parts)
        headers = [*common, *request.headers, ("Content-Length", str(len(content)))]
        head = [f"{request.verb} {endpoint.prefix}{request.target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        made.append("\r\n".join([*head, "", ""]).encode("latin-1") + content)
    return made


def response_message(kept: bytes) -> bytes:
    """The serialized ModelInferResponse of a response as the load generator keeps it. Raises the client package's InferenceError."""
    from inferd_client.rest import JSON_NBYTES as HEADER
    from inferd_client.rest import HttpResponse
    from inferd_client.rest_infer import infer_message

    (json_nbytes,) = JSON_NBYTES.unpack_from(kept)
    headers = {} if json_nbytes < 0 else {HEADER: str(json_nbytes)}
    return infer_message(HttpResponse(200, headers, memoryview(kept)[JSON_NBYTES.size :]))
