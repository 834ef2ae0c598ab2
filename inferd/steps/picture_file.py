"""The format of a picture's file by its bytes, and facts that need no decoding.

Decoders stop at the last pixel, or where there are no more, and pass over unknown parts. So this module checks the chunks of a PNG or WebP,
the rows of a PNG, and the end of a JPEG. It mends faults in the head of a JPEG that every viewer ignores: bytes between the segments, and a
later version of JFIF. Then each warning of libjpeg behind the head means damage. Parts that no pixel needs (texts, profiles, padding) are
left out, so that no library reads them, however long they are. Long files are read in pieces, between which other threads run, and never
copied: the result is a list of pieces of the file. Never in here: libraries, pixels.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from inferd.steps.png_text import EXIF_PROFILE, TEXT_CHUNKS, XMP, keyword, profile, text

FORMATS = ("JPEG", "PNG", "WebP", "BMP")

_BEGINNINGS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"BM", "BMP"),
    (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\1\0", "ICO"),
    (b"8BPS", "PSD"),
    (b"%PDF", "PDF"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML"),
    (b"/9j/", "base64 text"),
    (b"iVBORw0KGgo", "base64 text"),
    (b"data:image/", "data URL"),
)
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF"}

_MAX_SEGMENTS = 1000  # of a JPEG file; a color profile has up to 255
_MAX_CHUNKS = 1 << 16  # of a PNG or WebP file; most encoders write a PNG's pixels in chunks of 8 KiB and more, none in less than 1
_CHUNKS_A_CHECK = 1000
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_NEEDED = (*_CRITICAL, b"tRNS", b"acTL", b"fcTL")  # transparency, and whether it is an animation
_MAX_NEEDED_BYTES = 3 * 256  # of one of them but IDAT: a palette is the largest
_MAY_BE_PASSED_OVER = 0x20  # of the first letter of a chunk's name: a small one
_PNG_SIGNATURE_BYTES, _IHDR_BYTES = 8, 13
_PNG_WIDTH, _PNG_DEPTH, _PNG_COLOR, _PNG_INTERLACED, _PNG_HEAD_BYTES = 16, 24, 25, 28, 33  # where that stands in the file
_GRAY, _RGB, _PALETTE = 0, 2, 3
_PNG_CHANNELS = {_GRAY: 1, _RGB: 3, _PALETTE: 1, 4: 2, 6: 4}
# Passes of an interlaced PNG: the first column and row of each, and how far it is to the next.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_INFLATED_PIECE_BYTES = 1 << 16
# The chunks of a WebP file, a letter each: features, transparency, a lossy or a lossless picture, a frame of an animation, EXIF, XMP.
_WEBP_LETTERS = {b"VP8X": "x", b"ALPH": "a", b"VP8 ": "y", b"VP8L": "r", b"ANMF": "f", b"EXIF": "e", b"XMP ": "m"}
_WEBP_STILL = re.compile("[yr].*|x[-em]*a?[yr][-em]*")
_RIFF_BYTES, _WEBP_HEAD_BYTES = 12, 10
_ANIMATED, _HAS_XMP, _HAS_EXIF, _HAS_ALPHA, _FLAGS = 0x02, 0x04, 0x08, 0x10, 0x3E
_MAX_STRAY_BYTES = 1 << 16  # between two of them
_PIECE_BYTES = 1 << 20
_SCAN, _START, _END = 0xDA, 0xD8, 0xD9
_APP0, _APP14, _APP15, _COMMENT = 0xE0, 0xEE, 0xEF, 0xFE
_ARITHMETIC = {0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}  # frames that are coded so: SOF9 and those behind it, of which 0xCC is none
# A marker that means something: behind 0xFF no zero, as the data of a scan has it, no restart of a scan, and no filling.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]", re.DOTALL)


class Segment(NamedTuple):
    """A piece of a JPEG file: its marker, where that begins, where its content does, and where it ends."""

    marker: int
    start: int
    content: int
    end: int


def file_format(file: memoryview) -> str:
    """The name of what a file seems to be by its first bytes; empty: unknown."""
    head = bytes(file[:16])
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video")
    return next((name for beginning, name in _BEGINNINGS if head.startswith(beginning)), "")


# ---- JPEG


def jpeg_segments(file: memoryview) -> Iterator[Segment]:
    """The segments of the head of a JPEG file, its first scan's the last; fewer where the file is none, or ends before.

    Bytes between them are passed over, as by every decoder.
    """
    at = 2  # behind the start of the image
    for _ in range(_MAX_SEGMENTS):
        segment = _next_segment(file, at, at + _MAX_STRAY_BYTES)
        if segment is None or segment.marker == _END:
            return
        yield segment
        if segment.marker == _SCAN:
            return
        at = segment.end


def tidied_jpeg(file: memoryview) -> list[memoryview] | None:
    """The pieces of a JPEG file as JFIF version 1, without segments that no pixel needs, and bytes between segments of the head. None where
    the head has no end."""
    pieces = [file[:2]]
    for segment in jpeg_segments(file):
        piece = file[segment.start : segment.end]
        if segment.marker == _APP0 and bytes(piece[4:9]) == b"JFIF\0":
            piece = memoryview(bytes(piece[:9]) + b"\1" + bytes(piece[10:]))
        if segment.marker == _SCAN:
            return [*pieces, file[segment.start :]]
        if not _says_nothing_of_pixels(segment.marker):
            pieces.append(piece)
    return None


def _says_nothing_of_pixels(marker: int) -> bool:
    """Whether it is a comment or belongs to an application. The first and the 14th, of JFIF and Adobe, tell what components mean."""
    return marker == _COMMENT or (_APP0 < marker <= _APP15 and marker != _APP14)


def is_arithmetic(file: memoryview) -> bool:
    """Whether a JPEG file is coded arithmetically, not by Huffman's codes."""
    return any(segment.marker in _ARITHMETIC for segment in jpeg_segments(file))


