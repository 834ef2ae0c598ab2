"""Requests, batches and the Batcher between threads. The policy alone is in test_batch_queue.py."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest

from inferd._core.batching.batcher import Batch, Batcher
from inferd._core.batching.local import LocalRequest
from inferd._core.grpc import message
from inferd._core.metrics.histogram import Statistics
from inferd._core.tensor.tensor import DATATYPES, Signature, Tensors
from inferd.errors import Cancelled, DeadlineExceeded, Internal, InvalidArgument, ResourceExhausted, Unavailable
from tests.fake_backend import LIMIT_S, SIGNATURE, Caller, request

HOUR_NS = 3600 * 10**9


def batcher(max_rows: int = 8, **policy: Any) -> Batcher:
    return Batcher(max_rows, Statistics(max_rows), name="'double' version 1", **policy)


def put(queue: Batcher, value: float = 0.0, rows: int = 1, deadline_ns: int | None = None) -> tuple[LocalRequest, Caller]:
    made, caller = request(value, rows), Caller() if deadline_ns is None else Caller(deadline_ns)
    queue.put(made, caller)
    return made, caller


def polled(queue: Batcher) -> Batch:
    batch = queue.poll()
    assert batch is not None
    return batch


def run(batch: Batch, factor: float = 2.0) -> None:
    """What an instance does, without a model."""
    x = np.full(batch.input_shape(0), np.nan, np.float32)
    batch.gather(Tensors([x], ["FP32"], True, batch.rows))
    batch.encode(Tensors([x * factor], ["FP32"], True, batch.rows))


# ---- one batch, from put to deliver ----


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
        np.testing.assert_array_equal(caller.answer, np.full((rows, 4), 2 * value, np.float32))


def test_put_tells_when_nothing_else_waited() -> None:
    queue = batcher()
    assert queue.put(request(), Caller())
    assert not queue.put(request(), Caller())
    polled(queue)
    assert queue.poll() is None
    assert queue.put(request(), Caller())


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
    assert (statistics.rows, statistics.runs, statistics.run.count) == (5, 1, 1)
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
    assert len(caller.answers) == 1
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
    assert caller.answer[0, 0] == 10
    assert [record.exc_info is not None for record in caplog.records] == [True, True]


@pytest.mark.parametrize(("raised", "expected"), [(InvalidArgument("no such output"), InvalidArgument), (RuntimeError("secret"), Internal)])
def test_a_request_that_cannot_encode_fails_alone(raised: Exception, expected: type[Exception], caplog: pytest.LogCaptureFixture) -> None:
    class Unanswerable(LocalRequest):
        def respond(self, outputs: Tensors, first_row: int) -> None:
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
    assert (first.answer[0, 0], last.answer[0, 0]) == (2, 6)
    assert isinstance(failing.error, expected)
    assert "secret" not in str(failing.error)
    assert bool(caplog.records) == (expected is Internal)
    assert queue.failed == 1
    raised.__traceback__ = None  # it outlives the test, and holds what is in the frames
    caplog.clear()


# ---- gather ----


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


# ---- rejections ----


def test_who_makes_room_is_told_with_the_next_batch_or_by_its_own() -> None:
    queue = batcher(1, max_queue_requests=3)
    callers = [Caller(source=1) for _ in range(3)]
    for caller in callers:
        queue.put(request(), caller)
    queue.put(request(), Caller(source=2))
    batch = polled(queue)
    assert (len(batch.requests), len(batch.dropped), queue.depth) == (1, 1, 2)
    run(batch)
    batch.deliver()
    assert len(callers[0].answers) == 1
    rejected = callers[2].error
    assert isinstance(rejected, ResourceExhausted)
    assert "made room for one of a connection that has fewer waiting" in str(rejected)
    assert (rejected.reason, rejected.retry_after_ns > 0) == ("queue_full", True)
    assert (queue.expired, queue.poll() is None) == (1, False)


def test_who_makes_room_is_told_by_a_sleeper_even_if_all_others_go_away() -> None:
    queue = batcher(1, max_queue_requests=3)
    callers = [Caller(source=1) for _ in range(3)]
    requests = [request() for _ in range(4)]
    for made, caller in zip(requests, [*callers, Caller(source=2)], strict=True):
        queue.put(made, caller)
    for made in (requests[0], requests[1], requests[3]):
        made.cancel()
    queue.close()
    batch = queue.take()
    assert (batch.requests, len(batch.dropped)) == ([], 1)
    batch.deliver()
    assert isinstance(callers[2].error, ResourceExhausted)
    assert queue.take() is None


def test_a_batcher_that_ends_lets_go_of_who_made_room() -> None:
    queue = batcher(1, max_queue_requests=3)
    callers = [Caller(source=source) for source in (1, 1, 1, 2)]
    for caller in callers:
        queue.put(request(), caller)
    gone = [weakref.ref(caller) for caller in callers]
    del queue, caller, callers
    gc.collect()
    assert [one() for one in gone] == [None] * 4


def test_limits_that_change_count_for_what_comes_then() -> None:
    queue = batcher(max_queue_requests=1)
    queue.put(request(), Caller())
    with pytest.raises(ResourceExhausted, match="max_queue_requests"):
        queue.put(request(), Caller())
    queue.limit(3, 0, 0)
    queue.put(request(), Caller())
    queue.put(request(), Caller())
    queue.limit(1, 0, 0)
    with pytest.raises(ResourceExhausted, match=r"3 requests wait.*max_queue_requests"):
        queue.put(request(), Caller())
    assert queue.depth == 3, "what waits stays"
    queue.limit(100, queue.depth_bytes, 0)
    with pytest.raises(ResourceExhausted, match="max_queue_bytes"):
        queue.put(request(), Caller())
    for wrong in ((0, 0, 0), (1, -1, 0), (1, 0, -1)):
        with pytest.raises(ValueError, match="expected max_queue_requests of 1 or more"):
            queue.limit(*wrong)


def test_a_full_queue_rejects_at_once_and_keeps_nothing() -> None:
    queue = batcher(max_queue_requests=2)
    put(queue)
    put(queue)
    made, caller = request(), Caller()
    references = sys.getrefcount(made)
    with pytest.raises(ResourceExhausted, match=r"'double' version 1.*2 requests wait.*max_queue_requests") as rejected:
        queue.put(made, caller)
    assert rejected.value.retry_after_ns >= 1_000_000
    assert (queue.depth, caller.request, made.call) == (2, None, None)
    del rejected
    assert sys.getrefcount(made) == references
    polled(queue)
    queue.put(made, caller)  # there is room again
    assert queue.depth == 1


def busy(run_ns: int = 50_000_000, **policy: Any) -> Batcher:
    """One request runs, of a model whose runs are likely to take so long."""
    queue = batcher(1, **policy)
    queue.queue.run_times.record_run(1, run_ns, time.monotonic_ns())
    put(queue)
    polled(queue)
    return queue


def test_retry_after_follows_the_measured_runs() -> None:
    queue = busy(max_queue_requests=4)
    for _ in range(4):
        put(queue)
    with pytest.raises(ResourceExhausted) as rejected:
        put(queue)
    assert 100_000_000 <= rejected.value.retry_after_ns <= 150_000_000, "half of the four, and what is left of the one that runs"


def test_others_are_told_the_same_for_a_millisecond() -> None:
    queue = batcher(queue_policies=((1, 0, False), (1, 0, False)), priority_levels=2)
    told = []
    for priority in (1, 2):
        for _ in range(4):
            made = request()
            made.prefer(priority)
            try:
                queue.put(made, Caller())
            except ResourceExhausted as error:
                told.append(str(error))
    assert [f"level {priority} of its queue is full" in text for text, priority in zip(told, (1, 1, 1, 2, 2, 2), strict=True)] == [True] * 6


def test_retry_after_the_first_run_is_as_long_as_that_has_lasted() -> None:
    queue = batcher(1, max_queue_requests=1)
    put(queue)
    polled(queue)
    put(queue)
    with pytest.raises(ResourceExhausted) as rejected:
        put(queue)
    assert 1_000_000 <= rejected.value.retry_after_ns <= 1_000_000_000


def test_what_would_be_answered_too_late_is_rejected_while_there_is_time() -> None:
    queue = busy(HOUR_NS)
    made, caller = request(), Caller(time.monotonic_ns() + HOUR_NS)
    words = r"'double' version 1: 0 requests wait.* after the request's deadline; retry later"
    with pytest.raises(ResourceExhausted, match=words) as rejected:
        queue.put(made, caller)
    assert (rejected.value.reason, rejected.value.retry_after_ns) == ("queue_time", 1_000_000_000)
    assert (queue.depth, caller.request, made.call) == (0, None, None)


def test_what_is_late_already_is_told_so() -> None:
    queue = busy(HOUR_NS)
    _, caller = put(queue, deadline_ns=1)
    polled(queue).deliver()
    assert isinstance(caller.error, DeadlineExceeded)


def test_what_has_too_little_time_left_for_a_run_is_not_run() -> None:
    queue = busy()
    _, caller = put(queue, deadline_ns=time.monotonic_ns() + HOUR_NS)
    queue.queue.run_times.record_run(1, HOUR_NS, time.monotonic_ns() + HOUR_NS)  # forgets the others
    batch = polled(queue)
    assert (batch.requests, len(batch.dropped)) == ([], 1)
    batch.deliver()
    assert isinstance(caller.error, DeadlineExceeded)
    assert "ms were left until its deadline, too little for a run" in str(caller.error)
    assert queue.expired == 1


def test_batches_tell_how_long_they_took_when_they_are_delivered() -> None:
    queue = batcher()
    put(queue)
    batch = polled(queue)
    run(batch)
    assert (queue.queue.running, queue.queue.run_times.expected_ns(1, time.monotonic_ns())) == (1, 0)
    batch.deliver()
    batch.deliver()
    assert queue.queue.running == 0
    assert queue.queue.run_times.expected_ns(1, time.monotonic_ns()) >= batch.run_ns


def test_a_failed_run_tells_nothing_of_the_next() -> None:
    queue = batcher()
    put(queue)
    batch = polled(queue)
    batch.fail(Internal("broken"))
    batch.deliver()
    assert (queue.queue.running, queue.queue.run_times.expected_ns(1, time.monotonic_ns())) == (0, 0)


def test_expired_requests_alone_are_no_run() -> None:
    queue = batcher()
    put(queue, deadline_ns=1)
    polled(queue).deliver()
    assert queue.queue.running == 0


def test_other_limits_name_themselves() -> None:
    queue = batcher(max_queue_bytes=20)
    put(queue)
    with pytest.raises(ResourceExhausted, match="16 bytes of input wait, and max_queue_bytes allows 20"):
        put(queue)
    queue = batcher(queue_policies=((1, 0, False),))
    put(queue)
    with pytest.raises(ResourceExhausted, match=r"priority level 1 .* max_queue_size"):
        put(queue)
    with pytest.raises(ResourceExhausted, match=r"0 requests wait.*max_queue_wait_us"):
        put(busy(HOUR_NS, max_wait_ns=1))


def test_a_request_waits_once_at_a_time() -> None:
    queue = batcher()
    made, _ = put(queue)
    with pytest.raises(ValueError, match="one call at a time"):
        queue.put(made, Caller())
    batch = polled(queue)
    with pytest.raises(ValueError, match="one call at a time"):
        queue.put(made, Caller())
    batch.deliver()
    made.cancel()
    with pytest.raises(ValueError, match="one call at a time"):
        queue.put(made, Caller())


def test_priorities_and_timeouts_of_requests() -> None:
    queue = batcher(1, priority_levels=2, default_priority=2, queue_policies=((0, HOUR_NS, True), (0, HOUR_NS, True)))
    put(queue, 1)
    urgent = request(2)
    urgent.prefer(priority=1)
    queue.put(urgent, Caller())
    assert polled(queue).requests == [urgent]
    impatient, caller = request(3), Caller()
    impatient.prefer(timeout_ns=1)
    queue.put(impatient, caller)
    batch = queue.expire(time.monotonic_ns())
    assert batch is not None
    assert (batch.rows, batch.dropped) == (0, [impatient])
    batch.deliver()
    assert "timeout of the model's queue policy" in str(caller.error)


# ---- deadlines and cancellation ----


def test_an_expired_request_is_answered_and_never_runs() -> None:
    queue = batcher()
    late, caller = put(queue, deadline_ns=time.monotonic_ns() - 1)
    good, _ = put(queue, 1, deadline_ns=time.monotonic_ns() + HOUR_NS)
    batch = polled(queue)
    assert (batch.requests, batch.dropped) == ([good], [late])
    run(batch)
    batch.deliver()
    assert isinstance(caller.error, DeadlineExceeded)
    assert "its deadline" in str(caller.error)
    assert (queue.expired, queue.statistics.request.count) == (1, 1)


def test_the_timeout_of_the_queue_ends_no_run() -> None:
    queue = batcher(queue_policies=((0, HOUR_NS, False),))
    put(queue)
    batch = polled(queue)
    batch.terminate = lambda batch: None
    assert not batch.expire(time.monotonic_ns() + 2 * HOUR_NS)


def test_expired_requests_alone_make_a_batch_without_rows() -> None:
    queue = batcher()
    put(queue, deadline_ns=1)
    batch = polled(queue)
    assert (batch.rows, batch.requests, len(batch.dropped)) == (0, [], 1)
    batch.deliver()
    assert queue.statistics.runs == 0


def test_expire_drops_only_what_is_late() -> None:
    queue = batcher()
    now_ns = time.monotonic_ns()
    put(queue, deadline_ns=now_ns + HOUR_NS)
    put(queue)
    assert queue.expire(now_ns) is None
    batch = queue.expire(now_ns + HOUR_NS)
    assert batch is not None
    assert (len(batch.dropped), queue.depth) == (1, 1)
    assert queue.expire(now_ns + 2 * HOUR_NS) is None
    batch.deliver()


def test_cancelling_a_waiting_request_gives_its_memory_back_at_once() -> None:
    queue = batcher()
    made, caller = request(), Caller()
    references, calls = sys.getrefcount(made), sys.getrefcount(caller)
    queue.put(made, caller)
    put(queue, 2)
    caller.cancel()  # what the transport does when the client goes away
    assert (queue.depth, queue.depth_bytes, queue.cancelled) == (1, 16, 1)
    assert sys.getrefcount(made) == references
    assert sys.getrefcount(caller) == calls
    made.cancel()  # again: nothing
    assert queue.cancelled == 1
    batch = polled(queue)
    assert len(batch.requests) == 1
    assert (caller.answers, caller.errors) == ([], [])


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
    assert other.answer[0, 0] == 4, "its rows are where they were"
    assert (caller.answers, caller.errors) == ([], [])
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
    assert not batch.expire(2**62)
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
    assert not batch.expire(now_ns + HOUR_NS)
    early.cancel()
    assert batch.expire(now_ns + 2 * HOUR_NS)
    assert not batch.expire(now_ns + 3 * HOUR_NS)
    assert ended == [batch]
    batch.fail(DeadlineExceeded("ended"))
    batch.deliver()
    assert str(caller.error) == "ended"
    assert late.call is None


def test_a_batch_that_does_not_run_cannot_be_ended() -> None:
    queue = batcher()
    put(queue, deadline_ns=time.monotonic_ns() + HOUR_NS)
    batch = polled(queue)
    assert not batch.expire(2**62)
    assert not batch.terminated
    batch.deliver()
    assert not batch.expire(2**62)


# ---- threads ----


class Taker(threading.Thread):
    """Takes until there is nothing more, answers with factor times the input."""

    def __init__(self, queue: Batcher, factor: float = 2.0) -> None:
        super().__init__(daemon=True)
        self.queue, self.factor = queue, factor
        self.rows: list[int] = []
        self.start()

    def run(self) -> None:
        while (batch := self.queue.take()) is not None:
            self.rows.append(batch.rows)
            if batch.requests:
                run(batch, self.factor)
            batch.deliver()

    def end(self) -> None:
        self.join(LIMIT_S)
        assert not self.is_alive()


def test_take_waits_and_close_ends_it() -> None:
    queue = batcher()
    takers = [Taker(queue), Taker(queue)]
    _, caller = put(queue, 4)
    assert caller.answer[0, 0] == 8
    queue.close()
    for taker in takers:
        taker.end()
    assert queue.take() is None
    with pytest.raises(Unavailable, match="being unloaded"):
        put(queue)


def test_close_gives_out_what_is_left_without_delay() -> None:
    queue = batcher(max_delay_ns=HOUR_NS)
    taker = Taker(queue)
    callers = [put(queue, value)[1] for value in range(3)]
    queue.close()
    assert [caller.answer[0, 0] for caller in callers] == [0, 2, 4]
    taker.end()
    assert taker.rows == [3]


def test_take_waits_out_the_delay() -> None:
    queue = batcher(max_delay_ns=2_000_000)
    taker = Taker(queue)
    started_ns = time.monotonic_ns()
    _, caller = put(queue, 1)
    assert caller.answer[0, 0] == 2
    assert time.monotonic_ns() - started_ns >= 2_000_000
    queue.close()
    taker.end()


def test_a_full_batch_does_not_wait() -> None:
    queue = batcher(4, max_delay_ns=HOUR_NS)
    taker = Taker(queue)
    callers = [put(queue, value)[1] for value in range(4)]
    assert [caller.answer[0, 0] for caller in callers] == [0, 2, 4, 6]
    assert taker.rows == [4]
    queue.close()
    taker.end()


def test_dismiss_sends_one_thread_away_when_nothing_waits() -> None:
    queue = batcher()
    queue.dismiss()
    put(queue, 1)
    taker = Taker(queue)
    taker.end()
    assert (taker.rows, queue.leaving, queue.depth) == ([1], 0, 0)
    other = Taker(queue)
    _, caller = put(queue, 3)
    assert caller.answer[0, 0] == 6
    queue.dismiss()
    other.end()
    assert queue.leaving == 0
    put(queue)
    assert queue.depth == 1, "nobody takes, and nothing is closed"


def test_many_producers_and_consumers_each_get_their_own_answer() -> None:
    queue = batcher(max_queue_requests=1_000_000)
    takers = [Taker(queue, 3.0) for _ in range(3)]
    callers: dict[int, Caller] = {}
    start = threading.Barrier(4)

    def produce(first: int) -> None:
        start.wait(LIMIT_S)
        for value in range(first, first + 500):
            rows = 1 + value % 3
            made, caller = request(value, rows), Caller()
            callers[value] = caller
            queue.put(made, caller)
            if value % 7 == 0:
                caller.cancel()

    producers = [threading.Thread(target=produce, args=(1000 * number,)) for number in range(4)]
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join(LIMIT_S)
    queue.close()
    for taker in takers:
        taker.end()
    for value, caller in callers.items():
        if value % 7 == 0:
            assert len(caller.answers) <= 1
        else:
            np.testing.assert_array_equal(caller.answer, np.full((1 + value % 3, 4), 3 * value, np.float32))
        assert caller.errors == []
    answered = sum(len(caller.answers) for caller in callers.values())
    assert answered == queue.statistics.request.count
    assert answered + queue.cancelled >= len(callers) == 2000
    assert sum(taker.rows.count(rows) for taker in takers for rows in range(1, 9)) == queue.statistics.runs


# ---- memory ----


def test_nothing_is_left_after_many_requests() -> None:
    queue = batcher(max_queue_requests=4)

    def rounds(count: int) -> None:
        for number in range(count):
            made = [put(queue, number)[0], put(queue, deadline_ns=1)[0], put(queue)[0], put(queue)[0]]
            made[2].cancel()
            put(queue)
            with pytest.raises(ResourceExhausted):
                put(queue)
            batch = polled(queue)
            made[3].cancel()
            run(batch)
            batch.deliver()

    rounds(5)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        rounds(50)
        assert len(gc.get_objects()) - before < 20, "no reference cycle waits for the collector"
    finally:
        gc.enable()


def test_a_batcher_that_goes_away_lets_go_of_what_waits() -> None:
    queue = batcher()
    made, caller = request(), Caller()
    references = sys.getrefcount(made)
    queue.put(made, caller)
    assert sys.getrefcount(made) > references
    del queue
    gc.collect()
    assert made.call is None
    assert sys.getrefcount(made) == references + 1, "the caller's, which goes with the caller"


HOUR_NS = 3600 * 10**9


def test_clients_that_were_answered_together_are_waited_for() -> None:
    queue = batcher()
    queue.expect(2, HOUR_NS)
    put(queue)
    assert queue.poll() is None
    put(queue)
    run(polled(queue))


@pytest.mark.parametrize("end", [Batcher.dismiss, Batcher.close])
def test_whoever_polls_after_the_thread_was_told_to_go_waits_for_nobody(end: Any) -> None:
    queue = batcher()
    queue.expect(2, HOUR_NS)
    put(queue)
    end(queue)
    queue.expect(2, HOUR_NS)  # by the thread, whose last run ends only now
    run(polled(queue))


# ---- requests that are prepared before their run

PREPARED = Signature("double", "1", [("x", "FP32", (-1, 4)), ("scale", "FP32", (-1, 1))], [("y", "FP32", (-1, 4))], 8)
SENT = Signature("double", "1", [("text", "BYTES", (-1, 1)), ("scale", "FP32", (-1, 1))], [("y", "FP32", (-1, 4))], 8, binary=["text"])
SIGNATURE_OF_X = Signature("double", "1", [("x", "FP32", (-1, 4))], [("y", "FP32", (-1, 4))], 8)


def sent(*texts: bytes) -> LocalRequest:
    elements = np.empty((len(texts), 1), object)
    elements[:, 0] = texts
    request = LocalRequest([("text", "BYTES", elements), ("scale", "FP32", np.full((len(texts), 1), 3, np.float32))])
    request.check(SENT)
    return request


def made(rows: int, value: float = 1.0) -> Tensors:
    return Tensors([np.full((rows, 4), value, np.float32)], ["FP32"], True, rows)


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


def test_forward_moves_a_request_between_batchers() -> None:
    waiting, ready = batcher(), batcher()
    request, caller = sent(b"a"), Caller()
    waiting.put(request, caller)
    batch = polled(waiting)
    request.prepare(made(1, 5.0), ("x",), SIGNATURE_OF_X)
    batch.forward(request, ready)
    assert (batch.requests, batch.rows, batch.alive, ready.depth) == ([], 0, 0, 1)
    batch.deliver()
    assert not caller.answered.is_set()
    second = polled(ready)
    run(second)
    second.deliver()
    np.testing.assert_array_equal(caller.answer, [[10, 10, 10, 10]])
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
    assert waiting.queue.run_times.expected_ns(1, time.monotonic_ns()) > 0


def test_who_has_gone_is_not_forwarded() -> None:
    waiting, ready = batcher(), batcher()
    request, caller = sent(b"a"), Caller()
    waiting.put(request, caller)
    batch = polled(waiting)
    caller.cancel()
    assert request.cancelled
    batch.forward(request, ready)
    batch.deliver()
    assert (ready.depth, waiting.cancelled, caller.answers, caller.errors) == (0, 1, [], [])


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
    request.prepare(made(1), ("x",), SIGNATURE_OF_X)
    batch.forward(request, ready)
    caller.cancel()
    assert (ready.depth, ready.depth_bytes, ready.cancelled) == (0, 0, 1)


@pytest.mark.parametrize("leave", ["poll", "cancel", "expire", "close"])
def test_wait_room_waits_until_something_has_left(leave: str) -> None:
    queue = batcher()
    _, caller = put(queue, deadline_ns=time.monotonic_ns() + 10**12)
    entered = threading.Event()

    def wait() -> None:
        entered.set()
        queue.wait_room(1, 1 << 40)

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    assert entered.wait(LIMIT_S)
    batch = None
    if leave == "poll":
        batch = polled(queue)
    elif leave == "cancel":
        caller.cancel()
    elif leave == "expire":
        batch = queue.expire(time.monotonic_ns() + 10**13)
        assert batch is not None
    else:
        queue.close()
    waiter.join(LIMIT_S)
    assert not waiter.is_alive()
    if batch is not None:
        batch.deliver()


def test_wait_room_counts_bytes_too() -> None:
    queue = batcher()
    put(queue)
    queue.wait_room(2, 17)  # 16 bytes wait
    waiter = threading.Thread(target=queue.wait_room, args=(2, 16), daemon=True)
    waiter.start()
    waiter.join(0.01)
    assert waiter.is_alive()
    queue.close()
    waiter.join(LIMIT_S)
    assert not waiter.is_alive()


def test_prepared_requests_leave_nothing_behind() -> None:
    """A pipeline that passes its input through makes a cycle: request, tensors, array, request. It is cut with the response."""
    alive = []
    for _ in range(3):
        waiting, ready = batcher(), batcher()
        request, caller = LocalRequest([("x", "FP32", np.ones((1, 4), np.float32))]), Caller()
        request.check(SIGNATURE_OF_X)
        waiting.put(request, caller)
        batch = polled(waiting)
        passed = request.values()[0]
        alive.append(weakref.ref(passed))
        request.prepare(Tensors([passed], ["FP32"], True, 1), ("x",), SIGNATURE_OF_X)
        batch.forward(request, ready)
        del passed, request
        second = polled(ready)
        run(second)
        second.deliver()
        del second, batch, caller
    gc.collect()
    assert [reference() for reference in alive] == [None] * 3
