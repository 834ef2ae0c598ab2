"""The batching policy with integers, against a plain Python version of what BatchQueue's docstring promises."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_access import IntegerQueue, estimate, record_time

from inferd._core.batching.run_times import RunTimes

SCAN_LIMIT, NEAR_ROWS, RESERVE, RESERVE_NS = 1024, 6, 8, 50_000_000
MS = 10**6


@dataclass
class Waiting:
    id: int
    rows: int
    key: int
    deadline_ns: float
    priority: int
    queued_ns: int
    nbytes: int
    near: int
    connection_id: int
    cost: int
    start: int
    expires_ns: float
    needed_ns: float
    at_once: bool

    def begin_by(self, next_batch_ns: int) -> float:
        if not next_batch_ns:
            return self.expires_ns
        reserve = max(self.deadline_ns - self.needed_ns, 0) if self.needed_ns < float("inf") else 0
        return min(self.expires_ns, self.deadline_ns - min(reserve, max(next_batch_ns, RESERVE_NS)) - next_batch_ns)


@dataclass
class PlainQueue:
    """The oracle: one list, in the order that requests are looked at."""

    max_rows: int
    max_delay_ns: int = 0
    preferred_rows: tuple[int, ...] = ()
    max_queue_requests: int = 4096
    max_queue_bytes: int = 0
    max_wait_ns: int = 0
    takers: int = 1
    priority_levels: int = 0
    default_priority: int = 0
    queue_policies: tuple[tuple[int, int, bool], ...] = ()
    waiting: list[Waiting] = field(default_factory=list)
    last_id: int = 0
    virtual_time: int = 0  # start of the head that was taken last
    next_start: dict[int, int] = field(default_factory=dict)  # of each connection
    times: RunTimes = field(default_factory=RunTimes)
    running: int = 0
    taken: tuple[int, int] = (0, 0)  # when, and how many rows
    evicted: list[int] = field(default_factory=list)  # that made room and were not told yet

    def push(
        self, rows: int, key: int, deadline_ns: int | None, priority: int, now_ns: int, timeout_ns: int, nbytes: int, near: int,
        connection_id: int, cost: int | None,
    ) -> int | str:  # fmt: skip
        cost = rows if cost is None else cost
        levels = max(self.priority_levels, 1)
        if not 1 <= priority <= levels:
            priority = max(self.default_priority, 1)
        limit, timeout, override = self.queue_policies[priority - 1] if priority <= len(self.queue_policies) else (0, 0, False)
        last = None
        if full := self.full(self.waiting, nbytes, priority, limit):
            last = self.evictable(connection_id, priority)
            if not last or self.full([entry for entry in self.waiting if entry is not last], nbytes, priority, limit):
                return full
        deadline = needed = float("inf") if deadline_ns is None else deadline_ns
        if deadline_ns is not None and now_ns < deadline_ns:
            needed = deadline_ns - (deadline_ns - now_ns) // RESERVE
        requests, ahead = self.ahead(connection_id, priority)
        size = self.batch_rows(requests, ahead)
        at_once = ahead < size * (self.takers - self.running)
        wait_ns = self.wait_ns(requests, ahead, now_ns)
        if not at_once and self.max_wait_ns and wait_ns > self.max_wait_ns:
            return "wait"
        response_ns = now_ns + wait_ns + estimate(self.times, min(ahead % size + rows, size), now_ns)
        if not at_once and now_ns < deadline and needed < response_ns:
            return "deadline"
        if last:
            self.waiting.remove(last)
            self.evicted.append(last.id)
            if self.next_start[last.connection_id] == last.start + last.cost:
                self.next_start[last.connection_id] = last.start
        if override and 0 < timeout_ns < timeout:
            timeout = timeout_ns
        expires = min(deadline, now_ns + timeout if timeout else float("inf"))
        self.last_id += 1
        start = self.start_of(connection_id, cost, priority)
        made = Waiting(
            self.last_id, rows, key, deadline, priority, now_ns, nbytes, near, connection_id, cost, start, expires, needed, at_once
        )
        self.waiting.append(made)
        self.waiting.sort(key=lambda entry: (entry.priority, entry.start))  # stable: of equal turns the first to come is first
        return self.last_id

    def full(self, waiting: list[Waiting], nbytes: int, priority: int, limit: int) -> str:
        if len(waiting) >= self.max_queue_requests:
            return "queue"
        if self.max_queue_bytes and waiting and sum(entry.nbytes for entry in waiting) + nbytes > self.max_queue_bytes:
            return "bytes"
        return "level" if limit and sum(entry.priority == priority for entry in waiting) >= limit else ""

    def evictable(self, connection_id: int, priority: int) -> Waiting | None:
        """The last of the level, if its connection is more than twice as far ahead."""
        start = max(self.virtual_time, self.next_start.get(connection_id, 0))
        for last in [entry for entry in self.waiting if entry.priority == priority][-1:]:
            if connection_id and last.connection_id and last.start - self.virtual_time > 2 * (start - self.virtual_time):
                return last
        return None

    def start_of(self, connection_id: int, cost: int, priority: int) -> int:
        if connection_id == 0:  # the last place
            return max((entry.start for entry in self.waiting if entry.priority == priority), default=self.virtual_time)
        start = max(self.virtual_time, self.next_start.get(connection_id, 0))
        self.next_start[connection_id] = start + cost
        return start

    @property
    def nbytes(self) -> int:
        return sum(entry.nbytes for entry in self.waiting)

    def ahead(self, connection_id: int, priority: int) -> tuple[int, int]:
        """Requests and rows that run before the next one."""
        start = max(self.virtual_time, self.next_start.get(connection_id, 0)) if connection_id else float("inf")
        rows = [entry.rows for entry in self.waiting if entry.priority < priority or (entry.priority == priority and entry.start <= start)]
        return len(rows), sum(rows)

    def batch_rows(self, requests: int, rows: int) -> int:
        return max(self.max_rows, rows // requests) if requests else self.max_rows

    def wait_ns(self, requests: int, rows: int, now_ns: int) -> int:
        size = self.batch_rows(requests, rows)
        idle = max(self.takers - self.running, 0)
        batches = rows // size - idle
        first_ns = batch_ns = estimate(self.times, size, now_ns) / self.takers
        if idle == 0:
            first_ns = max(self.taken[0] + estimate(self.times, self.taken[1], now_ns) / self.takers - now_ns, 0)
        return int(first_ns + batches * batch_ns) if batches >= 0 else 0

    def next_batch_ns(self, now_ns: int) -> int:
        rows = sum(entry.rows for entry in self.waiting)
        if all(entry.deadline_ns == float("inf") for entry in self.waiting):
            return 0
        return estimate(self.times, min(rows, self.batch_rows(len(self.waiting), rows)), now_ns)

    def expire(self, now_ns: int, next_batch_ns: int = 0) -> list[int]:
        expired = [
            entry.id
            for entry in self.waiting
            if entry.expires_ns <= now_ns or (next_batch_ns and entry.begin_by(next_batch_ns) < now_ns and not entry.at_once)
        ]
        self.waiting = [entry for entry in self.waiting if entry.id not in expired]
        expired, self.evicted = expired + self.evicted, []
        return expired

    def over(self, rows: int, run_ns: int, now_ns: int) -> None:
        self.running -= 1
        if run_ns:
            record_time(self.times, rows, run_ns, now_ns)

    def batch(self, now_ns: int) -> tuple[list[Waiting], float]:
        """The head's batch as it is now, and when it is due."""
        if not self.waiting:
            return [], float("inf")
        batch: list[Waiting] = []
        preferred: list[Waiting] = []
        seen: list[Waiting] = []
        rows, full = 0, False
        head = self.waiting[0]
        near = [each for each in self.waiting[:SCAN_LIMIT] if (each.key, each.near, each.priority) == (head.key, head.near, head.priority)]
        alone = head.near > 0 and self.max_delay_ns == 0 and sum(entry.rows for entry in near) >= NEAR_ROWS
        for entry in self.waiting[:SCAN_LIMIT]:
            if entry in near or (entry.key == head.key and not alone):
                if batch and rows + entry.rows > self.max_rows:
                    full = True
                    break
                batch.append(entry)
                rows += entry.rows
                if rows in self.preferred_rows:
                    preferred = batch.copy()
            seen.append(entry)
            if rows >= self.max_rows:
                full = True
                break
        until_ns = min(entry.queued_ns for entry in batch) + self.max_delay_ns
        next_batch_ns = self.next_batch_ns(now_ns)
        waited = now_ns >= until_ns or min(entry.begin_by(next_batch_ns) for entry in seen) <= until_ns
        if self.max_delay_ns == 0 or waited:
            return batch, now_ns
        if preferred:
            return preferred, now_ns
        if full or rows >= max(self.preferred_rows, default=self.max_rows):
            return batch, now_ns
        return batch, until_ns

    def take(self, now_ns: int) -> tuple[list[int], list[int]]:
        expired = self.expire(now_ns, self.next_batch_ns(now_ns))
        batch, due_ns = self.batch(now_ns)
        if due_ns > now_ns:
            return [], expired
        self.running += 1
        self.taken = now_ns, sum(entry.rows for entry in batch)
        ids = [entry.id for entry in batch]
        self.virtual_time = max(self.virtual_time, *(entry.start for entry in batch[:1]), 0)
        self.waiting = [entry for entry in self.waiting if entry.id not in ids]
        return ids, expired


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    levels = draw(st.integers(0, 3))
    max_rows = draw(st.integers(1, 12))
    policy = st.tuples(st.sampled_from([0, 0, 1, 4]), st.sampled_from([0, 0, 7, 40]), st.booleans())
    return {
        "max_rows": max_rows,
        "max_delay_ns": draw(st.sampled_from([0, 0, 5, 30])),
        "preferred_rows": tuple(draw(st.lists(st.integers(1, max_rows), max_size=3))),
        "max_queue_requests": draw(st.sampled_from([1, 5, 4096])),
        "max_queue_bytes": draw(st.sampled_from([0, 0, 60])),
        "max_wait_ns": draw(st.sampled_from([0, 0, 10, 50])),
        "takers": draw(st.sampled_from([1, 1, 2, 3])),
        "priority_levels": levels,
        "default_priority": draw(st.integers(1, levels)) if levels else 0,
        "queue_policies": tuple(draw(st.lists(policy, max_size=max(levels, 1)))),
    }


