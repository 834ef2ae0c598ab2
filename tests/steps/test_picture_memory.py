"""Room for pictures that are decoded at the same time: who waits, for how long, and what becomes of those who give up."""

from __future__ import annotations

import threading

import pytest

from inferd.errors import Cancelled
from inferd.steps.picture_memory import FREE_BYTES, PictureMemory

LIMIT = 10 * FREE_BYTES
WAIT_S = 30  # until a test fails


def nobody() -> None:
    """The check of a picture that somebody waits for."""


class Waiting(threading.Thread):
    """A picture on a thread of its own, which holds its room until it is told to leave."""

    def __init__(self, memory: PictureMemory, nbytes: int, order: list[int] | None = None) -> None:
        super().__init__(daemon=True)
        self.memory, self.nbytes, self.order = memory, nbytes, order
        self.waits, self.entered, self.leave = threading.Event(), threading.Event(), threading.Event()
        self.given_up = False
        self.start()

    def check(self) -> None:
        self.waits.set()
        if self.given_up:
            raise Cancelled("nobody waits")

    def run(self) -> None:
        try:
            with self.memory.room(self.nbytes, self.check):
                if self.order is not None:
                    self.order.append(self.nbytes)
                self.entered.set()
                assert self.leave.wait(WAIT_S)
        except Cancelled:
            pass

    def end(self) -> None:
        self.leave.set()
        self.join(WAIT_S)
        assert not self.is_alive()


def test_room_is_taken_and_given_back() -> None:
    memory = PictureMemory(LIMIT)
    with memory.room(LIMIT - FREE_BYTES, nobody), memory.room(FREE_BYTES, nobody):
        assert memory.taken_bytes == LIMIT
    assert memory.taken_bytes == 0
    with pytest.raises(ValueError, match="damaged"), memory.room(LIMIT, nobody):
        raise ValueError("damaged")
    assert memory.taken_bytes == 0


def test_what_finds_no_room_waits_until_there_is() -> None:
    memory = PictureMemory(LIMIT)
    with memory.room(LIMIT, nobody):
        second = Waiting(memory, FREE_BYTES)
        assert second.waits.wait(WAIT_S)
        assert not second.entered.is_set()
    assert second.entered.wait(WAIT_S)
    second.end()
    assert memory.taken_bytes == 0


def test_one_alone_may_take_more_than_there_is() -> None:
    memory = PictureMemory(LIMIT)
    with memory.room(5 * LIMIT, nobody):
        second = Waiting(memory, 5 * LIMIT)
        assert second.waits.wait(WAIT_S)
        assert not second.entered.is_set()
    assert second.entered.wait(WAIT_S)
    second.end()


def test_small_pictures_never_wait() -> None:
    memory = PictureMemory(LIMIT)
    with memory.room(LIMIT, nobody), memory.room(FREE_BYTES - 1, nobody):
        assert memory.taken_bytes == LIMIT


def test_the_first_that_came_is_the_first_that_goes_on() -> None:
    memory = PictureMemory(LIMIT)
    order: list[int] = []
    waiting = []
    with memory.room(LIMIT - FREE_BYTES, nobody):
        for nbytes in (LIMIT, FREE_BYTES, FREE_BYTES + 1):  # the second would find room, and does not go before the first
            waiting.append(Waiting(memory, nbytes, order))
            assert waiting[-1].waits.wait(WAIT_S)
        assert order == []
    for each in waiting:
        assert each.entered.wait(WAIT_S)
        each.end()
    assert order[0] == LIMIT


def test_who_gives_up_makes_room_for_the_next() -> None:
    memory = PictureMemory(LIMIT)
    with memory.room(LIMIT - FREE_BYTES, nobody):
        large = Waiting(memory, LIMIT)
        assert large.waits.wait(WAIT_S)
        small = Waiting(memory, FREE_BYTES)
        assert small.waits.wait(WAIT_S)
        large.given_up = True
        assert small.entered.wait(WAIT_S)
        large.end()
        small.end()
    assert not large.entered.is_set()
    assert memory.taken_bytes == 0


def test_the_largest_limit_counts_that_anybody_asks_for() -> None:
    memory = PictureMemory(LIMIT)
    for asked, limit in ((LIMIT // 2, LIMIT // 2), (LIMIT, LIMIT), (LIMIT // 4, LIMIT)):
        memory.allow(asked)
        assert memory.limit_bytes == limit


def test_what_waits_goes_on_where_the_limit_grows() -> None:
    memory = PictureMemory(LIMIT)
    with memory.room(LIMIT, nobody):
        second = Waiting(memory, LIMIT)
        assert second.waits.wait(WAIT_S)
        memory.allow(2 * LIMIT)
        assert second.entered.wait(WAIT_S)
        second.end()


def test_many_threads_never_take_more_than_there_is() -> None:
    memory = PictureMemory(LIMIT)
    most = []

    def work(number: int) -> None:
        for turn in range(50):
            with memory.room(FREE_BYTES * (1 + (number + turn) % 6), nobody):
                most.append(memory.taken_bytes)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert max(most) <= LIMIT
    assert memory.taken_bytes == 0
