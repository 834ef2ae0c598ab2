"""The Batcher between threads. The policy alone is in test_queue.py."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest
from native_access import estimate

from inferd._core.batching.batcher import Batcher
from inferd.errors import DeadlineExceeded, Internal, ResourceExhausted, Unavailable
from tests._core.batching.batcher_fixtures import HOUR_NS, batcher, polled, put, run, wire_request
from tests.fake_backend import LIMIT_S, Caller, request


def test_put_tells_when_nothing_else_waited() -> None:
    queue = batcher()
    assert queue.put(request(), Caller())
    assert not queue.put(request(), Caller())
    polled(queue)
    assert queue.poll() is None
    assert queue.put(request(), Caller())


# ---- rejections ----


def test_who_makes_room_is_told_with_the_next_batch_or_by_its_own() -> None:
    queue = batcher(1, max_queue_requests=3)
    callers = [Caller(connection_id=1) for _ in range(3)]
    for caller in callers:
        queue.put(request(), caller)
    queue.put(request(), Caller(connection_id=2))
    batch = polled(queue)
    assert (len(batch.requests), len(batch.dropped), queue.depth) == (1, 1, 2)
    run(batch)
    batch.deliver()
    assert len(callers[0].responses) == 1
    rejected = callers[2].error
    assert isinstance(rejected, ResourceExhausted)
    assert "made room for one of a connection that has fewer waiting" in str(rejected)
    assert (rejected.reason, rejected.retry_after_ns > 0) == ("queue_full", True)
    assert (queue.expired, queue.poll() is None) == (1, False)


def test_who_makes_room_is_told_by_a_sleeper_even_if_all_others_go_away() -> None:
    queue = batcher(1, max_queue_requests=3)
    callers = [Caller(connection_id=1) for _ in range(3)]
    requests = [request() for _ in range(4)]
    for made, caller in zip(requests, [*callers, Caller(connection_id=2)], strict=True):
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
    callers = [Caller(connection_id=connection_id) for connection_id in (1, 1, 1, 2)]
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
    assert (queue.depth, caller.work, made.call) == (2, None, None)
    del rejected
    assert sys.getrefcount(made) == references
    polled(queue)
    queue.put(made, caller)  # there is room again
    assert queue.depth == 1


def test_rejections_with_tritons_status() -> None:
    """UNAVAILABLE, for the same reasons; a deadline of the client's own stays one."""
    queue = batcher(1, max_queue_requests=3, queue_policies=[(0, 1, False)], as_triton=True)
    callers = [Caller(connection_id=1), Caller(connection_id=1), Caller(connection_id=1)]
    for caller in callers:
        queue.put(request(), caller)
    with pytest.raises(Unavailable, match="its queue is full: 3 requests wait") as rejected:
        queue.put(request(), Caller(connection_id=1))
    assert (rejected.value.reason, rejected.value.retry_after_ns > 0) == ("queue_full", True)
    queue.put(request(), Caller(connection_id=2))
    late = queue.expire(time.monotonic_ns() + HOUR_NS)
    assert late is not None
    late.deliver()
    assert {(type(caller.error), caller.error.reason) for caller in callers} == {
        (Unavailable, "queue_full"),
        (Unavailable, "queue_timeout"),
    }
    queue.put(request(), own := Caller(deadline_ns=1))
    late = queue.expire(time.monotonic_ns())
    assert late is not None
    late.deliver()
    assert isinstance(own.error, DeadlineExceeded)


def test_batches_tell_how_long_they_took_when_they_are_delivered() -> None:
    queue = batcher()
    put(queue)
    batch = polled(queue)
    run(batch)
    assert (queue.queue.running, estimate(queue.queue.run_times, 1, time.monotonic_ns())) == (1, 0)
    batch.deliver()
    batch.deliver()
    assert queue.queue.running == 0
    assert estimate(queue.queue.run_times, 1, time.monotonic_ns()) >= batch.run_ns


