"""The mel bank: what numpy's FFT gives of the same windows, or ValueError where they reach too far; every width the same to the bit.

Input: 9 bytes for the sizes, and samples as 16 bits each.
"""

from __future__ import annotations

import struct

import numpy as np

from inferd._core.media.mel import MelBank
from tests._core.media.test_mel import FFTS, LANES, random_bank, reference

MODULES = ("media.mel",)
DICTIONARY = (b"\xff\x7f", b"\0\x80", b"\0\0\0\0")
PARAMETERS = struct.Struct("<HBBBhH")
MOST_FFT = 512
SIZES = [fft for fft in FFTS if fft <= MOST_FFT]
SMALLEST = 1e-5  # of the strongest band: FP32 has no more of one that lies beside it


def check(data: bytes) -> None:
    if len(data) < PARAMETERS.size:
        return
    fft_at, bands, frames, hop, first, seed = PARAMETERS.unpack_from(data)
    fft, bands, frames = SIZES[fft_at % len(SIZES)], 1 + bands % 12, 1 + frames % 24
    content = data[PARAMETERS.size :]
    samples = np.frombuffer(content[: len(content) // 2 * 2], "<i2").astype(np.float32) / 32768
    window, weights = random_bank(np.random.default_rng(seed), fft, bands)
    made = [run(MelBank(window, weights, lanes), samples, first, hop, (bands, frames)) for lanes in LANES]
    at = first + hop * (frames - 1) + fft - 1
    reach = len(samples) - 1
    fits = hop >= 1 and reach >= 0 and abs(first) <= reach and at <= 2 * reach
    assert all((each is not None) is fits for each in made)
    if made[0] is None:
        return
    expected = reference(samples, window, weights, first, hop, frames)
    np.testing.assert_allclose(made[0], expected, rtol=1e-4, atol=SMALLEST * max(1.0, expected.max()))
    for each in made[1:]:
        np.testing.assert_array_equal(each, made[0])


def run(bank: MelBank, samples: np.ndarray, first: int, hop: int, shape: tuple[int, int]) -> np.ndarray | None:  # type: ignore[type-arg]
    out = np.full(shape, np.nan, np.float32)
    try:
        bank.run(samples, first, hop, out)
    except ValueError:
        return None
    return out


def seeds() -> list[bytes]:
    tone = (np.sin(np.arange(900)) * 30000).astype("<i2").tobytes()
    return [
        PARAMETERS.pack(fft, 5, frames, 20, first, 1) + tone for fft in range(0, len(SIZES), 9) for frames, first in ((9, 0), (16, -30))
    ]
