from typing import Final, final, overload

from typing_extensions import Buffer

from inferd._core.batching.request import Request
from inferd._core.grpc.message import Message
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors

@final
class InferRequest(Request):
    """One ModelInferRequest. Made by decode_infer_request; check(signature), then encode(outputs, first_row)."""

    message: Final[Message]
    model_name: Final[str]
    model_version: Final[str]
    id: Final[str]
    def check(self, signature: Signature) -> None: ...
    def encode(self, outputs: Tensors, first_row: int) -> None: ...

@overload
def decode_infer_request(message: Message | Buffer) -> InferRequest: ...
@overload
def decode_infer_request(message: Message | Buffer, at_once: bool) -> InferRequest | None: ...
