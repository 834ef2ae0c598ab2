from collections.abc import Sequence
from typing import Any

import numpy as np

from inferd._core.batching.request import Request
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors

class LocalRequest(Request):
    """One inference over numpy arrays.

    `tensors`: (name, datatype word, array) of each input, in any order. Arrays have any layout and the datatype's numpy type (BF16: uint16
    or ml_dtypes.bfloat16; BYTES: objects that are bytes or str). `outputs`: names of the wanted outputs, none for all.
    Arrays are read until the request has its response, or is cancelled. The response is a dict of fresh arrays by output name.
    Raises InvalidArgument.
    """

    def __init__(self, tensors: Sequence[tuple[str, str, np.ndarray[Any, Any]]], outputs: Sequence[str] = ()) -> None: ...
    def check(self, signature: Signature) -> None: ...
    def encode(self, outputs: Tensors, first_row: int) -> None: ...
