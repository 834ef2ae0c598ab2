from collections.abc import Sequence
from typing import Final, Self

class Histogram:
    """How often each duration was seen; durations in ns."""

    count: Final[int]
    sum_ns: Final[int]
    def add(self, value_ns: int) -> None: ...
    def buckets(self, bounds_ns: Sequence[int]) -> list[int]: ...

class Statistics:
    """All counts and durations of one model version; see histogram.pxd for each field."""

    def __new__(cls, max_rows: int) -> Self: ...
    decode: Final[Histogram]
    queue: Final[Histogram]
    preprocess: Final[Histogram]
    execute: Final[Histogram]
    encode: Final[Histogram]
    request: Final[Histogram]
    rows: Final[int]
    runs: Final[int]
    last_ns: Final[int]
    max_rows: Final[int]
    def batch_sizes(self) -> dict[int, tuple[int, int, int, int]]: ...
