"""The messages of package grpc.health.v1. Written by `make proto`: change proto/*.proto instead."""

from typing import NewType, final

from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper
from google.protobuf.message import Message

@final
class HealthCheckRequest(Message):
    service: str
    """Empty (the server), the full name of a gRPC service, or the name of a model."""
    def __init__(self, *, service: str = ...) -> None: ...

@final
class HealthCheckResponse(Message):
    class _ServingStatus:
        ValueType = NewType("ValueType", int)

    class _ServingStatusWrapper(_EnumTypeWrapper[HealthCheckResponse._ServingStatus.ValueType], type):
        UNKNOWN: HealthCheckResponse._ServingStatus.ValueType
        SERVING: HealthCheckResponse._ServingStatus.ValueType
        NOT_SERVING: HealthCheckResponse._ServingStatus.ValueType
        SERVICE_UNKNOWN: HealthCheckResponse._ServingStatus.ValueType

    class ServingStatus(_ServingStatus, metaclass=_ServingStatusWrapper):
        """UNKNOWN is never sent by inferd; SERVICE_UNKNOWN only by Watch."""

    UNKNOWN: HealthCheckResponse.ServingStatus.ValueType
    SERVING: HealthCheckResponse.ServingStatus.ValueType
    NOT_SERVING: HealthCheckResponse.ServingStatus.ValueType
    SERVICE_UNKNOWN: HealthCheckResponse.ServingStatus.ValueType

    status: HealthCheckResponse.ServingStatus.ValueType
    def __init__(self, *, status: HealthCheckResponse.ServingStatus.ValueType = ...) -> None: ...
