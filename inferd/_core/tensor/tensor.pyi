from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np

class Tensors:
    """The input or output arrays of one run; see tensor.pyx."""

    def __new__(cls, arrays: Sequence[np.ndarray[Any, Any]], datatypes: Sequence[str], batched: bool, rows: int | None = None) -> Self: ...
    arrays: Final[list[np.ndarray[Any, Any]]]
