"""Micro benchmarks of the batcher: what a request pays between check and answer, the model and the codec left out.

Each round sends a whole batch of FP32[1,16] requests, so divide by its size for one request; the loops around are Python's, and
so are the calls' `reply`, which cost about as much again as what is measured. Every round checks its answers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_access import IntegerQueue

from inferd._core.batching.batch import Batch
from inferd._core.batching.batcher import Batcher
from inferd._core.batching.local import LocalRequest
from inferd._core.grpc.call import Call
from inferd._core.metrics.histogram import Statistics
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors

ROWS = 64
SIGNATURE = Signature("identity", "1", [("x", "FP32", (-1, 16))], [("y", "FP32", (-1, 16))], ROWS)
SIZES = (1, 8, ROWS)


class Kept(Call):
    """Keeps its answer."""

    answer: Any = None

    def reply(self, message: Any) -> None:
        self.answer = message

    def fail(self, error: Exception) -> None:
        raise error


class Path:
    """`count` requests, the calls that wait for them, and the arrays of their run."""

    def __init__(self, count: int) -> None:
        self.batcher = Batcher(ROWS, Statistics(ROWS), name="'identity' version 1")
        self.inputs = np.random.default_rng(0).random((count, 16), np.float32)
        self.requests = [LocalRequest([("x", "FP32", self.inputs[row : row + 1])]) for row in range(count)]
        for request in self.requests:
            request.check(SIGNATURE)
        self.calls = [Kept() for _ in range(count)]
        self.pairs = list(zip(self.requests, self.calls, strict=True))
        self.arrays = np.zeros((count, 16), np.float32)
        self.tensors = Tensors([self.arrays], ["FP32"], True, count)

    def put(self) -> None:
        put = self.batcher.put
        for request, call in self.pairs:
            put(request, call)

    def poll(self) -> Batch:
        batch = self.batcher.poll()
        assert batch is not None
        return batch

    def encoded(self) -> Batch:
        self.put()
        batch = self.poll()
        batch.gather(self.tensors)
        batch.encode(self.tensors)
        return batch

    def check(self) -> None:
        for row, call in enumerate(self.calls):
            np.testing.assert_array_equal(call.answer["y"], self.inputs[row : row + 1])


@pytest.mark.parametrize("count", SIZES)
def test_put(benchmark: Any, count: int) -> None:
    path = Path(count)

    def cleared() -> None:
        if path.batcher.depth:
            run(path, path.poll())

    benchmark.pedantic(path.put, setup=cleared, rounds=2000, warmup_rounds=10)
    batch = path.poll()
    assert batch.requests == path.requests
    run(path, batch)
    path.check()


@pytest.mark.parametrize("count", SIZES)
def test_poll(benchmark: Any, count: int) -> None:
    path = Path(count)
    batches: list[Batch] = []

    def filled() -> None:
        if batches:
            run(path, batches.pop())
        path.put()

    benchmark.pedantic(lambda: batches.append(path.poll()), setup=filled, rounds=2000, warmup_rounds=10)
    assert batches[-1].requests == path.requests
    run(path, batches.pop())


def run(path: Path, batch: Batch) -> None:
    batch.gather(path.tensors)
    batch.encode(path.tensors)
    batch.deliver()


@pytest.mark.parametrize("count", SIZES)
def test_gather(benchmark: Any, count: int) -> None:
    path = Path(count)
    path.put()
    batch = path.poll()
    benchmark(batch.gather, path.tensors)
    np.testing.assert_array_equal(path.arrays, path.inputs)
    batch.encode(path.tensors)
    batch.deliver()


@pytest.mark.parametrize("count", SIZES)
def test_deliver(benchmark: Any, count: int) -> None:
    path = Path(count)
    benchmark.pedantic(lambda batch: batch.deliver(), setup=lambda: ((path.encoded(),), {}), rounds=2000, warmup_rounds=10)
    path.check()


@pytest.mark.parametrize("waiting", [64, 1024])
def test_a_batch_out_of_many_shapes(benchmark: Any, waiting: int) -> None:
    """The policy's worst case: every shape is another, and each batch looks at all that wait."""
    queue = IntegerQueue(ROWS)
    last = 0
    for key in range(waiting):
        last = queue.push(1, key, None, 0, 0)

    def take_and_push() -> list[int]:
        nonlocal last
        taken: list[int] = queue.take(0)[0]
        last = queue.push(1, last + waiting, None, 0, 0)
        return taken

    assert len(benchmark(take_and_push)) == 1
    assert queue.queue.requests == waiting
