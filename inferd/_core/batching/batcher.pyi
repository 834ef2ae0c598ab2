from collections.abc import Callable, Sequence
from typing import Final, final

from inferd._core.batching.batch import Batch, Origin
from inferd._core.metrics.histogram import Statistics

@final
class Batcher(Origin):
    def __init__(
        self,
        max_rows: int,
        statistics: Statistics,
        *,
        name: str = "",
        as_triton: bool = False,
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
    behind: Batcher | None
    schedule: Callable[[Callable[[], None]], object] | None
    arrived: Callable[[], object] | None
    left: Callable[[], object] | None
    leaving: Final[int]
    closed: Final[bool]
    depth: Final[int]
    depth_bytes: Final[int]
    def limit(self, max_queue_requests: int, max_queue_bytes: int, max_wait_ns: int) -> None: ...
    def signal(self) -> None: ...
    def take(self) -> Batch | None: ...
    def poll(self) -> Batch | None: ...
    def expire(self, now_ns: int) -> Batch | None: ...
    def expect(self, requests: int, wait_ns: int) -> None: ...
    def dismiss(self) -> None: ...
    def recall(self) -> int: ...
    def hurry(self) -> None: ...
    def close(self) -> None: ...
