"""Ports: sockets that listen, and the accepting of clients, a few in each iteration of the loop. Never in here: HTTP/2, TLS."""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress
from typing import TYPE_CHECKING

from inferd.descriptors import Spare

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from inferd.serving.listeners import Listener

__all__ = ["Port"]

ACCEPTS = 4  # clients that one listener lets in in one iteration of the loop
PAUSE_S = 1.0  # that nobody is accepted for when there are no file descriptors, or no memory


class Port:
    """Accepts connections on sockets that listen. serve(client): begins to serve one that is accepted. is_full(): whether there are too
    many already: a further one is closed at once, and rejected() is told. Serves until release().
    """

    def __init__(
        self,
        listeners: list[Listener],
        serve: Callable[[socket.socket], None],
        is_full: Callable[[], bool],
        rejected: Callable[[], None],
    ) -> None:
        self.listeners = listeners
        self._serve, self._is_full, self._rejected = serve, is_full, rejected
        self._loop = asyncio.get_running_loop()
        self._spare = Spare() if listeners else None
        for listener in listeners:
            listener.socket.setblocking(False)
            self._watch(listener)

    def release(self) -> list[Listener]:
        """Accepts nobody by itself any more: these are the caller's, to `accept` there, and to close."""
        released, self.listeners = self.listeners, []
        for listener in released:
            self._loop.remove_reader(listener.socket)
        return released

    def close(self) -> None:
        if self._spare is not None:
            self._spare.close()
            self._spare = None

    def accept(self, listener: Listener, most: int) -> bool:
        """Lets in so many of those that have connected. True: nobody waits any more."""
        for _ in range(most):
            try:
                client = self._accepted(listener.socket)
            except BlockingIOError:
                return True
            except ConnectionAbortedError:
                continue
            except OSError:  # no memory, or no descriptor after all: meanwhile connections wait in the kernel
                self._pause(listener)
                return False
            if client is not None:
                self.take(client)
        return False

    def take(self, client: socket.socket) -> None:
        """Serves a client that was accepted, here or by another process."""
        if self._is_full():
            client.close()
            self._rejected()
            return
        client.setblocking(False)
        try:
            self._serve(client)
        except OSError:  # the kernel has no memory for it
            client.close()
            self._rejected()

    def _accepted(self, listener: socket.socket) -> socket.socket | None:
        """The next client. None: it was closed at once, since no descriptor is left."""
        try:
            return listener.accept()[0]
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE) or self._spare is None:
                raise
        self._spare.reject(listener)
        self._rejected()
        return None

    def _watch(self, listener: Listener) -> None:
        if listener in self.listeners:
            self._loop.add_reader(listener.socket, self.accept, listener, ACCEPTS)

    def _pause(self, listener: Listener) -> None:
        if listener in self.listeners:
            with suppress(OSError):
                self._loop.remove_reader(listener.socket)
            self._loop.call_later(PAUSE_S, self._watch, listener)
