"""Preprocess threads: they take requests as clients sent them, and let them wait again, for their run, once the plan has made the inputs
of it. So a slow image delays neither the event loop nor the run of the batch before it.

A queue begins with one, and gets another whenever all that it has are at work: there is one to take what comes next, up to a limit,
and a model that nobody asks, or that asks little of them, has few. They last until the model is unloaded. Only that many prepared
requests wait for a run as it can soon take; the others wait as they came, which is smaller by far. Never in here: what the steps do,
batches of runs.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd._core.batching.batch import Batch
    from inferd._core.batching.batcher import Batcher
    from inferd.pipeline.plan import Plan

__all__ = ["PreprocessThreads"]

log = logging.getLogger("inferd.engine")

READY_BATCHES = 2  # full ones that may wait for a run: one that is next, and one that comes together meanwhile
READY_BYTES = 1 << 28  # of prepared inputs that may wait


class PreprocessThreads:
    """Up to `most` threads, which prepare what `queue` gives until that is closed. Prepared requests wait for their run in `run_queue`.

    deliver(batch) is called on one of them with every batch that holds a request which cannot be prepared, or was dropped.
    """

    def __init__(
        self, plan: Plan, queue: Batcher, run_queue: Batcher, deliver: Callable[[Batch], None], max_rows: int, most: int, name: str
    ) -> None:
        self._plan = plan
        self._queue = queue
        self._run_queue = run_queue
        self._deliver = deliver
        self._ready_requests = READY_BATCHES * max(max_rows, 1)
        self._most = most
        self._name = name
        self._lock = threading.Lock()  # of these two
        self._threads: list[threading.Thread] = []
        self._at_work = 0

    def __len__(self) -> int:
        return len(self._threads)

    def start(self) -> None:
        with self._lock:
            self._add()

    def join(self, until_s: float) -> None:
        """Waits for all of them, by the monotonic clock. Those that begin meanwhile are waited for, too."""
        for thread in self._threads:
            thread.join(max(until_s - time.monotonic(), 0.0))

    def _add(self) -> None:
        thread = threading.Thread(target=self._run, name=f"{self._name} preprocess {len(self._threads)}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _run(self) -> None:
        while True:
            self._run_queue.wait_room(self._ready_requests, READY_BYTES)
            batch = self._queue.take()
            if batch is None:
                return
            try:
                self._begin_work()
                self._prepare(batch)
            finally:
                with self._lock:
                    self._at_work -= 1
            del batch  # nothing of it may live on while this thread waits

    def _begin_work(self) -> None:
        with self._lock:
            self._at_work += 1
            if self._at_work < len(self._threads) or len(self._threads) >= self._most or self._queue.closed:
                return
            try:
                self._add()
            except RuntimeError:
                self._most = len(self._threads)
                log.warning("%s: the system has no more threads: it goes on with %d that prepare inputs", self._name, self._most)

    def _prepare(self, batch: Batch) -> None:
        requests = list(batch.requests)
        self._plan.prepare(requests)
        for request in requests:
            if not request.rejected:
                batch.forward(request, self._run_queue)
        if not (batch.requests or batch.dropped):
            batch.deliver()  # to nobody: it is over
            return
        try:
            self._deliver(batch)
        except Exception:
            log.exception("%s: a rejection could not be handed over", self._name)
