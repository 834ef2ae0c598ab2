"""Counts of features against numpy."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd._core.batching.local import LocalRequest
from inferd._core.monitor.feature_counts import UNIT, FeatureCounts, Reading, Side, words_of
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.tensors import DTYPES, bfloat16

NUMBERS = ["FP64", "FP32", "FP16", "BF16", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL"]


def feature(side: Side = Side.TAKEN, reading: Reading = Reading.ELEMENT, **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "side": side,
        "reading": reading,
        "tensor": 0,
        "place": 0,
        "exact": False,
        "centre": 0.0,
        "scale": 1.0,
        "at": [],
    }
    made |= {"texts": [], "waves": []} | changes
    return {"scores": [0.0] * (len(made["at"]) + 2), **made}


class Counted:
    """One feature, and what it counted."""

    def __init__(self, *features: dict[str, Any]) -> None:
        self.words = [np.zeros(words_of(each), np.uint64) for each in features]
        self.counts = FeatureCounts(list(features), self.words)

    def add(self, array: Any, word: str = "FP32", output: Any = None, output_word: str = "FP32") -> Counted:
        rows = len(array)
        given = [] if output is None else [output]
        words = [] if output is None else [output_word]
        signature = Signature(
            "m", "1", [("x", word, (-1, *array.shape[1:]))], [("y", *each) for each in zip(words, [(-1, 2)], strict=False)], max(rows, 1)
        )
        request = LocalRequest([("x", word, array)])
        request.check(signature)
        self.counts.add(request, Tensors(given, words, True), 0)
        return self

    def head(self, place: int = 0) -> list[int]:
        return [int(each) for each in self.words[place][:5]]

    def bins(self, place: int = 0) -> list[int]:
        return [int(each) for each in self.words[place][5:]]


@given(st.lists(st.floats(width=32), min_size=1, max_size=40), st.lists(st.floats(-1e6, 1e6, width=32), unique=True, max_size=40))
def test_a_value_falls_between_the_edges_that_numpy_finds(values: list[float], edges: list[float]) -> None:
    edges.sort()
    array = np.array(values, np.float32)[:, None]
    counted = Counted(feature(at=edges)).add(array)
    finite = array[np.isfinite(array)].astype(np.float64)
    assert counted.bins() == np.bincount(np.searchsorted(edges, finite, "right"), minlength=len(edges) + 1).tolist()
    assert counted.head()[:2] == [len(values), len(values) - len(finite)]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=40), st.sets(st.integers(0, 12), min_size=1))
def test_exact_bins_have_the_values_and_one_for_all_others(values: list[int], known: set[int]) -> None:
    counted = Counted(feature(at=sorted(known), exact=True)).add(np.array(values, np.int64)[:, None], "INT64")
    assert counted.bins() == [*(values.count(each) for each in sorted(known)), sum(each not in known for each in values)]
    assert counted.head()[2] == sum(one == other for one, other in itertools.pairwise(values))


@given(st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=40), st.floats(-10, 10), st.floats(0.1, 10))
def test_sums_are_those_of_standardized_values(values: list[float], centre: float, scale: float) -> None:
    counted = Counted(feature(centre=centre, scale=scale)).add(np.array(values, np.float32)[:, None])
    z = (np.array(values) - centre) / scale
    low = np.array([counted.words[0][3]]).view(np.int64)[0] / UNIT
    assert math.isclose(low, z.sum(), rel_tol=1e-6, abs_tol=len(values) / UNIT)
    assert math.isclose(counted.head()[4] / UNIT, (z * z).sum(), rel_tol=1e-6, abs_tol=len(values) / UNIT)


@pytest.mark.parametrize("word", NUMBERS)
def test_each_datatype_is_read(word: str) -> None:
    numbers = np.array([[0, 1], [1, 0], [1, 1]])
    array = bfloat16(numbers) if word == "BF16" else numbers.astype(DTYPES[word])
    counted = Counted(feature(place=1, at=[0.0, 1.0], exact=True)).add(array, word)
    assert counted.bins() == [1, 2, 0]


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -2.5, 65504.0, 6e-8, 6.1e-5])
def test_fp16_has_its_value(value: float) -> None:
    half = float(np.float16(value))
    assert Counted(feature(at=[half], exact=True)).add(np.array([[value]], np.float16), "FP16").bins() == [1, 0]


def test_texts_are_found_by_their_bytes_and_empty_ones_are_missing() -> None:
    texts = np.array([["a", "x"], ["", "ä"], ["b", "ä"]], object)
    counted = Counted(
        feature(reading=Reading.TEXT, at=[0.0, 1.0], exact=True, texts=[b"a", b"b"]),
        feature(reading=Reading.TEXT, place=1, at=[0.0], exact=True, texts=["ä".encode()]),
        feature(reading=Reading.LENGTH, place=1, at=[1.0, 2.0], exact=True),
    ).add(texts, "BYTES")
    assert (counted.head(0)[1], counted.bins(0), counted.bins(1), counted.bins(2)) == (1, [1, 1, 0], [2, 1], [1, 2, 0])


@given(st.lists(st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3), min_size=1, max_size=20))
def test_mean_spread_and_class_of_a_row(rows: list[list[float]]) -> None:
    array = np.array(rows, np.float32)
    readings = (Reading.MEAN, Reading.SPREAD)
    counted = Counted(*(feature(reading=each) for each in readings), feature(reading=Reading.CLASS, at=[0.0, 1.0, 2.0], exact=True)).add(
        array
    )
    found = [np.array([counted.words[place][3]]).view(np.int64)[0] / UNIT for place in range(2)]
    assert np.allclose(found, [array.mean(axis=1, dtype=float).sum(), array.std(axis=1, dtype=float).sum()], atol=1e-2)
    assert counted.bins(2) == [*np.bincount(array.argmax(axis=1), minlength=3), 0]


def test_waves_are_sums_of_cosines_of_a_few_rows() -> None:
    random = np.random.default_rng(1)
    weights, array = random.normal(size=(5, 4)).astype(np.float32), random.normal(size=(20, 9)).astype(np.float32)
    counted = Counted(feature(reading=Reading.WAVES, waves=weights, centre=0.5, scale=2.0)).add(array)
    taken = array[::3][:, [0, 3, 6]]
    expected = np.cos(((taken - 0.5) / 2.0) @ weights[:, :3].T + weights[:, 3]).sum(axis=0)
    assert counted.head()[0] == len(taken)
    assert np.allclose(counted.words[0][5:].view(np.int64) / UNIT, expected, atol=1e-3)


def test_outputs_are_features_too() -> None:
    counted = Counted(feature(Side.GIVEN, place=1, at=[0.5])).add(
        np.zeros((2, 1), np.float32), output=np.array([[1, 0], [0, 1]], np.float32)
    )
    assert counted.bins() == [1, 1]
    texts = Counted(feature(Side.GIVEN, Reading.TEXT, at=[0.0], exact=True, texts=[b"no"]))
    texts.add(np.zeros((2, 1), np.float32), output=np.array([["no", ""], ["yes", ""]], object), output_word="BYTES")
    assert texts.bins() == [1, 1]


def test_a_row_that_was_there_is_counted() -> None:
    array = np.array([[1, 2], [3, 4], [1, 2], [1, 2]], np.float32)
    assert Counted(feature(Side.WHOLE, Reading.ROW)).add(array).head()[:3] == [4, 0, 2]
    texts = np.array([["a"], ["b"], ["a"]], object)
    assert Counted(feature(Side.WHOLE, Reading.ROW)).add(texts, "BYTES").head()[:3] == [3, 0, 1]


def test_a_row_has_the_scores_of_its_bins() -> None:
    array = np.array([[0, 5], [5, math.nan]], np.float32)
    counted = Counted(
        feature(at=[1.0], scores=[0.5, 2.0, 9.0]),
        feature(place=1, at=[1.0], scores=[0.25, 4.0, 8.0]),
        feature(Side.WHOLE, Reading.SCORE, at=[7.0]),
    ).add(array)
    assert counted.counts.scores(2) == [4.5, 10.0]
    assert counted.bins(2) == [1, 1]


def test_a_tensor_that_is_not_there_is_not_counted() -> None:
    counted = Counted(feature(tensor=3), feature(place=9), feature(Side.GIVEN), feature(reading=Reading.WAVES, waves=np.ones((2, 4))))
    assert [each[0] for each in map(counted.add(np.zeros((2, 2), np.float32)).head, range(4))] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "changes",
    [
        {"at": [2.0, 1.0]},
        {"at": [math.nan]},
        {"at": [1.0], "scores": [0.0]},
        {"scale": 0.0},
        {"centre": math.inf},
        {"place": -1},
        {"side": 9},
        {"reading": Reading.ROW},
        {"at": list(range(3000))},
        {"reading": Reading.WAVES, "waves": [[1.0, 2.0], [1.0]]},
        {"reading": Reading.WAVES, "waves": [[1.0] * 400]},
        {"reading": Reading.WAVES, "waves": []},
    ],
)
def test_features_that_do_not_fit_are_rejected(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|bins|ROW"):
        Counted(feature(**changes))


def test_buffers_that_do_not_fit_are_rejected() -> None:
    with pytest.raises(ValueError, match="expected 6 words"):
        FeatureCounts([feature()], [np.zeros(3, np.uint64)])
    with pytest.raises(ValueError, match="64-bit"):
        FeatureCounts([feature()], [np.zeros(6, np.uint32)])
    with pytest.raises(ValueError, match="buffers"):
        FeatureCounts([feature()], [])


@pytest.mark.parametrize(
    ("given", "unusual"),
    [
        ({"at": [0.0, 1.0]}, [[-1.0], [1.5], [math.nan]]),
        ({"at": [0.0, 1.0], "exact": True}, [[0.5], [2.0], [math.inf]]),
        ({"side": Side.WHOLE, "reading": Reading.ROW}, [[0.25]]),
    ],
)
def test_an_example_is_the_first_request_with_an_unusual_row(given: dict[str, Any], unusual: list[list[float]]) -> None:
    usual = np.array([[0.25 if not given.get("exact") else 0.0]], np.float32)
    for row in unusual:
        counted = Counted(feature(**given)).add(usual)
        assert counted.counts.take_example(0) is None
        counted.add(np.array([row], np.float32))
        assert (counted.counts.take_example(0), counted.counts.take_example(0)) == ("", None)
