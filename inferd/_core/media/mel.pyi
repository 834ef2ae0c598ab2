from typing import Any, Self, TypeAlias

import numpy as np

_Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

class MelBank:
    """Windows of sound -> their power in each of several bands of frequencies. Threads may share one.

    window: FP32 [fft], what each window is multiplied with. weights: FP32 [bands, fft // 2 + 1], what each band takes of each bin's
    |X|^2; the bins that are not 0 should lie side by side. fft: see `fits`.
    lanes: how many windows are worked on at once: 4 (any machine) or 8 (AVX2); default: as many as there are.
    Raises ValueError for sizes that do not match, or lanes that this machine does not have.
    """

    MOST_FFT: int
    lanes: int
    def __new__(cls, window: _Floats, weights: _Floats, lanes: int = 0) -> Self: ...
    @staticmethod
    def fits(fft: int) -> bool:
        """Whether windows can have so many samples: an even number up to MOST_FFT whose half has no prime factor above 7."""

    def run(self, samples: _Floats, first: int, hop: int, out: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        """Fills out FP32 [bands, frames] (of any layout). Window t begins at sample first + t * hop.

        Samples before the first and after the last are reflected there, so a window may reach len(samples) - 1 beyond either end at
        most: ValueError otherwise. Holds no GIL while it works.
        """
