"""The protobuf messages that the client speaks, made at first use from a descriptor pool of its own.

tritonclient, kserve and mlserver each register package `inference` in protobuf's default pool, where it fits only
once. This module registers nothing there, so that all of them can share a process. messages.pyi lists the names.
Messages of another package's pool are not interchangeable with these: pass bytes.
"""

import pkgutil
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper


def _load() -> tuple[dict[str, Any], dict[str, Any]]:
    """Name -> descriptor of every message and of every enum in descriptors.binpb (made by proto/generate.py)."""
    content = pkgutil.get_data(__package__, "descriptors.binpb")
    assert content is not None  # only a loader without get_data returns None
    pool = DescriptorPool()
    messages: dict[str, Any] = {}
    enums: dict[str, Any] = {}
    for proto in FileDescriptorSet.FromString(content).file:
        pool.AddSerializedFile(proto.SerializeToString())
        file = pool.FindFileByName(proto.name)
        messages.update(file.message_types_by_name)
        enums.update(file.enum_types_by_name)
    return messages, enums


_MESSAGES, _ENUMS = _load()
_NUMBERS = {value.name: value.number for enum in _ENUMS.values() for value in enum.values}


def __getattr__(name: str) -> Any:
    if name in _MESSAGES:
        made: Any = message_factory.GetMessageClass(_MESSAGES[name])
    elif name in _ENUMS:
        made = EnumTypeWrapper(_ENUMS[name])
    elif name in _NUMBERS:
        made = _NUMBERS[name]
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, made)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MESSAGES, *_ENUMS, *_NUMBERS})