PUSH = st.tuples(
    st.just("push"),
    st.integers(1, 14),  # rows, sometimes more than max_rows
    st.integers(0, 2),  # shape key
    st.one_of(st.none(), st.integers(-5, 40)),  # deadline from now
    st.integers(0, 4),  # priority, sometimes one that is not there
    st.sampled_from([0, 0, 3, 100]),  # its own timeout
    st.integers(0, 30),  # bytes
    st.integers(0, 2),  # near key
    st.integers(0, 3),  # connection
    st.sampled_from([None, None, 1, 50, 2**32 - 1]),  # cost
)
STEPS = st.lists(
    st.one_of(
        PUSH,
        PUSH,
        st.tuples(st.just("take")),
        st.tuples(st.just("expire")),
        st.tuples(st.just("cancel"), st.integers(0, 1000)),
        st.tuples(st.just("wait"), st.integers(0, 20)),
        st.tuples(st.just("over"), st.sampled_from([0, 1, 3, 10, 30])),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(policies(), STEPS)
def test_any_interleaving_gives_what_the_plain_version_gives(policy: dict[str, Any], steps: list[tuple[Any, ...]]) -> None:
    queue, plain = IntegerQueue(**policy), PlainQueue(**policy)
    now_ns = 1000
    pushed: set[int] = set()
    gone: list[int] = []
    runs: list[int] = []  # rows of those that are not over
    for step, *arguments in steps:
        if step == "push":
            rows, key, wait_ns, priority, timeout_ns, nbytes, near, connection_id, cost = arguments
            deadline_ns = None if wait_ns is None else now_ns + wait_ns
            expected = plain.push(rows, key, deadline_ns, priority, now_ns, timeout_ns, nbytes, near, connection_id, cost)
            if isinstance(expected, str):
                with pytest.raises(OverflowError, match=expected):
                    queue.push(rows, key, deadline_ns, priority, now_ns, timeout_ns, nbytes, near, connection_id, cost)
            else:
                assert queue.push(rows, key, deadline_ns, priority, now_ns, timeout_ns, nbytes, near, connection_id, cost) == expected
                pushed.add(expected)
        elif step == "take":
            rows_of = {entry.id: entry.rows for entry in plain.waiting}
            key_of = {entry.id: entry.key for entry in plain.waiting}
            deadlines = {entry.id: entry.expires_ns for entry in plain.waiting}
            ids, expired = queue.take(now_ns)
            expected_ids, expected_expired = plain.take(now_ns)
            assert (ids, sorted(expired)) == (expected_ids, sorted(expected_expired))
            assert len(ids) <= 1 or sum(rows_of[one] for one in ids) <= policy["max_rows"]
            assert len({key_of[one] for one in ids}) <= 1
            assert all(deadlines[one] > now_ns for one in ids)
            gone += ids + expired
            runs += [sum(rows_of[one] for one in ids)] if ids else []
        elif step == "over" and runs:
            rows = runs.pop(0)
            queue.over(rows, arguments[0], now_ns)
            plain.over(rows, arguments[0], now_ns)
        elif step == "expire":
            expired = queue.expire(now_ns)
            assert sorted(expired) == sorted(plain.expire(now_ns))
            gone += expired
        elif step == "cancel" and plain.waiting:
            chosen = plain.waiting[arguments[0] % len(plain.waiting)].id
            queue.cancel(chosen)
            plain.waiting = [entry for entry in plain.waiting if entry.id != chosen]
            gone.append(chosen)
        elif step == "wait":
            now_ns += arguments[0]
        due_ns = now_ns if plain.evicted else plain.batch(now_ns)[1]
        assert queue.due_ns(now_ns) == (None if due_ns == float("inf") else due_ns)
        assert (queue.queue.requests, queue.queue.nbytes, queue.queue.running) == (len(plain.waiting), plain.nbytes, plain.running)
        assert queue.wait_ns(now_ns) == plain.wait_ns(len(plain.waiting), sum(entry.rows for entry in plain.waiting), now_ns)
    while queue.queue.requests:
        ids, expired = queue.take(now_ns)
        gone += ids + expired
        now_ns += 50
    gone += queue.expire(now_ns)
    assert sorted(gone) == sorted(pushed), "each request leaves the queue exactly once"


def filled(*rows: int, now_ns: int = 0, key: int = 0, **policy: Any) -> IntegerQueue:
    queue = IntegerQueue(**policy)
    for count in rows:
        queue.push(count, key, None, 0, now_ns)
    return queue


def test_greedy_takes_what_is_there_in_order_of_arrival() -> None:
    queue = filled(1, 2, 1, max_rows=8)
    assert queue.due_ns(5) == 5
    assert queue.take(5) == ([1, 2, 3], [])
    assert queue.take(5) == ([], [])
    assert queue.due_ns(5) is None


def test_the_first_that_does_not_fit_closes_the_batch() -> None:
    queue = filled(3, 3, 1, max_rows=4)
    assert queue.take(0)[0] == [1], "the third would fit, but would overtake the second"
    assert queue.take(0)[0] == [2, 3]


def test_a_request_larger_than_a_batch_runs_alone() -> None:
    queue = filled(9, 1, max_rows=1)
    assert queue.take(0)[0] == [1]
    assert queue.take(0)[0] == [2]


def test_only_one_shape_at_a_time_the_oldest_first() -> None:
    queue = IntegerQueue(8)
    for key in (7, 9, 7, 9):
        queue.push(1, key, None, 0, 0)
    assert queue.take(0)[0] == [1, 3]
    assert queue.take(0)[0] == [2, 4]


def test_enough_of_one_near_key_run_without_the_others() -> None:
    def batches(queue: IntegerQueue, near_keys: str) -> list[list[int]]:
        for near_key in near_keys:
            queue.push(1, 0, None, 0, 0, near_key=int(near_key))
        found = []
        while queue.queue.requests:
            found.append(queue.take(9)[0])
        return found

    assert batches(IntegerQueue(8), "1212121121") == [[1, 3, 5, 7, 8, 10], [2, 4, 6, 9]]
    assert batches(IntegerQueue(8), "12121211") == [[1, 2, 3, 4, 5, 6, 7, 8]], "five are too few"
    assert batches(IntegerQueue(4), "12111111") == [[1, 3, 4, 5], [2, 6, 7, 8]], "the rest is filled up"
    assert batches(IntegerQueue(16), "00000020") == [[1, 2, 3, 4, 5, 6, 7, 8]], "0 has no wish"
    assert batches(IntegerQueue(16, max_delay_ns=9), "12111111") == [[1, 2, 3, 4, 5, 6, 7, 8]], "whoever waits wants large batches"


def test_no_lower_level_overtakes_because_it_is_near() -> None:
    queue = IntegerQueue(64, priority_levels=2)
    for near_key, priority in [(5, 1), *[(9, 1)] * 10, *[(5, 2)] * 5]:
        queue.push(1, 0, None, priority, 0, near_key=near_key)
    assert queue.take(0)[0] == list(range(1, 17))


def test_a_delay_gathers_until_full_or_over() -> None:
    queue = filled(1, 2, max_rows=4, max_delay_ns=100)
    assert queue.take(50) == ([], [])
    assert queue.due_ns(50) == 100
    assert queue.take(100)[0] == [1, 2]
    queue = filled(2, 2, max_rows=4, max_delay_ns=100)
    assert queue.due_ns(0) == 0
    queue = filled(3, 2, max_rows=4, max_delay_ns=100)
    assert queue.take(0)[0] == [1], "the second does not fit: the first can grow no further"


def test_a_deadline_within_the_delay_makes_it_due_at_once() -> None:
    queue = IntegerQueue(8, max_delay_ns=100)
    queue.push(1, 0, None, 0, 0)
    assert queue.due_ns(1) == 100
    queue.push(1, 0, 90, 0, 1)
    assert queue.due_ns(1) == 1
    assert queue.take(1) == ([1, 2], [])


def test_preferred_rows_do_not_wait_and_do_not_matter_after_the_delay() -> None:
    policy: dict[str, Any] = {"max_rows": 8, "preferred_rows": (2, 4), "max_delay_ns": 100}
    assert filled(1, 1, 1, **policy).take(0)[0] == [1, 2], "the largest preferred size that is there"
    assert filled(1, 1, 1, **policy).take(100)[0] == [1, 2, 3]
    assert filled(1, **policy).take(0)[0] == []
    assert filled(3, 3, **policy).take(0)[0] == [1, 2], "not a preferred size, but beyond the largest"


def test_priority_levels() -> None:
    queue = IntegerQueue(2, priority_levels=3, default_priority=2)
    for priority in (3, 0, 1, 99, 1):
        queue.push(1, 0, None, priority, 0)
    assert queue.take(0)[0] == [3, 5]
    assert queue.take(0)[0] == [2, 4], "0, and a level that is not there, mean the default"
    assert queue.take(0)[0] == [1]


def test_a_batch_is_filled_from_lower_levels() -> None:
    queue = IntegerQueue(8, priority_levels=2, default_priority=2)
    for priority in (2, 1, 2):
        queue.push(1, 0, None, priority, 0)
    assert queue.take(0)[0] == [2, 1, 3]


def test_limits() -> None:
    queue = IntegerQueue(8, max_queue_requests=2)
    queue.push(1, 0, None, 0, 0)
    queue.push(1, 0, None, 0, 0)
    with pytest.raises(OverflowError, match="queue"):
        queue.push(1, 0, None, 0, 0)
    queue.cancel(1)
    queue.push(1, 0, None, 0, 0)

    queue = IntegerQueue(8, priority_levels=2, default_priority=1, queue_policies=((0, 0, False), (1, 0, False)))
    queue.push(1, 0, None, 2, 0)
    with pytest.raises(OverflowError, match="level"):
        queue.push(1, 0, None, 2, 0)
    queue.push(1, 0, None, 1, 0)

    queue = IntegerQueue(8, max_queue_bytes=10)
    queue.push(1, 0, None, 0, 0, nbytes=50)  # alone it may be as large as it likes
    with pytest.raises(OverflowError, match="bytes"):
        queue.push(1, 0, None, 0, 0, nbytes=1)


def test_queue_timeouts() -> None:
    queue = IntegerQueue(8, queue_policies=((0, 100, True),))
    queue.push(1, 0, None, 0, 0)
    queue.push(1, 0, None, 0, 0, timeout_ns=50)
    queue.push(1, 0, None, 0, 0, timeout_ns=500)  # longer than the default: does not count
    queue.push(1, 0, 20, 0, 0)  # its deadline is earlier than any timeout
    assert queue.expire(19) == []
    assert queue.expire(20) == [4]
    assert queue.expire(50) == [2]
    assert sorted(queue.expire(100)) == [1, 3]
    queue = IntegerQueue(8, queue_policies=((0, 100, False),))
    queue.push(1, 0, None, 0, 0, timeout_ns=50)
    assert queue.expire(99) == []


def test_without_a_default_a_timeout_of_a_request_does_not_count() -> None:
    """As in Triton: a request may shorten the default, and there is none."""
    queue = IntegerQueue(8, queue_policies=((0, 0, True),))
    queue.push(1, 0, None, 0, 0, timeout_ns=50)
    assert queue.expire(10**18) == []


def test_times_at_the_end_of_the_clock() -> None:
    never_ns = 2**63 - 1
    queue = IntegerQueue(8, max_delay_ns=never_ns, queue_policies=((0, never_ns, False),))
    queue.push(1, 0, None, 0, 1000)
    assert queue.take(1001) == ([1], []), "no deadline, and a delay that never ends: the deadline is not later than that"


def test_a_batch_looks_at_a_bounded_number_of_requests() -> None:
    queue = IntegerQueue(8)
    queue.push(1, 0, None, 0, 0)
    for _ in range(SCAN_LIMIT - 1):
        queue.push(1, 1, None, 0, 0)
    behind = queue.push(1, 0, None, 0, 0)
    assert queue.take(0)[0] == [1]
    taken = []
    while queue.queue.requests:
        taken += queue.take(0)[0]
    assert taken[-1] == behind
    assert len(taken) == SCAN_LIMIT


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_rows": 0},
        {"max_rows": 4, "max_delay_ns": -1},
        {"max_rows": 4, "max_queue_requests": 0},
        {"max_rows": 4, "max_queue_bytes": -1},
        {"max_rows": 4, "max_wait_ns": -1},
        {"max_rows": 4, "takers": 0},
        {"max_rows": 4, "priority_levels": -1},
        {"max_rows": 4, "priority_levels": 2, "default_priority": 3},
        {"max_rows": 4, "preferred_rows": (5,)},
        {"max_rows": 4, "preferred_rows": (0,)},
        {"max_rows": 4, "queue_policies": ((0, 0, False), (0, 0, False))},
    ],
)
def test_a_policy_that_makes_no_sense_is_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        IntegerQueue(**wrong)


