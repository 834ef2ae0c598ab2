"""gRPC server reflection, v1 and v1alpha: describes services and messages to tools such as grpcurl and buf.

Both versions have the same messages under two names, so one class serves both. Never in here: descriptors themselves;
inferd.protocol has them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from inferd.errors import InvalidArgument, NotFound, RequestError
from inferd.part import Method, Part
from inferd.protocol import SERVICES, file_descriptor_for_file, file_descriptor_for_symbol, reflection_v1, reflection_v1alpha

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType

    from inferd.serving.parts.registry import Parts

VERSIONS = {"grpc.reflection.v1.ServerReflection": reflection_v1, "grpc.reflection.v1alpha.ServerReflection": reflection_v1alpha}

MAX_OPEN = 16  # streams of one version on one connection: a tool has one
MAX_NAME_CHARS = 256  # of an unknown name that an error message repeats


def make(_: Parts) -> Part:
    return Reflection()


class Reflection(Part):
    """ServerReflectionInfo over the descriptors of inferd.protocol.

    Each request gets one response, in order. The next request is read when the response has been taken. A request that cannot be served
    gets an error_response, and the stream goes on.
    """

    def methods(self) -> dict[str, Method]:
        """Rows of the service table, by full method name."""
        return {
            f"/{service}/ServerReflectionInfo": Method(
                "stream",
                partial(self.respond_all, messages),
                messages.ServerReflectionRequest,
                messages.ServerReflectionResponse,
                max_open=MAX_OPEN,
            )
            for service, messages in VERSIONS.items()
        }

    async def respond_all(self, messages: ModuleType, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """`messages` is the protocol module of the version that was called."""
        async for request in requests:
            response = messages.ServerReflectionResponse(valid_host=request.host, original_request=request)
            try:
                _respond(messages, request, response)
            except RequestError as error:
                response.error_response.error_code = error.code
                response.error_response.error_message = str(error)
            yield response


def _respond(messages: ModuleType, request: Any, response: Any) -> None:
    """Fills `response` for `request`. Raises RequestError."""
    match request.WhichOneof("message_request"):
        case "list_services":
            response.list_services_response.service.extend(messages.ServiceResponse(name=name) for name in sorted(SERVICES))
        case "file_by_filename":
            name = request.file_by_filename
            try:
                files = file_descriptor_for_file(name)
            except KeyError:
                raise NotFound(f'file_by_filename: there is no file "{name[:MAX_NAME_CHARS]}"') from None
            response.file_descriptor_response.file_descriptor_proto.extend(files)
        case "file_containing_symbol":
            response.file_descriptor_response.file_descriptor_proto.extend(_files("file_containing_symbol", request.file_containing_symbol))
        case "all_extension_numbers_of_type":
            name = request.all_extension_numbers_of_type
            _files("all_extension_numbers_of_type", name)
            response.all_extension_numbers_response.base_type_name = name  # a known message; none of ours is extended
        case "file_containing_extension":
            extension = request.file_containing_extension
            raise NotFound(
                f"file_containing_extension: nothing served here extends "
                f'"{extension.containing_type[:MAX_NAME_CHARS]}" with field {extension.extension_number}'
            )
        case _:
            raise InvalidArgument("message_request: expected one question, such as list_services, got none")


def _files(field: str, symbol: str) -> tuple[bytes, ...]:
    try:
        return file_descriptor_for_symbol(symbol)
    except KeyError:
        raise NotFound(f'{field}: there is no symbol "{symbol[:MAX_NAME_CHARS]}"; list_services names what is served') from None
