from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

import numpy as np

# word -> (number in model_config.proto, bytes of one element or 0 for BYTES, numpy's dtype)
DATATYPES: dict[str, tuple[int, int, np.dtype[Any]]]

class Signature:
    """The inputs and outputs of one model version; see tensor.pyx."""

    arm: bytes | None
    provenance: bytes | None

    def __new__(
        cls,
        model_name: str,
        model_version: str,
        inputs: Sequence[tuple[str, str, tuple[int, ...]]],
        outputs: Sequence[tuple[str, str, tuple[int, ...]]],
        max_batch_size: int,
        *,
        binary: Collection[str] = (),
        paddings: Mapping[str, tuple[int, float, tuple[int, ...], bool]] | None = None,
        masks: Mapping[str, str] | None = None,
        cuts: Mapping[str, tuple[int, str]] | None = None,
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
    def run_input_specs(self) -> tuple[tuple[str, str, tuple[int, ...]], ...]: ...
    @property
    def run_output_specs(self) -> tuple[tuple[str, str, tuple[int, ...]], ...]: ...
    @property
    def paddings(self) -> dict[str, tuple[int, float, tuple[int, ...], bool]]: ...
    @property
    def masks(self) -> dict[str, str]: ...
    @property
    def cuts(self) -> dict[str, tuple[int, str]]: ...
    labels: dict[str, Sequence[str]]
    clients: Signature | None
    defaults: dict[str, tuple[tuple[int, ...], bytes, int]]
    @property
    def input_specs(self) -> tuple[tuple[str, str, tuple[int, ...]], ...]: ...
    def limit_axis(self, index: int, axis: int, most: int) -> None: ...
    def limit_runs(self, most_bytes: int, nbytes: int, cost_bytes: int, growth: float) -> None: ...
    @property
    def output_specs(self) -> tuple[tuple[str, str, tuple[int, ...]], ...]: ...

class Tensors:
    """The input or output arrays of one run; see tensor.pyx."""

    def __new__(cls, arrays: Sequence[np.ndarray[Any, Any]], datatypes: Sequence[str], batched: bool, rows: int | None = None) -> Self: ...
    @property
    def arrays(self) -> list[np.ndarray[Any, Any]]: ...
