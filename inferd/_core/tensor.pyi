from collections.abc import Sequence
from typing import Any

import numpy as np

DATATYPES: dict[str, tuple[int, int, np.dtype[Any]]]

class Signature:
    model_name: bytes
    model_version: bytes
    input_count: int
    output_count: int
    max_batch_size: int
    fixed: bool
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    def __init__(
        self,
        model_name: str,
        model_version: str,
        inputs: Sequence[tuple[str, str, tuple[int, ...]]],
        outputs: Sequence[tuple[str, str, tuple[int, ...]]],
        max_batch_size: int,
    ) -> None: ...
    @property
    def input_specs(self) -> tuple[tuple[str, str, tuple[int, ...]], ...]: ...
    @property
    def output_specs(self) -> tuple[tuple[str, str, tuple[int, ...]], ...]: ...

class Tensors:
    count: int
    arrays: list[np.ndarray[Any, Any]]
    batched: bool
    def __init__(
        self, arrays: Sequence[np.ndarray[Any, Any]], datatypes: Sequence[str], batched: bool, rows: int | None = None
    ) -> None: ...
