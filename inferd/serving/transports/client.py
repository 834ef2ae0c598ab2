"""The client at the other end of a connection of the native transport. It knows the names in its certificate, whether they let it call,
and which protocol it speaks. _core/net's StreamSocket holds it and tells it. Never in here: HTTP, reading and writing, several connections
(native.py)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from inferd._core.http2.session import Session

if TYPE_CHECKING:
    import asyncio
    import ssl

    from inferd._core.http2.http2_state import Http2State
    from inferd._core.net.stream_socket import StreamSocket
    from inferd.part.method import Method
    from inferd.serving.security.access import Access, Identity

HTTP2 = "h2"  # of ALPN: a client must offer this (RFC 9113). Python's ssl accepts clients that do not


class Owner(Protocol):
    """The transport, as its clients see it."""

    server: Http2State
    access: Access
    loop: asyncio.AbstractEventLoop

    def age_ns(self) -> int: ...
    def discard(self, connection: StreamSocket) -> None: ...
    def tls_failed(self, connection: StreamSocket, error: Exception | str) -> None: ...


class Client:
    """The client of one connection. http: the client came to a port of REST, where it may speak HTTP/1.1 or HTTP/2. held_bytes: the most
    memory that its connection can hold beside its messages."""

    def __init__(self, owner: Owner, *, http: bool = False, held_bytes: int = 0) -> None:
        self._owner, self._http = owner, http
        self.made_s = owner.loop.time()
        self.held_bytes = held_bytes
        self._identity: Identity | None = None  # the names in its certificate
        self._told = False  # the log has its identity
        self.open_by_method: Counter[Method] = Counter()  # open calls of methods that have a limit for each connection

    def age_ns(self) -> int:
        """At which age its connection drains; 0: never."""
        return self._owner.age_ns()

    def http2(self) -> Session:
        """Called when a client on a port of REST begins with HTTP/2's preface, or chose h2 in its handshake: what it speaks
        from then on."""
        return Session(self._owner.server)

    def handshake_made(self, connection: StreamSocket) -> bool:
        """Called once: the TLS handshake is made. False: the client may not go on."""
        assert connection.tls is not None
        is_http2 = connection.tls.ssl_object.selected_alpn_protocol() == HTTP2
        if not self._http and not is_http2:
            self._owner.tls_failed(connection, f"{peer(connection)} did not offer h2 in its handshake (ALPN)")
            return False
        self._identity = _identity(connection.tls.ssl_object)
        self.check_identity(connection)
        if self._http and is_http2:
            connection.speak(self.http2())
        return True

    def failed(self, connection: StreamSocket, error: Exception) -> None:
        """The TLS handshake has failed, or TLS has failed later."""
        if shakes_hands(connection):
            self._owner.tls_failed(connection, error)

    def released(self, connection: StreamSocket) -> None:
        """Called once: the protocol is over and its memory is free. The socket may linger."""
        self._owner.discard(connection)

    def check_identity(self, connection: StreamSocket) -> None:
        """Checks again whether a client by TLS may call. Logs the result if it is new."""
        if connection.tls is None or shakes_hands(connection):
            return
        rejection = self._owner.access.check_identity(self._identity)
        is_news = not self._told or (rejection is None) != (connection.rejection is None)
        connection.rejection, self._told = rejection, True
        if self._identity is not None and is_news:
            self._owner.access.tell(self._owner.loop.time(), self._identity, connection.rejection, peer(connection))


def shakes_hands(connection: StreamSocket) -> bool:
    """Whether its TLS handshake is not complete. False once it is aborted, so that its failure counts once."""
    return connection.socket is not None and connection.tls is not None and not connection.tls.established


def peer(connection: StreamSocket) -> object:
    """Its client's address, for the log; a Unix socket's has none."""
    try:
        return (connection.socket is not None and connection.socket.getpeername()) or "a Unix socket"
    except OSError:
        return "a client that has left"


def _identity(session: ssl.SSLObject) -> Identity | None:
    """The names in the client's certificate; None: it has no certificate."""
    der = session.getpeercert(True)
    if der is None:
        return None
    from inferd.serving.security.certificate import identity_of

    return identity_of(der)
