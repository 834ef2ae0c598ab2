"""When a server looks for garbage that counting references does not find: rarely at all that it holds.

Python looks at everything whenever a quarter has come anew. With thousands of connections that holds the loop up for long, again and
again while they come and go, and finds nothing: what a connection or a call leaves is no cycle.
"""

from __future__ import annotations

import gc
import sys
from typing import ClassVar

__all__ = ["Garbage"]

NEW, YOUNG = 700, 3  # objects made that wait for the first look, and first looks for the second one
LAST = 1 << 30  # second looks for Python's own at everything: never
FULL_S = 60.0  # between two looks at everything,
FULL_LOOKS = 10  # if there were so many second looks since;
MOST_LOOKS = 400  # with more it is not waited for: they have passed on up to a million objects


class Garbage:
    """Of the process that serves, from begin() to end(). Of several servers in a process the first begins, and the last ends."""

    _begun: ClassVar[int] = 0
    _threshold: ClassVar[tuple[int, int, int]]  # Python's, meanwhile
    _frozen: ClassVar[bool] = False  # whether the program had frozen something before: it stays frozen

    def __init__(self) -> None:
        self._is_begun = False
        self._full_s = 0.0

    def begin(self, now_s: float) -> None:
        """What is there now lives as long as the server does, and is looked at no more."""
        if Garbage._begun == 0:
            Garbage._threshold = gc.get_threshold()
            Garbage._frozen = Garbage._frozen or gc.get_freeze_count() > 0  # once: it counts frozen objects one by one
        gc.collect()
        gc.freeze()
        Garbage._begun += 1
        self._is_begun, self._full_s = True, now_s
        if sys.version_info < (3, 14):  # which looks at a part at a time
            gc.set_threshold(NEW, YOUNG, LAST)

    def look(self, now_s: float) -> None:
        """To be called often."""
        looks = gc.get_count()[2]
        if self._is_begun and (looks >= MOST_LOOKS or (looks >= FULL_LOOKS and now_s >= self._full_s + FULL_S)):
            gc.collect()
            self._full_s = now_s

    def end(self) -> None:
        """As before begin(); nothing where that was not called."""
        if not self._is_begun:
            return
        self._is_begun = False
        Garbage._begun -= 1
        if Garbage._begun == 0:
            gc.set_threshold(*Garbage._threshold)
            if not Garbage._frozen:
                gc.unfreeze()
