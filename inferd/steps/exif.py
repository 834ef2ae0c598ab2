"""How a picture lies: the one tag of EXIF that changes what is seen.

A camera writes the sensor's rows as they come, and beside them how it was held. What is malformed here says nothing: the picture is
left as it lies, as viewers do. Every read is bounded. Never in here: pixels, any other tag.
"""

from __future__ import annotations

import struct

__all__ = ["UPRIGHT", "block_orientation", "jpeg_orientation"]

UPRIGHT = 1

_MAX_SEGMENTS = 100  # of a JPEG file before EXIF, which cameras write first
_MAX_TAGS = 500  # of the first directory; cameras write some twenty
_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112
_SHORT = 3
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}


def jpeg_orientation(file: memoryview) -> int:
    """EXIF's orientation of a JPEG file, 1 to 8; 1 where it says none."""
    at = 2  # behind the start of the image
    for _ in range(_MAX_SEGMENTS):
        if at + 4 > len(file) or file[at] != 0xFF:
            break
        marker = file[at + 1]
        if marker == 0xFF:  # filling
            at += 1
            continue
        if marker in (0xDA, 0xD9):  # the picture itself begins, or all ends
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:  # without a length
            at += 2
            continue
        length = file[at + 2] << 8 | file[at + 3]
        if marker == 0xE1 and bytes(file[at + 4 : at + 10]) == _EXIF:
            return block_orientation(file[at + 4 : at + 2 + length])
        at += 2 + length
    return UPRIGHT


def block_orientation(block: bytes | memoryview) -> int:
    """The same of an EXIF block alone, with or without its name before it."""
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
