"""How a picture lies: the one tag of EXIF that changes what is seen, which may stand in XMP instead.

A camera writes the sensor's rows as they come, and beside them how it was held. A malformed tag is ignored, and the picture is left as it
lies, as viewers do. Every read is bounded. Never in here: pixels, any other tag.
"""

from __future__ import annotations

import re
import struct

from inferd.steps.picture_file import jpeg_segments

UPRIGHT = 1

_APP1 = 0xE1  # of a JPEG file
_MAX_TAGS = 500  # of the first directory; cameras write some twenty
_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_MAX_XMP_BYTES = 1 << 20  # that are looked through
_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_ORIENTATION = 0x0112
_SHORT = 3
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}


def jpeg_orientation(file: memoryview) -> int:
    """The orientation of a JPEG file, 1 to 8; 1 where it says none."""
    exif = xmp = None
    for segment in jpeg_segments(file):
        content = file[segment.content : segment.end]
        if segment.marker == _APP1 and exif is None and bytes(content[:6]) == _EXIF:
            exif = content
        elif segment.marker == _APP1 and bytes(content[: len(_XMP)]) == _XMP:
            xmp = content
    return block_orientation(exif, xmp)


def block_orientation(block: bytes | memoryview | None, xmp: bytes | memoryview | None = None) -> int:
    """The same of an EXIF block, with or without its name before it, and, where that says none, of XMP; None: there is none."""
    found = None if block is None else _in_exif(block)
    if found is None and xmp is not None and (said := _IN_XMP.search(xmp[:_MAX_XMP_BYTES])):
        found = int(said[1])
    return found if found and 1 <= found <= 8 else UPRIGHT


def _in_exif(block: bytes | memoryview) -> int | None:
    """The tag's value; None: there is no tag."""
    if bytes(block[:6]) == _EXIF:
        block = block[6:]
    order = _ORDERS.get(bytes(block[:4]))
    if order is None or len(block) < 8:
        return None
    (start,) = struct.unpack_from(order + "I", block, 4)
    if start + 2 > len(block):
        return None
    (tags,) = struct.unpack_from(order + "H", block, start)
    for at in range(start + 2, start + 2 + 12 * min(tags, _MAX_TAGS), 12):
        if at + 12 > len(block):
            break
        tag, kind, _, value = struct.unpack_from(order + "HHIH", block, at)
        if tag == _ORIENTATION:
            return int(value) if kind == _SHORT else UPRIGHT
    return None
