"""The messages of package grpc.health.v1.

Written by `make proto`: change proto/*.proto instead.
"""

from typing import ClassVar, NewType, TypeAlias, final

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper
from google.protobuf.message import Message

@final
class HealthCheckRequest(Message):
    service: str
    """"" (the server), the full name of a gRPC service, or the name of a model."""
    def __init__(
        self,
        *,
        service: str = ...,
    ) -> None: ...

@final
class HealthCheckResponse(Message):
    class _ServingStatus:
        ValueType = NewType("ValueType", int)
        V: TypeAlias = ValueType

    class _ServingStatusWrapper(_EnumTypeWrapper[HealthCheckResponse._ServingStatus.ValueType], type):
        DESCRIPTOR: ClassVar[EnumDescriptor]
        UNKNOWN: _ServingStatus.ValueType
        SERVING: _ServingStatus.ValueType
        NOT_SERVING: _ServingStatus.ValueType
        SERVICE_UNKNOWN: _ServingStatus.ValueType

    class ServingStatus(_ServingStatus, metaclass=_ServingStatusWrapper):
        ...

    UNKNOWN: HealthCheckResponse.ServingStatus.ValueType
    SERVING: HealthCheckResponse.ServingStatus.ValueType
    NOT_SERVING: HealthCheckResponse.ServingStatus.ValueType
    SERVICE_UNKNOWN: HealthCheckResponse.ServingStatus.ValueType

    status: HealthCheckResponse.ServingStatus.ValueType
    def __init__(
        self,
        *,
        status: HealthCheckResponse.ServingStatus.ValueType = ...,
    ) -> None: ...
