"""Runs with prepared arguments, and the end of one, over a session that records. The real ones are in engine/runtime/onnx/test_model.py."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from inferd._core.batching.batch import Batch
from inferd._core.inference.bound_runs import BoundRun, BoundRuns, CurrentRun
from inferd._core.tensor.tensor import Tensors
from tests._core.batching.batcher_fixtures import batcher, polled, put
from tests.fake_backend import LIMIT_S


class Options:
    """onnxruntime's RunOptions, as far as it is used here."""

    terminate = False


def tensors(rows: int) -> Tensors:
    return Tensors([np.zeros((rows, 4), np.float32)], ["FP32"], True, rows)


class Session:
    """Records what its runs are called with, and raises what it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.raises: Exception | None = None

    def run(self, *arguments: Any) -> None:
        self.calls.append(arguments)
        if self.raises is not None:
            raise self.raises


class Runs(BoundRuns):
    def __init__(self) -> None:
        self.session, self.options = Session(), Options()
        self.current = CurrentRun(self.options)
        self.bound = [None] * 4
        self.keeps_promise = True
        self.seldom: list[tuple[Any, ...]] = []

    def bind(self, rows: int) -> BoundRun:
        self.bound[rows] = bound = BoundRun(tensors(rows), tensors(rows), "binding", self.session.run, rows, self.options)
        return bound

    def run_unbound(self, rows: int) -> Tensors:
        self.seldom.append(("unbound", rows))
        return tensors(rows)

    def run_failed(self, error: Exception, rows: int) -> Tensors:
        self.seldom.append((error, rows, self.current.end()))
        raise RuntimeError("told") from None


def batch_of(rows: int) -> Batch:
    queue = batcher()
    put(queue, rows=rows)
    return polled(queue)


def test_rows_are_bound_once_and_run_with_what_was_prepared() -> None:
    runs = Runs()
    inputs = runs.inputs(batch_of(2))
    assert runs.inputs(batch_of(2)) is inputs
    bound = runs.bound[2]
    assert bound is not None
    assert not bound.proven
    assert runs.run(2) is runs.run(2) is bound.outputs
    assert (runs.session.calls, bound.proven, runs.seldom) == ([(2, runs.options)] * 2, True, [])
    runs.inputs(batch_of(3))
    runs.run(3)
    assert runs.session.calls[2:] == [(3, runs.options)]


def test_any_callable_can_be_bound() -> None:
    asked: list[int] = []
    runs = Runs()
    runs.bound[1] = BoundRun(tensors(1), tensors(1), None, asked.append, 7)
    runs.run(1)
    assert asked == [7]


def test_what_is_not_bound_is_run_without() -> None:
    runs = Runs()
    runs.run(1)
    runs.inputs(batch_of(2))
    runs.keeps_promise = False
    runs.run(2)
    assert (runs.seldom, runs.session.calls) == ([("unbound", 1), ("unbound", 2)], [])


def test_a_failed_run_is_for_the_subclass_and_leaves_nothing_running() -> None:
    runs = Runs()
    runs.inputs(batch_of(1))
    runs.session.raises = failure = ValueError("broken")
    with pytest.raises(RuntimeError, match="told"):
        runs.run(1)
    runs.current.terminate()
    assert (runs.seldom, runs.options.terminate) == ([(failure, 1, False)], False)


def test_a_terminated_run_is_told_so_and_the_next_one_is_not() -> None:
    runs = Runs()
    runs.inputs(batch_of(1))
    seen: list[bool] = []

    def terminated(*_: Any) -> None:
        runs.current.terminate()
        seen.append(runs.options.terminate)

    runs.session.run = terminated  # type: ignore[method-assign]
    runs.bind(1)
    assert runs.run(1) is runs.bound[1].outputs, "it went well all the same"  # type: ignore[union-attr]
    assert (seen, runs.options.terminate, runs.current.end()) == ([True], False, False)


def test_terminating_between_runs_ends_neither() -> None:
    current = CurrentRun(Options())
    current.terminate()
    current.begin()
    assert not current.end()


def test_a_termination_that_is_late_never_hits_the_next_run() -> None:
    """A thread terminates again and again while another one runs: a run ends terminated only if it was terminated while it ran."""
    options = Options()
    current = CurrentRun(options)
    over = threading.Event()
    terminator = threading.Thread(target=lambda: [current.terminate() for _ in iter(over.is_set, True)], daemon=True)
    terminator.start()
    for _ in range(20_000):
        current.begin()
        current.end()
        if options.terminate:
            break
    over.set()
    terminator.join(LIMIT_S)
    assert not terminator.is_alive()
    assert not current.end()
    assert not options.terminate
