"""One client's connection on the native transport: its TLS, and whether its certificate lets it call. Never in here: HTTP, reading and
writing (_core/net/stream_socket), several connections (native.py). http_connection.py has those of REST's ports."""

from __future__ import annotations

import ssl
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Protocol

from inferd._core.http2.session import Session
from inferd._core.net.stream_socket import StreamSocket
from inferd._core.net.tls import Tls as TlsLayer

if TYPE_CHECKING:
    import asyncio
    import socket

    from inferd._core.http2.http2_state import Http2State
    from inferd.part.method import Method
    from inferd.serving.security.access import Access, Identity
    from inferd.serving.security.tls import Tls

__all__ = ["HTTP2", "Client", "Connection", "Owner"]

HTTP2 = "h2"  # of ALPN: a client must offer this (RFC 9113). Python's ssl accepts clients that do not


class Owner(Protocol):
    """The transport, as its connections see it."""

    server: Http2State
    access: Access
    loop: asyncio.AbstractEventLoop

    def age_ns(self) -> int: ...
    def add(self, connection: Client, held_bytes: int) -> None: ...
    def discard(self, connection: Client) -> None: ...
    def tls_failed(self, connection: Client, error: Exception | str) -> None: ...


class Client(StreamSocket):
    """The client at the other end of a connection. It owns `client`, a connected socket; None: it gets another connection's. tls: the
    server's certificates, by which its `self.tls` (_core/net/tls) is made; None in plaintext. http: it came to a port of REST."""

    def __init__(self, owner: Owner, client: socket.socket | None, tls: Tls | None, *, http: bool = False) -> None:
        super().__init__(owner.server, client, None if tls is None else TlsLayer(partial(tls.wrap, http=http)))
        self._owner = owner
        self.made_s = owner.loop.time()
        self.held_bytes = 0  # the most memory that it can hold beside its messages; the transport sets it
        self._identity: Identity | None = None  # the names in the client's certificate
        self._told = False  # the log has its identity
        self.open_by_method: Counter[Method] = Counter()  # open calls of methods that have a limit for each connection

    def choose_age_ns(self) -> int:
        return self._owner.age_ns()

    def handshake_made(self) -> bool:
        assert self.tls is not None
        self._identity = _identity(self.tls.ssl_object)
        self.check_identity()
        return True

    def take_over(self, other: Client) -> None:
        """Takes over the client of another connection, which hands its socket on."""
        self._identity, self._told, self.rejection, self.made_s = other._identity, other._told, other.rejection, other.made_s

    def failed(self, error: Exception) -> None:
        if self.shakes_hands:
            self._owner.tls_failed(self, error)

    def released(self) -> None:
        self._owner.discard(self)

    @property
    def shakes_hands(self) -> bool:
        """Whether its TLS handshake is not complete. False once it is aborted, so that its failure counts once."""
        return self.socket is not None and self.tls is not None and not self.tls.established

    def check_identity(self) -> None:
        """Checks again whether a client by TLS may call. Logs the result if it is new."""
        if self.tls is None or self.shakes_hands:
            return
        rejection = self._owner.access.check_identity(self._identity)
        is_news = not self._told or (rejection is None) != (self.rejection is None)
        self.rejection, self._told = rejection, True
        if self._identity is not None and is_news:
            self._owner.access.tell(self._owner.loop.time(), self._identity, self.rejection, self.peer)

    @property
    def peer(self) -> object:
        """Its client's address, for the log; a Unix socket's has none."""
        try:
            return (self.socket is not None and self.socket.getpeername()) or "a Unix socket"
        except OSError:
            return "a client that has left"


class Connection(Client, Session):
    """A connection of HTTP/2."""

    def handshake_made(self) -> bool:
        assert self.tls is not None
        if self.tls.ssl_object.selected_alpn_protocol() != HTTP2:
            self._owner.tls_failed(self, f"{self.peer} did not offer h2 in its handshake (ALPN)")
            return False
        return super().handshake_made()


def _identity(session: ssl.SSLObject) -> Identity | None:
    """The names in the client's certificate; None: it has no certificate."""
    der = session.getpeercert(True)
    if der is None:
        return None
    from inferd.serving.security.certificate import identity_of

    return identity_of(der)
