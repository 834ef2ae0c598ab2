"""Numbers of one datatype made numbers of another: what does not fit is limited, never wrapped around.

Never in here: text, BF16 (numpy has neither as numbers).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from inferd._core.tensor import DATATYPES
from inferd.steps.pipeline import Array

__all__ = ["CASTS", "cast_between"]

CASTS = ("FP16", "FP32", "FP64", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL")

Kind = np.dtype[np.generic]


def cast_between(source: str, target: str) -> Callable[[Array], Array]:
    """What makes arrays of datatype `source`, one of CASTS, arrays of `target`: new ones, C-contiguous.

    Beyond the target's range: its nearest end; fractions are cut off; NaN becomes 0 of an integer; infinity stays infinity of FP16, FP32 and
    FP64; BOOL is true of all but 0.
    """
    was, becomes = DATATYPES[source][2], DATATYPES[target][2]
    if becomes.kind == "b":
        return lambda array: np.not_equal(array, 0, order="C")
    if was.kind == "b" or was == becomes:
        return lambda array: array.astype(becomes, order="C")
    if was.kind == "f":
        return _float_to_float(was, becomes) if becomes.kind == "f" else _float_to_integer(was, becomes)
    return _integer_to_float(becomes) if becomes.kind == "f" else _integer_to_integer(was, becomes)


def _float_to_float(was: Kind, becomes: Kind) -> Callable[[Array], Array]:
    if becomes.itemsize >= was.itemsize:
        return lambda array: array.astype(becomes, order="C")
    most = np.finfo(becomes).max

    def narrow(array: Array) -> Array:
        with np.errstate(all="ignore"):
            made = array.astype(becomes, order="C")
            beyond = np.isinf(made) & np.isfinite(array)
        if beyond.any():
            made[beyond] = np.copysign(most, array[beyond])
        return made

    return narrow


def _float_to_integer(was: Kind, becomes: Kind) -> Callable[[Array], Array]:
    low, high = np.iinfo(becomes).min, np.iinfo(becomes).max
    through = np.float64 if was.itemsize == 8 else np.float32  # FP16 ends at 65504: the ends of most integers are none of its numbers
    least, most = through(low), through(high)  # `most` may be one above `high`: what is below it fits all the same

    def cut(array: Array) -> Array:
        wide = np.ascontiguousarray(array, through)
        inside = (wide > least) & (wide < most)  # not NaN
        made = np.where(inside, wide, through(0)).astype(becomes)
        made[wide >= most] = high
        made[wide <= least] = low
        return made

    return cut


def _integer_to_float(becomes: Kind) -> Callable[[Array], Array]:
    most = 65504 if becomes.itemsize == 2 else None  # the others reach further than any integer

    def convert(array: Array) -> Array:
        if most is None:
            return array.astype(becomes, order="C")
        return np.clip(array.astype(np.float64), -most, most).astype(becomes, order="C")

    return convert


def _integer_to_integer(was: Kind, becomes: Kind) -> Callable[[Array], Array]:
    low = max(np.iinfo(was).min, np.iinfo(becomes).min)
    high = min(np.iinfo(was).max, np.iinfo(becomes).max)
    return lambda array: np.clip(array, low, high).astype(becomes, order="C")
