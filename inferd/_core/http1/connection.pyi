import socket
from typing import Any, final

from typing_extensions import Buffer

from inferd._core.grpc.message import Message
from inferd._core.http.call import HttpCall
from inferd._core.http.head import Head
from inferd._core.net.server_state import ServerState
from inferd._core.net.stream_socket import StreamSocket
from inferd._core.net.tls import Tls

@final
class Http1Call(HttpCall):
    @property
    def head(self) -> Head: ...
    def respond(self, status: int, headers: tuple[tuple[bytes, bytes], ...] = (), body: bytes | Message = b"") -> None: ...

class Http1Connection(StreamSocket):
    together_ns: int
    def __init__(self, server: ServerState, socket: socket.socket | None = None, tls: Tls | None = None) -> None: ...
    def speaks_http2(self) -> StreamSocket | None: ...
    def hand_over(self, to: StreamSocket) -> None: ...
    def open(self, write: Any, close_transport: Any) -> None: ...
    def receive(self, source: Buffer) -> None: ...

def live() -> int | None: ...
