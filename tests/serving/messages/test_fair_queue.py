"""What waits for a turn: order, and what leaves. Scheduler's own rules are in tests/_core/base/test_scheduler.py."""

from __future__ import annotations

from inferd.serving.messages.fair_queue import FairQueue


def taken(queue: FairQueue[str], most: int = 100) -> list[str]:
    found: list[str] = []
    while len(found) < most and (each := queue.take()) is not None:
        found.append(each[1])
    return found


def test_connections_take_turns_and_each_has_its_own_order() -> None:
    queue, busy, other = FairQueue[str](), object(), object()
    for number in range(4):
        queue.put(busy, f"busy {number}")
    queue.put(other, "other")
    assert taken(queue, 3) == ["busy 0", "other", "busy 1"]
    queue.put(other, "other again")
    assert queue.take() == (busy, "busy 2")
    assert taken(queue) == ["other again", "busy 3"]


def test_what_is_removed_has_no_turn_and_leaves_nothing() -> None:
    queue, busy, other = FairQueue[str](), object(), object()
    queue.put(other, "stays")
    for number in range(1000):
        queue.put(busy, f"leaves {number}")
        queue.remove(busy, f"leaves {number}")
        queue.remove(busy, "was never there")
    assert len(queue) == 1
    queue.put(busy, "stays, too")
    assert sorted(taken(queue)) == ["stays", "stays, too"]
    assert (len(queue), queue._lines) == (0, {})
