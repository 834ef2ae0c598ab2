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
    message: str
    details: Final[RepeatedCompositeFieldContainer[Any]]
    def __init__(self, *, code: int = ..., message: str = ..., details: Iterable[Any] | None = ...) -> None: ...

@final
class Duration(Message):
    seconds: int
    nanos: int
    def __init__(self, *, seconds: int = ..., nanos: int = ...) -> None: ...

@final
class RetryInfo(Message):
    retry_delay: Final[Duration]
    def __init__(self, *, retry_delay: Duration | None = ...) -> None: ...
    def HasField(self, field_name: Literal["retry_delay"]) -> bool: ...

@final
class BadRequest(Message):
    @final
    class FieldViolation(Message):
        field: str
        description: str
        def __init__(self, *, field: str = ..., description: str = ...) -> None: ...

    field_violations: Final[RepeatedCompositeFieldContainer[BadRequest.FieldViolation]]
    def __init__(self, *, field_violations: Iterable[BadRequest.FieldViolation] | None = ...) -> None: ...
