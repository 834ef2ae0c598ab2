from typing import Final, final

from inferd._core.grpc.message import Message
from inferd._core.http.call import HttpCall
from inferd._core.http.head import Head
from inferd._core.net.protocol import Protocol
from inferd._core.net.server_state import ServerState

@final
class Http1Call(HttpCall):
    head: Final[Head]
    def respond(self, status: int, headers: tuple[tuple[bytes, bytes], ...] = (), body: bytes | Message = b"") -> None: ...

@final
class Http1Session(Protocol):
    together_ns: int
    def __init__(self, server: ServerState) -> None: ...

def live() -> int | None: ...
