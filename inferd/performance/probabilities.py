"""Probabilities as models return them: which rows count, and what they are as shares of 1.

Never in here: labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from inferd.compare.statistics import MAX_FIGURE

if TYPE_CHECKING:
    from inferd.compare.statistics import Floats
    from inferd.tensors import Array

Flags = np.ndarray[Any, np.dtype[np.bool_]]


def usable(probabilities: Array) -> tuple[Floats, Flags]:
    """Probabilities (rows, classes) as float64, and which rows count: no number is NaN, infinite or negative, and one is above 0."""
    found = np.asarray(probabilities, np.float64)
    within: Flags = np.all((found >= 0.0) & (found <= MAX_FIGURE), axis=1)  # NaN is neither
    return found, within & (np.where(within[:, None], found, 0.0).max(axis=1, initial=0.0) > 0.0)


def shares(probabilities: Floats) -> Floats:
    """Each row divided by its sum. A model may return sigmoids, or floats whose sum is nearly 1."""
    divided: Floats = probabilities / probabilities.sum(axis=1, keepdims=True)
    return divided
