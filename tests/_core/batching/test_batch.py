"""A batch from the queue to its responses, and requests that go on to a second queue."""

from __future__ import annotations

import gc
import logging
import time
import weakref
from typing import Any

import numpy as np
import pytest
from native_access import estimate

from inferd._core.batching.batch import Batch
from inferd._core.batching.local import LocalRequest
from inferd._core.tensor.tensor import Tensors
from inferd.errors import Cancelled, DeadlineExceeded, Internal, InvalidArgument, ResourceExhausted, Unavailable
from tests._core.batching.batcher_fixtures import HOUR_NS, batcher, busy, made, polled, put, run, sent
from tests.fake_backend import SIGNATURE, Caller, request


def test_each_caller_gets_its_own_rows() -> None:
    queue = batcher()
    callers = [put(queue, value, rows)[1] for value, rows in ((1, 1), (2, 3), (3, 2))]
    assert (queue.depth, queue.depth_bytes) == (3, 6 * 16)
    batch = polled(queue)
    assert (batch.rows, len(batch.requests), batch.alive, batch.dropped) == (6, 3, 3, [])
    assert batch.input_shape(0) == (6, 4)
    assert (queue.depth, queue.depth_bytes) == (0, 0)
    run(batch)
    batch.deliver()
    for caller, value, rows in zip(callers, (1, 2, 3), (1, 3, 2), strict=True):
        np.testing.assert_array_equal(caller.response, np.full((rows, 4), 2 * value, np.float32))


def test_statistics_of_a_run() -> None:
    queue = batcher()
    put(queue, 1, 2)
    put(queue, 2, 3)
    batch = polled(queue)
    assert (batch.run_ns, batch.execute_ns, batch.finished_ns) == (0, 0, 0)
    run(batch)
    assert batch.run_ns >= batch.execute_ns > 0
    assert batch.finished_ns <= time.monotonic_ns()
    batch.deliver()
    statistics = queue.statistics
    assert (statistics.rows, statistics.runs) == (5, 1)
    runs, preprocess_ns, execute_ns, encode_ns = statistics.batch_sizes()[5]
    assert (runs, execute_ns, preprocess_ns + execute_ns + encode_ns) == (1, batch.execute_ns, batch.run_ns)
    for stage in ("decode", "queue", "preprocess", "execute", "encode", "request"):
        assert getattr(statistics, stage).count == 2
    assert statistics.preprocess.sum_ns == 2 * preprocess_ns
    stages_ns = sum(getattr(statistics, stage).sum_ns for stage in ("decode", "queue", "preprocess", "execute", "encode"))
    assert statistics.request.sum_ns >= stages_ns


def test_deliver_happens_once_and_lets_everything_go() -> None:
    queue = batcher()
    made, caller = put(queue)
    batch = polled(queue)
    run(batch)
    batch.deliver()
    batch.deliver()
    assert len(caller.responses) == 1
    assert (batch.requests, batch.dropped, made.call) == ([], [], None)


def test_a_failed_run_fails_each_of_its_requests_and_is_not_counted_as_a_run() -> None:
    queue = batcher()
    callers = [put(queue)[1] for _ in range(2)]
    batch = polled(queue)
    batch.fail(Internal("broken"))
    batch.deliver()
    assert [str(caller.error) for caller in callers] == ["broken", "broken"]
    assert (queue.failed, queue.statistics.runs, queue.statistics.request.count) == (2, 0, 0)


def test_a_batch_that_never_ran_still_answers() -> None:
    queue = batcher()
    _, caller = put(queue)
    polled(queue).deliver()
    assert isinstance(caller.error, Internal)
    assert queue.statistics.runs == 0


def test_what_one_call_raises_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Caller):
        def reply(self, message: Any) -> None:
            raise RuntimeError("no more socket")

        fail = reply  # type: ignore[assignment]

    queue = batcher()
    queue.put(request(), Broken())
    _, caller = put(queue, 5)
    queue.put(request(), Broken(deadline_ns=1))
    batch = polled(queue)
    run(batch)
    with caplog.at_level(logging.ERROR, "inferd.batcher"):
        batch.deliver()
    assert caller.response[0, 0] == 10
    assert [record.exc_info is not None for record in caplog.records] == [True, True]


@pytest.mark.parametrize(("raised", "expected"), [(InvalidArgument("no such output"), InvalidArgument), (RuntimeError("secret"), Internal)])
def test_a_request_that_cannot_encode_fails_alone(raised: Exception, expected: type[Exception], caplog: pytest.LogCaptureFixture) -> None:
    class Unanswerable(LocalRequest):
        def encode(self, outputs: Tensors, first_row: int) -> None:
            raise raised

    queue = batcher()
    bad = Unanswerable([("x", "FP32", np.zeros((2, 4), np.float32))])
    bad.check(SIGNATURE)
    failing = Caller()
    _, first = put(queue, 1)
    queue.put(bad, failing)
    _, last = put(queue, 3)
    batch = polled(queue)
    run(batch)
    batch.deliver()
    assert (first.response[0, 0], last.response[0, 0]) == (2, 6)
    assert isinstance(failing.error, expected)
    assert "secret" not in str(failing.error)
    assert bool(caplog.records) == (expected is Internal)
    assert queue.failed == 1
    raised.__traceback__ = None  # it outlives the test, and holds what is in the frames
    caplog.clear()


def test_cancelling_in_a_batch_skips_the_answer() -> None:
    queue = batcher()
    first, caller = put(queue, 1)
    _, other = put(queue, 2)
    batch = polled(queue)
    first.cancel()
    first.cancel()
    assert (batch.alive, len(batch.requests)) == (1, 2)
    run(batch)
    batch.deliver()
    assert other.response[0, 0] == 4, "its rows are where they were"
    assert (caller.responses, caller.errors) == ([], [])
    assert queue.cancelled == 1


