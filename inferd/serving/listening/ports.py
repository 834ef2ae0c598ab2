"""Accepts clients, a few in each iteration of the loop. Never in here: HTTP/2, TLS."""

from __future__ import annotations

import asyncio
import errno
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from inferd.system.descriptors import Spare

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from inferd.serving.listening.listeners import Listener

log = logging.getLogger(__name__)

ACCEPTS = 4  # the most clients that one listener accepts in one iteration of the loop
WARNING_S = 60.0  # the least time between two warnings that no descriptor is left
PAUSE_S = 1.0  # how long a listener pauses when the system has no file descriptors, or no memory


class Port:
    """Accepts connections on listening sockets, until release(). It calls take(client) for each client, and rejected() for each that it
    closes at once.
    """

    def __init__(self, listeners: list[Listener], take: Callable[[socket.socket], None], rejected: Callable[[], None]) -> None:
        self.listeners = listeners
        self._take, self._rejected = take, rejected
        self._loop = asyncio.get_running_loop()
        self._spare = Spare()
        self._warned_s = float("-inf")
        for listener in listeners:
            listener.socket.setblocking(False)
            self._watch(listener)

    def release(self) -> list[Listener]:
        """Stops accepting, and returns the listeners: the caller may `accept` on them, and closes them."""
        released, self.listeners = self.listeners, []
        for listener in released:
            self._loop.remove_reader(listener.socket)
        return released

    def close(self) -> None:
        self._spare.close()

    def accept(self, listener: Listener, most: int) -> bool:
        """Accepts up to `most` clients. True: no more wait."""
        for _ in range(most):
            try:
                client = self._accepted(listener.socket)
            except BlockingIOError:
                return True
            except ConnectionAbortedError:
                continue
            except OSError:  # no memory, or no descriptor after all: connections wait in the backlog
                self._pause(listener)
                return False
            if client is not None:
                self._take(client)
        return False

    def _accepted(self, listener: socket.socket) -> socket.socket | None:
        """The next client. None: it was closed at once, because no descriptor is left."""
        try:
            return listener.accept()[0]
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        self._spare.reject(listener)
        self._rejected()
        if self._loop.time() - self._warned_s >= WARNING_S:
            self._warned_s = self._loop.time()
            log.warning(
                "no file descriptor is left: new connections are closed at once until others have ended; raise the limit on open files "
                "(ulimit -n), or lower max_connections"
            )
        return None

    def _watch(self, listener: Listener) -> None:
        if listener in self.listeners:
            self._loop.add_reader(listener.socket, self.accept, listener, ACCEPTS)

    def _pause(self, listener: Listener) -> None:
        if listener in self.listeners:
            with suppress(OSError):
                self._loop.remove_reader(listener.socket)
            self._loop.call_later(PAUSE_S, self._watch, listener)
