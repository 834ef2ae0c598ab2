"""A request's inputs, and others that are put in their place before it runs. Its check is in tensor/test_tensor.py."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from inferd._core.batching.local import LocalRequest
from inferd._core.tensor.datatypes import DATATYPES
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.errors import InvalidArgument
from tests._core.batching.batcher_fixtures import PREPARED, made, sent


def test_values_are_what_came_and_hold_it() -> None:
    request = sent(b"\xff\xd8", b"")
    texts, scale = request.values()
    del request
    gc.collect()
    assert [bytes(text) for text in texts] == [b"\xff\xd8", b""]
    assert all(text.readonly for text in texts)
    assert not scale.flags.writeable
    np.testing.assert_array_equal(scale, [[3], [3]])


def test_values_of_every_datatype() -> None:
    arrays = {word: np.ones((2, 3), dtype) for word, (_, size, dtype) in DATATYPES.items() if size}
    signature = Signature("m", "1", [(word, word, (-1, 3)) for word in arrays], [("y", "FP32", (-1, 4))], 8)
    request = LocalRequest([(word, word, array) for word, array in arrays.items()])
    request.check(signature)
    for (word, array), value in zip(arrays.items(), request.values(), strict=True):
        assert value.dtype == array.dtype, word
        np.testing.assert_array_equal(value, array)


def test_values_without_elements() -> None:
    signature = Signature("m", "1", [("x", "FP32", (-1, -1))], [("y", "FP32", (-1, 4))], 8)
    request = LocalRequest([("x", "FP32", np.zeros((2, 0), np.float32))])
    request.check(signature)
    assert request.values()[0].shape == (2, 0)


def test_a_prepared_request_runs_with_what_was_made_and_what_came() -> None:
    request = sent(b"a", b"b")
    request.prepare(made(2, 5.0), ("x",), PREPARED)
    assert (request.rows, request.nbytes) == (2, 2 * 16 + 2 * 4)
    np.testing.assert_array_equal(request.values()[0], np.full((2, 4), 5))
    np.testing.assert_array_equal(request.values()[1], [[3], [3]])


@pytest.mark.parametrize(
    ("tensors", "names", "said"),
    [
        (Tensors([np.zeros((2, 5), np.float32)], ["FP32"], True), ("x",), r"expected FP32\[-1,4\], got FP32\[2,5\]"),
        (Tensors([np.zeros((2, 4), np.int32)], ["INT32"], True), ("x",), r"got INT32\[2,4\]"),
        (Tensors([np.zeros((1, 4), np.float32)], ["FP32"], True), ("x",), "has 2 rows, input 'x' has 1"),
        (Tensors([np.zeros((2, 4), np.float32)], ["FP32"], True), ("z",), "'x' is missing"),
    ],
)
def test_what_was_made_is_checked_like_what_comes(tensors: Tensors, names: tuple[str, ...], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        sent(b"a", b"b").prepare(tensors, names, PREPARED)


def test_prepared_text() -> None:
    signature = Signature("m", "1", [("word", "BYTES", (-1, 2))], [("y", "FP32", (-1, 4))], 8)
    request = sent(b"a", b"b")
    request.prepare(Tensors([np.array([["one", "two"], ["", "drei"]], object)], ["BYTES"], True), ("word",), signature)
    assert [bytes(text) for text in request.values()[0]] == [b"one", b"two", b"", b"drei"]
