"""Bodies of REST beside inference: JSON objects with parameters, in the form of Triton's clients."""

from __future__ import annotations

from typing import Any

import msgspec

from inferd.errors import InvalidArgument

MAX_SHOWN_CHARS = 128  # of a client's text in an error


def json_object(body: bytes) -> dict[str, Any]:
    """Decodes a body; an empty one is an empty object. Raises InvalidArgument."""
    if not body:
        return {}
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise wrong_json("a JSON object", error) from None


def wrong_json(expected: str, error: Exception) -> InvalidArgument:
    return InvalidArgument(f"body: expected {expected}: {str(error)[:MAX_SHOWN_CHARS]}")


def member(found: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    """A member of an object. kind: dict or bool. Raises InvalidArgument."""
    value = found.get(name, default)
    if type(value) is not kind:
        raise InvalidArgument(f"{name}: expected {'an object' if kind is dict else 'true or false'}")
    return value


def set_parameter(target: Any, name: str, value: object) -> None:
    """Sets the field of the value's type. target: a ModelRepositoryParameter, or a setting of the log. Raises InvalidArgument."""
    if type(value) is bool:
        target.bool_param = value
    elif type(value) is int and 0 <= value < 1 << 32:
        setattr(target, "uint32_param" if "uint32_param" in target.DESCRIPTOR.fields_by_name else "int64_param", value)
    elif type(value) is str:
        target.string_param = value
    else:
        raise InvalidArgument(f"{name[:MAX_SHOWN_CHARS]}: expected true, false, a number of 32 bits or a string")
