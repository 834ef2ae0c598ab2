"""One rule for an Engine, the command line and the SDK: what is converted, what is rejected, and in which words."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import inferd_client.conversion
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import inferd.engine.conversion
from inferd.engine.conversion import Keep
from inferd.engine.conversion import converted as convert

DTYPES = [np.dtype(name) for name in ("bool", "int8", "uint8", "int64", "uint64", "float16", "float32", "float64")]


def outcome(array: np.ndarray[Any, Any], dtype: np.dtype[Any], keep: Keep) -> np.ndarray[Any, Any] | str:
    try:
        return convert(array, "WORD", dtype, keep, "ask")
    except ValueError as error:
        return str(error)


def holds(dtype: np.dtype[Any], value: Any) -> bool:
    """The plain version: whether the datatype has this very number."""
    if dtype.kind == "b":
        return isinstance(value, bool)
    if dtype.kind in "iu":
        return isinstance(value, int) and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
    if isinstance(value, float) and not math.isfinite(value):
        return True
    with np.errstate(over="ignore"):
        near = float(dtype.type(value))
    return math.isfinite(near) and Fraction(near) == Fraction(value)


@given(st.data())
def test_values_are_kept_or_rejected(data: st.DataObject) -> None:
    source, wanted = data.draw(st.sampled_from(DTYPES)), data.draw(st.sampled_from(DTYPES))
    array = data.draw(arrays.arrays(source, arrays.array_shapes(min_dims=0, max_dims=2, max_side=3)))
    kept = all(holds(wanted, value) for value in array.ravel().tolist())
    made = outcome(array, wanted, Keep.VALUE)
    assert isinstance(made, str) == (not kept)
    if not isinstance(made, str):
        assert made.dtype == wanted
        assert made.shape == array.shape
        assert all(a == b or (a != a and b != b) for a, b in zip(made.ravel().tolist(), array.ravel().tolist(), strict=True))


@pytest.mark.parametrize(
    ("array", "dtype", "keep", "expected"),
    [
        (
            np.float64([0.5, 0.1]),
            "float32",
            Keep.VALUE,
            "expected WORD, got float64, and 0.1 would be rounded; convert it by .astype('float32'), or ask",
        ),
        (np.float64([0.1]), "float32", Keep.NEAREST, [np.float32(0.1)]),
        (np.float64([0.1]), "float32", Keep.RANGE, [np.float32(0.1)]),
        (np.int64([2**24 + 1]), "float32", Keep.VALUE, "16777217 would be rounded"),
        (np.float64([1e300]), "float32", Keep.RANGE, "and 1e+300 does not fit WORD"),
        (np.float64([1.5]), "int8", Keep.NEAREST, "expected WORD, got float64; convert it by .astype('int8'), or ask"),
        (np.float64([1.5, -1.5]), "int8", Keep.RANGE, [1, -1]),
        (np.float64([np.nan]), "int8", Keep.RANGE, "nan does not fit WORD"),
        (np.float64([2.0**63]), "int64", Keep.RANGE, "does not fit WORD"),
        (np.int64([300]), "uint8", Keep.RANGE, "300 does not fit WORD"),
        (np.int64([-1]), "uint8", Keep.VALUE, "-1 does not fit WORD"),
        (np.int64([2, 0]), "bool", Keep.RANGE, [True, False]),
        (np.array(["a"]), "float32", Keep.RANGE, "expected WORD, got <U1; make it an array of float32"),
        (np.complex64([1]), "float32", Keep.RANGE, "got complex64; make it an array of float32"),
        (np.float64([]), "int8", Keep.VALUE, []),
    ],
)
def test_what_each_mode_keeps(array: np.ndarray[Any, Any], dtype: str, keep: Keep, expected: Any) -> None:
    made = outcome(array, np.dtype(dtype), keep)
    assert expected in made if isinstance(made, str) else made.tolist() == expected


def test_the_sdk_has_the_same_rule() -> None:
    """Neither package needs the other one: two files, one text."""
    ours, theirs = (
        Path(module.__file__ or "").read_text().partition("\n")[2] for module in (inferd.engine.conversion, inferd_client.conversion)
    )
    assert ours == theirs
