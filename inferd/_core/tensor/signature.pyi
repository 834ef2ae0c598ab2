from collections.abc import Collection, Mapping, Sequence
from typing import Final, Self

class Signature:
    """The inputs and outputs of one model version; see signature.pyx."""

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
    model_name: Final[bytes]
    model_version: Final[bytes]
    input_count: Final[int]
    output_count: Final[int]
    max_batch_size: Final[int]
    fixed: Final[bool]
    input_names: Final[tuple[str, ...]]
    output_names: Final[tuple[str, ...]]
    run_input_specs: Final[tuple[tuple[str, str, tuple[int, ...]], ...]]
    run_output_specs: Final[tuple[tuple[str, str, tuple[int, ...]], ...]]
    paddings: Final[dict[str, tuple[int, float, tuple[int, ...], bool]]]
    masks: Final[dict[str, str]]
    cuts: Final[dict[str, tuple[int, str]]]
    labels: dict[str, Sequence[str]]
    clients: Signature | None
    defaults: dict[str, tuple[tuple[int, ...], bytes, int]]
    input_specs: Final[tuple[tuple[str, str, tuple[int, ...]], ...]]
    def limit_axis(self, index: int, axis: int, most: int) -> None: ...
    def limit_runs(self, most_bytes: int, nbytes: int, cost_bytes: int, growth: float) -> None: ...
    output_specs: Final[tuple[tuple[str, str, tuple[int, ...]], ...]]
