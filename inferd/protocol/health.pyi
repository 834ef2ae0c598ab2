"""The messages of package grpc.health.v1. Written by `make proto`: change proto/*.proto instead."""

# ruff: noqa: N802

from typing import Self, final

from google.protobuf.message import Message

class _Enum(int):
    @classmethod
    def Name(cls, number: int) -> str: ...
    @classmethod
    def Value(cls, name: str) -> Self: ...
    @classmethod
    def keys(cls) -> list[str]: ...
    @classmethod
    def values(cls) -> list[Self]: ...
    @classmethod
    def items(cls) -> list[tuple[str, Self]]: ...

@final
class HealthCheckRequest(Message):
    service: str
    def __init__(self, *, service: str = ...) -> None: ...

@final
class HealthCheckResponse(Message):
    class ServingStatus(_Enum): ...
    UNKNOWN: HealthCheckResponse.ServingStatus
    SERVING: HealthCheckResponse.ServingStatus
    NOT_SERVING: HealthCheckResponse.ServingStatus
    SERVICE_UNKNOWN: HealthCheckResponse.ServingStatus

    status: HealthCheckResponse.ServingStatus
    def __init__(self, *, status: HealthCheckResponse.ServingStatus = ...) -> None: ...
