"""Threads for what a message needs that would hold the event loop: it is compressed or decompressed, or its typed contents are unpacked.
All of them do so without the GIL, and let others run in between (_core/yielding).

Who waits is kept on the loop's thread alone, hence no lock. Never in here: what is done to a message (_core/compression, service), whether.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict, deque
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inferd._core.grpc import Work
    from inferd._core.http2_endpoint import Output

__all__ = ["MessageThreads"]

MAX_THREADS = 4
MIN_THREADS = 2  # on one core, too: the system lets small messages pass a large one
NICE = 5  # where there are few cores the event loop goes before
GIVEN = 2  # pieces of work for each thread, one of them in its hands: none idles until the loop has seen that one is over


class MessageThreads:
    """A few threads, started when there is work. Made, given work and closed on the running event loop.

    Connections take turns: one that sends much keeps the others waiting for one message of its own, not for all.
    usable: threads of this process that can run at once; the event loop is one of them.
    """

    def __init__(self, usable: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._count = min(max(MIN_THREADS, usable - 1), MAX_THREADS)
        self._waiting: OrderedDict[Output, deque[Work]] = OrderedDict()  # of each connection, by whose turn it is
        self._given: SimpleQueue[Work | None] = SimpleQueue()  # None: a thread ends
        self._over: deque[Work] = deque()
        self._is_woken = False
        self._given_count = 0
        self._threads: list[threading.Thread] = []
        self._is_closed = False
        self.unfinished = 0  # pieces of work that wait, or are in a thread's hands

    def submit(self, output: Output, work: Work) -> None:
        """work.run() is called on a thread, and then work.done() on the loop's. RuntimeError once the threads were closed."""
        if self._is_closed:
            raise RuntimeError("work was given to message threads after the end")
        self.unfinished += 1
        self._waiting.setdefault(output, deque()).append(work)
        self._give()

    async def close(self) -> None:
        """Ends the threads. What still waits is dropped: nobody wants it any more, or its connection would be there."""
        self._is_closed = True
        self._waiting.clear()
        for _ in self._threads:
            self._given.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _give(self) -> None:
        while self._waiting and self._given_count < GIVEN * self._count:
            output, line = self._waiting.popitem(last=False)
            self._given.put(line.popleft())
            if line:
                self._waiting[output] = line  # behind the others
            self._given_count += 1
            if len(self._threads) < min(self._count, self._given_count):
                self._threads.append(threading.Thread(target=self._run, name=f"message {len(self._threads)}", daemon=True))
                self._threads[-1].start()

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + NICE)  # of this thread: so Linux takes it
        while (work := self._given.get()) is not None:
            work.run()
            self._over.append(work)
            del work  # while this thread waits for another
            if not self._is_woken:  # after the append: who takes from `_over` says False first
                self._is_woken = True
                with suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        """One wake-up for all that is over by then."""
        self._is_woken = False
        while self._over:
            work = self._over.popleft()
            self.unfinished -= 1
            self._given_count -= 1
            work.done()
        self._give()
