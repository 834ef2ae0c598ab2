from collections.abc import Sequence
from typing import Any, Self

import numpy as np

MAX_SIDE: int
MAX_CHANNELS: int

def instruction_sets() -> tuple[str, ...]: ...
def flatten(pixels: np.ndarray[Any, Any], background: tuple[int, int, int] | None, out: np.ndarray[Any, Any]) -> None:
    """UINT8 [height, width, 3 or 4] -> out, UINT8 [height, width, 1 or 3]: without transparency, and gray where out has one channel.

    The last of 4 channels is how opaque a pixel is, before one color, the background, which may be None for pixels of 3. Gray is the luma
    of ITU-R 601-2. Rounded as Pillow's alpha_composite and convert do, to the bit. Both are C-contiguous. The GIL is released.
    Raises ValueError.
    """

class Transform:
    """One pass from pixels to a tensor: resize, window, affine, layout; see image.pyx."""

    def __new__(
        cls,
        size: tuple[int, int],
        *,
        channels: int,
        method: str = "BILINEAR",
        antialias: bool = True,
        exact: bool = False,
        fill: int = 0,
        factors: Sequence[float] = (1.0,),
        offsets: Sequence[float] = (0.0,),
        datatype: str = "UINT8",
        channels_first: bool = False,
        reverse_channels: bool = False,
        instruction_set: str = "",
    ) -> Self: ...
    def apply(
        self,
        pixels: np.ndarray[Any, Any],
        out: np.ndarray[Any, Any],
        resized: tuple[int, int],
        corner: tuple[int, int] = (0, 0),
        box: tuple[float, float, float, float] | None = None,
    ) -> None: ...
