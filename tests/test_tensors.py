"""Tensors as arrays: what goes out as bytes comes back; BF16 as ml_dtypes has it."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from inferd.tensors import DTYPES, array_of, bfloat16, bytes_of, distances, elements_of, encoded, numbers_as, widened, word_of, zeros


@pytest.mark.parametrize("word", DTYPES)
def test_arrays_come_back(word: str) -> None:
    array = numbers_as(word, np.arange(6).reshape(2, 3) % 2)
    back = array_of(word, (2, 3), bytes_of(word, array))
    assert back.tolist() == encoded(array).tolist()
    assert bytes_of(word, zeros(word, (2, 2))) == (bytes(16) if word == "BYTES" else bytes(4 * array.itemsize))


@pytest.mark.parametrize("data", [b"\1", b"\2\0\0\0a", b"\0\0\0\0\1\0\0\0"])
def test_elements_beyond_the_tensor(data: bytes) -> None:
    with pytest.raises(ValueError, match="longer than its tensor"):
        elements_of(data)


def test_bf16() -> None:
    numbers = np.array([0.1, -1.0, 3.0e38, np.inf, np.nan, 1 + 2**-8, 1 + 3 * 2**-8], np.float32)
    expected = numbers.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(widened(bfloat16(numbers)), expected.astype(np.float32))
    np.testing.assert_array_equal(widened(expected), expected.astype(np.float32))


def test_words() -> None:
    assert [word_of(np.dtype(each)) for each in (bool, np.uint16, object, ml_dtypes.bfloat16)] == ["BOOL", "UINT16", "BYTES", "BF16"]


def test_distances() -> None:
    one, other = np.array([1.0, np.nan, np.inf, np.inf, np.nan, 1.0]), np.array([3.0, np.nan, np.inf, 1.0, 1.0, np.inf])
    assert distances(one, other).tolist() == [2, 0, 0, np.inf, np.inf, np.inf]
    assert distances(one, other, np.abs(other)).tolist() == [2 / 3, 0, 0, np.inf, np.inf, np.inf]
