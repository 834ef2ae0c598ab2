"""What Python's ssl and grpc do not say of a certificate, by its DER. Whether it has a name with a NUL in it: grpc hands over what stands
before the first one of each name, which may be somebody else's whole name. And how long it is valid. Never in here: whose names are
allowed, and any other part of a certificate.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["has_nul", "validity"]

# Object identifiers as they stand in DER: each of them that is there is looked at, wherever.
COMMON_NAME, ALTERNATIVE_NAMES = bytes.fromhex("0603550403"), bytes.fromhex("0603551d11")
BOOLEAN = 0x01  # whether an extension is critical: three bytes
MOST_NAMES = 8192  # as many as a certificate has room for; names within names could be looked at again and again
TEXTS = (0x81, 0x82, 0x86)  # of the alternative names e-mail, DNS and URI
VERSION = 0xA0  # of a certificate: the first of its fields, where there is one
UTC_TIME = 0x17  # two digits of the year, of 1950 to 2049; the other kind has four
WIDE = {0x1C: "utf-32-be", 0x1E: "utf-16-be"}  # UniversalString and BMPString; all others are bytes, in which NUL is zero


def has_nul(der: bytes) -> bool:
    """Also True where those names are no DER, or are too many."""
    try:
        return any("\0" in value.decode(WIDE.get(tag, "latin-1"), "replace") for tag, value in _names(der))
    except IndexError:
        return True


def validity(der: bytes) -> tuple[datetime, datetime]:
    """The first moment of a certificate, and the last. ValueError, IndexError: it is none."""
    _, certificate, _ = _element(der, 0)
    _, at, _ = _element(der, certificate)
    if der[at] == VERSION:
        _, _, at = _element(der, at)
    for _ in ("serial number", "algorithm of the signature", "issuer"):
        _, _, at = _element(der, at)
    _, first, _ = _element(der, at)
    _, _, last = _element(der, first)
    return _time(der, first), _time(der, last)


def _time(der: bytes, at: int) -> datetime:
    tag, start, end = _element(der, at)
    text = der[start:end].decode("ascii")
    if tag == UTC_TIME:
        text = ("20" if text < "50" else "19") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _names(der: bytes) -> Iterator[tuple[int, bytes]]:
    for at in _behind(der, COMMON_NAME):
        tag, start, end = _element(der, at)
        yield tag, der[start:end]
    left = MOST_NAMES
    for at in _behind(der, ALTERNATIVE_NAMES):
        _, sequence, _ = _element(der, at + 3 if der[at] == BOOLEAN else at)
        _, start, last = _element(der, sequence)
        while start < last:
            left -= 1
            if left < 0:
                raise IndexError(at)
            tag, value, end = _element(der, start)
            if tag in TEXTS:
                yield tag, der[value:end]
            start = end


def _behind(der: bytes, identifier: bytes) -> Iterator[int]:
    at = der.find(identifier)
    while at >= 0:
        yield at + len(identifier)
        at = der.find(identifier, at + len(identifier))


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """The tag of what stands there, and where its content begins and ends. IndexError: beyond the end."""
    start, nbytes = at + 2, der[at + 1]
    if nbytes == 0x80:  # it ends where it says so, which is no DER
        raise IndexError(at)
    if nbytes & 0x80:  # so many bytes hold the number
        start, nbytes = start + (nbytes & 0x7F), int.from_bytes(der[start : start + (nbytes & 0x7F)])
    if start + nbytes > len(der):
        raise IndexError(at)
    return der[at], start, start + nbytes
