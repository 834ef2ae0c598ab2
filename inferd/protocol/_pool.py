"""One private descriptor pool and the message classes made from it. Nothing is registered in protobuf's default pool.

tritonclient, mlserver and kserve each register the package `inference` in the default pool, and two files of one
name there end the import. inferd lives in its users' processes, so its descriptors stay in a pool of their own. They
are plain serialized FileDescriptorProtos (descriptors.binpb, made by proto/generate.py): no generated code, so
no protobuf version is asked for beyond the 5.29 that knows message_factory.GetMessageClass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

__all__ = ["FILES", "POOL", "namespace", "services"]


def _load(pool: DescriptorPool) -> dict[str, FileDescriptor]:
    """Fills the pool from descriptors.binpb, which lists every file after the files that it imports."""
    descriptors = FileDescriptorSet.FromString((files(__package__) / "descriptors.binpb").read_bytes())
    for proto in descriptors.file:
        pool.AddSerializedFile(proto.SerializeToString())
    return {proto.name: pool.FindFileByName(proto.name) for proto in descriptors.file}


POOL = DescriptorPool()
FILES = _load(POOL)


def services() -> Iterator[ServiceDescriptor]:
    """Every service of every file."""
    for file in FILES.values():
        yield from file.services_by_name.values()


def namespace(module_globals: dict[str, Any], *packages: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a module whose names are the messages, enums and enum values of some packages.

    A class is made when it is first asked for and then kept in the module's globals. Two packages of one module
    may not share a name (the stub generator refuses it).
    """
    members = {
        name: descriptor
        for file in FILES.values()
        if file.package in packages
        for name, descriptor in [
            *file.message_types_by_name.items(),
            *file.enum_types_by_name.items(),
            *((value.name, value) for enum in file.enum_types_by_name.values() for value in enum.values),
        ]
    }

    def __getattr__(name: str) -> Any:
        descriptor = members.get(name)
        if descriptor is None:
            raise AttributeError(f"module {module_globals['__name__']!r} has no attribute {name!r}")
        if hasattr(descriptor, "fields"):
            made: Any = message_factory.GetMessageClass(descriptor)
        elif hasattr(descriptor, "values"):
            made = EnumTypeWrapper(descriptor)
        else:
            made = descriptor.number
        return module_globals.setdefault(name, made)

    def __dir__() -> list[str]:
        return sorted({*module_globals, *members})

    return __getattr__, __dir__
