"""Connections that sleep: nothing is read of them until something has come, and then of a few in each iteration of the loop. libuv takes
up to 1024 sockets at a time that have something to say, and everybody else waits until the last of them has: thousands of clients that
wake up together, or are gone together, would hold the loop for 30 ms and more.

Never in here: which connections sleep, HTTP/2.
"""

from __future__ import annotations

import select
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

__all__ = ["Sleepers"]

WOKEN = 8  # connections, in one iteration of the loop
EVENTS = select.EPOLLIN | select.EPOLLRDHUP


class Sleeper(Protocol):
    """What sleeps."""

    def wake(self) -> None:
        """Something has come: it is read from now on."""


class Sleepers:
    """Those of one loop. A socket is watched from add() on until it is woken or discarded, which must be before it is closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._asleep: dict[int, Sleeper] = {}
        loop.add_reader(self._epoll.fileno(), self._wake_some)

    def __len__(self) -> int:
        return len(self._asleep)

    def add(self, descriptor: int, sleeper: Sleeper) -> None:
        self._epoll.register(descriptor, EVENTS)
        self._asleep[descriptor] = sleeper

    def discard(self, descriptor: int) -> None:
        """It does not sleep any more, if it did."""
        if self._asleep.pop(descriptor, None) is not None:
            with suppress(OSError):  # the kernel has forgotten a socket that is closed
                self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Nobody is woken any more."""
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._asleep.clear()
            self._epoll.close()

    def _wake_some(self) -> None:
        for descriptor, _ in self._epoll.poll(0, WOKEN):
            sleeper = self._asleep[descriptor]
            self.discard(descriptor)
            sleeper.wake()
