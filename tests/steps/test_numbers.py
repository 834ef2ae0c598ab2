"""scale, normalize and cast against the formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd._core.tensor.datatypes import DATATYPES
from inferd.protocol import options
from inferd.steps import numbers

INTEGERS = [word for word in numbers.CASTS if "INT" in word]


def test_scale_is_a_255th_by_default() -> None:
    result = numbers.scale(options.Scale())(np.array([0, 51, 255], np.uint8))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [0, 0.2, 1], rtol=1e-6)


def test_scale_with_both() -> None:
    np.testing.assert_allclose(numbers.scale(options.Scale(factor=-2, offset=3))(np.array([1.5, -1], np.float32)), [0, 5])
    assert numbers.scale(options.Scale(factor=0, offset=3))(np.array([1.5], np.float32)).tolist() == [3]


@pytest.mark.parametrize("axis", [0, 1])
def test_normalize_by_channel(axis) -> None:
    array = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    size = array.shape[axis]
    mean, std = np.arange(size) / 4, np.arange(1, size + 1) / 4
    result = numbers.normalize(options.Normalize(mean=mean, std=std), size, axis, 2)(array)
    shape = (-1, 1) if axis == 0 else (1, -1)
    np.testing.assert_allclose(result, (array - mean.reshape(shape)) / std.reshape(shape), rtol=1e-6)


def test_normalize_with_one_of_both() -> None:
    array = np.array([[2.0, 4.0]], np.float32)
    assert numbers.normalize(options.Normalize(mean=[1]), 2, 1, 2)(array).tolist() == [[1, 3]]
    assert numbers.normalize(options.Normalize(std=[2]), 2, 1, 2)(array).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    "step",
    [
        options.Normalize(),
        options.Normalize(mean=[1, 2]),
        options.Normalize(mean=[1], std=[1, 2, 3, 4]),
        options.Normalize(std=[0]),
        options.Normalize(std=[-1]),
        options.Normalize(mean=[float("nan")]),
        options.Normalize(std=[float("inf")]),
    ],
)
def test_normalize_rejects(step) -> None:
    with pytest.raises(ValueError, match="expected"):
        numbers.normalize(step, 3, 0, 1)


@pytest.mark.parametrize("step", [options.Scale(factor=float("inf")), options.Scale(offset=float("nan"))])
def test_scale_rejects(step) -> None:
    with pytest.raises(ValueError, match="expected finite numbers"):
        numbers.scale(step)


@pytest.mark.parametrize("word", ["", "FP8", "BYTES", "BF16", "fp32"])
def test_cast_rejects(word) -> None:
    with pytest.raises(ValueError, match="expected one of FP16"):
        numbers.cast(options.Cast(datatype=word))


@pytest.mark.parametrize("word", INTEGERS)
@given(values=st.lists(st.floats(width=64), min_size=1, max_size=20), single=st.booleans())
def test_floats_to_integers(word, values, single) -> None:
    with np.errstate(over="ignore"):
        array = np.array(values).astype(np.float32 if single else np.float64)
    limits = np.iinfo(DATATYPES[word][2])
    result = numbers.cast(options.Cast(datatype=word))(array)
    assert result.dtype == limits.dtype
    for number, got in zip(array.tolist(), result.tolist(), strict=True):
        if number != number:
            assert got == 0
        elif number in (float("inf"), float("-inf")):
            assert got == (limits.max if number > 0 else limits.min)
        else:
            assert got == min(max(int(number), limits.min), limits.max)


@pytest.mark.parametrize("word", INTEGERS)
@given(source=st.sampled_from(INTEGERS), values=st.lists(st.integers(-(2**63), 2**64 - 1), min_size=1, max_size=20))
def test_integers_to_integers(word, source, values) -> None:
    own, limits = np.iinfo(DATATYPES[source][2]), np.iinfo(DATATYPES[word][2])
    array = np.array([min(max(value, own.min), own.max) for value in values], own.dtype)
    result = numbers.cast(options.Cast(datatype=word))(array)
    assert result.dtype == limits.dtype
    assert result.tolist() == [min(max(value, limits.min), limits.max) for value in array.tolist()]


@pytest.mark.parametrize("word", ["FP16", "FP32", "FP64"])
def test_to_floats(word) -> None:
    dtype = DATATYPES[word][2]
    largest = float(np.finfo(dtype).max)
    result = numbers.cast(options.Cast(datatype=word))(np.array([0.5, 1e300, -1e300, -2]))
    assert result.dtype == dtype
    expected = [0.5, min(largest, 1e300), max(-largest, -1e300), -2]
    assert result.tolist() == expected
    infinite = np.array([np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal(numbers.cast(options.Cast(datatype=word))(infinite), infinite)
    assert numbers.cast(options.Cast(datatype=word))(np.array([7, 2**40], np.int64)).tolist() == [7, min(largest, 2**40)]


@pytest.mark.parametrize("word", numbers.CASTS)
def test_bool(word) -> None:
    result = numbers.cast(options.Cast(datatype=word))(np.array([True, False]))
    assert result.dtype == DATATYPES[word][2]
    assert result.tolist() == [1, 0]
    assert numbers.cast(options.Cast(datatype="BOOL"))(np.array([0.0, -0.5, 3.0], np.float32)).tolist() == [False, True, True]
