"""OGG files: whether they are one whole stream of Vorbis or Opus, page by page. Every page has a checksum.

libsndfile silently leaves out damaged or missing pages, and all behind the first stream. Release 1.2.2 leaks 5.8 KB and more for a Vorbis
file with a bad first header, or without its three headers. No such file gets to it. Never in here: packets behind the first.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from inferd.steps.audio_container import TAKEN, BadClip, corrupt, cut_off, only_tags

MOST_PAGES_A_SECOND = 400  # a packet of Opus lasts 2.5 ms at least
MOST_OTHER_PAGES = 1_000  # of headers

# The magic, the version, the flags, (the position), the stream, the page's number in it, its checksum, how many sizes follow.
HEAD = struct.Struct("<4sBB8xIIIB")
CONTINUED, FIRST, LAST = 1, 2, 4

VORBIS = b"\x01vorbis"
HEADERS = {VORBIS: 3, b"OpusHead": 2}  # what the first packet begins with -> how many packets are no sound

# Vorbis' first header: the version, channels, samples a second, (three bit rates), two block sizes as powers of 2, a bit that is 1.
IDENTIFICATION = struct.Struct("<IBI12xBB")
LEAST_BLOCK, MOST_BLOCK = 6, 13

# The checksum has the bits of each byte in the order that zlib's has not, and begins with 0.
MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Page(NamedTuple):
    """One page. sizes: of the pieces of its packets; a piece below 255 bytes ends its packet."""

    flags: int
    stream: int
    number: int
    sizes: bytes
    end: int  # where the next begins

    @property
    def packets(self) -> int:
        """How many packets end here."""
        return len(self.sizes) - self.sizes.count(255)


def check_ogg(content: memoryview, seconds: float) -> None:
    """Raises BadClip for what is no whole stream, and for more pages than `seconds` of sound can have."""
    page = _page(content, 0)
    headers = _headers(content, page)
    packets, unfinished = 1, False
    most = int(seconds * MOST_PAGES_A_SECOND) + MOST_OTHER_PAGES
    for _ in range(most):
        if page.flags & LAST:
            break
        following = _page(content, page.end)
        _check_next(page, following, unfinished)
        page = following
        packets += page.packets
        if page.sizes:
            unfinished = page.sizes[-1] == 255
    else:
        raise BadClip(f"expected an OGG file of at most {most} pages, got more: send a shorter clip")
    if packets < headers:
        raise corrupt("OGG", f"expected {headers} headers, got {packets}")
    rest = content[page.end :]
    if bytes(rest[:4]) == b"OggS":
        raise _several(page.end)
    if not only_tags(rest):
        raise corrupt("OGG", f"expected its end at byte {page.end}, got something else")


def _page(content: memoryview, at: int) -> Page:
    """The page that begins there, once it is known to be as it was written."""
    head = bytes(content[at : at + HEAD.size])
    if len(head) < HEAD.size:
        raise cut_off("OGG", "its last page is")
    magic, version, flags, stream, number, checksum, count = HEAD.unpack(head)
    if magic != b"OggS" or version:
        raise corrupt("OGG", f"expected a page at byte {at}, got something else")
    sizes = bytes(content[at + HEAD.size : at + HEAD.size + count])
    end = at + HEAD.size + count + sum(sizes)
    if end > len(content):
        raise cut_off("OGG", f"{end - len(content)} bytes are")
    if _checksum(bytes(content[at:end])) != checksum:
        raise corrupt("OGG", f"the checksum of the page at byte {at} is not that of its bytes")
    return Page(flags, stream, number, sizes, end)


def _checksum(page: bytes) -> int:
    """CRC-32 with the bits in the other order, of the page with zeros in place of its checksum."""
    zeroed = page[:22] + bytes(4) + page[26:]
    mirrored = zlib.crc32(zeroed.translate(MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(MIRRORED), "big")


def _headers(content: memoryview, page: Page) -> int:
    """How many headers the stream has that begins with this page, which must have the first of them, and nothing else."""
    if not page.flags & FIRST or page.flags & CONTINUED or page.packets != 1 or page.sizes[-1] == 255:
        raise corrupt("OGG", "expected a page with the first header, and nothing else, at byte 0, got another")
    packet = bytes(content[page.end - sum(page.sizes) : page.end])
    for magic, headers in HEADERS.items():
        if packet.startswith(magic):
            if magic == VORBIS:
                _check_vorbis(packet[len(VORBIS) :])
            return headers
    raise BadClip(f"{TAKEN}, got an OGG file that begins with neither Vorbis nor Opus: convert it")


def _check_vorbis(header: bytes) -> None:
    if len(header) >= IDENTIFICATION.size:
        version, channels, rate, blocks, framed = IDENTIFICATION.unpack_from(header)
        small, large = blocks & 15, blocks >> 4
        if version == 0 and channels and rate and LEAST_BLOCK <= small <= large <= MOST_BLOCK and framed & 1:
            return
    raise corrupt("OGG", "its first header is not Vorbis'")


def _check_next(page: Page, following: Page, unfinished: bool) -> None:
    """unfinished: whether a packet goes on behind `page`."""
    if following.stream != page.stream or following.flags & FIRST:
        raise _several(page.end)
    number = (page.number + 1) & 0xFFFFFFFF
    if following.number != number:
        raise corrupt("OGG", f"expected page {number} at byte {page.end}, got page {following.number}")
    if following.sizes and bool(following.flags & CONTINUED) != unfinished:
        raise corrupt("OGG", f"the page at byte {page.end} does not go on where the one before it ends")


def _several(at: int) -> BadClip:
    return BadClip(f"expected an OGG file of one stream, got another at byte {at}: send each as a file of its own")
