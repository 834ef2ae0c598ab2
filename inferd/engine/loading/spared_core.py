"""Keeps the threads of a load off one core, which is left to threads that serve. Else a run of many rows takes all cores, and a thread that
wakes up waits some milliseconds.

A nice value does not help: a nice thread that is preempted while it holds the GIL holds up all others. And a session's threads begin in the
load and serve later. Without privileges their priority cannot be raised again, but their cores can be restored. Never in here: which
thread loads, how many threads a session has.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class SparedCore:
    """Used by one load, on its thread. Inside a block, this thread and those that it starts run on `usable - 1` cores, at least on one. So
    do threads of earlier blocks. After the block they use all cores again. Does nothing with one core, or if the system has no
    affinity."""

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
