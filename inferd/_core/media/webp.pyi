from typing import Any

import numpy as np
from typing_extensions import Buffer

def decode(data: Buffer, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bool:
    """Decodes a WebP picture into `pixels`, writable UINT8 [height, width, 3 or 4], C-contiguous: red, green, blue, how opaque.

    data: a still file, or its chunk VP8 or VP8L alone, with ALPH in front. In a file, libwebp reads on behind a chunk that is cut short.
    False: it is damaged, cut short, an animation or of another size, or there is no memory, which libwebp reports as damage. `pixels`
    holds anything then. The GIL is released meanwhile. Raises ValueError for another shape.
    """
