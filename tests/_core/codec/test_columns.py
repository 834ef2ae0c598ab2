"""Tapped requests as columns: what Arrow reads of the buffers, and what cannot be read."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from inferd._core.batching.batcher import Batcher
from inferd._core.batching.tap import Tap, Tapped
from inferd._core.codec.columns import Columns
from inferd._core.codec.infer import decode_infer_request
from inferd._core.grpc.message import Message
from inferd._core.metrics.histogram import Statistics
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.errors import Internal
from tests.fake_backend import Caller, request
from tests.wire import infer_request

SIGNATURE = Signature("m", "2", [("x", "FP32", (-1, 2)), ("t", "BYTES", (-1, 1))], [("y", "FP32", (-1, 2))], 8)


def tapped(error: Internal | None = None, id: str = "") -> Tapped:
    tap, queue = Tap(), Batcher(8, Statistics(8))
    queue.taps = (tap,)
    inputs = {"x": np.array([[1, 2]], np.float32), "t": np.array([[b"abc"]], object)}
    made = decode_infer_request(Message(infer_request("m", inputs, id=id).SerializeToString()))
    made.check(SIGNATURE)
    queue.put(made, Caller())
    batch = queue.poll()
    assert batch is not None
    if error is not None:
        batch.fail(error)
    else:
        batch.encode(Tensors([np.array([[3, 4]], np.float32)], ["FP32"], True, 1))
    batch.deliver()
    (found,) = tap.take()
    return found


def ints(buffer: Any, kind: str = "i") -> list[int]:
    return [value for (value,) in struct.iter_unpack(kind, bytes(memoryview(buffer)))]


def test_the_columns_of_a_row() -> None:
    columns = Columns()
    assert columns.add(tapped(id="ab"), 0, None)
    assert columns.add(tapped(error=Internal("no")), 0, None)
    assert (columns.rows, columns.nbytes) == (2, 2 * (8 + 7) + 8 + len("ab") + len("no"))
    assert (bytes(memoryview(columns.ids.data)), ints(columns.ids.offsets)) == (b"ab", [0, 2, 2])
    assert (bytes(memoryview(columns.models.data)), bytes(memoryview(columns.versions.data))) == (b"mm", b"22")
    assert (bytes(memoryview(columns.errors.data)), ints(columns.codes)) == (b"no", [0, 13])
    inputs, outputs = columns.inputs, columns.outputs
    assert (ints(inputs.row_offsets), bytes(memoryview(inputs.names.data))) == ([0, 2, 4], b"xtxt")
    assert (bytes(memoryview(inputs.datatypes.data)), ints(inputs.sizes, "q")) == (b"FP32BYTES" * 2, [1, 2, 1, 1] * 2)
    assert ints(inputs.data_offsets, "q") == [0, 8, 15, 23, 30]
    assert bytes(memoryview(inputs.data))[8:15] == b"\x03\0\0\0abc"
    assert (ints(outputs.row_offsets), bytes(memoryview(outputs.data))) == ([0, 1, 1], np.array([3, 4], np.float32).tobytes())
    columns.clear()
    assert (columns.rows, columns.nbytes, ints(columns.ids.offsets), ints(columns.inputs.row_offsets)) == (0, 0, [0], [0])


def test_buffers_that_somebody_looks_at_do_not_move() -> None:
    columns = Columns()
    columns.add(tapped(), 0, None)
    view = memoryview(columns.codes)
    with pytest.raises(BufferError):
        columns.add(tapped(), 0, None)
    with pytest.raises(BufferError):
        columns.clear()
    view.release()
    columns.clear()
    assert view is not None
    with pytest.raises(TypeError):
        memoryview(columns.codes)[0] = 0


def test_outputs_of_other_responses_are_given() -> None:
    tap, queue = Tap(), Batcher(8, Statistics(8))
    queue.taps = (tap,)
    queue.put(request(1.0), Caller())
    batch = queue.poll()
    assert batch is not None
    batch.encode(Tensors([np.ones((1, 4), np.float32)], ["FP32"], True, 1))
    batch.deliver()
    (local,) = tap.take()
    columns = Columns()
    assert not columns.add(local, 0, None)
    assert columns.rows == 0
    assert columns.add(local, 0, None, [("y", "INT8", (2,), b"\1\2"), ("z", "BYTES", (0,), b"")], "canary")
    assert (bytes(memoryview(columns.arms.data)), ints(columns.outputs.row_offsets)) == (b"canary", [0, 2])
    with pytest.raises(ValueError, match="9 dimensions"):
        columns.add(local, 0, None, [("y", "INT8", (1,) * 9, b"\1")])
