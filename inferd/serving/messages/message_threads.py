"""Threads for work on a message that would hold up the event loop: compression, decompression, the unpacking of typed contents. The work
runs without the GIL, and lets other threads run in between (_core/base/yielding).

The queues belong to the loop's thread alone, and so need no lock. Never in here: the work itself (_core/grpc/compression,
unpacking.py), and whether a message needs any.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from time import monotonic_ns
from typing import TYPE_CHECKING, cast

from inferd.serving.messages.fair_queue import FairQueue

if TYPE_CHECKING:
    from inferd._core.grpc.call import Work
    from inferd._core.net.stream_socket import StreamSocket

MAX_THREADS = 4
MIN_THREADS = 2  # on one core, too: one thread is left to short work
NICE = 5  # on few cores, the event loop goes first
GIVEN = 2  # pieces of work for each thread, one of them running: no thread idles until the loop sees that one is over
LONG_NBYTES = 256 << 10  # work on a larger message is long: it takes some milliseconds
SHORT_NS = 5_000_000  # work that takes longer is long, whatever its size: it begins anew in the long queue


class MessageThreads:
    """A few threads, started when there is work. All methods belong to the running event loop.

    Short work and long work wait in two queues, in each of which connections take turns. Long work has all threads but one, so that short
    work never waits for it. usable: threads of this process that can run at once; the event loop is one of them.
    """

    def __init__(self, usable: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._count = min(max(MIN_THREADS, usable - 1), MAX_THREADS)
        self._short, self._long = FairQueue["Work"](), FairQueue["Work"]()
        self._given: SimpleQueue[tuple[StreamSocket, Work, bool] | None] = SimpleQueue()  # connection, work, is it long; None ends a thread
        self._given_count = self._given_long_count = 0  # work that threads have, or that waits in _given
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    @property
    def unfinished(self) -> int:
        """Pieces of work that wait or run."""
        return len(self._short) + len(self._long) + self._given_count

    def run_on_thread(self, connection: StreamSocket, work: Work) -> None:
        """Calls work.run() on a thread, then work.done() on the loop's. Cancelled work leaves its queue: neither is called any more, unless
        a thread has it already. Raises RuntimeError after close, or if the system gives no thread."""
        if self._is_closed:
            raise RuntimeError("work was given to message threads after the end")
        if not self._threads:
            self._start_thread()
        self._put(connection, work, self._long if work.nbytes > LONG_NBYTES else self._short)

    async def close(self) -> None:
        """Ends the threads, and drops work that still waits: its connections have ended."""
        self._is_closed = True
        self._short, self._long = FairQueue(), FairQueue()
        for _ in self._threads:
            self._given.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _put(self, connection: StreamSocket, work: Work, queue: FairQueue[Work]) -> None:
        work.when_cancelled = partial(queue.remove, connection)
        queue.put(connection, work)
        self._give()

    def _give(self) -> None:
        while self._given_count < GIVEN * self._count:
            found = self._long.take() if self._given_long_count < self._count - 1 else None
            is_long = found is not None
            if found is None and (found := self._short.take()) is None:
                return
            connection, work = found
            self._given_count += 1
            self._given_long_count += is_long
            self._given.put((cast("StreamSocket", connection), work, is_long))
            if len(self._threads) < min(self._count, self._given_count):
                with suppress(RuntimeError):  # the running threads do the work
                    self._start_thread()

    def _start_thread(self) -> None:
        """Raises RuntimeError if the system gives none."""
        thread = threading.Thread(target=self._run, name=f"message {len(self._threads)}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + NICE)  # Linux applies it to this thread alone
        while (given := self._given.get()) is not None:
            _, work, is_long = given
            is_over = work.run() if is_long else work.run(monotonic_ns() + SHORT_NS)
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._take_back, given, is_over)
            del given, work  # frees them while this thread waits

    def _take_back(self, given: tuple[StreamSocket, Work, bool], is_over: bool) -> None:
        connection, work, was_long = given
        self._given_count -= 1
        self._given_long_count -= was_long
        if not (is_over or work.cancelled or self._is_closed):
            self._put(connection, work, self._long)
        self._give()
        if is_over or work.cancelled:
            work.done()