def test_the_last_cancellation_ends_the_run_once() -> None:
    queue = batcher()
    made = [put(queue)[0] for _ in range(3)]
    batch = polled(queue)
    ended: list[Batch] = []
    batch.terminate = ended.append
    for one in made:
        assert ended == []
        one.cancel()
    assert ended == [batch]
    assert batch.terminated
    assert not batch.end_if_late(2**62)
    batch.fail(Cancelled("ended"))
    batch.deliver()
    assert ended == [batch]
    assert (queue.cancelled, queue.failed) == (3, 0)


def test_a_run_whose_every_deadline_has_passed_is_ended_once() -> None:
    queue = batcher()
    now_ns = time.monotonic_ns()
    early, _ = put(queue, deadline_ns=now_ns + HOUR_NS)
    late, caller = put(queue, deadline_ns=now_ns + 2 * HOUR_NS)
    put(queue)[0].cancel()
    batch = polled(queue)
    ended: list[Batch] = []
    batch.terminate = ended.append
    assert not batch.end_if_late(now_ns + HOUR_NS)
    early.cancel()
    assert batch.end_if_late(now_ns + 2 * HOUR_NS)
    assert not batch.end_if_late(now_ns + 3 * HOUR_NS)
    assert ended == [batch]
    batch.fail(DeadlineExceeded("ended"))
    batch.deliver()
    assert str(caller.error) == "ended"
    assert late.call is None


def test_a_batch_that_does_not_run_cannot_be_ended() -> None:
    queue = batcher()
    put(queue, deadline_ns=time.monotonic_ns() + HOUR_NS)
    batch = polled(queue)
    assert not batch.end_if_late(2**62)
    assert not batch.terminated
    batch.deliver()
    assert not batch.end_if_late(2**62)


def test_the_timeout_of_the_queue_ends_no_run() -> None:
    queue = batcher(queue_policies=((0, HOUR_NS, False),))
    put(queue)
    batch = polled(queue)
    batch.terminate = lambda batch: None
    assert not batch.end_if_late(time.monotonic_ns() + 2 * HOUR_NS)


def test_forward_moves_a_request_between_batchers() -> None:
    waiting, ready = batcher(), batcher()
    request, caller = sent(b"a"), Caller()
    waiting.put(request, caller)
    batch = polled(waiting)
    request.prepare(made(1, 5.0), ("x",), SIGNATURE)
    batch.forward(request, ready)
    assert (batch.requests, batch.rows, batch.alive, ready.depth) == ([], 0, 0, 1)
    batch.deliver()
    assert not caller.answered.is_set()
    second = polled(ready)
    run(second)
    second.deliver()
    np.testing.assert_array_equal(caller.response, [[10, 10, 10, 10]])
    assert (ready.statistics.request.count, waiting.statistics.request.count) == (1, 0)


def test_a_queue_in_front_knows_what_waits_behind_it() -> None:
    waiting, ready = batcher(1), busy(HOUR_NS)
    waiting.behind = ready
    held, _ = put(waiting)
    batch = polled(waiting)
    with pytest.raises(ResourceExhausted, match="deadline"):
        put(waiting, deadline_ns=time.monotonic_ns() + HOUR_NS)
    batch.forward(held, ready)
    batch.deliver()
    assert waiting.queue.running == 0
    assert estimate(waiting.queue.run_times, 1, time.monotonic_ns()) > 0


def test_who_has_gone_is_not_forwarded() -> None:
    waiting, ready = batcher(), batcher()
    request, caller = sent(b"a"), Caller()
    waiting.put(request, caller)
    batch = polled(waiting)
    caller.cancel()
    assert request.cancelled
    batch.forward(request, ready)
    batch.deliver()
    assert (ready.depth, waiting.cancelled, caller.responses, caller.errors) == (0, 1, [], [])


def test_a_batcher_that_takes_nothing_leaves_the_rejection_to_the_first() -> None:
    waiting, ready = batcher(), batcher()
    ready.close()
    request, caller = sent(b"a"), Caller()
    waiting.put(request, caller)
    batch = polled(waiting)
    batch.forward(request, ready)
    assert batch.requests == [request]
    assert request.rejected
    batch.deliver()
    assert isinstance(caller.error, Unavailable)


def test_cancelling_after_the_forwarding_withdraws_from_the_second() -> None:
    waiting, ready = batcher(), batcher()
    request, caller = sent(b"a"), Caller()
    waiting.put(request, caller)
    batch = polled(waiting)
    request.prepare(made(1), ("x",), SIGNATURE)
    batch.forward(request, ready)
    caller.cancel()
    assert (ready.depth, ready.depth_bytes, ready.cancelled) == (0, 0, 1)


def test_prepared_requests_leave_nothing_behind() -> None:
    """A pipeline that passes its input through makes a cycle: request, tensors, array, request. It is cut with the response."""
    alive = []
    for _ in range(3):
        waiting, ready = batcher(), batcher()
        request, caller = LocalRequest([("x", "FP32", np.ones((1, 4), np.float32))]), Caller()
        request.check(SIGNATURE)
        waiting.put(request, caller)
        batch = polled(waiting)
        passed = request.values()[0]
        alive.append(weakref.ref(passed))
        request.prepare(Tensors([passed], ["FP32"], True, 1), ("x",), SIGNATURE)
        batch.forward(request, ready)
        del passed, request
        second = polled(ready)
        run(second)
        second.deliver()
        del second, batch, caller
    gc.collect()
    assert [reference() for reference in alive] == [None] * 3
