"""One row of the service table: a gRPC method, how it is called and what it takes. Knows no transport."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Method"]


@dataclass(frozen=True, slots=True)
class Method:
    """How one gRPC method is served.

    kind "infer":  handler(call: Call) -> None; answers through the call, now or later. The hot path.
    kind "unary":  async handler(request) -> response
    kind "stream": handler(requests: AsyncIterator[request]) -> AsyncIterator[response], an async generator

    Handlers raise RequestError to refuse. request_type and response_type are protobuf classes; an "infer"
    method has none, since it reads and writes bytes.
    """

    kind: Literal["infer", "unary", "stream"]
    handler: Callable[..., Any]
    request_type: Any = None
    response_type: Any = None
