from collections.abc import Sequence
from typing import Final, final

from inferd._core.batching.run_times import RunTimes

@final
class BatchQueue:
    def __init__(
        self,
        max_rows: int = 1,
        *,
        max_delay_ns: int = 0,
        preferred_rows: Sequence[int] = (),
        max_queue_requests: int = 4096,
        max_queue_bytes: int = 0,
        max_wait_ns: int = 0,
        takers: int = 1,
        priority_levels: int = 0,
        default_priority: int = 0,
        queue_policies: Sequence[tuple[int, int, bool]] = (),
    ) -> None: ...
    requests: Final[int]
    nbytes: Final[int]
    run_times: Final[RunTimes]
    running: Final[int]
    overtaken: Final[int]
    evictions: Final[int]
