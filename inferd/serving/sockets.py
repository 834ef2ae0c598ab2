"""Sockets that listen: Unix sockets with the permissions that they are to have, and ports of TLS that count unfinished handshakes.

Never in here: HTTP/2, certificates, who may ask.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from inferd.errors import StartError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from inferd.config import Address

__all__ = ["BACKLOG", "TlsPort", "bound_unix_socket", "listening", "name_of", "not_listening"]

log = logging.getLogger(__name__)

BACKLOG = 4096  # connections that the kernel holds before they are accepted
ACCEPTS = 100  # that are accepted at one time: the loop has other things to do
PAUSE_S = 1.0  # that nobody is accepted for when there are no file descriptors, or no memory

WHY_NOT_LISTENING = {
    errno.EADDRINUSE: "it is in use",
    errno.EACCES: "permission denied",
    errno.EADDRNOTAVAIL: "it is no address of this machine",
    errno.ENOENT: "its folder does not exist",
}


class TlsPort:
    """Accepts connections on sockets that listen, and makes the handshakes; the loop's own server would let in any number of clients
    that never finish theirs. connection(): a protocol for one. is_full(): whether there are too many already: a further one is closed
    before it costs a handshake, and refused() is told. Serves until close().
    """

    def __init__(
        self,
        opened: list[socket.socket],
        context: ssl.SSLContext,
        connection: Callable[[], asyncio.BufferedProtocol],
        is_full: Callable[[], bool],
        refused: Callable[[], None],
        *,
        handshake_s: float,
        shutdown_s: float,
    ) -> None:
        self.sockets = opened
        self.failed = 0
        self._context, self._connection, self._is_full, self._refused = context, connection, is_full, refused
        self._handshake_s, self._shutdown_s = handshake_s, shutdown_s
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._closed = False
        for listener in opened:
            listener.setblocking(False)
            self._watch(listener)

    @property
    def handshakes(self) -> int:
        """Clients that have connected and not finished their handshakes."""
        return len(self._handshakes)

    def close(self) -> None:
        """Accepts nobody more; handshakes under way end."""
        self._closed = True
        for listener in self.sockets:
            self._loop.remove_reader(listener)
            listener.close()
        for handshake in self._handshakes:
            handshake.cancel()

    def _watch(self, listener: socket.socket) -> None:
        if not self._closed:
            self._loop.add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS):
            try:
                client, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # said in the log by who looks after descriptors; meanwhile connections wait in the kernel
                self._loop.remove_reader(listener)
                self._loop.call_later(PAUSE_S, self._watch, listener)
                return
            self.take(client)

    def take(self, client: socket.socket) -> None:
        """A client that was accepted, here or by another process."""
        if self._is_full():
            client.close()
            self._refused()
            return
        client.setblocking(False)
        handshake = self._loop.create_task(self._make_handshake(client))
        self._handshakes.add(handshake)
        handshake.add_done_callback(self._handshakes.discard)

    async def _make_handshake(self, client: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._connection,
                client,
                ssl=self._context,
                ssl_handshake_timeout=self._handshake_s,
                ssl_shutdown_timeout=self._shutdown_s,
            )
        except OSError as error:  # ssl's errors are some, and so is a time that is over; the loop has closed the socket
            self.failed += 1
            log.debug("a client's TLS handshake failed: %s", error)


async def listening(address: Address, *, reuse_port: bool) -> list[socket.socket]:
    """Sockets that listen on each of the addresses that the host's name has. OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    opened: list[socket.socket] = []
    try:
        for family, name in dict.fromkeys((family, name) for family, _, _, _, name in found):
            opened.append(socket.create_server(name, family=family, backlog=BACKLOG, reuse_port=reuse_port))
    except OSError:
        for one in opened:
            one.close()
        raise
    return opened


def bound_unix_socket(address: Address, mode: int) -> socket.socket:
    """One that does not listen yet: nobody can connect before its file has its permissions. mode: below 0: as the umask says. OSError."""
    if not address.is_abstract:
        _remove_stale(address.path)
    bound = socket.socket(socket.AF_UNIX)
    try:
        bound.bind(address.socket_name)
        if mode >= 0 and not address.is_abstract:
            os.chmod(address.path, mode)
    except OSError:
        bound.close()
        raise
    return bound


def _remove_stale(path: str) -> None:
    """A socket file that a server left behind when it was killed. OSError for one that somebody listens on, which the event
    loop would take away, and for another file."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(path)
                except ConnectionRefusedError:
                    os.unlink(path)
                    return
        raise OSError(errno.EADDRINUSE, "in use")


def not_listening(address: Address, error: OSError) -> StartError:
    """What the system said of an address that cannot be listened on, and what to do."""
    unknown = "the path is too long" if address.path else "the host's name has no address here"
    reason = WHY_NOT_LISTENING.get(error.errno or 0, unknown)
    cure = "choose another path, or stop who listens there" if address.path else "choose another port (0 picks a free one) or host"
    return StartError(f"cannot listen on {address}: {reason}; expected a free address of this machine: {cure}")


def name_of(path: str | bytes) -> str:
    """A Unix socket's path; an abstract name begins with @."""
    text = path.decode("utf-8", "replace") if isinstance(path, bytes) else path
    return "@" + text[1:] if text.startswith("\0") else text
