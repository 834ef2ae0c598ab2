"""Batches that executor threads hand to the event loop: it is woken once for all that come before it looks."""

from __future__ import annotations

import os
import select
import threading

import pytest

from inferd._core.batching.batch import Batch
from inferd._core.batching.delivery import Delivery
from tests._core.batching.batcher_fixtures import batcher, polled, put, run
from tests.fake_backend import LIMIT_S, Caller


def finished(value: float) -> tuple[Batch, Caller]:
    """A batch that has run, and who waits for it."""
    queue = batcher()
    _, caller = put(queue, value)
    batch = polled(queue)
    run(batch)
    return batch, caller


def wakes(delivery: Delivery) -> bool:
    return bool(select.select([delivery], [], [], 0)[0])


def test_the_loop_is_woken_once_for_all_batches_that_it_has_not_seen() -> None:
    delivery = Delivery()
    assert not wakes(delivery)
    for _ in range(2):
        batches, callers = zip(*[finished(value) for value in range(3)], strict=True)
        threads = [threading.Thread(target=delivery.put, args=(batch,)) for batch in batches]
        for thread in threads:
            thread.start()
            thread.join(LIMIT_S)
        assert wakes(delivery)
        assert not any(caller.answered.is_set() for caller in callers)
        assert os.read(delivery.fileno(), 8) == (1).to_bytes(8, "little"), "one wake-up"
        delivery.deliver()
        assert [caller.response[0, 0] for caller in callers] == [0, 2, 4]
        assert not wakes(delivery)


def test_every_batch_of_several_threads_is_answered_while_the_loop_looks() -> None:
    delivery = Delivery()
    pairs = [finished(value) for value in range(400)]

    def hand_over(batches: list[Batch]) -> None:
        for batch in batches:
            delivery.put(batch)

    threads = [threading.Thread(target=hand_over, args=([batch for batch, _ in pairs[part::4]],)) for part in range(4)]
    for thread in threads:
        thread.start()
    while not all(caller.answered.is_set() for _, caller in pairs):
        assert select.select([delivery], [], [], LIMIT_S)[0], "a batch came, and the loop was not woken"
        delivery.deliver()
    for thread in threads:
        thread.join(LIMIT_S)
    assert [caller.response[0, 0] for _, caller in pairs] == [2 * value for value in range(400)]


def test_close_answers_what_has_come_and_frees_the_descriptor() -> None:
    delivery = Delivery()
    descriptor = delivery.fileno()
    batch, caller = finished(3)
    delivery.put(batch)
    delivery.close()
    assert caller.response[0, 0] == 6
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    with pytest.raises(RuntimeError):
        delivery.put(batch)
    delivery.close()
