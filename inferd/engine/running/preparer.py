"""Preprocess threads: they make the inputs of runs from requests, then queue the requests for their run. So a slow image delays neither the
event loop nor the run of the batch before it.

All models of a process share them, and take turns by the estimated time of their requests (_core/batching/work_queue.pyx). Requests that
take long have a separate queue and threads. Each queue begins with one thread, and gets one more whenever all are busy, up to a limit.
Only few prepared requests of a model wait for a run. The others wait as they came, which takes far less memory.
Never in here: what the steps do, batches of runs.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from inferd._core.batching.work_queue import Source, WorkQueue
from inferd.threads import NoThread, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd._core.batching.batch import Batch
    from inferd._core.batching.batcher import Batcher
    from inferd.steps.plan import Plan

log = logging.getLogger("inferd.engine")

READY_BATCHES = 2  # full batches of prepared requests that may wait for a run: the next one, and one that fills up meanwhile
READY_BYTES = 1 << 28  # prepared inputs that may wait
QUANTUM_US = 1_000  # work for a model in one turn
LARGE_QUANTUM_US = 50_000  # the same for requests that take long
MIN_THREADS = 2  # even on one core, so that a model need not wait until another's batch is prepared


class PreprocessThreads:
    """The threads of one process, for the models of one repository. usable: threads that can run at once."""

    def __init__(self, usable: int) -> None:
        self.short = _Threads("preprocess", max(usable, MIN_THREADS), QUANTUM_US)
        self.large = _Threads("preprocess large", max(usable, MIN_THREADS), LARGE_QUANTUM_US)

    def start(self, most: int) -> None:
        """Called for a new model that lets `most` threads work for it. Raises NoThread."""
        self.short.start(most)
        self.large.start(most)

    def close(self, timeout_s: float) -> None:
        """Ends the threads. Call it when the models are closed."""
        until_s = time.monotonic() + timeout_s
        for threads in (self.short, self.large):
            threads.close(until_s)


class _Threads:
    """Up to `most` threads of one queue."""

    def __init__(self, name: str, most: int, quantum_us: int) -> None:
        self.queue = WorkQueue(quantum_us)
        self._name = name
        self._most = most
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def __len__(self) -> int:
        return len(self._threads)

    def start(self, most: int) -> None:
        with self._lock:
            self._most = max(self._most, most)
            if not self._threads:
                self._add()

    def close(self, until_s: float) -> None:
        self.queue.close()
        for thread in self._threads:
            thread.join(max(until_s - time.monotonic(), 0.0))

    def _add(self) -> None:
        thread = threading.Thread(target=self._run, name=f"{self._name} {len(self._threads)}", daemon=True)
        start_thread(thread)
        self._threads.append(thread)

    def _run(self) -> None:
        while (taken := self.queue.take()) is not None:
            source, batch = taken
            self._grow()
            try:
                source.work(batch)
            except Exception:
                log.exception("the inputs of a batch could not be prepared")
            finally:
                source.done()
            del taken, source, batch  # frees them while this thread waits

    def _grow(self) -> None:
        """Adds a thread if none waits for work."""
        with self._lock:
            if self.queue.sleepers or len(self._threads) >= self._most or self.queue.closed:
                return
            try:
                self._add()
            except NoThread as error:
                self._most = len(self._threads)
                log.warning("%s; the server goes on with %d that prepare inputs", error, self._most)


class Preparer:
    """Prepares the requests of one model: takes them from its two queues in front, and puts them into the queue `behind`.

    deliver(batch) is called on one of the threads with every batch of which a request could not be prepared, or was dropped.
    """

    def __init__(
        self,
        plan: Plan,
        threads: PreprocessThreads,
        fronts: tuple[Batcher, Batcher],
        deliver: Callable[[Batch], None],
        *,
        max_rows: int,
        most: int,
        schedule: Callable[[Callable[[], None]], object] | None,
        name: str,
    ) -> None:
        self._plan, self._threads, self._fronts, self._deliver, self._most, self._name = plan, threads, fronts, deliver, most, name
        run_queue = fronts[0].behind
        assert run_queue is not None
        self._run_queue = run_queue
        ready = READY_BATCHES * max(max_rows, 1)
        self._sources = [
            Source(own.queue, front, self._prepare, most=most, room_requests=ready, room_nbytes=READY_BYTES, schedule=schedule)
            for own, front in zip((threads.short, threads.large), fronts, strict=True)
        ]

    def start(self) -> None:
        """Raises NoThread."""
        self._threads.start(self._most)
        for front, source in zip(self._fronts, self._sources, strict=True):
            front.arrived = source.arrived
        self._run_queue.left = self._offer

    def close(self) -> None:
        """Called once nothing is busy. Cuts the references between queues and sources, which form a cycle."""
        self._run_queue.left = None
        for front in self._fronts:
            front.arrived = None

    @property
    def busy(self) -> bool:
        """Whether requests wait for a thread, or are prepared."""
        return any(source.busy for source in self._sources)

    def _offer(self) -> None:
        for source in self._sources:
            source.offer()

    def _prepare(self, batch: Batch) -> None:
        requests = list(batch.requests)
        self._plan.prepare(requests)
        for request in requests:
            if not request.rejected:
                batch.forward(request, self._run_queue)
        if not (batch.requests or batch.dropped):
            batch.deliver()  # it is empty; this only ends it
            return
        try:
            self._deliver(batch)
        except Exception:
            log.exception("%s: a rejection could not be handed over", self._name)
