"""Texts of a PNG file that say how the picture lies: XMP, and EXIF as ImageMagick keeps it, in hexadecimal digits ("raw profile").

Only the last text of each keyword is read, and of it no more than MAX_TEXT_BYTES. One that is damaged says nothing. Never in here: other
keywords, tags.
"""

from __future__ import annotations

import re
import zlib

TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
XMP, EXIF_PROFILE = b"XML:com.adobe.xmp", b"Raw profile type exif"
MAX_TEXT_BYTES = 1 << 20  # of a text, decompressed: Pillow's limit, too
_MAX_KEYWORD_BYTES = 79
_MAX_LANGUAGE_BYTES = 1 << 10  # of iTXt: the language and the translated keyword
_LANGUAGES = re.compile(rb"[^\0]*\0[^\0]*\0", re.DOTALL)


def keyword(content: memoryview) -> bytes:
    """The keyword in the content of one of TEXT_CHUNKS; empty: it has none."""
    word, end, _ = bytes(content[: _MAX_KEYWORD_BYTES + 1]).partition(b"\0")
    return word if end else b""


def text(name: bytes, content: memoryview) -> bytes:
    """The text of a chunk of that name behind its keyword; empty: none that can be read."""
    rest = content[len(keyword(content)) + 1 :]
    if name == b"tEXt":
        return bytes(rest[:MAX_TEXT_BYTES])
    if name == b"zTXt":
        return _decompressed(rest[1:]) if bytes(rest[:1]) == b"\0" else b""
    languages = _LANGUAGES.match(bytes(rest[2 : 2 + _MAX_LANGUAGE_BYTES]))
    if languages is None:
        return b""
    packed, said = bytes(rest[:2]), rest[2 + languages.end() :]
    if packed[0] == 0:
        return bytes(said[:MAX_TEXT_BYTES])
    return _decompressed(said) if packed[1] == 0 else b""


def profile(said: bytes) -> bytes | None:
    """The block of a raw profile: behind its name and its length, lines of digits. None: it is none."""
    try:
        return bytes.fromhex(b"".join(said.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return None


def _decompressed(packed: memoryview) -> bytes:
    """Empty where it is damaged, or longer than MAX_TEXT_BYTES."""
    inflater = zlib.decompressobj()
    try:
        said = inflater.decompress(packed, MAX_TEXT_BYTES)
    except zlib.error:
        return b""
    return b"" if inflater.unconsumed_tail else said