def test_expected_requests_are_waited_for_together() -> None:
    queue = IntegerQueue(8)
    queue.expect(3, 100)
    first = queue.push(1, 0, None, 0, 10)
    assert queue.due_ns(10) == 100
    assert queue.take(10) == ([], [])
    others = [queue.push(1, 0, None, 0, now_ns) for now_ns in (20, 30)]
    assert queue.due_ns(30) == 30
    assert queue.take(30) == ([first, *others], [])


def test_expected_requests_that_do_not_come_are_waited_for_once() -> None:
    queue = IntegerQueue(8)
    queue.expect(3, 100)
    first = queue.push(1, 0, None, 0, 10)
    assert queue.take(99) == ([], [])
    assert queue.take(100) == ([first], [])
    second = queue.push(1, 0, None, 0, 110)
    assert queue.take(110) == ([second], [])


@pytest.mark.parametrize(("max_rows", "rows"), [(64, [64]), (64, [16, 16, 16, 16]), (64, [200]), (1, [1])])
def test_nothing_is_waited_for_where_rows_fill_a_batch(max_rows: int, rows: list[int]) -> None:
    queue = IntegerQueue(max_rows)
    queue.expect(8, 100)
    for each in rows[:-1]:
        queue.push(each, 1, None, 0, 10)
        assert queue.due_ns(10) == 100
    queue.push(rows[-1], 1, None, 0, 10)
    assert queue.due_ns(10) == 10
    assert len(queue.take(10)[0]) == len(rows)


