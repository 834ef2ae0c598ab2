"""The hash is scikit-learn's, and pairs are counted as Python's json sees them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils import murmurhash3_32

from inferd._core.codec.records import count_pairs, murmur3

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(max_size=70))
def test_the_hash_is_scikit_learns(data) -> None:
    assert murmur3(data) == murmurhash3_32(data, seed=0)
    assert murmur3(memoryview(b"x" + data)[1:]) == murmurhash3_32(data, seed=0), "at any alignment"


def test_long_data_are_hashed_without_the_gil() -> None:
    data = bytes(range(256)) * 200 + b"abc"
    assert murmur3(data) == murmurhash3_32(data, seed=0)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", 'q"', "\\", "é", ":"]), JSON), max_size=6), st.sampled_from([None, 2]))
def test_pairs_are_counted_with_those_that_are_there_twice(pairs, indent) -> None:
    inside = ", ".join(f"{json.dumps(key)} : {json.dumps(value, indent=indent)}" for key, value in pairs)
    text = "{" + inside + "}"
    assert len(json.loads(text, object_pairs_hook=list) if pairs else []) == len(pairs)
    assert count_pairs(text.encode()) == len(pairs)


def test_long_records_are_counted_too() -> None:
    assert count_pairs(json.dumps({str(number): ":" * 20 for number in range(3000)}).encode()) == 3000


@given(st.binary(max_size=40))
def test_what_is_no_json_gives_some_number(data) -> None:
    assert count_pairs(data) >= 0


@pytest.mark.parametrize("data", [b'"', b'"\\', b'{"\\', b"", b"}}}}:", b"[[[:"])
def test_ends_within_a_text(data) -> None:
    assert count_pairs(data) == 0


@pytest.mark.parametrize("function", [murmur3, count_pairs])
def test_only_bytes_are_taken(function) -> None:
    with pytest.raises(TypeError):
        function("text")
