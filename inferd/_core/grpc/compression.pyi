from collections.abc import Callable
from typing import Any, Final

from inferd._core.grpc.message import Message

class Conversion:
    result: Final[Message | None]
    error: Final[Exception | None]
    over: Final[bool]
    nbytes: Final[int]
    cancelled: Final[bool]
    when_cancelled: Callable[[Any], None] | None
    def run(self, until_ns: int = ...) -> bool: ...
    def done(self) -> None: ...
    def cancel(self) -> None: ...

class Decompression(Conversion):
    def __init__(
        self,
        source: Message,
        encoding: str,
        max_nbytes: int,
        when_over: Callable[[], None] | None = None,
        deadline_ns: int = ...,
    ) -> None: ...

class Compression(Conversion):
    def __init__(self, source: Message, encoding: str, when_over: Callable[[], None] | None = None) -> None: ...
