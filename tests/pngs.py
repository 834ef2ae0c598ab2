"""PNG files of kinds that Pillow does not write."""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def head(size: tuple[int, int], depth: int, color: int, interlaced: int = 0) -> bytes:
    """color: 0 gray, 2 RGB, 3 palette, 4 gray and alpha, 6 RGBA."""
    return SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], depth, color, 0, 0, interlaced))


def png(size: tuple[int, int], depth: int, color: int, rows: bytes = b"", **chunks: bytes) -> bytes:
    """A PNG file of any head; rows: those of the picture, each behind the number of its filter."""
    more = b"".join(chunk(name.encode(), content) for name, content in chunks.items())
    return head(size, depth, color) + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND")
