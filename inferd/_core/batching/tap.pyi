from typing import Any, Final, final

from inferd._core.batching.request import Request

UNTAPPED: str

@final
class Tapped:
    request: Final[Request]
    response: Final[Any]
    response_bytes: Final[memoryview | None]
    code: Final[int]
    group: Final[int]
    message: Final[str | None]
    received_ns: Final[int]
    decode_ns: Final[int]
    queue_ns: Final[int]
    preprocess_ns: Final[int]
    execute_ns: Final[int]
    encode_ns: Final[int]
    total_ns: Final[int]

class Tap:
    def __init__(
        self, share: float = 1.0, *, sticky: bool = False, max_held: int = ..., max_held_nbytes: int = ..., seed: int = 0
    ) -> None: ...
    share: float
    seen: Final[int]
    offered: Final[int]
    dropped: Final[int]
    held: Final[int]
    held_nbytes: Final[int]
    max_held_nbytes: Final[int]
    max_nbytes: int
    def take(self, most: int = 1024) -> list[Tapped]: ...
