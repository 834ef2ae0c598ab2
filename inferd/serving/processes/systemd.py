"""The two small protocols of systemd: inherited sockets (sd_listen_fds(3)), and notices of the service's state (sd_notify(3)). Without
their variables, nothing happens. Never in here: what a state means.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from inferd.errors import StartError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from inferd.config import Address, Settings

log = logging.getLogger(__name__)

FIRST = 3  # the descriptor of the first socket
HTTP_NAME = "http"  # FileDescriptorName= of a socket for REST; one of any other name is for gRPC
AGAIN_S = 0.1  # between two attempts to send a notice to a full socket


class Inherited(NamedTuple):
    """A listening socket that was opened for this process. http: it is for REST."""

    socket: socket.socket
    http: bool


def inherited_sockets(environ: MutableMapping[str, str] = os.environ) -> list[Inherited]:
    """Listening sockets that were opened for this process. Removes the variables, so that no child uses them. Raises StartError for one
    that does not listen for streams."""
    count, pid = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if not count.isdecimal() or pid != str(os.getpid()):
        return []
    found = []
    for descriptor in range(FIRST, FIRST + int(count)):
        try:
            opened = socket.socket(fileno=descriptor)
            listens = opened.type == socket.SOCK_STREAM and opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError:
            listens = False
        if not listens:
            raise StartError(f"LISTEN_FDS: descriptor {descriptor} is no listening stream socket; give the unit's socket ListenStream=")
        os.set_inheritable(descriptor, False)
        opened.setblocking(False)
        at = descriptor - FIRST
        found.append(Inherited(opened, at < len(names) and names[at] == HTTP_NAME))
    return found


def addresses(settings: Settings, given: Sequence[Inherited]) -> list[Address]:
    """The addresses to listen on beside the inherited sockets, which replace grpc_port and http_port. Raises StartError."""
    has_http = any(each.http for each in given)
    if has_http and not settings.serves_http:
        raise StartError(
            f"LISTEN_FDNAMES: expected no socket named {HTTP_NAME}, because REST is off: leave --http-port off out; or stop the unit of "
            "that socket"
        )
    return settings.addresses(grpc=all(each.http for each in given), http=not has_http)


class Notifier:
    """Sends states in order, on the event loop, without blocking it. A state for which the socket is full is sent again later; of two
    equal ones that wait, only the later."""

    def __init__(self, loop: asyncio.AbstractEventLoop, environ: MutableMapping[str, str] = os.environ) -> None:
        self._loop = loop
        self._environ = environ
        self._untold: dict[str, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._said = False

    def tell(self, state: str) -> None:
        self._untold.pop(state, None)
        self._untold[state] = None
        if self._timer is None:
            self._tell()

    def _tell(self) -> None:
        self._timer = None
        while self._untold:
            state = next(iter(self._untold))
            if not notify(state, self._environ):
                self._timer = self._loop.call_later(AGAIN_S, self._tell)
                self._say(state)
                return
            del self._untold[state]

    def _say(self, state: str) -> None:
        if not self._said:
            self._said = True
            log.warning("NOTIFY_SOCKET: nobody reads there just now, and no room is left for %s; it is told again until there is", state)


def notify(state: str, environ: MutableMapping[str, str] = os.environ) -> bool:
    """Sends `state`: READY=1, RELOADING=1, STOPPING=1. False: the socket is full. Other errors, such as that nobody listens, are
    ignored."""
    path = environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return True
    if state == "RELOADING=1":
        state += f"\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
        told.setblocking(False)
        try:
            told.connect("\0" + path[1:] if path.startswith("@") else path)
            told.send(state.encode())
        except BlockingIOError:
            return False
    return True
