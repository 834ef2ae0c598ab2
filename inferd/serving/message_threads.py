"""Threads for what a message needs that would hold the event loop: it is compressed or decompressed, or its typed contents are unpacked.
All of them do so without the GIL, and let others run in between (_core/base/yielding).

The lines of waiting work belong to the loop's thread alone, hence no lock. Never in here: what is done to a message
(_core/grpc/compression, service), whether.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict, deque
from contextlib import suppress
from queue import SimpleQueue
from time import monotonic_ns
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inferd._core.grpc.call import Work
    from inferd._core.http2.send_state import SendState

__all__ = ["MAX_THREADS", "MessageThreads"]

MAX_THREADS = 4
MIN_THREADS = 2  # on one core, too: the system lets small messages pass a large one
NICE = 5  # where there are few cores the event loop goes before
GIVEN = 2  # pieces of work for each thread, one of them in its hands: none idles until the loop has seen that one is over
THREAD_TURN_NS = 5_000_000  # a thread goes on with one piece of work: a few hundred KB to compress, megabytes to decompress


class MessageThreads:
    """A few threads, started when there is work. Made, given work and closed on the running event loop.

    Connections take turns: one that sends much keeps the others waiting for one turn of its own, not for all. What is not over after a
    turn is long, and has every second turn at most while others have not had their first: short work passes long work, since nobody can
    tell by what is compressed how long it takes. Of long work only a few pieces are begun, and go on by turns: each has zlib's memory, up
    to 270 KB, and what has become of its message by then. The others lose what their first turn made, and wait for one of these to end.
    usable: threads of this process that can run at once; the event loop is one of them.
    """

    def __init__(self, usable: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._count = min(max(MIN_THREADS, usable - 1), MAX_THREADS)
        self._new, self._long, self._again = _Line(), _Line(), _Line()  # without a turn yet; too long for one; long and begun
        self._begun: set[Work] = set()  # all that is in `_again`, and what of it the threads have
        self._was_new = False  # what they were given last
        self._given: SimpleQueue[tuple[SendState, Work] | None] = SimpleQueue()  # None: a thread ends
        self._back: deque[tuple[SendState, Work, bool]] = deque()  # had its turn; whether nothing is left to do
        self._is_woken = False
        self._given_count = 0
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    @property
    def unfinished(self) -> int:
        """Pieces of work that wait, or are in a thread's hands."""
        return len(self._new) + len(self._long) + len(self._again) + self._given_count

    def submit(self, connection: SendState, work: Work) -> None:
        """work.run() is called on a thread, once or more, and then work.done() on the loop's; work that is cancelled leaves, and neither is
        called any more, unless a thread was given it before. RuntimeError once the threads were closed, or where there is none."""
        if self._is_closed:
            raise RuntimeError("work was given to message threads after the end")
        if not self._threads:
            self._start_thread()
        work.when_cancelled = self._withdraw
        (self._long if work.is_long else self._new).add(connection, work)
        self._give()

    async def close(self) -> None:
        """Ends the threads. What still waits is dropped: nobody wants it any more, or its connection would be there."""
        self._is_closed = True
        self._new, self._long, self._again = _Line(), _Line(), _Line()
        for _ in self._threads:
            self._given.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _withdraw(self, work: Work) -> None:
        """Else who asks and leaves, again and again, would have the line grow without end while the threads are busy."""
        if self._again.remove(work):
            self._begun.discard(work)
        elif not self._new.remove(work):
            self._long.remove(work)

    def _give(self) -> None:
        while self._given_count < self._most_given and (line := self._next()):
            self._given.put(line.take())
            self._given_count += 1
            if len(self._threads) < min(self._count, self._given_count):
                with suppress(RuntimeError):  # those that there are do it
                    self._start_thread()

    def _start_thread(self) -> None:
        """RuntimeError where the system has none left."""
        thread = threading.Thread(target=self._run, name=f"message {len(self._threads)}", daemon=True)
        thread.start()
        self._threads.append(thread)

    @property
    def _most_given(self) -> int:
        """And begun: fewer would leave a thread idle, more would only hold more memory."""
        return GIVEN * self._count

    def _next(self) -> _Line:
        while self._long and len(self._begun) < self._most_given:
            self._begin(*self._long.take())
        self._was_new = bool(self._new) and not (self._again and self._was_new)
        return self._new if self._was_new else self._again

    def _begin(self, connection: SendState, work: Work) -> None:
        self._begun.add(work)
        self._again.add(connection, work)

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + NICE)  # of this thread: so Linux takes it
        while (given := self._given.get()) is not None:
            connection, work = given
            self._back.append((connection, work, work.run(monotonic_ns() + THREAD_TURN_NS)))
            del given, connection, work  # while this thread waits for another
            if not self._is_woken:  # after the append: who takes from `_back` says False first
                self._is_woken = True
                with suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(self._take_back)

    def _take_back(self) -> None:
        """One wake-up for all that had its turn by then."""
        self._is_woken = False
        while self._back:
            connection, work, is_over = self._back.popleft()
            self._given_count -= 1
            if is_over or work.cancelled:
                self._begun.discard(work)
                work.done()
            elif self._is_closed:
                self._begun.discard(work)  # nobody goes on with it, and nobody waits for it
            elif work in self._begun or (len(self._begun) < self._most_given and not self._long):
                self._begin(connection, work)
            else:
                work.restart()
                self._long.add(connection, work)
        self._give()


class _Line:
    """Work that waits, of connections that take turns: a piece of each. Any of it can leave; nothing takes longer for there being much."""

    def __init__(self) -> None:
        self._works: OrderedDict[SendState, OrderedDict[Work, None]] = OrderedDict()  # of each connection, by whose turn it is
        self._connections: dict[Work, SendState] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: SendState, work: Work) -> None:
        self._connections[work] = connection
        self._works.setdefault(connection, OrderedDict())[work] = None

    def take(self) -> tuple[SendState, Work]:
        connection, works = self._works.popitem(last=False)
        work, _ = works.popitem(last=False)
        del self._connections[work]
        if works:
            self._works[connection] = works  # behind the others
        return connection, work

    def remove(self, work: Work) -> bool:
        """Whether it was there."""
        connection = self._connections.pop(work, None)
        if connection is None:
            return False
        del self._works[connection][work]
        if not self._works[connection]:
            del self._works[connection]
        return True
