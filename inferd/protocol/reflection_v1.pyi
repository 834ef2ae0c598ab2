"""The messages of package grpc.reflection.v1. Written by `make proto`: change proto/*.proto instead."""

# ruff: noqa: E501, N802

from collections.abc import Iterable
from typing import Final, Literal, final

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer, RepeatedScalarFieldContainer
from google.protobuf.message import Message

@final
class ServerReflectionRequest(Message):
    host: str
    file_by_filename: str
    file_containing_symbol: str
    file_containing_extension: Final[ExtensionRequest]
    all_extension_numbers_of_type: str
    list_services: str
    def __init__(
        self, *, host: str = ..., file_by_filename: str = ..., file_containing_symbol: str = ...,
        file_containing_extension: ExtensionRequest | None = ..., all_extension_numbers_of_type: str = ..., list_services: str = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["message_request", "file_by_filename", "file_containing_symbol", "file_containing_extension", "all_extension_numbers_of_type", "list_services"]) -> bool: ...
    def WhichOneof(self, oneof_group: Literal["message_request"]) -> Literal["file_by_filename", "file_containing_symbol", "file_containing_extension", "all_extension_numbers_of_type", "list_services"] | None: ...

@final
class ExtensionRequest(Message):
    containing_type: str
    extension_number: int
    def __init__(self, *, containing_type: str = ..., extension_number: int = ...) -> None: ...

@final
class ServerReflectionResponse(Message):
    valid_host: str
    original_request: Final[ServerReflectionRequest]
    file_descriptor_response: Final[FileDescriptorResponse]
    all_extension_numbers_response: Final[ExtensionNumberResponse]
    list_services_response: Final[ListServiceResponse]
    error_response: Final[ErrorResponse]
    def __init__(
        self, *, valid_host: str = ..., original_request: ServerReflectionRequest | None = ...,
        file_descriptor_response: FileDescriptorResponse | None = ...,
        all_extension_numbers_response: ExtensionNumberResponse | None = ...,
        list_services_response: ListServiceResponse | None = ..., error_response: ErrorResponse | None = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["message_response", "original_request", "file_descriptor_response", "all_extension_numbers_response", "list_services_response", "error_response"]) -> bool: ...
    def WhichOneof(self, oneof_group: Literal["message_response"]) -> Literal["file_descriptor_response", "all_extension_numbers_response", "list_services_response", "error_response"] | None: ...

@final
class FileDescriptorResponse(Message):
    file_descriptor_proto: Final[RepeatedScalarFieldContainer[bytes]]
    def __init__(self, *, file_descriptor_proto: Iterable[bytes] | None = ...) -> None: ...

@final
class ExtensionNumberResponse(Message):
    base_type_name: str
    extension_number: Final[RepeatedScalarFieldContainer[int]]
    def __init__(self, *, base_type_name: str = ..., extension_number: Iterable[int] | None = ...) -> None: ...

@final
class ListServiceResponse(Message):
    service: Final[RepeatedCompositeFieldContainer[ServiceResponse]]
    def __init__(self, *, service: Iterable[ServiceResponse] | None = ...) -> None: ...

@final
class ServiceResponse(Message):
    name: str
    def __init__(self, *, name: str = ...) -> None: ...

@final
class ErrorResponse(Message):
    error_code: int
    error_message: str
    def __init__(self, *, error_code: int = ..., error_message: str = ...) -> None: ...
