"""Rows of requests in the input arrays of a run: every byte once, and never outside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inferd._core.batching.local import LocalRequest
from inferd._core.grpc import message
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.errors import Internal
from tests._core.batching.batcher_fixtures import batcher, polled, put
from tests.fake_backend import Caller, request


def test_gather_writes_every_input_of_every_row() -> None:
    names = [f"in{index}" for index in range(6)]  # more than a request holds in itself
    signature = Signature("m", "1", [(name, "INT32", (-1, 3)) for name in names], [("y", "FP32", (-1,))], 200)
    queue = batcher(200)
    expected = np.arange(6 * 150 * 3, dtype=np.int32).reshape(6, 150, 3)
    for row in range(150):  # more blocks than are copied at once
        made = LocalRequest([(name, "INT32", expected[index, row : row + 1]) for index, name in enumerate(reversed(names))])
        made.check(signature)
        queue.put(made, Caller())
    batch = polled(queue)
    arrays = [np.zeros((150, 3), np.int32) for _ in names]
    copied = message.copied_nbytes()
    batch.gather(Tensors(arrays, ["INT32"] * 6, True, 150))
    np.testing.assert_array_equal(np.stack(arrays), expected[::-1])
    assert message.copied_nbytes() - copied == expected.nbytes, "every byte once"


def test_gather_copies_large_inputs_too() -> None:
    signature = Signature("m", "1", [("x", "UINT8", (-1, 100_000))], [("y", "FP32", (-1,))], 4)
    queue = batcher(4)
    contents = np.random.default_rng(1).integers(0, 256, (3, 100_000), np.uint8)
    for row in range(3):
        made = LocalRequest([("x", "UINT8", contents[row : row + 1])])
        made.check(signature)
        queue.put(made, Caller())
    array = np.zeros((3, 100_000), np.uint8)
    polled(queue).gather(Tensors([array], ["UINT8"], True, 3))
    np.testing.assert_array_equal(array, contents)


def test_gather_without_a_batch_axis() -> None:
    signature = Signature("m", "1", [("x", "FP32", (2, 3)), ("scale", "FP64", ())], [("y", "FP32", ())], 0)
    queue = batcher(1)
    made = LocalRequest([("x", "FP32", np.arange(6, dtype=np.float32).reshape(2, 3)), ("scale", "FP64", np.array(7.0))])
    made.check(signature)
    queue.put(made, Caller())
    queue.put(request(), Caller())
    batch = polled(queue)
    assert (batch.rows, len(batch.requests)) == (1, 1), "a request is a run"
    assert (batch.input_shape(0), batch.input_shape(1)) == ((2, 3), ())
    x, scale = np.zeros((2, 3), np.float32), np.zeros(())
    batch.gather(Tensors([x, scale], ["FP32", "FP64"], False))
    assert (x.sum(), float(scale)) == (15, 7)


def test_gather_of_text() -> None:
    signature = Signature("m", "1", [("x", "BYTES", (-1, 2))], [("y", "FP32", (-1,))], 4)
    queue = batcher(4)
    for words in (["a", "bc"], ["", "dé"]):
        made = LocalRequest([("x", "BYTES", np.array([words], dtype=object))])
        made.check(signature)
        queue.put(made, Caller())
    array = np.full((2, 2), "", dtype=object)
    polled(queue).gather(Tensors([array], ["BYTES"], True, 2))
    assert array.tolist() == [["a", "bc"], ["", "dé"]]


@pytest.mark.parametrize(
    ("shape", "dtype", "word"),
    [((2, 4), np.float32, "FP32"), ((4, 4), np.float32, "FP32"), ((3, 5), np.float32, "FP32"), ((3, 4), np.int32, "INT32")],
    ids=["too few rows", "more rows", "wider rows", "another datatype"],
)
def test_gather_never_writes_outside_or_what_does_not_belong(shape: tuple[int, ...], dtype: Any, word: str) -> None:
    queue = batcher()
    for _ in range(3):
        put(queue, 9)
    guarded = np.zeros((shape[0] + 1, *shape[1:]), dtype)
    batch = polled(queue)
    arrays = Tensors([guarded[: shape[0]]], [word], True)
    if shape == (4, 4):
        batch.gather(arrays)  # room is left: allowed
        assert (guarded[:3] == 9).all()
        assert not guarded[3:].any()
        return
    with pytest.raises(Internal, match="do not fit"):
        batch.gather(arrays)
    assert not guarded[shape[0] :].any()


def test_gather_into_the_wrong_number_of_arrays() -> None:
    queue = batcher()
    put(queue)
    array = np.zeros((1, 4), np.float32)
    with pytest.raises(Internal, match="buffers do not fit"):
        polled(queue).gather(Tensors([array, array], ["FP32", "FP32"], True, 1))


def test_text_that_does_not_fit() -> None:
    signature = Signature("m", "1", [("x", "BYTES", (-1, 2))], [("y", "FP32", (-1,))], 4)
    queue = batcher(4)
    made = LocalRequest([("x", "BYTES", np.array([["a", "b"], ["c", "d"]], dtype=object))])
    made.check(signature)
    queue.put(made, Caller())
    with pytest.raises(Internal, match="input 0"):
        polled(queue).gather(Tensors([np.full((1, 2), "", dtype=object)], ["BYTES"], True, 1))
