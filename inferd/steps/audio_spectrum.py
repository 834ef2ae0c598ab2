"""Spectra: samples become bands of frequencies by frames, the log-mel of `log_mel` or the coefficients of `mfcc`.

_core/media/mel computes the power in each band; here are the bands, the logarithms and the DCT. Never in here: rows, limits of
requests, which step follows which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from inferd._core.media.mel import MelBank
from inferd.steps.audio_wav import Floats
from inferd.steps.pipeline import Array, within

if TYPE_CHECKING:
    from inferd.protocol.options import LogMel

MOST_HOP = 1 << 20
MOST_BANDS = 1_024
DEFAULT_FFT, DEFAULT_HOP, DEFAULT_MELS = 400, 160, 80

MOST_PRODUCTS = 200_000  # multiplications that OpenBLAS does on one thread


class Frames(NamedTuple):
    """Which windows a clip has."""

    fft: int  # samples of a window
    hop: int  # samples from one window to the next
    span: int  # samples that the first frame counts for: 1 + (samples - span) // hop frames
    centered: bool  # the clip is reflected at both ends; else whole windows only

    @property
    def first(self) -> int:
        """The sample that the first window begins at."""
        return -(self.fft // 2) if self.centered else 0

    @property
    def shortest(self) -> int:
        """Samples that give a frame."""
        return max(self.fft // 2 + 1 if self.centered else self.fft, self.span)

    def count(self, samples: int) -> int:
        return 1 + (samples - self.span) // self.hop if samples >= self.shortest else 0


class Spectrum:
    """FP32 [samples] -> FP32 [bands, frames], or [frames, bands] where frames_first says so. Threads may share one.

    Centered: frame t is centred on sample t * hop, and the clip is reflected at both ends. There are samples // hop frames, as Whisper
    has them, which leaves the last one out; with last_frame 1 + samples // hop. Else 1 + (samples - fft) // hop, whole windows only.
    """

    def __init__(self, step: LogMel, rate: int, coefficients: int = 0) -> None:
        """coefficients: of an MFCC; 0: a log-mel. rate: samples a second of the clips. Raises ValueError saying what is wrong."""
        fft, hop, mels = step.fft or DEFAULT_FFT, step.hop or DEFAULT_HOP, step.mels or DEFAULT_MELS
        if not MelBank.fits(fft):
            why = f"an even number up to {MelBank.MOST_FFT} whose only prime factors are 2, 3, 5 and 7"
            raise ValueError(f"expected as fft {why}, got {fft}: {_next_fft(fft)} is one")
        within("hop", hop, 1, MOST_HOP)
        within("mels", mels, 1, MOST_BANDS)
        low_hz, high_hz = step.low_hz, step.high_hz or rate / 2
        if not 0 <= low_hz < high_hz <= rate / 2:
            raise ValueError(f"expected 0 <= low_hz < high_hz <= {rate / 2:g}, half the sample rate, got {low_hz:g} and {high_hz:g}")
        centered = step.centered if step.HasField("centered") else True
        if step.last_frame and not centered:
            raise ValueError("last_frame is for centered frames, and centered is false: remove it")
        self.frames = Frames(fft, hop, fft if not centered else 0 if step.last_frame else hop, centered)
        self.bands = coefficients or mels
        self.frames_first = step.frames_first
        self.mels = mels
        self._bank = MelBank(_hann(fft), mel_weights(rate, fft, mels, low_hz, high_hz))
        self._scale = _decibels if coefficients else _SCALINGS[step.scaling]
        self._dct = _dct(coefficients, mels) if coefficients else None  # [coefficients, mels]

    def __call__(self, clip: Floats) -> Floats:
        """The spectrum of a clip of self.frames.shortest samples or more."""
        bands = self._empty(self.mels, self.frames.count(len(clip)))
        self._bank.run(np.ascontiguousarray(clip), self.frames.first, self.frames.hop, bands)
        bands = self._scale(bands)
        if self._dct is not None:
            bands = self._product(self._dct, bands)
        return bands.T if self.frames_first else bands

    def _empty(self, bands: int, frames: int) -> Floats:
        """[bands, frames], which lie as they are given."""
        return np.empty((frames, bands), np.float32).T if self.frames_first else np.empty((bands, frames), np.float32)

    def _product(self, dct: Floats, bands: Floats) -> Floats:
        """The matrices' product, in pieces so small that BLAS starts no threads: they would wait for each other where all cores are
        busy."""
        coefficients = self._empty(len(dct), bands.shape[1])
        frames = max(1, MOST_PRODUCTS // dct.size)
        for first in range(0, bands.shape[1], frames):
            piece = slice(first, first + frames)
            np.matmul(dct, bands[:, piece], out=coefficients[:, piece])
        return coefficients


LEAST_POWER = 1e-10  # what WHISPER and DB take the logarithm of at least
LN_10 = float(np.log(10))


def _whisper(power: Floats) -> Floats:
    """log10, at least the largest value - 8, (x + 4) / 4; in place."""
    _floored_logarithm(power, 8 * LN_10)
    power *= np.float32(1 / (4 * LN_10))
    power += np.float32(1)
    return power


def _decibels(power: Floats) -> Floats:
    """10 log10, at least the largest value - 80; in place."""
    _floored_logarithm(power, 8 * LN_10)
    power *= np.float32(10 / LN_10)
    return power


def _floored_logarithm(power: Floats, below: float) -> None:
    """The natural logarithm, which numpy is several times faster at than at others, at least the largest value - below."""
    np.maximum(power, np.float32(LEAST_POWER), out=power)
    np.log(power, out=power)
    np.maximum(power, np.max(power) - np.float32(below), out=power)


def _natural(power: Floats) -> Floats:
    """ln(x + 1e-6); in place."""
    power += np.float32(1e-6)
    return np.log(power, out=power)


_SCALINGS: tuple[Callable[[Floats], Floats], ...] = (_whisper, _natural, _decibels)  # by LogMel.Scaling


def _next_fft(fft: int) -> int:
    return next((size for size in range(fft, MelBank.MOST_FFT) if MelBank.fits(size)), MelBank.MOST_FFT)


def _hann(fft: int) -> Floats:
    """The periodic Hann window, torch.hann_window's."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(fft) / fft)).astype(np.float32)