def test_no_request_expires_while_others_are_expected() -> None:
    queue = IntegerQueue(8)
    queue.expect(3, 100)
    urgent = queue.push(1, 0, 90, 0, 10)
    assert queue.take(10) == ([urgent], [])


# ---- connections take turns


def pushed(queue: IntegerQueue, *connections: int, rows: int = 1, **options: Any) -> list[int]:
    return [queue.push(rows, 0, None, 0, 0, connection_id=connection_id, **options) for connection_id in connections]


def order(queue: IntegerQueue) -> list[int]:
    """All that wait, in the order in which they run."""
    found: list[int] = []
    while queue.queue.requests:
        found += queue.take(0)[0]
    return found


def test_one_request_does_not_wait_for_a_thousand_of_another_source() -> None:
    queue = IntegerQueue(8)
    busy = pushed(queue, *[1] * 1000)
    queue.take(0)
    [other] = pushed(queue, 2)
    assert queue.queue.overtaken == 1
    assert other in queue.take(0)[0], "with the next batch, not with the 125th"
    assert order(queue) == busy[15:], "who was overtaken keeps its order"


def test_two_busy_sources_have_half_each() -> None:
    queue = IntegerQueue(8)
    first, second = pushed(queue, *[1] * 100), pushed(queue, *[2] * 100)
    for batch in range(25):
        ids = queue.take(0)[0]
        assert len(set(ids) & set(first)) == 4, batch
        assert len(set(ids) & set(second)) == 4, batch


