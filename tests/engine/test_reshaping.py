"""Shapes that clients see in place of the graph's, and models that are served so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd.engine.reshaping import Reshape, holds_as_much


@pytest.mark.parametrize(
    ("outer", "inner", "same"),
    [
        ([1000], [1, 1000, 1, 1], True),
        ([1], [], True),
        ([], [], True),
        ([16], [4, 5], False),
        ([4, -1], [2, 2, -1, 1], True),
        ([4, -1], [-1, 4], False),
        ([-1, 4, -1], [-1, 2, 2, -1], True),
        ([-1], [-1, -1], False),
        ([-1, 1, -1], [-1, -1], True),
    ],
)
def test_a_row_keeps_its_elements(outer: list[int], inner: list[int], same: bool) -> None:
    assert holds_as_much(outer, inner) == same


@given(
    st.lists(st.integers(1, 3), max_size=3), st.lists(st.integers(1, 3), max_size=3), st.integers(1, 4), st.booleans(), st.integers(0, 1)
)
def test_there_and_back(front: list[int], back: list[int], size: int, free: bool, kept: int) -> None:
    """The fixed axes of each side are one, around an axis that may be free."""
    middle = -1 if free else size
    reshape = Reshape((*front, middle, *back), (int(np.prod(front)), middle, int(np.prod(back))), kept)
    array = np.arange(5 * int(np.prod(front)) * size * int(np.prod(back))).reshape(5, *front, size, *back)
    array = array if kept else array[0]
    inside = array.reshape(reshape.inward(array.shape))
    assert inside.shape[kept:] == (int(np.prod(front)), size, int(np.prod(back)))
    assert reshape.outward(inside.shape) == array.shape
    assert reshape.outward((9, 9)) == (9, 9), "what the graph does not promise stays as it is"
