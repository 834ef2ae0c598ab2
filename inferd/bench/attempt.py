"""A connection of a load that is being made, without waiting: TCP's, then by TLS its handshake. Never in here: what is sent on it."""

from __future__ import annotations

import errno
import os
import select
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd._core.load.tls import Tls
    from inferd.client_inputs.connections import Handshake


class Attempt:
    """A connection that is being made: TCP's, then by TLS its handshake."""

    def __init__(self, made: socket.socket, handshake: Callable[[socket.socket], Handshake | None]) -> None:
        self.socket = made
        self.socket.setblocking(False)
        self._begin = handshake
        self._arrived = False
        self._handshake: Handshake | None = None

    @property
    def in_handshake(self) -> bool:
        return self._handshake is not None

    def is_made(self) -> bool:
        """Whether it is by now; OSError when it will not be."""
        if not self._arrived:
            if not has_arrived(self.socket):
                return False
            self._arrived, self._handshake = True, self._begin(self.socket)
        return self._handshake is None or self._handshake.advance()

    def wait(self, until_s: float) -> None:
        """For the server's part of the handshake. OSError: it does not come in time."""
        if self._handshake is not None:
            self._handshake.wait(until_s)

    def tls(self) -> Tls | None:
        """The TLS that the native loop speaks on it; None: plaintext."""
        if self._handshake is None:
            return None
        from inferd._core.load.tls import Tls

        return Tls(self._handshake.session, self._handshake.incoming, self._handshake.outgoing)

    def close(self) -> None:
        self.socket.close()


def on_its_way(family: int, peer: object) -> socket.socket:
    """A connection that is being made; OSError when it fails at once."""
    attempt = socket.socket(family)
    attempt.setblocking(False)
    failure = attempt.connect_ex(peer)  # type: ignore[arg-type]
    if failure not in (0, errno.EINPROGRESS):
        attempt.close()
        raise OSError(failure, os.strerror(failure))
    return attempt


def has_arrived(attempt: socket.socket) -> bool:
    """Whether the connection is made by now; OSError when it will not be."""
    poll = select.poll()
    poll.register(attempt, select.POLLOUT)
    if not poll.poll(0):
        return False
    if failure := attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(failure, os.strerror(failure))
    return True