def unpadded_jpeg(file: memoryview) -> list[memoryview] | None:
    """The pieces of a JPEG file without the zeros that some cameras write in front of the end of the image. None where there are none."""
    segments = _all_segments(file)
    if not _ends(segments):
        return None
    *_, last = segments
    at = end = last.start
    while at and at == end:
        at = max(0, end - _PIECE_BYTES)
        end = at + len(bytes(file[at:end]).rstrip(b"\0"))
    if end < last.start and file[end - 1] == 0xFF:  # a zero behind it belongs to it
        end += 1
    return [file[:end], file[last.start : last.end]] if end < last.start else None


def _all_segments(file: memoryview) -> list[Segment]:
    """The segments of a JPEG file up to the end of the image, which is the last of them where the file comes to it."""
    segments: list[Segment] = []
    while len(segments) < _MAX_SEGMENTS and not _ends(segments):
        segment = _next_segment(file, segments[-1].end if segments else 2, len(file))
        if segment is None:
            break
        segments.append(segment)
    return segments


def _ends(segments: list[Segment]) -> bool:
    return bool(segments) and segments[-1].marker == _END


def _next_segment(file: memoryview, at: int, most: int) -> Segment | None:
    """The first segment that begins from `at` on and before `most`, if it lies in the file."""
    found = None
    while found is None and at < min(most, len(file)):
        past = min(at + _PIECE_BYTES, most)
        found = _MARKER.search(file, at, past + 1)  # it may lie across the end of a piece
        at = past
    if found is None:
        return None
    start, content = found.span()
    marker = file[start + 1]
    if marker == _START:  # of another image
        return None
    if marker == _END:
        return Segment(marker, start, content, content)
    end = content + int.from_bytes(file[content : content + 2], "big")
    return Segment(marker, start, content + 2, end) if content + 2 <= end <= len(file) else None


# ---- PNG


class Png(NamedTuple):
    """Facts from the chunks of a PNG file that is whole."""

    colors: int  # of its palette; 0: it has none
    interlaced: bool
    depth: int  # bits of a sample
    transparent: tuple[int, ...] | None  # gray, or red, green, blue as decoders give them: fewer than 8 bits spread to 8, 16 as they are
    # A block of EXIF's, the last of them, wherever it stands; that of a raw profile where there is no other.
    exif: memoryview | bytes | None
    pieces: tuple[memoryview, ...]  # of the file, without what no pixel needs
    xmp: bytes | None = None


