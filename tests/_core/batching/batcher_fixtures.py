"""Batchers, and requests that wait in them, for the tests of this package."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from native_access import record_time

from inferd._core.batching.batch import Batch
from inferd._core.batching.batcher import Batcher
from inferd._core.batching.local import LocalRequest
from inferd._core.codec.infer import InferRequest, decode_infer_request
from inferd._core.grpc.message import Message
from inferd._core.metrics.histogram import Statistics
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.protocol import inference as pb
from tests.fake_backend import SIGNATURE, Caller, request

HOUR_NS = 3600 * 10**9
PREPARED = Signature("double", "1", [("x", "FP32", (-1, 4)), ("scale", "FP32", (-1, 1))], [("y", "FP32", (-1, 4))], 8)
SENT = Signature("double", "1", [("text", "BYTES", (-1, 1)), ("scale", "FP32", (-1, 1))], [("y", "FP32", (-1, 4))], 8, binary=["text"])


def batcher(max_rows: int = 8, **policy: Any) -> Batcher:
    return Batcher(max_rows, Statistics(max_rows), name="'double' version 1", **policy)


def put(queue: Batcher, value: float = 0.0, rows: int = 1, deadline_ns: int | None = None) -> tuple[LocalRequest, Caller]:
    made, caller = request(value, rows), Caller() if deadline_ns is None else Caller(deadline_ns)
    queue.put(made, caller)
    return made, caller


def wire_request(id: str = "", value: float = 1.0, **parameters: int) -> InferRequest:
    """A checked request of gRPC, of one row."""
    sent = {key: pb.InferParameter(int64_param=number) for key, number in parameters.items()}
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 4])
    raw = np.full((1, 4), value, np.float32).tobytes()
    message = pb.ModelInferRequest(model_name="double", id=id, parameters=sent, inputs=[tensor], raw_input_contents=[raw])
    request = decode_infer_request(Message(message.SerializeToString()))
    request.check(SIGNATURE)
    return request


def polled(queue: Batcher) -> Batch:
    batch = queue.poll()
    assert batch is not None
    return batch


def run(batch: Batch, factor: float = 2.0) -> None:
    """What an instance does, without a model."""
    x = np.full(batch.input_shape(0), np.nan, np.float32)
    batch.gather(Tensors([x], ["FP32"], True, batch.rows))
    batch.encode(Tensors([x * factor], ["FP32"], True, batch.rows))


def busy(run_ns: int = 50_000_000, **policy: Any) -> Batcher:
    """One request runs, of a model whose runs are likely to take so long."""
    queue = batcher(1, **policy)
    record_time(queue.queue.run_times, 1, run_ns, time.monotonic_ns())
    put(queue)
    polled(queue)
    return queue


def sent(*texts: bytes) -> LocalRequest:
    elements = np.empty((len(texts), 1), object)
    elements[:, 0] = texts
    request = LocalRequest([("text", "BYTES", elements), ("scale", "FP32", np.full((len(texts), 1), 3, np.float32))])
    request.check(SENT)
    return request


def made(rows: int, value: float = 1.0) -> Tensors:
    return Tensors([np.full((rows, 4), value, np.float32)], ["FP32"], True, rows)
