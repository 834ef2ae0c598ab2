"""HdrHistogram's text of a histogram: V2, compressed, base64.

It is no library's, so that a report can be read where only inferd is installed. Tests compare it with the hdrhistogram package. Never in
here: a log of several histograms (export).
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from typing import Any

import numpy as np

from inferd.bench.measurement import BUCKETS, HIGHEST_NS, Histogram, highest_ns, lowest_ns
from inferd.errors import ConfigError

# HdrHistogram's V2 format, as its Java original writes it: all big-endian.
COOKIE, COMPRESSED_COOKIE = 0x1C849303 | 0x10, 0x1C849304 | 0x10
HEADER = struct.Struct(">iiiiqqd")  # cookie, payload bytes, index offset, significant digits, lowest, highest, ratio
SIGNIFICANT_DIGITS = 3
LARGEST_PAYLOAD = HEADER.size + 9 * BUCKETS  # a count takes 9 bytes at most


def encode(histogram: Histogram) -> str:
    """The text that HdrHistogram's libraries read with decodeFromCompressedByteBuffer, after base64."""
    payload = bytearray()
    next_bucket = 0
    for bucket in np.flatnonzero(histogram.counts).tolist():
        if bucket > next_bucket:
            write_number(payload, next_bucket - bucket)  # so many buckets of zero
        write_number(payload, int(histogram.counts[bucket]))
        next_bucket = bucket + 1
    header = HEADER.pack(COOKIE, len(payload), 0, SIGNIFICANT_DIGITS, 1, HIGHEST_NS, 1.0)
    packed = zlib.compress(header + payload)
    return base64.b64encode(struct.pack(">ii", COMPRESSED_COOKIE, len(packed)) + packed).decode()


def decode(text: str) -> Histogram:
    """The histogram of such a text; sum, least and greatest are those of its buckets, so right to 0.1 %. ConfigError if it is none.

    Accepts what other programs wrote, if it counts nanoseconds from 1 with three significant digits.
    """
    payload = memoryview(inflate(text))
    if len(payload) < HEADER.size:
        raise ConfigError(f"histogram: expected at least {HEADER.size} bytes, got {len(payload)}")
    cookie, length, offset, digits, lowest, _, _ = HEADER.unpack_from(payload)
    if cookie != COOKIE:
        raise ConfigError(f"histogram: expected HdrHistogram's V2 encoding, got cookie {cookie & 0xFFFFFFFF:#x}")
    if (digits, lowest, offset) != (SIGNIFICANT_DIGITS, 1, 0):
        raise ConfigError(f"histogram: expected 3 digits from 1 without offset, got {digits} digits from {lowest}, offset {offset}")
    if length != len(payload) - HEADER.size:
        raise ConfigError(f"histogram: its header says {length} bytes of counts, there are {len(payload) - HEADER.size}")
    counts = read_counts(payload[HEADER.size :])
    filled = np.flatnonzero(counts)
    if not len(filled):
        return Histogram(counts)
    low, high = int(filled[0]), int(filled[-1])
    middles = np.array([(lowest_ns(bucket) + highest_ns(bucket)) // 2 for bucket in filled.tolist()], np.float64)
    return Histogram(counts, int(middles @ counts[filled].astype(np.float64)), highest_ns(high), lowest_ns(low))


def inflate(text: str) -> bytes:
    """The header and counts inside base64 and zlib."""
    try:
        packed = base64.b64decode(text, validate=True)
        cookie, length = struct.unpack_from(">ii", packed)
        if cookie != COMPRESSED_COOKIE:
            raise ConfigError(f"histogram: expected HdrHistogram's compressed V2 encoding, got cookie {cookie & 0xFFFFFFFF:#x}")
        if length != len(packed) - 8:
            raise ConfigError(f"histogram: it says {length} compressed bytes, there are {len(packed) - 8}")
        unpacker = zlib.decompressobj()
        payload = unpacker.decompress(packed[8:], LARGEST_PAYLOAD)
    except (binascii.Error, ValueError, struct.error, zlib.error) as error:
        raise ConfigError(f"histogram: no base64 of HdrHistogram's compressed encoding: {error}") from None
    if not unpacker.eof or unpacker.unused_data:
        raise ConfigError(f"histogram: expected one zlib stream of at most {LARGEST_PAYLOAD} bytes, got another length")
    return payload


def read_counts(payload: memoryview) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Counts of all buckets: a number is how often, a negative one how many buckets of zero to pass over."""
    counts = np.zeros(BUCKETS, np.uint64)
    bucket = position = 0
    while position < len(payload):
        number, position = read_number(payload, position)
        if number < 0:
            bucket -= number
            continue
        if bucket >= BUCKETS:
            raise ConfigError(f"histogram: counts longer times than {HIGHEST_NS} ns")
        counts[bucket] = number
        bucket += 1
    return counts


def write_number(out: bytearray, number: int) -> None:
    """ZigZag, then LEB128 whose ninth byte has all eight bits: HdrHistogram's own variant."""
    rest = ((number << 1) ^ (number >> 63)) & 0xFFFFFFFFFFFFFFFF
    for _ in range(8):
        if rest < 0x80:
            out.append(rest)
            return
        out.append((rest & 0x7F) | 0x80)
        rest >>= 7
    out.append(rest)


def read_number(payload: memoryview, position: int) -> tuple[int, int]:
    """The number at a position, and where the next one begins."""
    number = 0
    for nth in range(9):
        if position == len(payload):
            raise ConfigError("histogram: ends within a count")
        byte = payload[position]
        position += 1
        if nth == 8 or byte < 0x80:
            number |= byte << (7 * nth)
            break
        number |= (byte & 0x7F) << (7 * nth)
    return (number >> 1) ^ -(number & 1), position
