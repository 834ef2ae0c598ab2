"""Audio files: decoded to what can be sound, or BadClip. WAV by numpy, the others by libsndfile behind checks of their containers.

Pages of OGG get the checksums that they should have, or nothing changed in them would be looked at.
"""

from __future__ import annotations

import numpy as np

from inferd.steps.audio_container import BadClip
from inferd.steps.audio_file import LOUDEST, AudioDecoder
from tests.clips import ogg_checksum, sound, written

MODULES = ()
LINES = tuple(f"inferd.steps.audio_{name}" for name in ("container", "file", "mp3", "ogg", "wav"))
DICTIONARY = (b"RIFF", b"WAVE", b"fmt ", b"data", b"fLaC", b"OggS", b"OpusHead", b"\1vorbis", b"ID3", b"\xff\xfb", b"Xing", b"TAG")
MOST_SECONDS = 0.5
DECODER = AudioDecoder(16_000, MOST_SECONDS)


def check(data: bytes) -> None:
    if not data:
        return
    content = data[1:]
    if data[0] & 1 and content[:4] == b"OggS":
        content = checksummed(content)
    try:
        samples = DECODER(memoryview(content), lambda: None)
    except BadClip:
        return
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert np.abs(samples).max() <= 2 * LOUDEST, "resampling goes a little beyond"
    assert 0 < len(samples) <= 16_000 * MOST_SECONDS + 1_000


def checksummed(content: bytes) -> bytes:
    mended = bytearray(content)
    at = 0
    while at + 27 <= len(mended) and mended[at : at + 4] == b"OggS":
        sizes = mended[at + 27 : at + 27 + mended[at + 26]]
        end = at + 27 + len(sizes) + sum(sizes)
        mended[at + 22 : at + 26] = ogg_checksum(bytes(mended[at:end])).to_bytes(4, "little")
        at = end
    return bytes(mended)


KINDS = (
    ("WAV", "PCM_16"), ("WAV", "PCM_U8"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("WAVEX", "PCM_16"), ("FLAC", "PCM_16"),
    ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"),
)  # fmt: skip


def seeds() -> list[bytes]:
    files = [written(sound(300), kind=kind) for kind in KINDS]
    files += [written(sound(100, channels=2), 8_000), written(sound(300), kind=("OGG", "VORBIS"))[:4_000]]
    return [b"\1" + file for file in files]
