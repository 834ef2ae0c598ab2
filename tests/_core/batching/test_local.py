"""Requests over numpy arrays: what they read, what they reject, and that each gets its own rows back."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from inferd._core.batching.batcher import Batcher
from inferd._core.batching.local import LocalRequest
from inferd._core.grpc.call import Call
from inferd._core.metrics.histogram import Statistics
from inferd._core.tensor.datatypes import DATATYPES
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.errors import InvalidArgument

Array = np.ndarray[Any, Any]


class Asked(Call):
    answer: Any = None

    def reply(self, message: Any) -> None:
        self.response = message

    def fail(self, error: Exception) -> None:
        raise error


def echo(
    word: str, arrays: list[Array], dims: tuple[int, ...], batched: bool = True, outputs: tuple[str, ...] = ()
) -> list[dict[str, Array]]:
    """Every request's answer from one batch through a model that gives its input back as y and z."""
    shape = (-1, *dims) if batched else dims
    signature = Signature("m", "1", [("x", word, shape)], [("y", word, shape), ("z", word, shape)], 64 if batched else 0)
    batcher = Batcher(64 if batched else 1, Statistics(64))
    calls = []
    for array in arrays:
        request = LocalRequest([("x", word, array)], outputs)
        request.check(signature)
        calls.append(Asked())
        batcher.put(request, calls[-1])
    while (batch := batcher.poll()) is not None:
        rows = batch.rows if batched else None
        inputs = Tensors([np.empty(batch.input_shape(0), DATATYPES[word][2])], [word], batched, rows)
        batch.gather(inputs)
        batch.encode(Tensors([inputs.arrays[0]] * 2, [word] * 2, batched, rows))
        batch.deliver()
    return [call.response for call in calls]


@pytest.mark.parametrize("word", DATATYPES)
def test_each_gets_its_own_rows_of_any_datatype(word: str) -> None:
    numbers = np.arange(24).reshape(6, 4)
    whole = numbers.astype(bytes).astype(object) if word == "BYTES" else numbers.astype(DATATYPES[word][2])
    parts = [whole[:1], whole[1:4], whole[4:]]
    for part, answer in zip(parts, echo(word, parts, (4,)), strict=True):
        assert list(answer) == ["y", "z"]
        np.testing.assert_array_equal(answer["y"], part)
        assert answer["y"].base is None
        assert not np.shares_memory(answer["y"], answer["z"])


@pytest.mark.parametrize(
    "array",
    [np.arange(24.0).reshape(4, 6).T, np.arange(96.0).reshape(12, 8)[::2, ::2], np.arange(24.0).reshape(6, 4)[::-1]],
    ids=["transposed", "strided", "reversed"],
)
def test_any_layout(array: Array) -> None:
    (answer,) = echo("FP64", [array], (4,))
    np.testing.assert_array_equal(answer["y"], array)


def test_read_only_and_empty_arrays_and_scalars() -> None:
    array = np.arange(4, dtype=np.int32)
    array.flags.writeable = False
    assert echo("INT32", [array[None]], (4,))[0]["y"].tolist() == [[0, 1, 2, 3]]
    assert echo("INT32", [np.empty((2, 0), np.int32)], (-1,))[0]["y"].shape == (2, 0)
    assert echo("FP32", [np.array(3, np.float32)], (), batched=False)[0]["y"] == 3


def test_bfloat16_by_either_name() -> None:
    values = np.array([[1.5, -2]], ml_dtypes.bfloat16)
    for array in (values, values.view(np.uint16)):
        (answer,) = echo("BF16", [array], (2,))
        assert answer["y"].view(ml_dtypes.bfloat16).tolist() == [[1.5, -2]]


def test_text_as_str_or_bytes() -> None:
    array = np.array([["é", b"x", bytearray(b"y"), ""]], dtype=object)
    assert echo("BYTES", [array], (4,))[0]["y"].tolist() == [["é".encode(), b"x", b"y", b""]]
    with pytest.raises(InvalidArgument, match=r"input 'x'.*not int"):
        LocalRequest([("x", "BYTES", np.array([1], dtype=object))])


def test_wanted_outputs() -> None:
    assert list(echo("FP32", [np.ones((1, 2), np.float32)], (2,), outputs=("z",))[0]) == ["z"]
    with pytest.raises(InvalidArgument, match="output 'w' is not one of the model's outputs, which are: y, z"):
        echo("FP32", [np.ones((1, 2), np.float32)], (2,), outputs=("w",))


def test_limits() -> None:
    one = np.zeros(1, np.float32)
    with pytest.raises(InvalidArgument, match="257 inputs"):
        LocalRequest([("x", "FP32", one)] * 257)
    assert LocalRequest([("x", "FP32", one)] * 256).input_count == 256
    with pytest.raises(InvalidArgument, match="9 dimensions"):
        LocalRequest([("x", "FP32", np.zeros((1,) * 9, np.float32))])


def test_the_array_lives_as_long_as_the_request() -> None:
    requests = [LocalRequest([("x", "FP32", np.full((1, 1000), number, np.float32))]) for number in range(50)]
    signature = Signature("m", "1", [("x", "FP32", (-1, 1000))], [("y", "FP32", (-1, 1000))], 64)
    batcher = Batcher(64, Statistics(64))
    for request in requests:
        request.check(signature)
        batcher.put(request, Asked())
    batch = batcher.poll()
    assert batch is not None
    inputs = Tensors([np.empty((50, 1000), np.float32)], ["FP32"], True, 50)
    batch.gather(inputs)
    np.testing.assert_array_equal(inputs.arrays[0], np.repeat(np.arange(50), 1000).reshape(50, 1000))
