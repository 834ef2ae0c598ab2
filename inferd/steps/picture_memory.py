"""Memory of large pictures while they are decoded: what all threads of the process take together has a limit.

A file of some hundred KB may become hundreds of MB. A picture without room waits for its turn, first come, first served. One picture alone
may always be decoded, so that none waits for ever. A thread that holds room waits for nothing else. Small pictures are not counted: they
lie in memory that each thread keeps. Never in here: pixels, files.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FREE_BYTES = 16 << 20  # a picture that takes less is not counted
LOOK_S = 0.1  # how often a picture that waits is asked whether anybody still waits for it


class PictureMemory:
    """Room for `limit_bytes`, until somebody asks for another; see picture_memory_bytes of the settings."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._asked_bytes = 0
        self.taken_bytes = 0
        self._waiting: deque[object] = deque()  # one for each that waits, in the order of their coming
        self._changed = threading.Condition()

    def allow(self, limit_bytes: int) -> None:
        """Sets the limit; the largest counts of those that the servers and engines of one process ask for."""
        with self._changed:
            self.limit_bytes = self._asked_bytes = max(self._asked_bytes, limit_bytes)
            self._changed.notify_all()

    @contextmanager
    def room(self, nbytes: int, check: Callable[[], None]) -> Iterator[None]:
        """Holds room for so many bytes inside of the `with`, for which it waits. check() is called meanwhile, and may raise."""
        if nbytes < FREE_BYTES:
            yield
            return
        self._take(nbytes, check)
        try:
            yield
        finally:
            with self._changed:
                self.taken_bytes -= nbytes
                self._changed.notify_all()

    def _take(self, nbytes: int, check: Callable[[], None]) -> None:
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            try:
                while self._waiting[0] is not turn or not self._fits(nbytes):
                    check()
                    self._changed.wait(LOOK_S)
                self.taken_bytes += nbytes
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()

    def _fits(self, nbytes: int) -> bool:
        return not self.taken_bytes or self.taken_bytes + nbytes <= self.limit_bytes


memory = PictureMemory(1 << 30)
