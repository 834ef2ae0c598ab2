"""How a picture lies: the one tag of EXIF that changes what is seen.

A camera writes the sensor's rows as they come, and beside them how it was held. What is malformed here says nothing: the picture is
left as it lies, as viewers do. Every read is bounded. Never in here: pixels, any other tag.
"""

from __future__ import annotations

import struct

from inferd.steps.picture_file import jpeg_segments

__all__ = ["UPRIGHT", "block_orientation", "jpeg_orientation"]

UPRIGHT = 1

_APP1 = 0xE1  # of a JPEG file
_MAX_TAGS = 500  # of the first directory; cameras write some twenty
_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112
_SHORT = 3
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}


def jpeg_orientation(file: memoryview) -> int:
    """EXIF's orientation of a JPEG file, 1 to 8; 1 where it says none."""
    for segment in jpeg_segments(file):
        content = file[segment.content : segment.end]
        if segment.marker == _APP1 and bytes(content[:6]) == _EXIF:
            return block_orientation(content)
    return UPRIGHT


def block_orientation(block: bytes | memoryview | None) -> int:
    """The same of an EXIF block alone, with or without its name before it; None: there is none."""
    if block is None:
        return UPRIGHT
    if bytes(block[:6]) == _EXIF:
        block = block[6:]
    order = _ORDERS.get(bytes(block[:4]))
    if order is None or len(block) < 8:
        return UPRIGHT
    (start,) = struct.unpack_from(order + "I", block, 4)
    if start + 2 > len(block):
        return UPRIGHT
    (tags,) = struct.unpack_from(order + "H", block, start)
    for at in range(start + 2, start + 2 + 12 * min(tags, _MAX_TAGS), 12):
        if at + 12 > len(block):
            break
        tag, kind, _, value = struct.unpack_from(order + "HHIH", block, at)
        if tag == _ORIENTATION:
            return int(value) if kind == _SHORT and 1 <= value <= 8 else UPRIGHT
    return UPRIGHT
