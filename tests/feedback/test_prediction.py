"""Predictions come back as they were packed; a request has one place."""

from __future__ import annotations

import numpy as np
import pytest

from inferd.feedback.prediction import is_right, key_of, packed, packed_slices, unpacked, unpacked_slices


def test_packed() -> None:
    assert unpacked(False, packed(["cat", "é", ""])) == ["cat", "é", ""]
    np.testing.assert_array_equal(unpacked(True, packed(np.array([0.1, np.nan]))), [0.1, np.nan])
    assert unpacked_slices(packed_slices({"region": ["a", "b"]})) == {"region": ["a", "b"]}
    assert unpacked_slices(packed_slices({})) == {}


def test_the_place_of_a_request() -> None:
    assert len({key_of("m", "a"), key_of("m", "b"), key_of("n", "a"), key_of("ma", ""), key_of("m", "a" * 100_000)}) == 5
    assert len(key_of("m", "a" * 100_000)) == 16


@pytest.mark.parametrize(
    ("predicted", "label", "expected"),
    [("a", "a", True), ("a", "b", False), (0.75, 1.0, True), (0.75, 0.0, False), (0.25, 0.0, True), (3.0, 3.0, None), (0.75, 0.75, None)],
)
def test_is_right(predicted: str | float, label: str | float, expected: bool | None) -> None:
    assert is_right(predicted, label) is expected