def test_turns_are_of_rows() -> None:
    queue = IntegerQueue(8)
    large, small = pushed(queue, *[1] * 10, rows=8), pushed(queue, *[2] * 20)
    assert order(queue)[:11] == [large[0], *small[:8], large[1], small[8]]


def test_a_source_pays_for_what_its_requests_cost() -> None:
    queue = IntegerQueue(1)
    costly, cheap = pushed(queue, *[1] * 3, cost=100_000), pushed(queue, *[2] * 20, cost=10_000)
    assert order(queue) == [costly[0], *cheap[:10], costly[1], *cheap[10:], costly[2]]


def test_who_has_waited_for_nothing_has_saved_nothing() -> None:
    """A connection that was away comes in between, not before everybody for as long as it was away."""
    queue = IntegerQueue(1)
    pushed(queue, *[1] * 100)
    for _ in range(50):
        queue.take(0)
    pushed(queue, *[2] * 50)
    pushed(queue, *[1] * 10)
    taken = [queue.take(0)[0][0] for _ in range(20)]
    assert sum(one > 100 for one in taken) in (10, 11)


def test_requests_of_nobody_in_particular_wait_in_order_of_arrival() -> None:
    queue = IntegerQueue(1)
    ids = pushed(queue, 1, 1, 1, 0, 0, 1, 0)
    assert order(queue) == ids
    assert queue.queue.overtaken == 0


