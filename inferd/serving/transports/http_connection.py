"""One client's connection to a port of REST, on the native transport: HTTP/1.1, or HTTP/2 where the client begins so. Never in here:
reading and writing (_core/net, _core/http1), several connections (native.py)."""

from __future__ import annotations

from inferd._core.http1.connection import Http1Connection
from inferd.serving.transports.connection import HTTP2, Client, Connection

__all__ = ["HttpConnection"]


class HttpConnection(Client, Http1Connection):
    """A connection of HTTP/1.1."""

    def handshake_made(self) -> bool:
        assert self.tls is not None
        made = super().handshake_made()
        if self.tls.ssl_object.selected_alpn_protocol() == HTTP2:
            self.hand_over(self._as_http2())
        return made

    def speaks_http2(self) -> Connection:
        return self._as_http2()

    def _as_http2(self) -> Connection:
        other = Connection(self._owner, None, None)
        other.take_over(self)
        self._owner.add(other, self.held_bytes)
        return other
