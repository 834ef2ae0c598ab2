"""Error details, Any and Duration. Written by `make proto`: change proto/*.proto instead."""

# ruff: noqa: N802

from collections.abc import Iterable
from typing import Final, Literal, final

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
from google.protobuf.message import Message

@final
class Any(Message):
    type_url: str
    value: bytes
    def __init__(self, *, type_url: str = ..., value: bytes = ...) -> None: ...

@final
class Status(Message):
    code: int
    """The gRPC status code; the same as in the trailer grpc-status."""
    message: str
    """For people; the same as in the trailer grpc-message."""
    details: Final[RepeatedCompositeFieldContainer[Any]]
    """RetryInfo, BadRequest, ..."""
    def __init__(self, *, code: int = ..., message: str = ..., details: Iterable[Any] | None = ...) -> None: ...

@final
class Duration(Message):
    seconds: int
    nanos: int
    def __init__(self, *, seconds: int = ..., nanos: int = ...) -> None: ...

@final
class RetryInfo(Message):
    """When to come back: sent with RESOURCE_EXHAUSTED."""
    retry_delay: Final[Duration]
    def __init__(self, *, retry_delay: Duration | None = ...) -> None: ...
    def HasField(self, field_name: Literal["retry_delay"]) -> bool: ...

@final
class BadRequest(Message):
    """Which fields of a request are wrong: sent with INVALID_ARGUMENT."""

    @final
    class FieldViolation(Message):
        field: str
        """Path of the field in the request, such as "inputs[0].shape"."""
        description: str
        """What was expected, what came, and how to mend it."""
        def __init__(self, *, field: str = ..., description: str = ...) -> None: ...

    field_violations: Final[RepeatedCompositeFieldContainer[BadRequest.FieldViolation]]
    def __init__(self, *, field_violations: Iterable[BadRequest.FieldViolation] | None = ...) -> None: ...
