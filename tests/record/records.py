"""Rows to be recorded, as a tap keeps them, and records made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from inferd._core.batching.batcher import Batcher
from inferd._core.batching.tap import Tap, Tapped
from inferd._core.codec.columns import Columns
from inferd._core.codec.infer import decode_infer_request
from inferd._core.grpc.message import Message
from inferd._core.metrics.histogram import Statistics
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.errors import RequestError
from inferd.record.writer import Writer
from tests.fake_backend import Caller
from tests.wire import infer_request

OFFSET_NS = 1_800_000_000_000_000_000


def tapped(
    id: str = "", value: float = 1, rows: int = 1, model: str = "double", version: str = "1", error: RequestError | None = None
) -> Tapped:
    """A request x and its response y = 2 x, FP32 of four columns; or an error."""
    tap = Tap()
    answer(tap, id, value, rows, model, version, error)
    (found,) = tap.take()
    return found


def answer(
    tap: Tap,
    id: str = "",
    value: float = 1,
    rows: int = 1,
    model: str = "double",
    version: str = "1",
    error: RequestError | None = None,
) -> None:
    """`tap` sees it."""
    signature = Signature(model, version, [("x", "FP32", (-1, 4))], [("y", "FP32", (-1, 4))], 8)
    queue = Batcher(8, Statistics(8))
    queue.taps = (tap,)
    x = np.full((rows, 4), value, np.float32)
    request = decode_infer_request(Message(infer_request("", {"x": x}, id=id).SerializeToString()))
    request.check(signature)
    queue.put(request, Caller())
    batch = queue.poll()
    assert batch is not None
    batch.gather(Tensors([np.zeros_like(x)], ["FP32"], True, rows))
    if error is None:
        batch.encode(Tensors([2 * x], ["FP32"], True, rows))
    else:
        batch.fail(error)
    batch.deliver()


def columns(*requests: Tapped, changes: Any = None) -> Columns:
    made = Columns()
    for request in requests:
        assert made.add(request, OFFSET_NS - request.received_ns, changes)
    return made


def writer(folder: Path, **options: Any) -> Writer:
    """That waits for no idle core."""
    made = Writer(folder, **{"segment_bytes": 1 << 30, "segment_s": 3600.0} | options)
    made.idle.hurry()
    return made


def record(folder: Path, *batches: Columns, **options: Any) -> Path:
    """A finished record of these batches in one segment; its file."""
    made = writer(folder, **options)
    for batch in batches:
        assert made.write(batch)
    made.end_segment()
    (file,) = folder.glob("*.arrow")
    return file
