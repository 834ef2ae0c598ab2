"""How large a compressed record batch becomes, before it is: Arrow itself does not say.

A packed batch may hold a thousand times its own size. Its metadata is a FlatBuffer, a table `Message` with a table `RecordBatch` in it
(Message.fbs of Arrow's format); before each packed buffer stands its length. Never in here: Arrow's checks, which come before and after.
"""

from __future__ import annotations

from struct import unpack_from
from typing import Any

__all__ = ["unpacked_nbytes"]

HEADER, BUFFERS, COMPRESSION = 2, 2, 3  # the places of fields: one of Message, and two of RecordBatch
BUFFER_NBYTES = 16  # its offset in the body and its length
LENGTH_NBYTES = 8  # -1: this buffer is not packed


def unpacked_nbytes(message: Any) -> int:
    """message: pyarrow.ipc.Message, of a record batch. Bytes of all its packed buffers; 0 where none is. Raises struct.error."""
    metadata, body = memoryview(message.metadata), memoryview(message.body or b"")
    batch = _pointed(metadata, _field(metadata, _pointed(metadata, 0), HEADER))
    place = _field(metadata, batch, BUFFERS)
    if not place or not _field(metadata, batch, COMPRESSION):
        return 0
    vector, total = _pointed(metadata, place), 0
    (count,) = unpack_from("<I", metadata, vector)
    for number in range(count):
        offset, nbytes = unpack_from("<qq", metadata, vector + 4 + number * BUFFER_NBYTES)
        if nbytes >= LENGTH_NBYTES:
            total += max(unpack_from("<q", body, offset)[0], 0)
    return total


def _pointed(data: memoryview, place: int) -> int:
    """Where the offset at `place` leads."""
    return place + int(unpack_from("<I", data, place)[0])


def _field(data: memoryview, table: int, number: int) -> int:
    """Where a field of a table stands; 0: it has none."""
    vtable = table - int(unpack_from("<i", data, table)[0])
    slot = 4 + 2 * number
    within = unpack_from("<H", data, vtable + slot)[0] if slot < unpack_from("<H", data, vtable)[0] else 0
    return table + int(within) if within else 0