def test_priority_goes_before_turns() -> None:
    queue = IntegerQueue(1, priority_levels=2, default_priority=2)
    low = pushed(queue, 1, 2)
    high = [queue.push(1, 0, None, 1, 0, connection_id=1) for _ in range(2)]
    assert order(queue) == high + low


def test_sources_that_share_a_turn_lose_nothing() -> None:
    """1 and 1 + 1024: taken for one."""
    queue = IntegerQueue(4)
    ids = pushed(queue, *[1, 1025] * 10)
    assert order(queue) == ids


def test_many_sources_cost_no_more_than_a_look_at_some() -> None:
    queue = IntegerQueue(64, max_queue_requests=10_000)
    pushed(queue, *[1] * 4000)
    ids = pushed(queue, *range(2, 4002))
    assert set(queue.take(0)[0]) <= {1, *ids}
    assert len(order(queue)) == 8000 - 64


def test_a_source_that_fills_the_queue_makes_room_for_another() -> None:
    queue = IntegerQueue(1, max_queue_requests=6)
    busy = pushed(queue, *[1] * 6)
    with pytest.raises(OverflowError, match="queue"):
        pushed(queue, 1)
    others = pushed(queue, 2, 2)
    assert (queue.queue.requests, queue.queue.evictions, queue.due_ns(0)) == (6, 2, 0)
    for connection_id in (1, 2):
        with pytest.raises(OverflowError, match="queue"):  # 4 and 2: nobody has more than twice as much
            pushed(queue, connection_id)
    assert queue.take(0) == ([busy[0]], [busy[4], busy[5]]), "the last to run were rejected, and are told with the next batch"
    pushed(queue, 1)
    assert order(queue) == [others[0], busy[1], others[1], busy[2], busy[3], 9], "who was evicted has used no turn"


