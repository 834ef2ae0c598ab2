from typing import Any

import numpy as np

def orient(pixels: np.ndarray[Any, np.dtype[np.uint8]], out: np.ndarray[Any, np.dtype[np.uint8]], orientation: int) -> None:
    """Writes `pixels`, UINT8 [height, width, 1 or 3], upright into `out`; both C-contiguous, in memory that does not overlap.

    orientation: EXIF's, 1 to 8, how the picture lies. From 5 on `out` is [width, height, channels]. Raises ValueError.
    """
