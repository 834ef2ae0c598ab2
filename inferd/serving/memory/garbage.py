"""Decides when a server collects reference cycles: rarely in all of its memory.

Python makes a full collection whenever a quarter of all objects is new. With thousands of connections that come and go, this holds up the
loop again and again. It finds nothing, as a connection or a call leaves no cycle.
"""

from __future__ import annotations

import gc
import sys
from typing import ClassVar

NEW, YOUNG = 700, 3  # new objects before a collection of generation 0, and such collections before one of generation 1
LAST = 1 << 30  # collections of generation 1 before Python's own full collection: never
FULL_S = 60.0  # the time between two full collections
FULL_LOOKS = 10  # collections of generation 1 that must have come since the last full one
MOST_LOOKS = 400  # so many bring a full one before FULL_S: they have passed on up to a million objects


class Garbage:
    """Changes the process's collector from begin() to end(). With several servers, from the first begin() to the last end()."""

    _begun: ClassVar[int] = 0
    _threshold: ClassVar[tuple[int, int, int]]  # those of Python, for end()
    _frozen: ClassVar[bool] = False  # the program had frozen objects before, which stay frozen

    def __init__(self) -> None:
        self._is_begun = False
        self._full_s = 0.0

    def begin(self, now_s: float) -> None:
        """Freezes all present objects: they live as long as the server, and are not traversed again."""
        if Garbage._begun == 0:
            Garbage._threshold = gc.get_threshold()
            Garbage._frozen = Garbage._frozen or gc.get_freeze_count() > 0  # once: it counts frozen objects one by one
        gc.collect()
        gc.freeze()
        Garbage._begun += 1
        self._is_begun, self._full_s = True, now_s
        if sys.version_info < (3, 14):  # 3.14 collects incrementally
            gc.set_threshold(NEW, YOUNG, LAST)

    def collect_if_due(self, now_s: float) -> None:
        """Makes a full collection if it is time. Call it often."""
        looks = gc.get_count()[2]
        if self._is_begun and (looks >= MOST_LOOKS or (looks >= FULL_LOOKS and now_s >= self._full_s + FULL_S)):
            gc.collect()
            self._full_s = now_s

    def end(self) -> None:
        """Restores the state before begin(). Does nothing where that was not called."""
        if not self._is_begun:
            return
        self._is_begun = False
        Garbage._begun -= 1
        if Garbage._begun == 0:
            gc.set_threshold(*Garbage._threshold)
            if not Garbage._frozen:
                gc.unfreeze()