def test_who_makes_room_is_of_the_same_level_and_large_enough() -> None:
    queue = IntegerQueue(1, max_queue_requests=4, max_queue_bytes=40, priority_levels=2, default_priority=2)
    low = pushed(queue, *[1] * 4, nbytes=10)
    with pytest.raises(OverflowError, match="queue"):
        queue.push(1, 0, None, 1, 0, connection_id=2)
    with pytest.raises(OverflowError, match="queue"):
        pushed(queue, 2, nbytes=11)
    with pytest.raises(OverflowError, match="queue"):
        pushed(queue, 0)
    pushed(queue, 2, nbytes=10)
    assert queue.expire(0) == [low[3]]


def test_nobody_is_evicted_for_who_would_be_too_late() -> None:
    queue = busy(max_queue_requests=8)
    pushed(queue, *[1] * 8)
    with pytest.raises(OverflowError, match="deadline"):
        queue.push(1, 0, 5 * MS, 0, 0, connection_id=2)
    assert (queue.queue.requests, queue.queue.evictions) == (8, 0)


# ---- under more than it can do ----


def busy(*, run_ns: int = 10 * MS, **policy: Any) -> IntegerQueue:
    """At 0 each of its takers begins a run of 8 rows that is likely to take run_ns."""
    queue = IntegerQueue(8, **policy)
    for _ in range(policy.get("takers", 1)):
        for _ in range(8):
            queue.push(1, 0, None, 0, -run_ns)
        queue.take(-run_ns)
        queue.over(8, run_ns, 0)
        for _ in range(8):
            queue.push(1, 0, None, 0, 0)
        queue.take(0)
    return queue


def test_what_would_be_answered_too_late_is_rejected() -> None:
    queue = busy()
    for _ in range(23):  # nearly three more batches: the next one is answered with the third
        queue.push(1, 0, None, 0, 0)
    assert queue.wait_ns(0) == 30 * MS
    with pytest.raises(OverflowError, match="deadline"):
        queue.push(1, 0, 45 * MS, 0, 0)
    queue.push(1, 0, 46 * MS, 0, 0)  # an eighth of its time is left for its response's way
    queue.push(1, 0, None, 0, 0)  # without a deadline there is no hurry
    assert queue.push(1, 0, -5, 0, 0), "what is late already is dropped when a batch is taken, and told so"


@pytest.mark.parametrize(("deadline_ms", "reserve_ms"), [(900, 50), (200, 25), (40, 5)])
def test_what_waits_is_dropped_when_a_run_and_its_reserve_take_longer_than_is_left(deadline_ms: int, reserve_ms: int) -> None:
    """An eighth of its time, or 50 ms: how long a run takes is no guess any more."""
    for late in (0, 1):
        queue = busy()
        waiting = [queue.push(1, 0, deadline_ms * MS, 0, 0) for _ in range(8)]
        begins_ns = (deadline_ms - 10 - reserve_ms) * MS + late
        batch, dropped = queue.take(begins_ns)
        assert (batch, sorted(dropped)) == (([], waiting) if late else (waiting, []))


def test_several_instances_take_more() -> None:
    queue = busy(takers=2)
    for _ in range(16):
        queue.push(1, 0, None, 0, 0)
    assert queue.wait_ns(0) == 15 * MS


def test_the_wait_gets_shorter_while_a_batch_runs() -> None:
    queue = busy()
    assert [queue.wait_ns(now_ns * MS) for now_ns in (0, 4, 10, 30)] == [10 * MS, 6 * MS, 0, 0]


def test_only_levels_ahead_make_a_request_wait() -> None:
    queue = busy(priority_levels=2, default_priority=2)
    for _ in range(16):
        queue.push(1, 0, None, 2, 0)
    with pytest.raises(OverflowError, match="deadline"):
        queue.push(1, 0, 30 * MS, 2, 0)
    queue.push(1, 0, 30 * MS, 1, 0)


def test_who_has_little_waiting_is_not_rejected_for_what_others_have_too_much_of() -> None:
    queue = busy()
    for _ in range(40):
        queue.push(1, 0, None, 0, 0, connection_id=1)
    with pytest.raises(OverflowError, match="deadline"):
        queue.push(1, 0, 40 * MS, 0, 0, connection_id=1)
    other = queue.push(1, 0, 40 * MS, 0, 0, connection_id=2)
    queue.over(8, 10 * MS, 10 * MS)
    assert other in queue.take(10 * MS)[0]


def test_a_limit_of_waiting() -> None:
    queue = busy(max_wait_ns=15 * MS)
    for _ in range(8):
        queue.push(1, 0, None, 0, 0)
    with pytest.raises(OverflowError, match="wait"):
        queue.push(1, 0, None, 0, 0)
    queue.push(1, 0, None, 0, 6 * MS)


