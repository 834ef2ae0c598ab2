from collections.abc import Callable

from inferd._core.message import Message

class Conversion:
    @property
    def result(self) -> Message | None: ...
    @property
    def error(self) -> Exception | None: ...
    @property
    def over(self) -> bool: ...
    def run(self) -> None: ...
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
