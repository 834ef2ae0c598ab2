from collections.abc import Collection, Sequence
from typing import Any, Self

import numpy as np

# word -> (number in model_config.proto, bytes of one element or 0 for BYTES, numpy's dtype)
DATATYPES: dict[str, tuple[int, int, np.dtype[Any]]]

class Signature:
    """What one model version takes and gives; see tensor.pyx."""

    def __new__(
        cls,
        model_name: str,
        model_version: str,
        inputs: Sequence[tuple[str, str, tuple[int, ...]]],
        outputs: Sequence[tuple[str, str, tuple[int, ...]]],
        max_batch_size: int,
        *,
        binary: Collection[str] = (),
    ) -> Self: ...
    @property
    def model_name(self) -> bytes: ...
    @property
    def model_version(self) -> bytes: ...
    @property
    def input_count(self) -> int: ...
    @property
    def output_count(self) -> int: ...
    @property
    def max_batch_size(self) -> int: ...
    @property
    def fixed(self) -> bool: ...
    @property
    def input_names(self) -> tuple[str, ...]: ...
    @property
    def output_names(self) -> tuple[str, ...]: ...
    @property
    def input_specs(self) -> tuple[tuple[str, str, tuple[int, ...]], ...]: ...
    @property
    def output_specs(self) -> tuple[tuple[str, str, tuple[int, ...]], ...]: ...

class Tensors:
    """The input or output arrays of one run; see tensor.pyx."""

    def __new__(cls, arrays: Sequence[np.ndarray[Any, Any]], datatypes: Sequence[str], batched: bool, rows: int | None = None) -> Self: ...
    @property
    def count(self) -> int: ...
    @property
    def arrays(self) -> list[np.ndarray[Any, Any]]: ...
    @property
    def batched(self) -> bool: ...
