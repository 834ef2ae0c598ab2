from collections.abc import Callable
from typing import Any, Final, final

from inferd._core.batching.request import Request
from inferd._core.grpc.call import Call
from inferd._core.grpc.message import Message
from inferd._core.http.head import Head
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors

@final
class RestRequest(Request):
    """One inference that came by REST. Made by decode.decode_rest_request and request_of_tensors; check(signature), then encode."""

    head: Final[Head]
    message: Final[Message | None]
    key: Final[int]
    model_name: Final[str]
    model_version: Final[str]
    id: Final[str]
    def check(self, signature: Signature) -> None: ...
    def encode(self, outputs: Tensors, first_row: int) -> None: ...

@final
class LateCall(Call):
    nbytes: Final[int]
    cancelled: bool
    when_cancelled: Callable[[Any], None] | None
    def tensors(self) -> list[tuple[str, str, tuple[int, ...], bytes]]: ...
    def run(self, until_ns: int = 0) -> bool: ...
    def done(self) -> None: ...
