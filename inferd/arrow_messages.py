"""Reads from an Arrow message's metadata what pyarrow does not expose: whether buffers are compressed, and how large they become.

A packed batch may hold a thousand times its own size, and Arrow unpacks as much as it announces. The metadata is a FlatBuffer, a table
`Message` with a table `RecordBatch` in it (Message.fbs of Arrow's format); before each packed buffer stands its length. Never in here:
Arrow's checks, which come before and after.
"""

from __future__ import annotations

import struct
from struct import unpack_from
from typing import Any

HEADER_TYPE, HEADER = 1, 2  # places of fields of Message
BUFFERS, COMPRESSION = 2, 3  # places of fields of RecordBatch
DICTIONARY_DATA = 1  # the place of a field of DictionaryBatch
DICTIONARY_BATCH = 2  # a value of the union MessageHeader
BUFFER_NBYTES = 16  # its offset in the body and its length
LENGTH_NBYTES = 8  # -1: this buffer is not packed


def is_compressed(metadata: Any) -> bool:
    """Whether the buffers of a message are compressed, by its metadata. True for broken metadata, whose message must not be read."""
    data = memoryview(metadata)
    try:
        message = _pointed(data, 0)
        header = _pointed(data, _field(data, message, HEADER))
        if data[_field(data, message, HEADER_TYPE)] == DICTIONARY_BATCH:
            header = _pointed(data, _field(data, header, DICTIONARY_DATA))
        return _field(data, header, COMPRESSION) != 0
    except (struct.error, IndexError):
        return True


def unpacked_nbytes(message: Any) -> int:
    """The bytes of all packed buffers of a message, once unpacked; 0 if none is. message: pyarrow.ipc.Message of a record batch. Raises
    struct.error."""
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
    """The place to which the offset at `place` leads."""
    return place + int(unpack_from("<I", data, place)[0])


def _field(data: memoryview, table: int, number: int) -> int:
    """The place of a table's field; 0: the table does not have it."""
    vtable = table - int(unpack_from("<i", data, table)[0])
    slot = 4 + 2 * number
    if vtable < 0 or slot >= unpack_from("<H", data, vtable)[0]:
        return 0
    within = int(unpack_from("<H", data, vtable + slot)[0])
    return within and table + within
