"""One row of the service table: a gRPC method with its handler, messages and limits. Knows no transport."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from inferd.errors import InvalidArgument, ResourceExhausted
from inferd.part.field_count import count_fields

MAX_FIELDS = 8192  # of one message and the messages in it: a load of 1024 files has 4106
RETRY_AFTER_NS = 5_000_000_000  # no event tells a client with too many streams when to retry


@dataclass(frozen=True, slots=True)
class Method:
    """How one gRPC method is served.

    - kind "infer": handler(call: Call) -> None. It responds through the call, now or later. The hot path.
    - kind "infer_stream": handler is a StreamHandler. Each message of the stream is a call of its own.
    - kind "unary": async handler(request) -> response.
    - kind "stream": handler(requests: AsyncIterator[request]) -> AsyncIterator[response], an async generator.

    Handlers raise RequestError to reject. request_type and response_type are protobuf classes; the first
    two kinds have none, since they read and write bytes.

    max_request_nbytes: of one message, which is parsed on the event loop; that of the first two kinds is max_message_bytes.
    max_open: streams of the method that one connection may have open; 0: no limit beside that on all streams. max_open_by: the setting
    of this limit, in brackets.
    single: a "stream" whose client sends one message; a transport may reject more.
    quick: costs next to nothing, as probes do, and passes others that wait to begin.
    changes: changes models or rollouts, which may need certain tokens.
    """

    kind: Literal["infer", "infer_stream", "unary", "stream"]
    handler: Callable[..., Any]
    request_type: Any = None
    response_type: Any = None
    max_request_nbytes: int = 64 << 10
    max_open: int = 0
    max_open_by: str = ""
    single: bool = False
    quick: bool = False
    changes: bool = False

    def parse(self, name: str, message: bytes) -> Any:
        """Parses a request. Its fields are counted first: a million of them would hold up the event loop for seconds. Raises
        ResourceExhausted, InvalidArgument."""
        from google.protobuf.message import DecodeError  # a supervisor of workers, which parses nothing, imports this module

        self.check_size(name, len(message))
        if count_fields(self.request_type.DESCRIPTOR, message, MAX_FIELDS) > MAX_FIELDS:
            raise ResourceExhausted(
                f"{name}: expected a message of at most {MAX_FIELDS} fields, those within fields included, got more; send a smaller one",
                reason="message_size",
            )
        try:
            return self.request_type.FromString(message)
        except DecodeError:
            expected = self.request_type.DESCRIPTOR.full_name
            raise InvalidArgument(f"{name}: expected a serialized {expected}, got {len(message)} bytes that are none") from None

    def check_size(self, name: str, nbytes: int) -> None:
        """Raises ResourceExhausted for a message that is too long."""
        if nbytes > self.max_request_nbytes:
            raise ResourceExhausted(
                f"{name}: expected a message of at most {self.max_request_nbytes} bytes, got {nbytes}; send a smaller one",
                reason="message_size",
            )

    def check_open(self, name: str, count: int) -> None:
        """Raises ResourceExhausted if a connection with so many of these streams may open no more."""
        if count >= self.max_open > 0:
            raise ResourceExhausted(
                f"{name}: this connection has {count} of these streams open, which is its limit{self.max_open_by}; close one that is "
                "not needed",
                reason="watchers",
                retry_after_ns=RETRY_AFTER_NS,
            )
