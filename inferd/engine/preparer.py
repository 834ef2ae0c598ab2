"""Preprocess threads: they take requests as clients sent them, and let them wait again, for their run, once the plan has made the inputs
of it. So a slow image delays neither the event loop nor the run of the batch before it.

Only that many prepared requests wait for a run as it can soon take; the others wait as they came, which is smaller by far. Never in
here: what the steps do, batches of runs.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd._core.batcher import Batch, Batcher
    from inferd.steps.plan import Plan

__all__ = ["PreprocessThread"]

log = logging.getLogger("inferd.engine")

READY_BATCHES = 2  # full ones that may wait for a run: one that is next, and one that comes together meanwhile
READY_BYTES = 1 << 28  # of prepared inputs that may wait


class PreprocessThread(threading.Thread):
    """One thread that prepares what `waiting` gives until that is closed. `ready`: where prepared requests wait for their run.

    deliver(batch) is called on this thread with every batch that holds a request which cannot be prepared, or was dropped.
    """

    def __init__(self, plan: Plan, waiting: Batcher, ready: Batcher, deliver: Callable[[Batch], None], max_rows: int, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._plan = plan
        self._waiting = waiting
        self._ready = ready
        self._deliver = deliver
        self._ready_requests = READY_BATCHES * max(max_rows, 1)

    def run(self) -> None:
        while True:
            self._ready.wait_room(self._ready_requests, READY_BYTES)
            batch = self._waiting.take()
            if batch is None:
                return
            self._prepare(batch)
            del batch  # nothing of it may live on while this thread waits

    def _prepare(self, batch: Batch) -> None:
        requests = list(batch.requests)
        self._plan.prepare(requests)
        for request in requests:
            if not request.refused:
                batch.forward(request, self._ready)
        if batch.requests or batch.dropped:
            try:
                self._deliver(batch)
            except Exception:
                log.exception("%s: a refusal could not be handed over", self.name)
