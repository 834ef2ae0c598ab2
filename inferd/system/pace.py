"""A token bucket of processor time, for work that can wait. The work takes out the time that it has used. A part of the time that the
cores have left fills it.

Never in here: what the work is, how the cores' time is measured, threads.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

BURST_S = 0.05  # of a core, after a rest
LOOK_S = 0.5  # between two looks at the cores


class Pace:
    """left(): cores that nobody has used, on average since the last call. reserved: so many of them are left alone. share: the part of
    the others that fills the bucket. least, most: cores that fill it in any case, and at best. All cores may be fractions."""

    def __init__(
        self,
        left: Callable[[], float],
        reserved: float,
        share: float,
        least: float,
        most: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._left, self._reserved, self._share, self._least, self._most, self._clock = left, reserved, share, least, most, clock
        self._looked_s = self._filled_s = clock()
        self._cores = least  # that fill the bucket
        self._bucket_s = BURST_S  # below 0 where work took more than was thought
        self._done, self._used_s = 0, 0.0  # as was told
        self._looked_used_s = self._taken_s = 0.0  # of these, before the last look, and taken from the bucket

    def told(self, done: int, used_s: float) -> None:
        """So many pieces of work have been done in all, in so much of a core's time. On any thread."""
        self._done, self._used_s = done, used_s

    def room(self) -> int:
        """So many pieces of work may be under way. On one thread."""
        now_s, done, used_s = self._clock(), self._done, self._used_s
        if (elapsed_s := now_s - self._looked_s) >= LOOK_S:
            left = self._left() + (used_s - self._looked_used_s) / elapsed_s  # its own use takes nothing from it
            self._looked_s, self._looked_used_s = now_s, used_s
            self._cores = min(max(self._share * (left - self._reserved), self._least), self._most)
        filled_s = self._cores * (now_s - self._filled_s)
        self._bucket_s = min(self._bucket_s + filled_s - (used_s - self._taken_s), BURST_S)
        self._filled_s, self._taken_s = now_s, used_s
        if self._bucket_s <= 0:
            return 0
        return max(1, int(self._bucket_s * done / used_s)) if done and used_s else 1  # one shows how much work a piece is

    def rest_s(self) -> float:
        """How long there will be no room, up to the next look."""
        return min(max(-self._bucket_s / self._cores, 0.0), LOOK_S)
