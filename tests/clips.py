"""Audio files for tests, and the pages of OGG files: where they lie, and the checksums that their bytes should have."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import numpy as np
import soundfile


def sound(samples=8000, rate=16_000, channels=1, seed=0):
    n = np.arange(samples)[:, np.newaxis]
    tones = 0.3 * np.sin(2 * np.pi * (300 + 211 * np.arange(channels)) * n / rate)
    return (tones + np.random.default_rng(seed).normal(0, 0.02, (samples, channels))).astype(np.float32)


def written(samples, rate=16_000, kind=("WAV", "PCM_16"), **options):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind[0], subtype=kind[1], **options)
    return file.getvalue()


def ogg_pages(content: bytes) -> Iterator[slice]:
    """The pages, of a file that is whole."""
    at = 0
    while at < len(content):
        sizes = content[at + 27 : at + 27 + content[at + 26]]
        end = at + 27 + len(sizes) + sum(sizes)
        yield slice(at, end)
        at = end


def ogg_checksum(page: bytes) -> int:
    """Bit by bit, as RFC 3533 has it: the polynomial 0x04C11DB7, from 0 on, nothing mirrored; the checksum itself counts as 0."""
    register = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1) ^ (0x104C11DB7 if register >> 31 else 0)
    return register


def with_checksums(content: bytes, pages: list[slice]) -> bytes:
    """The same with the checksums that these pages should have."""
    mended = bytearray(content)
    for page in pages:
        mended[page.start + 22 : page.start + 26] = struct.pack("<I", ogg_checksum(bytes(mended[page])))
    return bytes(mended)