def read_png(file: memoryview, check: Callable[[], None] = lambda: None) -> Png | None:
    """The facts of a PNG file. None for a damaged one: too many chunks, no end, a wrong checksum, an unknown critical chunk, or no head,
    palette or pixels.

    check() is called now and then, and may raise.
    """
    colors, exif, pixels, last = 0, None, False, b""
    transparent: tuple[int, ...] | None = None
    texts: dict[bytes, tuple[bytes, memoryview]] = {}
    end = _PNG_SIGNATURE_BYTES
    spans = [(0, end)]
    for number, (name, content) in enumerate(_png_chunks(file, check)):
        start, end = end, end + 12 + len(content)
        if (name == b"IHDR" and len(content) == _IHDR_BYTES) != (number == 0) or (
            name not in _CRITICAL and not name[0] & _MAY_BE_PASSED_OVER
        ):
            return None
        if name == b"PLTE":
            if len(content) % 3 or not 0 < len(content) <= 3 * 256 or colors or pixels:
                return None
            colors = len(content) // 3
        elif name == b"tRNS" and transparent is None and not pixels:
            transparent = _transparent(file[_PNG_DEPTH], file[_PNG_COLOR], content)
        elif name == b"eXIf":
            exif = content
        elif name in TEXT_CHUNKS and (word := keyword(content)) in (XMP, EXIF_PROFILE):
            texts[word] = name, content
        if name == b"IDAT" or (name in _NEEDED and len(content) <= _MAX_NEEDED_BYTES):
            start = spans.pop()[0] if spans[-1][1] == start else start
            spans.append((start, end))
        pixels = pixels or name == b"IDAT"
        last = name
    if last != b"IEND" or not pixels or len(file) < _PNG_HEAD_BYTES or (file[_PNG_COLOR] == _PALETTE and not colors):
        return None
    pieces = tuple(file[start:end] for start, end in spans)
    block = profile(text(*texts[EXIF_PROFILE])) if exif is None and EXIF_PROFILE in texts else exif
    xmp = text(*texts[XMP]) if XMP in texts else None
    return Png(colors, bool(file[_PNG_INTERLACED]), file[_PNG_DEPTH], transparent, block, pieces, xmp)


def _transparent(depth: int, color: int, content: memoryview) -> tuple[int, ...] | None:
    """The one color that tRNS says; None: the file is of a kind that has none."""
    if color not in (_GRAY, _RGB) or not 1 <= depth <= 16 or len(content) < 2 * _PNG_CHANNELS[color]:
        return None
    most = (1 << depth) - 1  # bits above it say nothing
    spread = 255 // most if depth < 8 else 1
    return tuple((sample & most) * spread for sample in struct.unpack_from(f">{_PNG_CHANNELS[color]}H", content))


def has_all_rows(file: memoryview, check: Callable[[], None] = lambda: None) -> bool:
    """Whether the pixels of a whole PNG file are as many as its head says, which takes half as long as to decode them."""
    missing = _png_bytes(file)
    inflater = zlib.decompressobj()
    for name, content in _png_chunks(file, check):
        for at in range(0, len(content) if name == b"IDAT" else 0, _INFLATED_PIECE_BYTES):
            piece: bytes | memoryview = content[at : at + _INFLATED_PIECE_BYTES]
            while piece and missing > 0 and not inflater.eof:
                check()
                missing -= len(inflater.decompress(piece, _PIECE_BYTES))
                piece = inflater.unconsumed_tail
    return missing <= 0


