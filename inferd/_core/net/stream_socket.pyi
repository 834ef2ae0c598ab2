import socket as sockets
from typing import Any, Final

from inferd._core.net.poller import Polled, Poller
from inferd._core.net.protocol import Protocol
from inferd._core.net.server_state import ServerState
from inferd._core.net.tls import Tls
from inferd.errors import RequestError

class StreamSocket(Polled):
    server: ServerState
    protocol: Protocol
    client: Any  # an object with the methods that stream_socket.pyx names, or None
    state: int
    socket: sockets.socket | None
    tls: Tls | None
    rejection: RequestError | None
    calls: int
    def __init__(
        self, server: ServerState, protocol: Protocol, socket: sockets.socket | None = None, tls: Tls | None = None, client: Any = None
    ) -> None: ...
    def start(self, poller: Poller) -> None: ...
    def speak(self, protocol: Protocol) -> None: ...
    def drain(self) -> None: ...
    def close(self) -> None: ...
    def end_late_calls(self, now_ns: int, acknowledged_nbytes: int, request_limit_ns: int, response_limit_ns: int) -> bool: ...
    def take_keepalive_step(self, now_ns: int, waiting_nbytes: int) -> bool: ...
    unsent_nbytes: Final[int]
    def acknowledged_nbytes(self) -> int: ...
    def abort(self) -> None: ...
