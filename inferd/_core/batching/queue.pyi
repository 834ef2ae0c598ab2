from collections.abc import Sequence
from typing import Final, TypedDict, Unpack, final

from inferd._core.batching.run_times import RunTimes

class BatchPolicy(TypedDict, total=False):
    """The policy of a BatchQueue beside max_rows; see queue.pyx, which has the defaults."""

    max_delay_ns: int
    preferred_rows: Sequence[int]
    max_queue_requests: int
    max_queue_bytes: int
    max_wait_ns: int
    takers: int
    priority_levels: int
    default_priority: int
    queue_policies: Sequence[tuple[int, int, bool]]

@final
class BatchQueue:
    def __init__(self, max_rows: int = 1, **policy: Unpack[BatchPolicy]) -> None: ...
    requests: Final[int]
    nbytes: Final[int]
    run_times: Final[RunTimes]
    running: Final[int]
    overtaken: Final[int]
    evictions: Final[int]