def test_nothing_that_can_run_at_once_is_rejected_for_what_runs_are_expected_to_take() -> None:
    queue = busy(run_ns=1000 * MS, max_wait_ns=1)
    queue.over(8, 1000 * MS, 0)
    ids = [queue.push(1, 0, 5 * MS, 0, 0) for _ in range(8)]
    with pytest.raises(OverflowError, match="wait"):
        queue.push(1, 0, None, 0, 0)
    assert queue.take(1) == (ids, []), "they are run, though runs took a second before"


def test_a_queue_behind_adds_its_wait_and_its_pace() -> None:
    behind, queue = busy(), IntegerQueue(1)
    for _ in range(8):
        behind.push(1, 0, None, 0, 0)
    record_time(queue.queue.run_times, 1, 1000, 0)
    queue.look_behind(behind, 0)
    for _ in range(2):
        queue.push(1, 0, None, 0, 0)
        queue.take(0)
    for _ in range(16):
        queue.push(1, 0, None, 0, 0)
    assert queue.wait_ns(0) == 20 * MS + 1000, "8 rows in 10 ms, however quick they are prepared"
    with pytest.raises(OverflowError, match="deadline"):
        queue.push(1, 0, 46 * MS, 0, 0)
    queue.push(1, 0, 60 * MS, 0, 0)


def test_what_would_expire_in_its_run_is_not_run() -> None:
    queue = busy()
    late = queue.push(1, 0, 24 * MS, 0, 0)
    early = queue.push(1, 0, 40 * MS, 0, 0)
    assert queue.expire(20 * MS) == [], "there is time left, and nobody knows when it would run"
    assert queue.take(20 * MS) == ([early], [late])


def test_a_delay_ends_when_a_run_has_to_begin() -> None:
    queue = IntegerQueue(8, max_delay_ns=100 * MS)
    record_time(queue.queue.run_times, 1, 30 * MS, 0)
    queue.push(1, 0, None, 0, 0)
    assert queue.due_ns(0) == 100 * MS
    queue.push(1, 0, 120 * MS, 0, 0)
    assert queue.due_ns(0) == 0


@dataclass
class Served:
    """Of a simulated second: how many were answered in time."""

    goodput: float
    rejected: float
    longest_queue: int


def served(
    rate: float, run: Callable[[random.Random], float], deadline_ns: float = float("inf"), takers: int = 1, seconds: int = 5, **policy: Any
) -> Served:
    """An open loop of independent requests on a model that runs 8 at a time. Deadlines are those of clients that are 1 ms away."""
    chance = random.Random(1)
    queue = IntegerQueue(8, takers=takers, **policy)
    way_ns, idle, good, rejected, longest = MS, takers, 0, 0, 0
    deadlines: dict[int, float] = {}
    events: list[tuple[int, int, list[int]]] = [(0, 0, [])]  # when, when its batch was taken, requests that were answered; none: one comes
    while events:
        now_ns, taken_ns, answered = heapq.heappop(events)
        if answered:
            idle += 1
            queue.over(len(answered), now_ns - taken_ns, now_ns)
            good += sum(now_ns + way_ns <= deadlines[one] for one in answered)
        elif now_ns < seconds * 1000 * MS:
            heapq.heappush(events, (now_ns + int(chance.expovariate(rate) * 1e9), 0, []))
            due_ns = None if deadline_ns == float("inf") else now_ns + int(deadline_ns)
            try:
                deadlines[queue.push(1, 0, due_ns, 0, now_ns)] = now_ns + deadline_ns - way_ns
            except OverflowError:
                rejected += 1
        longest = max(longest, queue.queue.requests)
        while idle and (batch := queue.take(now_ns)[0]):
            idle -= 1
            heapq.heappush(events, (now_ns + int(run(chance)), now_ns, batch))
    return Served(good / seconds, rejected / seconds, longest)


@pytest.mark.parametrize("takers", [1, 2])
@pytest.mark.parametrize("spread", [0.0, 0.2, 0.5])
def test_goodput_at_three_times_the_capacity_is_its_peak(spread: float, takers: int) -> None:
    def run(chance: random.Random) -> float:
        return 10 * MS * max(0.3, chance.gauss(1, spread))

    capacity = served(5000, run, takers=takers, seconds=2, max_queue_requests=100).goodput
    peak = served(capacity, run, 100 * MS, takers).goodput
    over = served(3 * capacity, run, 100 * MS, takers)
    assert peak > 0.9 * capacity
    assert over.goodput >= 0.95 * peak
    assert over.longest_queue <= 200 * takers, "no more wait than can be answered in time"
    assert over.rejected >= 1.7 * capacity, "nearly all others are told at once"


def test_little_is_rejected_where_there_is_capacity() -> None:
    quiet = served(400, lambda chance: 10 * MS * max(0.3, chance.gauss(1, 0.2)), 50 * MS)
    assert quiet.rejected <= 0.01 * 400
    assert quiet.goodput >= 0.98 * 400
