"""What systemd, or whoever speaks its two small protocols, gives to a service and is told by it: sockets that are open already, and words
about its state (sd_listen_fds(3), sd_notify(3)). Without the variables of either, nothing happens. Never in here: what a state means.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress

from inferd.errors import StartError

__all__ = ["inherited_sockets", "notify"]

FIRST = 3  # the descriptor of the first socket


def inherited_sockets(environ: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """Listening sockets that were opened for this process; the variables go, so that no child takes them for its own. Raises StartError
    for one that does not listen for streams."""
    count, pid = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
    environ.pop("LISTEN_FDNAMES", None)
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
        found.append(opened)
    return found


def notify(state: str, environ: MutableMapping[str, str] = os.environ) -> None:
    """Tells `state`: READY=1, RELOADING=1, STOPPING=1. Nobody listening is no fault of a server."""
    path = environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    if state == "RELOADING=1":
        state += f"\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
        told.connect("\0" + path[1:] if path.startswith("@") else path)
        told.send(state.encode())
