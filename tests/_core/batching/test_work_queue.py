"""Batchers that share threads: who is next, when a batch is given, and that no wake-up is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable

from inferd._core.batching.batch import Batch
from inferd._core.batching.batcher import Batcher
from inferd._core.batching.work_queue import Source, WorkQueue
from inferd._core.metrics.histogram import Statistics
from tests._core.batching.test_batcher import LIMIT_S, put

QUANTUM = 50  # what a batch costs at least: one batch a turn


def made(queue: WorkQueue, most: int = 1, room: int = 100, max_rows: int = 1) -> tuple[Batcher, Source]:
    """A batcher in front of another one."""
    front, behind = Batcher(max_rows, Statistics(1)), Batcher(1, Statistics(1))
    front.behind = behind
    source = Source(queue, front, Batch.deliver, most=most, room_requests=room, room_nbytes=1 << 40)
    front.arrived, behind.left = source.arrived, source.offer
    return front, source


def end(source: Source, batch: Batch) -> None:
    batch.deliver()
    source.done()


def taken(queue: WorkQueue) -> tuple[Source, Batch]:
    found = queue.take()
    assert found is not None
    return found


def test_sources_take_turns() -> None:
    queue = WorkQueue(QUANTUM)
    (busy, first), (other, second) = made(queue), made(queue)
    for _ in range(4):
        put(busy)
    put(other)
    order = []
    for _ in range(5):
        source, batch = taken(queue)
        order.append(source)
        end(source, batch)
    assert order == [first, second, first, first, first]


def test_no_more_batches_of_one_source_are_at_work_than_it_may_have() -> None:
    queue = WorkQueue(QUANTUM)
    (busy, first), (other, second) = made(queue, most=2), made(queue)
    for _ in range(3):
        put(busy)
    begun = [taken(queue), taken(queue)]
    assert [source for source, _ in begun] == [first, first]
    put(other)
    given = taken(queue)
    assert given[0] is second, "the third one of the first waits"
    end(*given)
    end(*begun[0])
    end(*taken(queue))
    end(*begun[1])
    assert not first.busy


def test_nothing_is_given_while_there_is_no_room_behind() -> None:
    queue = WorkQueue(QUANTUM)
    (full, first), (other, second) = made(queue, room=1), made(queue)
    assert full.behind is not None
    put(full.behind)
    put(full)
    put(other)
    source, batch = taken(queue)
    assert source is second
    end(source, batch)
    ready = full.behind.poll()  # which makes room
    source, batch = taken(queue)
    assert source is first
    end(source, batch)
    assert ready is not None
    ready.deliver()


def test_nothing_is_held_back_once_the_batcher_behind_is_closed() -> None:
    queue = WorkQueue(QUANTUM)
    full, first = made(queue, room=1)
    assert full.behind is not None
    put(full.behind)
    full.behind.close()
    put(full)
    source, batch = taken(queue)
    assert source is first
    end(source, batch)


def test_threads_that_sleep_are_woken_for_each_request_and_by_close() -> None:
    queue, lock, worked = WorkQueue(QUANTUM), threading.Lock(), list[int]()
    over = threading.Semaphore(0)

    def work() -> None:
        while (found := queue.take()) is not None:
            source, batch = found
            with lock:
                worked.append(len(batch.requests))
            end(source, batch)
            over.release()

    sources = [made(queue, most=4)[0] for _ in range(8)]
    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(200):
        for front in sources[: 1 + turn % 8]:
            put(front)
        for _ in sources[: 1 + turn % 8]:
            assert over.acquire(timeout=LIMIT_S), turn
    queue.close()
    for thread in threads:
        thread.join(LIMIT_S)
        assert not thread.is_alive()
    assert sum(worked) == sum(1 + turn % 8 for turn in range(200))


def test_a_request_wakes_its_thread_behind_what_comes_in_the_same_iteration() -> None:
    queue, scheduled = WorkQueue(QUANTUM), list[Callable[[], None]]()
    front, behind = Batcher(8, Statistics(8)), Batcher(1, Statistics(1))
    front.behind = behind
    source = Source(queue, front, Batch.deliver, most=1, room_requests=8, room_nbytes=1 << 40, schedule=scheduled.append)
    front.arrived = source.arrived
    found: list[int] = []

    def work() -> None:
        own, batch = taken(queue)
        found.append(len(batch.requests))
        end(own, batch)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while not queue.sleepers:
        pass
    for _ in range(3):
        put(front)
    assert len(scheduled) == 1
    assert found == []
    scheduled[0]()
    thread.join(LIMIT_S)
    assert found == [3]
