"""The rollouts' thread: it works off what requests have left behind, and sees when the file of rollouts has changed.

Never in here: reading the file (follower.py).
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inferd.rollout.follower import Follower
    from inferd.rollout.roster import Roster

log = logging.getLogger("inferd.rollout")

FOLLOW_S = 0.5  # between two looks at the file, which another process may have changed


class Worker:
    """Owns the thread, which begins at the start where there is a file, else with the first rollout. The methods
    belong to the event loop's thread."""

    def __init__(self, roster: Roster, follower: Follower) -> None:
        self._roster, self._follower = roster, follower
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    def begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="rollouts", daemon=True)
            self._thread.start()

    def leave(self) -> None:
        self._stopping.set()

    def join(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(1.0)

    def _work(self) -> None:
        looked_s, stamp = time.monotonic(), self._follower.stamp()
        while not self._stopping.is_set():
            rest_s = FOLLOW_S
            for model, live in self._roster.live.items():
                try:
                    rest_s = min(rest_s, live.work())
                except Exception:
                    log.exception("the rollout of model '%s': requests could not be worked off", model)
            if time.monotonic() - looked_s > FOLLOW_S:
                looked_s = time.monotonic()
                if not self._follower.is_asked and (now := self._follower.stamp()) != stamp:
                    stamp = now
                    if not self._follower.ask():
                        self._stopping.set()
            self._stopping.wait(rest_s)
