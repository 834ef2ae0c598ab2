"""Steps over any numbers, the same before a graph and after it: scale, normalize and cast.

Each function takes a step's parameters and returns a function of one array, which always makes a new array. ValueError says what is wrong
with the parameters. Never in here: shapes of requests, the order of steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from inferd._core.tensor.datatypes import DATATYPES
from inferd.steps.pipeline import Array

if TYPE_CHECKING:
    from inferd.protocol.options import Cast, Normalize, Scale

Apply = Callable[[Array], Array]

CASTS = ("FP16", "FP32", "FP64", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL")
DEFAULT_FACTOR = 1 / 255


def scale(step: Scale, datatype: str = "FP32") -> Apply:
    """x * factor + offset, as FP32, or FP64."""
    dtype = DATATYPES[datatype][2]
    factor = dtype.type(step.factor if step.HasField("factor") else DEFAULT_FACTOR)
    offset = dtype.type(step.offset)
    if not (np.isfinite(factor) and np.isfinite(offset)):
        raise ValueError(f"expected finite numbers, got factor {factor:g} and offset {offset:g}")

    def apply(array: Array) -> Array:
        scaled: Array = np.multiply(array, factor, dtype=dtype)
        if offset:
            scaled += offset
        return scaled

    return apply


def normalize(step: Normalize, channels: int, axis: int, rank: int, datatype: str = "FP32") -> Apply:
    """(x - mean) / std, as FP32, or FP64, of arrays of `rank` axes whose axis `axis` has `channels` channels."""
    if not step.mean and not step.std:
        raise ValueError("expected mean, std, or both: one number for all channels or one each; neither is there")
    for name, numbers in (("mean", step.mean), ("std", step.std)):
        if len(numbers) not in (0, 1, channels):
            raise ValueError(f"expected 1 or {channels} numbers in {name}, as many as there are channels, got {len(numbers)}")
        if not np.isfinite(numbers).all():
            raise ValueError(f"expected finite numbers in {name}, got {list(numbers)}")
    if any(number <= 0 for number in step.std):
        raise ValueError(f"expected numbers above 0 in std, got {list(step.std)}")
    dtype = DATATYPES[datatype][2]
    mean, std = (
        np.reshape(np.array(numbers or [default], dtype), [-1 if at == axis else 1 for at in range(rank)])
        for numbers, default in ((step.mean, 0), (step.std, 1))
    )

    def apply(array: Array) -> Array:
        centred = np.subtract(array, mean, dtype=dtype)
        result: Array = np.divide(centred, std, out=centred)
        return result

    return apply


def cast(step: Cast) -> Apply:
    """Casts to step.datatype. Numbers that do not fit are limited to its range; infinities stay where it has them. For integers, fractions
    are cut off and NaN becomes 0."""
    if step.datatype not in CASTS:
        raise ValueError(f"expected one of {', '.join(CASTS)} as datatype, got {step.datatype!r}")
    dtype: np.dtype[Any] = DATATYPES[step.datatype][2]
    if dtype.kind == "b":
        return lambda array: array != 0
    if dtype.kind == "f":
        return lambda array: _to_floats(array, dtype)
    return lambda array: _to_integers(array, dtype)


def _to_floats(array: Array, dtype: np.dtype[Any]) -> Array:
    if dtype.itemsize == 2 or (array.dtype.kind == "f" and array.dtype.itemsize > dtype.itemsize):
        limited = np.clip(array, -np.finfo(dtype).max, np.finfo(dtype).max)
        array = np.where(np.isinf(array), array, limited)  # what was no number before is none afterwards
    return array.astype(dtype)


def _to_integers(array: Array, dtype: np.dtype[Any]) -> Array:
    limits = np.iinfo(dtype)
    if array.dtype.kind == "b":
        return array.astype(dtype)
    if array.dtype.kind != "f":
        own = np.iinfo(array.dtype)
        return np.clip(array, max(limits.min, own.min), min(limits.max, own.max)).astype(dtype)
    numbers = np.nan_to_num(array.astype(np.float64, copy=False), nan=0.0, posinf=np.inf, neginf=-np.inf)
    beyond = numbers >= float(int(limits.max) + 1)  # a power of two, which is exact, as the end of a range of 64 bits is not
    limited = np.where(beyond, 0.0, np.maximum(numbers, float(limits.min))).astype(dtype)
    limited[beyond] = limits.max
    return limited
