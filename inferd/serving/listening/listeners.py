"""Binds listening sockets, and closes them without losing a connection that the kernel has accepted. A TCP socket is bound before models
are loaded, and listens after. A Unix socket listens at once: else another server would take its file for a stale one. Never in here:
accepting (ports.py).
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, NamedTuple

from inferd.config import Address
from inferd.serving.listening.sockets import BACKLOG, SocketFile, name_of, not_listening, unix_socket
from inferd.serving.security.access import warn_of_open

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from inferd.config import Settings
    from inferd.observe.scrape import ScrapeServer
    from inferd.serving.processes.systemd import Inherited

ACCEPTED_AT_ONCE = 64  # the most connections accepted from one socket before the loop goes on: in a drain, and by a supervisor
LAST_S = 1.0  # in a drain, the most time for accepting connections that wait in the backlog
LAST_PAUSE_S = 0.001  # the loop does other work for this long before it accepts more of them


class Listener(NamedTuple):
    """One listening socket. address: what clients connect to. ours: this process opened it. file: a Unix socket's, removed with it."""

    socket: socket.socket
    address: Address
    ours: bool = True
    file: SocketFile | None = None

    def listen(self) -> None:
        """Raises StartError if another process listens there. A Unix socket listens already."""
        try:
            self.socket.listen(BACKLOG)
        except OSError as error:
            raise not_listening(self.address, error) from None

    def remove_file(self) -> None:
        """New clients no longer find the socket. Clients that have connected wait in its backlog."""
        if self.file is not None:
            self.file.remove()

    def close(self) -> None:
        self.remove_file()
        self.socket.close()


def ready_addresses(bound: Sequence[Address]) -> dict[str, object]:
    """The addresses in the `ready` line: the first of gRPC, the first of REST, and all others."""
    grpc = next(address for address in bound if not address.http)
    http = next((address for address in bound if address.http), None)
    others = [f"http:{address}" if address.http else str(address) for address in bound if address is not grpc and address is not http]
    return {"grpc": str(grpc)} | ({} if http is None else {"http": str(http)}) | ({"listen": others} if others else {})


def announce(bound: Sequence[Address], settings: Settings, scrapes: ScrapeServer | None) -> dict[str, object]:
    """All that is bound is open; metrics are served from now on. Returns the addresses of the `ready` line; the log warns of open ones."""
    real = ready_addresses(bound)
    metrics = settings.metrics_address
    if metrics is not None and scrapes is not None:
        scrapes.start()
        metrics = metrics._replace(port=scrapes.server_port)
        real["metrics"] = str(metrics)
    warn_of_open(bound, settings, metrics)
    return real


def adopt(given: Inherited, tls: bool) -> Listener:
    """A socket that listens already. A Unix socket speaks no TLS."""
    name = given.socket.getsockname()
    local = given.socket.family == socket.AF_UNIX
    address = Address("", 0, name_of(name), http=given.http) if local else Address(name[0], name[1], tls=tls, http=given.http)
    return Listener(given.socket, address, ours=False)


def bind(address: Address, settings: Settings) -> list[Listener]:
    """The sockets of an address. A host's name may have several; port 0 becomes a free one, the same for all. Raises StartError."""
    made: list[Listener] = []
    try:
        if address.path:
            opened = unix_socket(address, settings.socket_mode)
            opened.setblocking(False)
            return [Listener(opened, address, file=SocketFile.of(address))]
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, place in dict.fromkeys((family, place) for family, _, _, _, place in found):
            port = made[0].address.port if made else address.port
            opened = _bound(family, (place[0], port, *place[2:]), reuse_port=settings.reuse_port)
            made.append(Listener(opened, address._replace(port=opened.getsockname()[1])))
    except OSError as error:
        for listener in made:
            listener.close()
        raise not_listening(address, error) from None
    return made


async def close_empty(listeners: Iterable[Listener], accept: Callable[[Listener], bool]) -> None:
    """Closes each listener as soon as its backlog is empty: the kernel resets connections in the backlog of a closed socket. A socket that
    another process gave us is closed at once, because it stays open there, with its backlog. accept(listener): accepts some connections;
    True: none wait. If the caller cancels this, all listeners are closed.
    """
    left = list(listeners)
    for listener in left:
        listener.remove_file()
    try:
        while left:
            for listener in list(left):
                if not listener.ours or accept(listener):
                    left.remove(listener)
                    listener.close()
            if left:
                await asyncio.sleep(LAST_PAUSE_S)
    finally:
        for listener in left:
            listener.close()


def _bound(family: int, place: tuple[object, ...], *, reuse_port: bool) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if reuse_port:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.bind(place)
        opened.setblocking(False)
    except OSError:
        opened.close()
        raise
    return opened
