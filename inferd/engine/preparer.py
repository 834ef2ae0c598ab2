"""Preprocess threads: they take requests as clients sent them, and let them wait again, for their run, once the plan has made the inputs
of it. So a slow image delays neither the event loop nor the run of the batch before it.

All models of a process share them, and take turns by the estimated time of their requests (_core/batching/work_queue). Requests that
take long have a queue and threads of their own. There is one thread for each queue, and one more whenever all are at work, up to a limit.
Only that many prepared requests of a model wait for a run as it can soon take; the others wait as they came, which is smaller by far.
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

__all__ = ["Preparer", "PreprocessThreads"]

log = logging.getLogger("inferd.engine")

READY_BATCHES = 2  # full ones that may wait for a run: one that is next, and one that comes together meanwhile
READY_BYTES = 1 << 28  # of prepared inputs that may wait
QUANTUM_US = 1_000  # of a model's requests, before those of others go first
LARGE_QUANTUM_US = 50_000  # of those that take long
MIN_THREADS = 2  # on one core, too: a model does not wait until the batch of another one is prepared


class PreprocessThreads:
    """The threads of one process, for the models of one repository. usable: threads that can run at once."""

    def __init__(self, usable: int) -> None:
        self.short = _Threads("preprocess", max(usable, MIN_THREADS), QUANTUM_US)
        self.large = _Threads("preprocess large", max(usable, MIN_THREADS), LARGE_QUANTUM_US)

    def start(self, most: int) -> None:
        """A model has come that lets `most` threads work for it. Raises NoThread."""
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
            del taken, source, batch  # nothing of them may live on while this thread waits

    def _grow(self) -> None:
        """Where no thread waits for work, one more does from now on."""
        with self._lock:
            if self.queue.sleepers or len(self._threads) >= self._most or self.queue.closed:
                return
            try:
                self._add()
            except NoThread as error:
                self._most = len(self._threads)
                log.warning("%s; the server goes on with %d that prepare inputs", error, self._most)


class Preparer:
    """The work of the threads for one model: it takes from its two queues in front, and puts into their `behind`.

    deliver(batch) is called on one of the threads with every batch that holds a request which cannot be prepared, or was dropped.
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
        """Once nothing is busy: the queues and their sources refer to each other."""
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
            batch.deliver()  # to nobody: it is over
            return
        try:
            self._deliver(batch)
        except Exception:
            log.exception("%s: a rejection could not be handed over", self._name)