def _png_bytes(file: memoryview) -> int:
    """Bytes of the rows of a PNG file before they are compressed, by its head."""
    width, height, depth, color = struct.unpack_from(">IIBB", file, _PNG_WIDTH)
    bits = depth * _PNG_CHANNELS.get(color, 1)
    passes = _PASSES if file[_PNG_INTERLACED] else ((0, 0, 1, 1),)
    sizes = ((-(-(height - top) // down), -(-(width - left) // right)) for left, top, right, down in passes)
    return sum(rows * (1 + (columns * bits + 7) // 8) for rows, columns in sizes if rows > 0 and columns > 0)


def _png_chunks(file: memoryview, check: Callable[[], None]) -> Iterator[tuple[bytes, memoryview]]:
    """Name and content of each chunk up to the end of the image; fewer where one is not all there, or damaged."""
    at = _PNG_SIGNATURE_BYTES
    for number in range(1, _MAX_CHUNKS + 1):
        if number % _CHUNKS_A_CHECK == 0:
            check()
        if at + 12 > len(file):
            return
        (nbytes,) = struct.unpack_from(">I", file, at)
        end = at + 8 + nbytes
        if end + 4 > len(file) or zlib.crc32(file[at + 4 : end]) != int.from_bytes(file[end : end + 4], "big"):
            return
        name = bytes(file[at + 4 : at + 8])
        yield name, file[at + 8 : end]
        if name == b"IEND":
            return
        at = end + 4


# ---- WebP


class Webp(NamedTuple):
    """Facts from the chunks of a WebP file."""

    size: tuple[int, int]  # height and width
    frames: int  # of an animation; 0: it is none
    picture: memoryview  # the chunk of a still picture, that of its transparency in front: all that pixels are made of
    transparent: bool  # whether pixels may be
    buffered: bool  # whether libwebp decodes all colors, or all of the transparency, before it gives the first pixel
    exif: memoryview | None  # a block of EXIF's
    xmp: memoryview | None = None


def read_webp(file: memoryview, check: Callable[[], None] = lambda: None) -> Webp | None:
    """The facts of a WebP file. None where it has too many chunks, one that is not whole, or others than its kind has.

    check() is called now and then, and may raise.
    """
    found: dict[str, memoryview] = {}  # the first of each kind; of a file without VP8X, the first alone
    spans: dict[str, tuple[int, int]] = {}
    order, at, past = "", _RIFF_BYTES, 8 + int.from_bytes(file[4:8], "little")
    for name, content, end in _webp_chunks(file[:past], check):
        letter = _WEBP_LETTERS.get(name, "-")
        if order[:1] in ("", "x"):
            found.setdefault(letter, content)
            spans.setdefault(letter, (at, end))
        order += letter
        at = end
    head, lossy, lossless = map(found.get, "xyr")
    size = _webp_size(head, lossy, lossless)
    flags = head[0] if head else 0
    frames = order.count("f") if flags & _ANIMATED else 0
    as_flagged = frames if flags & _ANIMATED else _WEBP_STILL.fullmatch(order)
    if at != past or size is None or flags & ~_FLAGS or not as_flagged:
        return None
    start, end = spans.get("y" if lossless is None else "r", (0, 0))
    has_alpha = flags & _HAS_ALPHA != 0
    if has_alpha and "a" in spans:
        start = spans["a"][0]
    return Webp(
        size,
        frames,
        picture=file[start:end],
        transparent=has_alpha if lossless is None else bytes(lossless[4:5]) >= b"\x10",
        buffered=lossless is not None or (has_alpha and "a" in spans),
        exif=found.get("e") if flags & _HAS_EXIF else None,
        xmp=found.get("m") if flags & _HAS_XMP else None,
    )


def _webp_size(head: memoryview | None, lossy: memoryview | None, lossless: memoryview | None) -> tuple[int, int] | None:
    """Height and width by the first of these chunks that is there; None where it is too short, or begins with something else."""
    if head is not None:
        height, width = (1 + int.from_bytes(head[at : at + 3], "little") for at in (7, 4))
        return (height, width) if len(head) == _WEBP_HEAD_BYTES else None
    if lossy is not None and len(lossy) >= 10 and bytes(lossy[3:6]) == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", lossy, 6)
        return height & 0x3FFF, width & 0x3FFF
    if lossless is not None and len(lossless) >= 5 and lossless[0] == 0x2F:
        bits = int.from_bytes(lossless[1:5], "little")
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    return None


def _webp_chunks(file: memoryview, check: Callable[[], None]) -> Iterator[tuple[bytes, memoryview, int]]:
    """Name, content and end of each chunk; fewer where one is not all there."""
    at = _RIFF_BYTES
    for number in range(1, _MAX_CHUNKS + 1):
        if number % _CHUNKS_A_CHECK == 0:
            check()
        if at + 8 > len(file):
            return
        name, nbytes = struct.unpack_from("<4sI", file, at)
        start, at = at + 8, at + 8 + nbytes + nbytes % 2
        if at > len(file):
            return
        yield name, file[start : start + nbytes], at
