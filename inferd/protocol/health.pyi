"""The messages of package grpc.health.v1. Written by `make proto`: change proto/*.proto instead."""

from typing import final

from google.protobuf.message import Message

from inferd.protocol._enum import Enum

@final
class HealthCheckRequest(Message):
    service: str
    def __init__(self, *, service: str = ...) -> None: ...

@final
class HealthCheckResponse(Message):
    class ServingStatus(Enum): ...
    UNKNOWN: HealthCheckResponse.ServingStatus
    SERVING: HealthCheckResponse.ServingStatus
    NOT_SERVING: HealthCheckResponse.ServingStatus
    SERVICE_UNKNOWN: HealthCheckResponse.ServingStatus

    status: HealthCheckResponse.ServingStatus
    def __init__(self, *, status: HealthCheckResponse.ServingStatus = ...) -> None: ...
