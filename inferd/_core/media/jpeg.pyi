from typing import Any

import numpy as np
from typing_extensions import Buffer

def header(data: Buffer) -> tuple[int, int, int, int, bool, bool] | None:
    """(height, width, scans, components, whole, arithmetic) of a JPEG file; None where its head cannot be read, or not without a warning.

    scans: passes over the picture that its data makes; each costs time, whatever the file's size. 0: the file ends before the image does.
    components: 1 gray, 3 colors, or 4 inks. whole: the library keeps 2 bytes of each component of each
    pixel while it decodes, at whatever scale. arithmetic: its data is coded so, as far as its segments can be read.
    """

OURS: int
LIBJPEG: int

def decode(data: Buffer, pixels: np.ndarray[Any, np.dtype[np.uint8]], readers: int = ...) -> bool:
    """Decodes a JPEG file into `pixels`, writable UINT8 [height, width, 1 or 3], C-contiguous: gray (its luma), or red, green, blue.

    height and width are the file's, or that of any number of eighths of it, see scaled_size. False: the file is damaged or cut short,
    and `pixels` holds anything. The GIL is released meanwhile. Raises ValueError for another size. readers: OURS, LIBJPEG, or
    both: the second reads the files that the first leaves to it. OURS alone returns False for these.
    """

def scaled_size(height: int, width: int, eighths: int) -> tuple[int, int]:
    """(height, width) of a picture that is decoded at so many eighths of its size."""
