from typing import Final

from typing_extensions import Buffer

from inferd._core.grpc.message import Message
from inferd._core.http.head import Head

class Parser:
    def __init__(self, max_header_nbytes: int, max_body_nbytes: int) -> None: ...
    stage: Final[int]
    missing_nbytes: Final[int]
    head: Final[Head | None]
    body: Final[Message | None]
    def receive(self, source: Buffer, requests: list[tuple[Head, bytes]]) -> None: ...
