"""The wire contracts as protobuf messages: inference, health, reflection, error details, a part of ONNX. Never part of `import inferd`.

    from inferd.protocol import inference, health, reflection_v1, reflection_v1alpha, rpc, options, onnx

    request = inference.ModelReadyRequest(name="digits")

Each of these modules holds the messages, enums and top-level enum values of one protobuf package as attributes (its .pyi
lists them). The classes are made on first use from a private descriptor pool, so inferd and tritonclient can share
a process. Messages of another pool are not interchangeable with these: pass bytes.

The reflection service uses `SERVICES`, `file_descriptor_for_symbol` and `file_descriptor_for_file`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd.protocol import health, inference, onnx, options, reflection_v1, reflection_v1alpha, rpc
from inferd.protocol._pool import FILES, POOL, services

if TYPE_CHECKING:
    from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor

__all__ = [
    "POOL",
    "SERVICES",
    "file_descriptor_for_file",
    "file_descriptor_for_symbol",
    "health",
    "inference",
    "onnx",
    "options",
    "reflection_v1",
    "reflection_v1alpha",
    "rpc",
]

SERVICES: dict[str, ServiceDescriptor] = {service.full_name: service for service in services()}
"""Full name -> descriptor of every service, such as "inference.GRPCInferenceService"."""


def file_descriptor_for_symbol(name: str) -> tuple[bytes, ...]:
    """The file that declares a service, method, message, field, enum or enum value, then all that it imports.

    `name` is fully qualified without a leading dot. Each entry is a serialized FileDescriptorProto.
    Raises KeyError(name) when no file declares it.
    """
    try:
        return _with_imports(POOL.FindFileContainingSymbol(name))
    except KeyError:
        # The pool knows everything by name but methods.
        service_name, _, method = name.rpartition(".")
        service = SERVICES.get(service_name)
        if service is None or method not in service.methods_by_name:
            raise KeyError(name) from None
        return _with_imports(service.file)


def file_descriptor_for_file(name: str) -> tuple[bytes, ...]:
    """The file of this name, such as "inference/grpc_service.proto", then all that it imports, each serialized.

    Raises KeyError(name) when there is no such file.
    """
    return _with_imports(FILES[name])


def _with_imports(file: FileDescriptor) -> tuple[bytes, ...]:
    seen: dict[str, bytes] = {}
    pending = [file]
    while pending:
        current = pending.pop()
        if current.name not in seen:
            seen[current.name] = current.serialized_pb
            pending.extend(current.dependencies)
    return tuple(seen.values())
