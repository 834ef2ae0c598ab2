"""JPEG files of kinds that Pillow does not write."""

from __future__ import annotations

import io

from inferd.steps.picture_file import _all_segments, jpeg_segments

FRAME, SCAN, END = 0xC0, 0xDA, b"\xff\xd9"


def jpeg_scans(file: bytes) -> int:
    """How many scans a JPEG file has; 0 where it does not come to the end of the image."""
    markers = [segment.marker for segment in _all_segments(memoryview(file))]
    return markers.count(SCAN) if markers[-1:] == [END[1]] else 0


def with_one_scan(file: bytes) -> bytes:
    """A progressive file of which only the first scan is left: a coarse picture, and a whole file all the same."""
    behind = list(jpeg_segments(memoryview(file)))[-1].end
    end = behind
    while file[end] != 0xFF or file[end + 1] == 0:
        end += 1
    return file[:end] + END


def one_component_a_scan(height: int, width: int, scans: int) -> bytes:
    """A file of three components that is not progressive, with a scan for each, or for the first of them."""
    from PIL import Image

    saved = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).save(saved, "JPEG")
    gray = saved.getvalue()
    pieces, data = [gray[:2]], b""
    for segment in jpeg_segments(memoryview(gray)):
        piece = gray[segment.start : segment.end]
        if segment.marker == FRAME:
            piece = piece[:2] + b"\x00\x11" + piece[4:9] + b"\x03" + b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
        if segment.marker == SCAN:
            data = gray[segment.end : -2]
            break
        pieces.append(piece)
    for number in range(1, scans + 1):
        pieces += [b"\xff\xda\x00\x08\x01", bytes([number]), b"\x00\x00\x3f\x00", data]
    return b"".join([*pieces, END])
