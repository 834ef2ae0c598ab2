"""What a tally counts, and that it keeps nothing."""

from __future__ import annotations

import time

import numpy as np
import pytest

from inferd._core.batching.batcher import Batcher
from inferd._core.batching.tally import Tally
from inferd._core.batching.tap import UNTAPPED, Tap
from inferd._core.grpc.call import NO_DEADLINE
from inferd.compare.statistics import GROUPS
from inferd.errors import Internal
from tests._core.batching.batcher_fixtures import HOUR_NS, polled, put, run, wire_request
from tests._core.batching.test_tap import answer, answer_wire, tapped_batcher
from tests.fake_backend import Caller


def ask(queue: Batcher, deadline_ns: int = NO_DEADLINE) -> Caller:
    request, caller = wire_request(), Caller(deadline_ns)
    queue.put(request, caller)
    return caller


def counted(tally: Tally) -> tuple[int, int, int]:
    answered, errors, slow = np.frombuffer(tally.by_group(), np.int64).reshape(3, GROUPS + 1).sum(1).tolist()
    return answered, errors, slow


def test_requests_of_clients_are_counted_and_none_is_kept() -> None:
    tally = Tally(sample=2)
    queue = tapped_batcher(tally)
    for _ in range(3):
        answer_wire(queue)
    answer(queue)  # local: a shadow's
    assert (counted(tally), tally.held, tally.take()) == ((3, 0, 0), 0, [])
    assert len(tally.latencies_ns) == 2
    assert all(latency > 0 for latency in tally.latencies_ns)


def test_errors_and_requests_above_the_threshold_are_counted() -> None:
    tally = Tally(threshold_ns=1)
    queue = tapped_batcher(tally)
    ask(queue)
    batch = polled(queue)
    batch.fail(Internal("broken"))
    batch.deliver()
    tally.threshold_ns = 10**15
    answer_wire(queue)
    assert counted(tally) == (2, 1, 1)


@pytest.mark.parametrize("cancels", [True, False])
def test_a_deadline_that_passes_in_a_run_is_an_error_at_once_and_once(cancels: bool) -> None:
    tally, tap = Tally(), Tap()
    queue = tapped_batcher(tally, tap)
    caller = ask(queue, deadline_ns := time.monotonic_ns() + HOUR_NS)
    ask(queue)
    batch = polled(queue)
    batch.tap_late(deadline_ns - 1)
    assert counted(tally) == (0, 0, 0)
    for _ in range(2):
        batch.tap_late(deadline_ns)
        assert counted(tally) == (1, 1, 0)
    if cancels:
        caller.cancel()
    run(batch)
    batch.deliver()
    assert counted(tally) == (2, 1, 0)
    assert [each.code for each in tap.take()] == [4, 0]


@pytest.mark.parametrize("state", ["waits", "runs"])
@pytest.mark.parametrize(("threshold_ns", "expected"), [(0, (0, 0, 0)), (1, (1, 0, 1)), (10**15, (0, 0, 0))], ids=["none", "slow", "fast"])
def test_a_cancel_is_no_error_and_slow_above_the_threshold(state: str, threshold_ns: int, expected: tuple[int, int, int]) -> None:
    tally = Tally(threshold_ns=threshold_ns)
    queue = tapped_batcher(tally)
    caller = ask(queue, time.monotonic_ns() + HOUR_NS)
    batch = polled(queue) if state == "runs" else None
    caller.cancel()
    assert counted(tally) == expected
    if batch is not None:
        batch.deliver()
    assert counted(tally) == expected


def test_a_cancel_at_the_deadline_of_a_request_that_waits_is_an_error() -> None:
    tally = Tally(threshold_ns=10**15)
    queue = tapped_batcher(tally)
    ask(queue, deadline_ns=1).cancel()
    assert counted(tally) == (1, 1, 0)
    assert queue.poll() is None


def test_a_cancel_shortly_before_the_deadline_of_a_run_is_an_error() -> None:
    tally = Tally(threshold_ns=10**15)
    queue = tapped_batcher(tally)
    left_ns, began_ns = 2_000_000, time.monotonic_ns()
    caller = ask(queue, began_ns + left_ns)
    batch = polled(queue)
    while time.monotonic_ns() < began_ns + 0.98 * left_ns:
        pass
    caller.cancel()
    batch.deliver()
    assert counted(tally) == (1, 1, 0)


@pytest.mark.parametrize("cancels", [True, False])
def test_a_request_that_a_batch_drops_is_an_error_before_the_batch_has_run(cancels: bool) -> None:
    tally = Tally(threshold_ns=10**15)
    queue = tapped_batcher(tally)
    caller = ask(queue, deadline_ns=1)
    batch = polled(queue)
    if cancels:
        caller.cancel()
    batch.tap_late(0)
    assert counted(tally) == (1, 1, 0)
    batch.deliver()
    assert (counted(tally), len(caller.errors)) == ((1, 1, 0), not cancels)


def test_requests_that_compare_models_are_none_of_clients() -> None:
    """Requests of `inferd diff`, whether they succeed, fail or are cancelled."""
    tally = Tally(sample=2, threshold_ns=1)
    queue = tapped_batcher(tally)
    answer_wire(queue, UNTAPPED)
    for fails in (True, False):
        request, caller = wire_request(UNTAPPED), Caller(NO_DEADLINE)
        queue.put(request, caller)
        if fails:
            batch = polled(queue)
            batch.fail(Internal("broken"))
            batch.deliver()
        else:
            caller.cancel()
    assert (counted(tally), tally.latencies_ns) == ((0, 0, 0), [])
    answer_wire(queue)
    assert counted(tally) == (1, 0, 1)


def test_a_shadows_request_that_ends_early_is_none_of_clients() -> None:
    tally = Tally(threshold_ns=1)
    queue = tapped_batcher(tally)
    _, caller = put(queue)
    caller.cancel()
    assert counted(tally) == (0, 0, 0)


def test_counts_are_kept_by_the_group_of_the_key() -> None:
    """A key has one group, and a request without a key the last place."""
    tally = Tally()
    queue = tapped_batcher(tally)
    for key in (7, 7, 8, 0):
        request, caller = wire_request(), Caller(NO_DEADLINE)
        caller.key = key
        queue.put(request, caller)
    batch = polled(queue)
    batch.fail(Internal("broken"))
    batch.deliver()
    while counted(tally)[0] < 4:
        polled(queue).deliver()
    answered = np.frombuffer(tally.by_group(), np.int64).reshape(3, GROUPS + 1)[0]
    assert sorted(answered[answered > 0]) == [1, 1, 2]
    assert answered[GROUPS] == 1
