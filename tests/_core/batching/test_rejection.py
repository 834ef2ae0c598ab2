"""What a client is told whose request the queue does not run."""

from __future__ import annotations

import time

import pytest
from native_access import record_time

from inferd.errors import DeadlineExceeded, ResourceExhausted
from tests._core.batching.batcher_fixtures import HOUR_NS, batcher, busy, polled, put, wire_request
from tests.fake_backend import Caller, request


def test_others_are_told_the_same_for_a_millisecond() -> None:
    queue = batcher(queue_policies=((1, 0, False), (1, 0, False)), priority_levels=2)
    told = []
    for priority in (1, 2):
        for _ in range(4):
            try:
                queue.put(wire_request(priority=priority), Caller())
            except ResourceExhausted as error:
                told.append(str(error))
    assert [f"level {priority} of its queue is full" in text for text, priority in zip(told, (1, 1, 1, 2, 2, 2), strict=True)] == [True] * 6


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


def test_what_would_be_answered_too_late_is_rejected_while_there_is_time() -> None:
    queue = busy(HOUR_NS)
    made, caller = request(), Caller(time.monotonic_ns() + HOUR_NS)
    words = r"'double' version 1: 1 batches run and 0 requests wait, so .* after the request's deadline; retry later"
    with pytest.raises(ResourceExhausted, match=words) as rejected:
        queue.put(made, caller)
    assert (rejected.value.reason, rejected.value.retry_after_ns) == ("queue_time", 1_000_000_000)
    assert (queue.depth, caller.work, made.call) == (0, None, None)


def test_what_is_late_already_is_told_so() -> None:
    queue = busy(HOUR_NS)
    _, caller = put(queue, deadline_ns=1)
    polled(queue).deliver()
    assert isinstance(caller.error, DeadlineExceeded)


def test_what_has_too_little_time_left_for_a_run_is_not_run() -> None:
    queue = busy()
    _, caller = put(queue, deadline_ns=time.monotonic_ns() + HOUR_NS)
    record_time(queue.queue.run_times, 1, HOUR_NS, time.monotonic_ns() + HOUR_NS)  # forgets the others
    batch = polled(queue)
    assert (batch.requests, len(batch.dropped)) == ([], 1)
    batch.deliver()
    assert isinstance(caller.error, DeadlineExceeded)
    assert "ms were left until its deadline, too little for a run" in str(caller.error)
    assert queue.expired == 1


def test_retry_after_follows_the_measured_runs() -> None:
    queue = busy(max_queue_requests=4)
    for _ in range(4):
        put(queue)
    with pytest.raises(ResourceExhausted) as rejected:
        put(queue)
    assert 100_000_000 <= rejected.value.retry_after_ns <= 150_000_000, "half of the four, and what is left of the one that runs"


def test_retry_after_the_first_run_is_as_long_as_that_has_lasted() -> None:
    queue = batcher(1, max_queue_requests=1)
    put(queue)
    polled(queue)
    put(queue)
    with pytest.raises(ResourceExhausted) as rejected:
        put(queue)
    assert 1_000_000 <= rejected.value.retry_after_ns <= 1_000_000_000
