from typing import Any, TypeAlias

import numpy as np

_Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

def use_plain(plain: bool) -> None:
    """For tests: only instructions that every machine of this architecture has, or again the best that are there."""

def softmax(array: _Array) -> _Array:
    """Softmax of the last axis. A row with a NaN or +infinity, or of -infinity alone, becomes NaN; below 1.2e-38 is 0."""

def sigmoid(array: _Array) -> _Array:
    """1 / (1 + e^-x) of each element; NaN of NaN, below 1.2e-38 is 0."""

def l2_normalize(array: _Array) -> _Array:
    """Each row of the last axis over its Euclidean length, which counts as 1e-12 at least: zeros stay zeros."""

def mean_pool(array: _Array, real: _Array) -> _Array:
    """[rows, tokens, n] and which tokens are real, BOOL [rows, tokens] -> [rows, n]: the mean of the real ones; 0 where there are none.

    Values of tokens that are not real are never read: they may be NaN. Raises ValueError where the two do not fit.
    """

def top_k(array: _Array, k: int) -> tuple[_Array, _Array]:
    """The k largest of the last axis, largest first -> values FP32 [..., k] and places INT64 [..., k].

    Equal ones in the order of their places; NaN comes last, behind -infinity. Raises ValueError where k is not 1 to the axis' size.
    """
