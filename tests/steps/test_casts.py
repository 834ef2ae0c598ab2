"""Casts between all datatypes against a plain Python version, value by value: limits, fractions, NaN, infinities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from inferd._core.tensor import DATATYPES
from inferd.steps.casts import CASTS, cast_between

ENDS = [0.0, -0.0, 0.5, -0.5, 0.99, 1.0, -1.0, 2.5, -2.5, 127.0, 127.5, 128.0, -128.9, -129.0, 255.0, 255.9, 256.0, 65504.0, 65519.0, 65520.0]
ENDS += [-70000.0, 2.0**31 - 1, 2.0**31, -(2.0**31), -(2.0**31) - 1, 2.0**53, 2.0**63 - 1024, 2.0**63, -(2.0**63), 2.0**64, 3.4e38, 1e300, -1e300]
ENDS += [math.inf, -math.inf, math.nan]


def plain(value: Any, target: str) -> Any:
    """value: a Python number."""
    dtype = DATATYPES[target][2]
    if dtype.kind == "b":
        return value != 0
    if dtype.kind == "f":
        if isinstance(value, float) and not math.isfinite(value):
            return value
        most = float(np.finfo(dtype).max)
        return float(dtype.type(max(-most, min(most, value)))) if abs(value) <= 2**1000 else math.copysign(most, value)
    if value != value:
        return 0
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return high if value > high else low if value < low else int(value)


def check(array: Any, source: str, target: str) -> None:
    before = array.copy()
    got = cast_between(source, target)(array)
    np.testing.assert_array_equal(array, before)
    assert got.dtype == DATATYPES[target][2]
    assert got.shape == array.shape
    assert got.flags.c_contiguous
    np.testing.assert_array_equal(got, np.array([plain(value, target) for value in array.ravel().tolist()], got.dtype).reshape(array.shape))


@pytest.mark.parametrize("target", CASTS)
@pytest.mark.parametrize("source", CASTS)
def test_both_ends_of_everything(source: str, target: str) -> None:
    dtype = DATATYPES[source][2]
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            array = np.array(ENDS).astype(dtype)
    elif dtype.kind == "b":
        array = np.array([False, True])
    else:
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        around = [sign * 2**bits + more for bits in range(65) for sign in (-1, 1) for more in (-1, 0, 1)]
        array = np.array([value for value in [0, low, high, 65504, 65505, 70000, *around] if low <= value <= high], dtype)
    check(array, source, target)


@pytest.mark.parametrize("target", CASTS)
@given(st.data())
def test_any_float(target: str, data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(["FP16", "FP32", "FP64"]))
    check(data.draw(arrays.arrays(DATATYPES[source][2], arrays.array_shapes(max_dims=2, max_side=8))), source, target)


@pytest.mark.parametrize("target", CASTS)
def test_an_array_of_another_layout(target: str) -> None:
    array = np.arange(24, dtype=np.int64).reshape(4, 6)[:, ::2]
    check(array, "INT64", target)
    check(array.astype(np.float32).T, "FP32", target)
