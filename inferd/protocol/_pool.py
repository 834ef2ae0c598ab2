"""One private descriptor pool and the message classes made from it. Nothing is registered in protobuf's default pool.

tritonclient, mlserver and kserve each register the package `inference` in the default pool, and two files of one
name there end the import. inferd lives in its users' processes, so its descriptors stay in a pool of their own. They
are plain serialized FileDescriptorProtos (descriptors.binpb, made by proto/generate.py): no generated code, so
no protobuf version is asked for beyond the 5.29 that knows message_factory.GetMessageClass.
"""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING, Any

from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.descriptor import Descriptor, FileDescriptor, ServiceDescriptor


def _load(pool: DescriptorPool) -> dict[str, FileDescriptor]:
    """Fills the pool from descriptors.binpb, which lists every file after the files that it imports."""
    # pkgutil rather than importlib.resources, which costs a third of this module's import time.
    content = pkgutil.get_data(__package__, "descriptors.binpb")
    assert content is not None  # only a loader without get_data returns None
    descriptors = FileDescriptorSet.FromString(content)
    for proto in descriptors.file:
        pool.AddSerializedFile(proto.SerializeToString())
    return {proto.name: pool.FindFileByName(proto.name) for proto in descriptors.file}


def _class_of(message: Descriptor) -> Any:
    """The class of a message, with those of the messages declared in it as attributes, which protobuf in plain Python lacks."""
    made = message_factory.GetMessageClass(message)
    for nested in message.nested_types:
        if not hasattr(made, nested.name):
            setattr(made, nested.name, _class_of(nested))
    return made


POOL = DescriptorPool()
FILES = _load(POOL)


def services() -> Iterator[ServiceDescriptor]:
    """Every service of every file."""
    for file in FILES.values():
        yield from file.services_by_name.values()


def namespace(module: dict[str, Any], *packages: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a module whose names are the messages, enums and enum values of some packages.

    `module` is its globals(), where a class is kept once it has been asked for. The packages of one module share no
    name; the stub generator rejects those that do.
    """
    files = [file for file in FILES.values() if file.package in packages]
    messages = {name: message for file in files for name, message in file.message_types_by_name.items()}
    enums = {name: enum for file in files for name, enum in file.enum_types_by_name.items()}
    numbers = {value.name: value.number for enum in enums.values() for value in enum.values}

    def attribute(name: str) -> Any:
        if name in messages:
            made: Any = _class_of(messages[name])
        elif name in enums:
            made = EnumTypeWrapper(enums[name])
        elif name in numbers:
            made = numbers[name]
        else:
            raise AttributeError(f"module {module['__name__']!r} has no attribute {name!r}")
        return module.setdefault(name, made)

    def names() -> list[str]:
        return sorted({*module, *messages, *enums, *numbers})

    return attribute, names
