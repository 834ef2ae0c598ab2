from collections.abc import Sequence
from typing import Any

import numpy as np

from inferd._core.batcher import Request
from inferd._core.tensor import Signature, Tensors

def signature_specs(
    signature: Signature,
) -> tuple[list[tuple[str, str, tuple[int, ...]]], list[tuple[str, str, tuple[int, ...]]]]: ...

class LocalRequest(Request):
    def __init__(self, tensors: Sequence[tuple[str, str, np.ndarray[Any, Any]]], outputs: Sequence[str] = ()) -> None: ...
    def check(self, signature: Signature) -> None: ...
    def respond(self, outputs: Tensors, first_row: int) -> None: ...
