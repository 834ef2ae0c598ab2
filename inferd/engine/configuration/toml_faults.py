"""Errors about the fields of a TOML configuration: an unknown name, a value of the wrong kind or range, two fields that exclude each other.
protobuf's errors say less, and not where.

Never in here: files, the text format, what a field means.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from typing import Any

from inferd.protocol import inference

FP32_MAX = 3.4028234663852886e38


def toml_faults(values: Any, descriptor: Any, path: str = "") -> Iterator[str]:
    """Yields errors that begin with the field's place, such as "inferd.preprocess[0].name: ". descriptor: of the message in `values`."""
    if not isinstance(values, Mapping):
        yield f"{path}: expected a table of {descriptor.name}'s fields, got {_kind(values)}"
        return
    for key, value in values.items():
        field = descriptor.fields_by_name.get(key)
        place = f"{path}.{key}" if path else key
        if field is None:
            top = path and key in inference.ModelConfig.DESCRIPTOR.fields_by_name  # TOML takes it for a field of the section above it
            cure = "; it is a field of the model: put it before the first [section]" if top else ""
            yield unknown_field(key, descriptor, f"in {path}" if path else "") + cure
            continue
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            yield from _map_faults(value, entry.fields_by_name["key"], entry.fields_by_name["value"], place)
        elif is_repeated(field):
            if isinstance(value, list):
                for index, item in enumerate(value):
                    yield from _value_faults(item, field, f"{place}[{index}]")
            elif entry is None:
                yield f"{place}: expected a list, got {_kind(value)}"
            else:
                yield f"{place}: expected a list of tables ([[{place}]]), got {_kind(value)}"
        else:
            yield from _value_faults(value, field, place)
    for group in descriptor.oneofs:
        there = [field.name for field in group.fields if field.name in values]
        if len(there) > 1:
            yield f"{path}{': ' if path else ''}expected one of {', '.join(there)}, got all of them: leave one"


def unknown_field(name: str, descriptor: Any, place: str) -> str:
    """The error of an unknown field, with the one that was probably meant."""
    known = [known.name for known in descriptor.fields]
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
    return f"unknown field {name!r}{place and ' '}{place}: {hint}"


def for_json(value: Any) -> Any:
    """The same values, with words for NaN and infinities, for which JSON has no numbers."""
    if isinstance(value, Mapping):
        return {key: for_json(each) for key, each in value.items()}
    if isinstance(value, list):
        return [for_json(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _map_faults(values: Any, key_field: Any, field: Any, path: str) -> Iterator[str]:
    if not isinstance(values, Mapping):
        yield f"{path}: expected a table, got {_kind(values)}"
        return
    for key, value in values.items():
        number = key_field.cpp_type != key_field.CPPTYPE_STRING and key.isascii() and key.isdecimal()  # in TOML a key is a text
        yield from _value_faults(int(key) if number else key, key_field, f"a key of {path}")
        yield from _value_faults(value, field, f"{path}.{key}")


def _value_faults(value: Any, field: Any, path: str) -> Iterator[str]:
    """The errors of one value, or of one element of a list or map."""
    if field.message_type is not None:
        yield from toml_faults(value, field.message_type, path)
        return
    wanted = expected(value, field)
    if wanted:
        yield f"{path}: expected {wanted}, got {_shown(value)}"


def expected(value: Any, field: Any) -> str:
    """The kind of value that the field takes; '' if this is one. A text is no number, though protobuf's JSON takes it for one."""
    kind = field.cpp_type
    if kind == field.CPPTYPE_STRING:
        return "" if isinstance(value, str) else "a text"
    if kind == field.CPPTYPE_BOOL:
        return "" if isinstance(value, bool) else "true or false"
    if kind == field.CPPTYPE_ENUM:
        names = field.enum_type.values_by_name
        known = value in names if isinstance(value, str) else _is_int(value) and abs(value) < 1 << 31
        return "" if known else f"one of {', '.join(names)}"
    if kind in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        number = _number(value, float)
        if number is None:
            return "a number"
        too_large = kind == field.CPPTYPE_FLOAT and FP32_MAX < abs(number) < math.inf
        return "a number that FP32 can hold" if too_large else ""
    bits = 32 if kind in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32) else 64
    signed = kind in (field.CPPTYPE_INT32, field.CPPTYPE_INT64)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    whole = _number(value, int)
    return "" if whole is not None and low <= whole <= high else f"a whole number from {low} to {high}"


def _number(value: Any, kind: type[int | float]) -> Any:
    """The value as a number of that kind; None where it is none."""
    if not _is_int(value) and not (isinstance(value, float) and (kind is float or value.is_integer())):
        return None
    try:
        return kind(value)
    except OverflowError:  # a whole number that no float holds
        return None


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_repeated(field: Any) -> bool:
    repeated = getattr(field, "is_repeated", None)  # protobuf 6; `label` is deprecated there
    return bool(field.label == field.LABEL_REPEATED if repeated is None else repeated)


def _kind(value: object) -> str:
    return {dict: "a table", list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}.get(
        type(value), type(value).__name__
    )


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:40] + "...")
    return f"{value}" if isinstance(value, int | float) else _kind(value)
