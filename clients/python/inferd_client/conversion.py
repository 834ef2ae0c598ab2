"""Numbers of one datatype as another: the rule by which a client converts. inferd.engine.conversion is its twin.

Somebody chose the datatype of an array, so it is converted only if every value stays the same. A list has no datatype, so its floats may
be rounded. A requested cast may lose fractions, too. A value that the datatype cannot hold is always rejected.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

_ORDER = {"b": 0, "u": 1, "i": 1, "f": 2}  # numpy's kinds of numbers; one goes into the same or a later one


class Keep(Enum):
    """How much of each value a conversion must keep."""

    VALUE = "value"  # all of it
    NEAREST = "nearest"  # as much as a float of that size can
    RANGE = "range"  # the whole part: truth values become 0 and 1, other numbers than 0 become true


def converted(array: Array, word: str, dtype: np.dtype[Any], keep: Keep, ask: str) -> Array:
    """The array as `dtype`, the datatype that clients call `word`. ask: how to ask for a cast.

    Raises ValueError: expected, got, the value that is in the way, and the cure.
    """
    if array.dtype == dtype:
        return array
    source, wanted = _ORDER.get(array.dtype.kind), _ORDER.get(dtype.kind)
    if source is None or wanted is None:
        raise ValueError(f"expected {word}, got {array.dtype}; make it an array of {dtype}")
    if not array.size:
        return array.astype(dtype)
    cure = f"; convert it by .astype('{dtype}'), or {ask}"
    if source > wanted and keep is not Keep.RANGE:
        raise ValueError(f"expected {word}, got {array.dtype}{cure}")
    with np.errstate(over="ignore", invalid="ignore"):
        made: Array = array.astype(dtype)
        if (outside := _outside(array, made)).size:
            raise ValueError(f"expected {word}, got {array.dtype}, and {outside[0]} does not fit {word}")
        if keep is Keep.VALUE and (rounded := _rounded(array, made)).size:
            raise ValueError(f"expected {word}, got {array.dtype}, and {rounded[0]} would be rounded{cure}")
    return made


def _outside(array: Array, made: Array) -> Array:
    """Values that the new datatype cannot hold."""
    if made.dtype.kind == "f":
        return array[np.isinf(made) & np.isfinite(array)]
    if made.dtype.kind == "b" or array.dtype.kind == "b":
        return _none(array)
    limits = np.iinfo(made.dtype)
    if array.dtype.kind == "f":
        return array[~((array >= float(limits.min)) & (array < float(limits.max) + 1))]  # NaN is in no range
    ends: Array = np.array([array.min(), array.max()])
    return ends[[not limits.min <= int(end) <= limits.max for end in ends]]


def _rounded(array: Array, made: Array) -> Array:
    """Values that became others; each of them fits."""
    if made.dtype.kind != "f" or array.dtype.kind == "b":
        return _none(array)
    back: Array = made.astype(array.dtype)
    if array.dtype.kind == "f":
        same: Array = (back == array) | np.isnan(array)
    else:
        same = (made < 2.0 ** np.iinfo(array.dtype).bits) & (back == array)
    return array[~same]


def _none(array: Array) -> Array:
    return array.ravel()[:0]
