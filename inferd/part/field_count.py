"""Counts the fields of a protobuf message in its bytes, before it is parsed, because each field costs the event loop a Python object.
Never in here: what the fields mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
FIXED_NBYTES = {FIXED64: 8, FIXED32: 4}


def count_fields(descriptor: Descriptor, content: bytes, most: int) -> int:
    """Counts the fields of the message and of the messages in it, and stops beyond `most`. Malformed bytes count as far as they can be
    read: the parser rejects them."""
    count = 0
    waiting = [(descriptor, 0, len(content))]
    while waiting:
        kind, at, end = waiting.pop()
        while at < end and count <= most:
            count += 1
            tag, at = _varint(content, at, end)
            wire = tag & 7
            if wire == VARINT:
                _, at = _varint(content, at, end)
            elif wire == BYTES:
                nbytes, at = _varint(content, at, end)
                field = kind.fields_by_number.get(tag >> 3)
                if field is not None and field.message_type is not None:
                    waiting.append((field.message_type, at, min(at + nbytes, end)))
                at += nbytes
            else:
                at += FIXED_NBYTES.get(wire, 0)  # fields of a group count as the message's own; no message here has groups
    return count


def _varint(content: bytes, at: int, end: int) -> tuple[int, int]:
    """The number that begins there, and the place of its end."""
    value = shift = 0
    while at < end:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80 or shift > 56:
            break
        shift += 7
    return value, at
