"""Protobuf messages as JSON in Triton's form: names as in the .proto, all numbers as numbers. Never in here: single messages."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import MutableMapping, MutableSequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import msgspec
from google.protobuf.descriptor import FieldDescriptor

from inferd.errors import InvalidArgument

if TYPE_CHECKING:
    from google.protobuf.message import Message

MAX_ITEMS = 1 << 12  # of an array or a map in a body: each becomes Python objects, on the event loop
MAX_SHOWN_CHARS = 128  # of an error that may hold a client's text


def _whole(least: int, most: int) -> Any:
    return Annotated[int, msgspec.Meta(ge=least, le=most)]


TYPES = {
    FieldDescriptor.CPPTYPE_BOOL: bool,
    FieldDescriptor.CPPTYPE_STRING: str,
    FieldDescriptor.CPPTYPE_DOUBLE: float,
    FieldDescriptor.CPPTYPE_INT32: _whole(-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_INT64: _whole(-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT32: _whole(0, (1 << 32) - 1),
}


def json_form(message: Message, *, whole: bool = False) -> dict[str, Any]:
    """The fields that are set or always have a value. whole: also unset messages in it."""
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


class JsonBody:
    """Reads bodies that hold one kind of message. given: fields that the path supplies; a body may not have them. struct: the type into
    which a body is decoded first."""

    def __init__(self, message: type[Message], *given: str) -> None:
        self._message: Any = message
        self.struct = _struct(message, given)
        self._decoder = msgspec.json.Decoder(self.struct)
        self._fields = ", ".join(_shown(field) for field in self._message.DESCRIPTOR.fields if field.name not in given)

    def read(self, body: bytes, **given: object) -> Any:
        """The message. An empty body is an empty object. Raises InvalidArgument, which names the field."""
        try:
            found = msgspec.to_builtins(self._decoder.decode(body or b"{}"))
        except msgspec.ValidationError as error:
            said, _, where = str(error).partition(" - at `$.")
            words = f"{where[:MAX_SHOWN_CHARS].removesuffix('`') or 'body'}: {said[0].lower()}{said[1:MAX_SHOWN_CHARS]}"
            raise InvalidArgument(f"{words}; the body is an object that may have {self._fields}") from None
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidArgument(f"body: expected a JSON object: {str(error)[:MAX_SHOWN_CHARS]}") from None
        return self._message(**found, **given)


def _struct(message: type[Message], given: tuple[str, ...] = ()) -> type[msgspec.Struct]:
    """The shape of a message's JSON. A field that is left out is UNSET."""
    made: Any = message()
    fields = [
        (field.name, _type(field, getattr(made, field.name)) | msgspec.UnsetType, msgspec.UNSET)
        for field in made.DESCRIPTOR.fields
        if field.name not in given
    ]
    return msgspec.defstruct(made.DESCRIPTOR.name, fields, forbid_unknown_fields=True)


def _type(field: Any, value: Any) -> Any:
    """The type of a field's JSON. value: that of an empty message."""
    if isinstance(value, MutableMapping):
        item = TYPES[field.message_type.fields_by_name["value"].cpp_type]
        return Annotated[dict[str, item], msgspec.Meta(max_length=MAX_ITEMS)]  # type: ignore[valid-type]
    if isinstance(value, MutableSequence):
        item = TYPES[field.cpp_type] if field.message_type is None else _struct(type(cast("Any", value).add()))
        return Annotated[list[item], msgspec.Meta(max_length=MAX_ITEMS)]  # type: ignore[valid-type]
    return TYPES[field.cpp_type] if field.enum_type is None else Literal[_words(field)]


def _words(field: Any) -> tuple[str, ...]:
    """The names of an enum's values, except the one for 0, which means "not set"."""
    return tuple(value.name for value in field.enum_type.values if value.number)


def _shown(field: Any) -> str:
    return str(field.name) if field.enum_type is None else f"{field.name} ({' or '.join(_words(field))})"
