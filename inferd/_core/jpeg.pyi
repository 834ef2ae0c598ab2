from typing import Any

import numpy as np
from typing_extensions import Buffer

def header(data: Buffer) -> tuple[int, int, int, int] | None:
    """(height, width, scans, components) of a JPEG file; None where its head cannot be read, or not without a warning.

    scans: how many passes over the picture its data makes. Each costs time, whatever the file's size, and where there are several the
    library keeps 2 bytes of each component of each pixel. components: 1 gray, 3 colors, or 4 inks.
    """

def decode(data: Buffer, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bool:
    """Decodes a JPEG file into `pixels`, writable UINT8 [height, width, 1 or 3], C-contiguous: gray (its luma), or red, green, blue.

    height and width are the file's, or that of any number of eighths of it, see scaled_size. False: the file is damaged or cut short,
    and `pixels` holds anything. The GIL is released meanwhile. Raises ValueError for another size.
    """

def scaled_size(height: int, width: int, eighths: int) -> tuple[int, int]:
    """(height, width) of a picture that is decoded at so many eighths of its size."""
