"""The executor threads of one model version, one an instance. That of a single instance starts with a request, and is
dismissed when the model is idle. Never in here: when that is (model.py), runs (executor.py)."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from inferd.engine.running.executor import ExecutorThread, Instance
from inferd.threads import NoThread, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inferd._core.batching.batch import Batch
    from inferd._core.batching.batcher import Batcher


class Executors:
    """The threads that take batches of `queue`. deliver: see ExecutorThread. Without a loop any thread may call `have`."""

    def __init__(self, name: str, instances: Sequence[Instance], queue: Batcher, deliver: Callable[[Batch], None]) -> None:
        self.threads: list[ExecutorThread] = []
        self._name, self._instances, self._queue, self._deliver = name, instances, queue, deliver
        self._starting = threading.Lock()  # of threads and _dismissed
        self._dismissed = False  # as the model is idle

    def start(self, finished: Callable[[Batch], None] | None = None) -> None:
        """finished: see ExecutorThread. Raises NoThread."""
        alone = len(self._instances) == 1
        self.threads = [
            ExecutorThread(instance, self._queue, self._deliver, finished, f"{self._name}#{index}", alone=alone)
            for index, instance in enumerate(self._instances)
        ]
        for thread in self.threads:
            start_thread(thread)

    def have(self, finished: Callable[[Batch], None] | None, *, wanted: bool) -> None:
        """Calls a dismissed thread back, or starts the threads if there are none and they are wanted. Raises NoThread."""
        with self._starting:
            stays = self._dismissed and self._queue.recall() > 0
            gone = not self.threads or (self._dismissed and not stays)
            self._dismissed = False
            if not gone or not wanted or self._queue.closed:
                return
            try:
                self.start(finished)
            except NoThread:
                self.threads.clear()
                raise

    def dismiss(self) -> None:
        """The thread ends once nothing is queued, unless `have` comes first."""
        self._dismissed = True
        self._queue.dismiss()

    @property
    def alive(self) -> bool:
        """Whether a thread has not ended."""
        return any(thread.is_alive() for thread in self.threads)

    def join(self, until_s: float) -> None:
        """Waits for the threads that were started, until a time of time.monotonic()."""
        for thread in self.threads:
            if thread.ident is not None:
                thread.join(max(until_s - time.monotonic(), 0.0))
