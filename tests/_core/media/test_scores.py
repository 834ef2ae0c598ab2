"""Arithmetic over scores against numpy in FP64, at both levels of instructions: values, the order of NaN and of equals, rejections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from inferd._core.media import scores

Array = np.ndarray[Any, np.dtype[Any]]

SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=40)
NUMBERS = st.floats(width=32, allow_nan=True, allow_infinity=True)
SPECIAL = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 3.4e38, -3.4e38, 1e-45])


@pytest.fixture(params=["best", "plain"], autouse=True, scope="module")
def level(request: pytest.FixtureRequest) -> Iterator[None]:
    scores.use_plain(request.param == "plain")
    yield
    scores.use_plain(False)


def floats(elements: st.SearchStrategy[float] = NUMBERS, shape: Any = SHAPES) -> st.SearchStrategy[Array]:
    return arrays.arrays(np.float32, shape, elements=elements)


def softmax(array: Array) -> Array:
    with np.errstate(all="ignore"):
        below = array - array.max(axis=-1, keepdims=True, initial=-np.inf)  # in FP32, as the scores are
        powers = np.exp(below.astype(np.float64))
        return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(array: Array) -> Array:
    with np.errstate(all="ignore"):
        return 1 / (1 + np.exp(-array.astype(np.float64)))


def l2_normalize(array: Array) -> Array:
    wide = array.astype(np.float64)
    with np.errstate(all="ignore"):
        return wide * (1 / np.maximum(np.sqrt((wide * wide).sum(axis=-1, keepdims=True)), 1e-12))


def top_k(row: list[float], k: int) -> list[int]:
    """Places: larger first, NaN last, equals in their order."""
    return sorted(range(len(row)), key=lambda place: (row[place] != row[place], -row[place] if row[place] == row[place] else 0, place))[:k]


def close(got: Array, expected: Array, rtol: float = 1e-6) -> None:
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=2e-38)


# ---- element by element, row by row ---------------------------------------------------------------------------------


@settings(max_examples=50)
@given(floats())
def test_softmax_is_numpys(array: Array) -> None:
    close(scores.softmax(array), softmax(array))


@settings(max_examples=50)
@given(floats(st.floats(-30, 30, width=32)))
def test_softmax_of_common_scores(array: Array) -> None:
    got = scores.softmax(array)
    close(got, softmax(array))
    if array.size:
        np.testing.assert_allclose(got.sum(axis=-1, dtype=np.float64), 1, rtol=1e-6)


def test_softmax_of_many_classes_adds_up_to_1() -> None:
    array = np.random.default_rng(7).normal(0, 3, (2, 300_001)).astype(np.float32)
    got = scores.softmax(array)
    close(got, softmax(array), rtol=2e-6)
    np.testing.assert_allclose(got.sum(axis=-1, dtype=np.float64), 1, rtol=1e-6)


def test_a_masked_score_is_0_and_one_that_is_nan_spoils_its_row_alone() -> None:
    array = np.array([[1, -np.inf, 1], [1, np.nan, 1], [np.inf, 0, 0], [-np.inf] * 3, [-1000, 0, -1000]], np.float32)
    got = scores.softmax(array)
    assert got[0].tolist() == [0.5, 0, 0.5]
    assert np.isnan(got[1:4]).all()
    assert got[4].tolist() == [0, 1, 0]


@settings(max_examples=50)
@given(floats())
def test_sigmoid_is_numpys(array: Array) -> None:
    close(scores.sigmoid(array), sigmoid(array))


@settings(max_examples=50)
@given(floats() | floats(st.floats(-(2.0**-60), 2.0**-60, width=32)) | floats(st.floats(-10, 10, width=32)))
def test_l2_normalize_is_numpys(array: Array) -> None:
    close(scores.l2_normalize(array), l2_normalize(array))


def test_zeros_have_no_direction_and_the_largest_numbers_do() -> None:
    array = np.array([[0, 0, 0], [3e38, 3e38, 0], [1e-30, 0, 0]], np.float32)
    got = scores.l2_normalize(array)
    assert got[0].tolist() == [0, 0, 0]
    np.testing.assert_allclose(got[1], [0.5**0.5, 0.5**0.5, 0], rtol=1e-6)
    np.testing.assert_allclose(got[2], [1e-18, 0, 0], rtol=1e-6)


def test_a_row_is_the_same_alone_and_among_others() -> None:
    array = np.random.default_rng(1).normal(0, 5, (9, 37)).astype(np.float32)
    for work in (scores.softmax, scores.sigmoid, scores.l2_normalize):
        together = work(array)
        assert all(np.array_equal(work(array[row : row + 1])[0], together[row]) for row in range(9))


def test_both_levels_give_the_same_bits() -> None:
    array = np.random.default_rng(2).normal(0, 20, (5, 1003)).astype(np.float32)

    def all_of_them() -> list[Array]:
        return [scores.softmax(array), scores.sigmoid(array), scores.l2_normalize(array), *scores.top_k(array, 11)]

    scores.use_plain(True)
    plain = all_of_them()
    scores.use_plain(False)
    assert all(np.array_equal(a, b) for a, b in zip(plain, all_of_them(), strict=True))


# ---- mean over tokens -----------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(st.data(), st.integers(0, 4), st.integers(0, 9), st.integers(0, 40))
def test_mean_pool_is_numpys(data: st.DataObject, rows: int, tokens: int, size: int) -> None:
    array = data.draw(floats(st.floats(-100, 100, width=32), (rows, tokens, size)))
    real = data.draw(arrays.arrays(np.bool_, (rows, tokens)))
    array[~real] = np.nan  # what is filled up is never seen
    expected = np.zeros((rows, size))
    for row in range(rows):
        if real[row].any():
            expected[row] = array[row][real[row]].astype(np.float64).mean(axis=0)
    got = scores.mean_pool(array, real)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)


def test_mean_pool_of_no_token_is_0() -> None:
    got = scores.mean_pool(np.full((1, 3, 17), np.nan, np.float32), np.zeros((1, 3), np.bool_))
    assert got.tolist() == [[0.0] * 17]


@pytest.mark.parametrize("shape", [(2, 4), (3, 3), (2, 3, 1), (6,)])
def test_mean_pool_wants_a_mask_that_fits(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \[rows, tokens, n\] and \[rows, tokens\], got \[2, 3, 5\]"):
        scores.mean_pool(np.zeros((2, 3, 5), np.float32), np.zeros(shape, np.bool_))


# ---- the best k -----------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(st.data(), floats(NUMBERS | SPECIAL, arrays.array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=80)))
def test_top_k_is_a_stable_sort(data: st.DataObject, array: Array) -> None:
    k = data.draw(st.integers(1, array.shape[-1]))
    values, places = scores.top_k(array, k)
    assert (values.dtype, places.dtype) == (np.float32, np.int64)
    assert values.shape == places.shape == (*array.shape[:-1], k)
    rows = array.reshape(-1, array.shape[-1])
    for row, got in zip(rows.tolist(), places.reshape(-1, k).tolist(), strict=True):
        assert got == top_k(row, k)
    np.testing.assert_array_equal(values, np.take_along_axis(array, places, axis=-1))


@pytest.mark.parametrize("order", ["rising", "falling", "equal", "nan", "nan then numbers", "random"])
@pytest.mark.parametrize("k", [1, 5, 999, 1000])
def test_top_k_of_1000(order: str, k: int) -> None:
    row = np.arange(1000, dtype=np.float32)
    if order == "falling":
        row = row[::-1].copy()
    elif order == "equal":
        row[:] = 1
    elif order == "nan":
        row[:] = np.nan
    elif order == "nan then numbers":
        row[:600] = np.nan
    elif order == "random":
        row = np.random.default_rng(3).integers(0, 50, 1000).astype(np.float32)
    assert scores.top_k(row[None], k)[1].tolist() == [top_k(row.tolist(), k)]


def test_negative_zero_is_equal_to_zero_and_given_as_it_is() -> None:
    values, places = scores.top_k(np.array([[-0.0, 0.0, -0.0]], np.float32), 3)
    assert places.tolist() == [[0, 1, 2]]
    assert np.signbit(values).tolist() == [[True, False, True]]


@pytest.mark.parametrize("k", [0, -1, 4, 2**40])
def test_k_is_within_the_axis(k: int) -> None:
    with pytest.raises(ValueError, match=r"expected k from 1 to the size of the last axis \(3"):
        scores.top_k(np.zeros((2, 3), np.float32), k)


def test_no_rows_are_no_rows() -> None:
    values, places = scores.top_k(np.zeros((0, 3), np.float32), 2)
    assert values.shape == places.shape == (0, 2)
    assert scores.softmax(np.zeros((4, 0), np.float32)).shape == (4, 0)


# ---- what is no such array ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("work", [scores.softmax, scores.sigmoid, scores.l2_normalize, lambda array: scores.top_k(array, 1)])
def test_only_contiguous_fp32_with_an_axis(work: Any) -> None:
    with pytest.raises(TypeError, match="expected an array of struct format 'f', got float64"):
        work(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="contiguous"):
        work(np.zeros((4, 6), np.float32)[:, ::2])
    with pytest.raises(ValueError, match="at least one axis"):
        work(np.zeros((), np.float32))
    with pytest.raises(TypeError):
        work(None)


def test_what_is_given_is_not_written_to() -> None:
    array = np.random.default_rng(4).normal(size=(3, 20)).astype(np.float32)
    array.flags.writeable = False
    before = array.copy()
    for result in (scores.softmax(array), scores.sigmoid(array), scores.l2_normalize(array), *scores.top_k(array, 3)):
        assert not np.shares_memory(result, array)
        assert result.flags.c_contiguous
    np.testing.assert_array_equal(array, before)
