"""Keeps the threads of a load off one core, so that threads that serve find one free: a run of many rows takes all cores otherwise, and
what wakes up beside it waits some milliseconds for its turn.

A nice value does not do that: a thread that is preempted while it has Python's lock holds up all others for as long as they go first.
And the threads of a session are made while it is opened and serve later: without privileges nobody raises their priority again, while
the cores that they may use can be given back. Never in here: which thread loads, how many threads a session has.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["SparedCore"]


class SparedCore:
    """For one load, on its thread. Inside a block, this thread, those that it starts, and those that it started in an earlier block, run on
    one core less than the `usable` ones, and on one at least; after it on all again. Nothing where there is one core, or where the system
    lets no thread choose."""

    def __init__(self, usable: int) -> None:
        self._all = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set[int]()
        self._few = set(sorted(self._all)[-max(1, usable - 1) :])
        self._threads: set[int] = set()

    def __enter__(self) -> Self:
        self._move({0, *self._threads}, self._few)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._move({0}, self._all)
        if self._few != self._all:
            self._threads = {int(name) for name in os.listdir("/proc/self/task") if _cores(int(name)) == self._few}
        self._move(self._threads, self._all)

    def _move(self, threads: set[int], cores: set[int]) -> None:
        for thread in threads if self._few != self._all else ():
            with suppress(OSError):  # it has ended
                os.sched_setaffinity(thread, cores)


def _cores(thread: int) -> set[int]:
    try:
        return os.sched_getaffinity(thread)
    except OSError:
        return set()
