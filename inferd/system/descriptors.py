"""How many files this process may have open, of which each connection is one. Never in here: whose connections they are."""

from __future__ import annotations

import fcntl
import logging
import os
import resource
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

log = logging.getLogger(__name__)

RESERVED = 128  # of a server beside its connections: models, libraries, the log, files that are read again, scrapes


class Spare:
    """A descriptor kept for when no other is left.

    It makes room to accept a connection and close it at once. The client then learns that there is no room, instead of waiting in the
    backlog."""

    def __init__(self) -> None:
        self._file = -1
        self._take()

    def reject(self, listener: socket.socket) -> None:
        """Accepts one connection and closes it. OSError where that fails; BlockingIOError where nobody waits."""
        if self._file < 0:
            self._take()
        self.close()
        try:
            listener.accept()[0].close()
        finally:
            self._take()

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _take(self) -> None:
        with suppress(OSError):  # another part of the process was quicker; the next time it may not be
            self._file = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def allow(wanted: int = sys.maxsize) -> int:
    """Raises the soft limit to `wanted`, or to the hard one where that is lower. How many files may be open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(wanted, _number(hard))
    if _number(soft) >= most:
        return _number(soft)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard if most == _number(hard) else most, hard))
    except (OSError, ValueError):  # more than the system has by now (fs.nr_open)
        return soft
    return most


def fitting(connections: int) -> int:
    """So many connections, or fewer if the limit leaves fewer: RESERVED files are kept for the rest, or half of a low limit."""
    limit = _number(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return min(connections, limit - min(RESERVED, limit // 2))


def make_room(connections: int) -> None:
    """Makes the kernel's table of this process's files large enough for so many connections.

    Else the table doubles as it fills. Each time, a process with threads waits for all processors (synchronize_rcu), and its event loop
    stands still."""
    most = _number(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    with suppress(OSError), open(os.devnull) as nothing:  # no memory: it grows as it must
        os.close(fcntl.fcntl(nothing, fcntl.F_DUPFD_CLOEXEC, min(connections + RESERVED, most) - 1))


def warn_of_few(connections: int) -> None:
    """Where not so many connections of one process fit."""
    if (most := fitting(connections)) < connections:
        log.warning(
            "max_connections: %d of a process do not fit into the open files that it may have: %d are taken; raise the limit (ulimit -n, "
            "LimitNOFILE=), or lower max_connections",
            connections,
            most,
        )


def _number(limit: int) -> int:
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
