from collections.abc import Sequence

class Histogram:
    count: int
    sum_ns: int
    max_ns: int
    def add(self, value_ns: int) -> None: ...
    def quantile(self, q: float) -> int: ...
    def buckets(self, bounds_ns: Sequence[int]) -> list[int]: ...
    def reset(self) -> None: ...

class Statistics:
    decode: Histogram
    queue: Histogram
    preprocess: Histogram
    execute: Histogram
    encode: Histogram
    request: Histogram
    run: Histogram
    rows: int
    runs: int
    last_ns: int
    max_rows: int
    def __init__(self, max_rows: int) -> None: ...
    def add_request(
        self,
        rows: int,
        decode_ns: int,
        queue_ns: int,
        preprocess_ns: int,
        execute_ns: int,
        encode_ns: int,
        request_ns: int,
    ) -> None: ...
    def add_run(self, rows: int, preprocess_ns: int, execute_ns: int, encode_ns: int) -> None: ...
    def batch_sizes(self) -> dict[int, tuple[int, int, int, int]]: ...
