import socket as sockets
from collections.abc import Callable
from typing import Any

from typing_extensions import Buffer

from inferd._core.http2.http2_state import Http2State
from inferd._core.http2.send_state import SendState
from inferd._core.net.tls import Tls

def live() -> int | None: ...
def nghttp2_version_text() -> str: ...

class Session(SendState):
    def __init__(self, server: Http2State, socket: sockets.socket | None = None, tls: Tls | None = None) -> None: ...
    def open(
        self, write: Callable[[bytes], Any] | None = None, close_transport: Callable[[], None] | None = None, max_age_ns: int = 0
    ) -> None: ...
    def receive(self, source: Buffer) -> None: ...
