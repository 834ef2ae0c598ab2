"""WAV files: whether all of one is there, and its samples where they are plain numbers, which is most files there are.

Plain samples are unsigned 8-bit, 16- and 32-bit integers, and both floats. numpy reads them in place, many times faster than a library.
Anything else (24 bits, A-law, compressed) is for libsndfile, after a check that the file is whole.
Never in here: resampling, limits of rates and channels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from inferd.steps.audio_container import BadClip, cut_off

MOST_CHUNKS = 1_000  # in front of the samples
UNKNOWN_BYTES = 0x7FFF0000  # and above: a file that was written before its length was known, whose samples go on to its end

PCM, FLOAT, A_LAW, MU_LAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
UNCOMPRESSED = {PCM, FLOAT, A_LAW, MU_LAW}  # a sample has its bytes to itself
SUBFORMAT = bytes.fromhex("000000001000800000aa00389b71")  # how the name of a format goes on behind its number, of EXTENSIBLE

# Format and bits -> libsndfile's word, numpy's, what silence is and what the largest number is.
PLAIN = {
    (PCM, 8): ("PCM_U8", "u1", 128, 1 / 128),
    (PCM, 16): ("PCM_16", "<i2", 0, 1 / 32_768),
    (PCM, 32): ("PCM_32", "<i4", 0, 1 / 2_147_483_648),
    (FLOAT, 32): ("FLOAT", "<f4", 0, 1),
    (FLOAT, 64): ("DOUBLE", "<f8", 0, 1),
}

Floats = np.ndarray[Any, np.dtype[np.float32]]


class Chunks(NamedTuple):
    """The parts of a file that matter here."""

    layout: bytes  # the chunk `fmt `
    samples: memoryview


class PlainWav:
    """An open file, with those names of soundfile.SoundFile's that are used."""

    format = "WAV"

    def __init__(self, subtype: str, rate: int, numbers: np.ndarray[Any, Any], silence: int, factor: float) -> None:
        self.subtype = subtype
        self.samplerate = rate
        self.frames, self.channels = numbers.shape
        self._numbers = numbers
        self._silence = silence
        self._factor = np.float32(factor)
        self._read_frames = 0

    def read(self, *, out: Floats) -> Floats:
        """The next samples, as many as fit into out [frames, channels]: the filled part of it."""
        numbers = self._numbers[self._read_frames : self._read_frames + len(out)]
        self._read_frames += len(numbers)
        filled = out[: len(numbers)]
        with np.errstate(over="ignore", invalid="ignore"):  # doubles too large for FP32 become infinity, which is rejected as NaN is
            np.copyto(filled, numbers, casting="unsafe")
        if self._silence:
            filled -= np.float32(self._silence)
        if self._factor != 1:
            filled *= self._factor
        return filled


def plain_wav(content: memoryview) -> PlainWav | None:
    """The file, or None where a library has to decode it. BadClip where not all of it is there."""
    layout, samples = _chunks(content)
    if len(layout) < 16:
        return None
    kind, channels, rate, _, frame_bytes, bits = (
        int.from_bytes(layout[begin:end], "little") for begin, end in ((0, 2), (2, 4), (4, 8), (8, 12), (12, 14), (14, 16))
    )
    if kind == EXTENSIBLE and layout[26:40] == SUBFORMAT:
        kind = int.from_bytes(layout[24:26], "little")
    if kind not in UNCOMPRESSED or bits % 8 or frame_bytes != channels * bits // 8 or frame_bytes == 0:
        return None
    if over := len(samples) % frame_bytes:
        raise cut_off("WAV", f"{frame_bytes - over} bytes of its last sample are")
    if (kind, bits) not in PLAIN:
        return None
    subtype, dtype, silence, factor = PLAIN[kind, bits]
    frames = len(samples) // frame_bytes
    numbers = np.frombuffer(samples, dtype, frames * channels).reshape(frames, channels)
    return PlainWav(subtype, rate, numbers, silence, factor)


def _chunks(content: memoryview) -> Chunks:
    at, layout = 12, b""
    for _ in range(MOST_CHUNKS):
        if at + 8 > len(content):
            raise cut_off("WAV", "its samples are")
        word = bytes(content[at : at + 4])
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        if word == b"data":
            missing = at + 8 + size - len(content)
            if size < UNKNOWN_BYTES and missing > 0:
                raise cut_off("WAV", f"{missing} bytes are")
            return Chunks(layout, content[at + 8 : at + 8 + size])
        if word == b"fmt ":
            layout = bytes(content[at + 8 : at + 8 + min(size, 40)])
        at += 8 + size + size % 2
    raise BadClip(f"expected a WAV file whose samples begin within {MOST_CHUNKS} chunks, got more")