def _dct(coefficients: int, mels: int) -> Floats:
    """The DCT-II, orthonormal, as a matrix [coefficients, mels]."""
    row = np.arange(coefficients)[:, np.newaxis]
    matrix: Array = np.sqrt(2 / mels) * np.cos(np.pi * row * (2 * np.arange(mels) + 1) / (2 * mels))
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


def mel_weights(rate: int, fft: int, mels: int, low_hz: float, high_hz: float) -> Floats:
    """Triangles of equal width on Slaney's mel scale and of equal area (his norm): FP32 [mels, fft // 2 + 1].

    The scale is linear up to 1000 Hz, 15 mel, and logarithmic above, 27 mel for a factor of 6.4. A band that is narrower than the
    distance of two bins can be empty: such a mel has power 0.
    """

    def mel_of(hz: float) -> float:
        return hz * 3 / 200 if hz < 1000 else 15 + 27 * float(np.log(hz / 1000) / np.log(6.4))

    mel = np.linspace(mel_of(low_hz), mel_of(high_hz), mels + 2)
    edges = np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))
    bins = np.arange(fft // 2 + 1) * (rate / fft)
    left, middle, right = edges[:-2, np.newaxis], edges[1:-1, np.newaxis], edges[2:, np.newaxis]
    triangles: Array = np.maximum(0, np.minimum((bins - left) / (middle - left), (right - bins) / (right - middle)))
    triangles *= 2 / (right - left)
    return triangles.astype(np.float32)
