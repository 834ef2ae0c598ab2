from collections.abc import Callable
from typing import Any, Final, TypeAlias, final

from inferd._core.grpc.message import Message
from inferd._core.http.call import HttpCall

_Method: TypeAlias = Any  # a row of the service table, see http2_state.pyi

@final
class Http2Call(HttpCall):
    method_row: Final[_Method | None]
    half_closed: Final[bool]
    request_over: Final[bool]
    sending: Final[bool]
    listener: Callable[[], None] | None
    def respond(self, status: int, headers: tuple[tuple[bytes, bytes], ...], body: Message | bytes) -> None: ...
    def write(self, message: Message | bytes) -> None: ...
    def end(self) -> None: ...
    def take_message(self) -> Message | None: ...