def test_a_failed_run_tells_nothing_of_the_next() -> None:
    queue = batcher()
    put(queue)
    batch = polled(queue)
    batch.fail(Internal("broken"))
    batch.deliver()
    assert (queue.queue.running, estimate(queue.queue.run_times, 1, time.monotonic_ns())) == (0, 0)


def test_expired_requests_alone_are_no_run() -> None:
    queue = batcher()
    put(queue, deadline_ns=1)
    polled(queue).deliver()
    assert queue.queue.running == 0


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
    urgent = wire_request(priority=1)
    queue.put(urgent, Caller())
    assert polled(queue).requests == [urgent]
    impatient, caller = wire_request(timeout=1), Caller()
    queue.put(impatient, caller)
    batch = queue.expire(time.monotonic_ns() + 1000)
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
    assert (caller.responses, caller.errors) == ([], [])


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
    assert caller.response[0, 0] == 8
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
    assert [caller.response[0, 0] for caller in callers] == [0, 2, 4]
    taker.end()
    assert taker.rows == [3]


def test_take_waits_out_the_delay() -> None:
    queue = batcher(max_delay_ns=2_000_000)
    taker = Taker(queue)
    started_ns = time.monotonic_ns()
    _, caller = put(queue, 1)
    assert caller.response[0, 0] == 2
    assert time.monotonic_ns() - started_ns >= 2_000_000
    queue.close()
    taker.end()


def test_a_full_batch_does_not_wait() -> None:
    queue = batcher(4, max_delay_ns=HOUR_NS)
    taker = Taker(queue)
    callers = [put(queue, value)[1] for value in range(4)]
    assert [caller.response[0, 0] for caller in callers] == [0, 2, 4, 6]
    assert taker.rows == [4]
    queue.close()
    taker.end()


def test_a_sleeper_is_woken_once_at_the_end_of_the_loop_s_iteration() -> None:
    queue, scheduled = batcher(), list[Any]()
    queue.schedule = scheduled.append
    taker = Taker(queue)
    _, first = put(queue, 1)
    while not scheduled:  # it did not sleep yet, and took that by itself
        assert first.response[0, 0] == 2
        _, first = put(queue, 1)
    _, second = put(queue, 2)
    assert not first.answered.is_set()
    (signal,) = scheduled
    signal()
    assert (first.response[0, 0], second.response[0, 0]) == (2, 4)
    assert taker.rows[-1] == 2
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
    assert caller.response[0, 0] == 6
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
            assert len(caller.responses) <= 1
        else:
            np.testing.assert_array_equal(caller.response, np.full((1 + value % 3, 4), 3 * value, np.float32))
        assert caller.errors == []
    answered = sum(len(caller.responses) for caller in callers.values())
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


# ---- threads that many batchers share ----


@pytest.mark.parametrize("leave", ["poll", "cancel", "expire"])
def test_it_tells_that_a_request_came_and_that_requests_left(leave: str) -> None:
    queue, told = batcher(), list[str]()
    queue.arrived, queue.left = lambda: told.append("arrived"), lambda: told.append("left")
    _, caller = put(queue, deadline_ns=time.monotonic_ns() + 10**12)
    assert told == ["arrived"]
    batch = None
    if leave == "poll":
        batch = polled(queue)
    elif leave == "cancel":
        caller.cancel()
    else:
        batch = queue.expire(time.monotonic_ns() + 10**13)
    assert told == ["arrived", "left"]
    if batch is not None:
        batch.deliver()


def test_a_thread_that_is_recalled_stays() -> None:
    queue = batcher()
    queue.dismiss()
    assert queue.recall() == 1
    assert queue.leaving == 0
    put(queue)
    batch = queue.take()
    assert batch is not None
    run(batch)


def test_a_thread_that_has_left_is_not_recalled() -> None:
    queue = batcher()
    queue.dismiss()
    assert queue.take() is None
    assert queue.recall() == 0
