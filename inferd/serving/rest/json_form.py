"""Protobuf messages as JSON in Triton's form: names as in the .proto, all numbers as numbers. Never in here: which message is asked for."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import MutableMapping, MutableSequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = ["json_form"]


def json_form(message: Message, *, whole: bool = False) -> dict[str, Any]:
    """The fields that are set or always have a value. whole: messages within it that are not set, too."""
    found: dict[str, Any] = {}
    fields: Any = message.DESCRIPTOR.fields
    for field in fields:
        value = getattr(message, field.name)
        if isinstance(value, MutableMapping):
            values = field.message_type.fields_by_name["value"]
            found[field.name] = {str(key): _value(values, value[key], whole) for key in sorted(value)}
        elif isinstance(value, MutableSequence):
            found[field.name] = [_value(field, item, whole) for item in value]
        elif not field.has_presence or message.HasField(field.name) or (whole and field.message_type is not None):
            found[field.name] = _value(field, value, whole)
    return found


def _value(field: Any, value: Any, whole: bool) -> object:
    """field: a FieldDescriptor, of which protobuf has two kinds."""
    if field.message_type is not None:
        return json_form(value, whole=whole)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    return b64encode(value).decode() if isinstance(value, bytes) else value
