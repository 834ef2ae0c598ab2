"""Accepts connections and hands each to a worker: to the ready one with the fewest open connections, by the workers' reports.

One process accepts for all because a gRPC client keeps one connection for hours, so connections decide the load. The kernel does not
divide them well. SO_REUSEPORT sends them to random workers, also to one that loads or has died. On a shared socket, the first worker to
wake takes all of them. Handing over costs a little for each connection, and nothing for a request. Never in here: processes, HTTP/2.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from inferd import log as logs
from inferd.serving.listening.listeners import ACCEPTED_AT_ONCE, LAST_S, Listener, adopt, bind, close_empty
from inferd.serving.processes.systemd import addresses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from socket import socket

    from inferd.config import Address, Settings
    from inferd.serving.processes.child import Child
    from inferd.serving.processes.systemd import Inherited

log = logging.getLogger(__name__)

NO_DESCRIPTOR_PAUSE_S = 1.0
TAKEN_PAUSE_S = 0.001  # between two checks whether a worker has taken the last connection


class Dispatcher:
    """The listening sockets of a server of several processes. children: the running workers, by number."""

    def __init__(self, children: Mapping[int, Child]) -> None:
        self._children = children
        self._loop = asyncio.get_running_loop()
        self._listeners: list[Listener] = []
        self._opened = False
        self._accepting = False
        self._held = False  # it accepts no connections for a while
        self._untaken: list[tuple[socket, Address]] = []  # an accepted connection that no worker has taken, and its address: at most one
        self._turn = 0

    def bind(self, settings: Settings, sockets: Sequence[Inherited]) -> list[Address]:
        """Binds all addresses, so that one in use is known before models are loaded. Returns the address of each, inherited ones first."""
        tls = settings.tls_cert is not None
        places = [[adopt(given, tls)] for given in sockets]
        self._listeners = [listener for place in places for listener in place]
        for address in addresses(settings, sockets):
            places.append(bind(address, settings))
            self._listeners += places[-1]
        return [place[0].address for place in places]

    def open(self) -> None:
        for listener in self._listeners:
            if listener.ours:
                listener.listen()
        self._opened = True
        self.accept_again()

    def accept_again(self) -> None:
        """Accepts connections if there is a worker that takes them; else they wait in the backlog."""
        while self._untaken and self._next() is not None:
            self._hand_on(*self._untaken.pop())
        if not (self._accepting or self._held) and self._opened and self._listeners and self._next() is not None:
            self._accepting = True
            for listener in self._listeners:
                self._loop.add_reader(listener.socket.fileno(), self._accept, listener)

    async def leave(self) -> None:
        """Closes the listeners. Connections in the backlog are still served, as long as workers take them."""
        self._pause()
        left, self._listeners = self._listeners, []
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                await close_empty(left, self._accept)
                while self._untaken:
                    await asyncio.sleep(TAKEN_PAUSE_S)
        self.close()

    def close(self) -> None:
        """Closes what is left: listeners, and a connection that no worker took."""
        self._pause()
        for listener in self._listeners:
            listener.close()
        self._listeners = []
        for opened, _ in self._untaken:
            opened.close()
            log.warning("a client is sent away: no worker took its connection")
        self._untaken = []

    def _pause(self) -> None:
        self._accepting = False
        for listener in self._listeners:
            self._loop.remove_reader(listener.socket.fileno())

    def _next(self) -> Child | None:
        """The worker that gets the next connection: the one with the fewest, round-robin among those with as few."""
        able = (child for child in self._children.values() if child.takes)
        return min(able, key=lambda child: (child.connections, child.turn), default=None)

    def _accept(self, listener: Listener) -> bool:
        """Accepts connections of one address and hands them on. False: some may be left."""
        for _ in range(ACCEPTED_AT_ONCE):
            if self._next() is None:
                self._pause()
                return False
            try:
                opened, _ = listener.socket.accept()
            except BlockingIOError:
                return True
            except OSError as error:
                self._not_accepted(error)
                return False
            self._hand_on(opened, listener.address)
        return False

    def _hand_on(self, opened: socket, address: Address) -> None:
        """Hands a connection to a worker. If none takes it, it waits, and no other connection is accepted until one does."""
        self._turn += 1
        while (child := self._next()) is not None:
            if child.hand(opened, self._turn, tls=address.tls, http=address.http):
                opened.close()
                return
        self._untaken.append((opened, address))
        log.warning(
            "clients wait: no worker takes connections; they do not read just now, or more descriptors are on their way to them than "
            "the limit on open files (ulimit -n) allows",
            extra=logs.LIMITED,
        )

    def _not_accepted(self, error: OSError) -> None:
        """Pauses if this process has no descriptors or memory for a connection. Other errors mean that the client has gone."""
        if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            return
        self._pause()
        self._held = True
        self._loop.call_later(NO_DESCRIPTOR_PAUSE_S, self._accept_after_all)
        said = "connections wait: none can be accepted (%s); raise the limit on open files (ulimit -n)"
        log.warning(said, error.strerror, extra=logs.LIMITED)

    def _accept_after_all(self) -> None:
        self._held = False
        self.accept_again()
