from collections.abc import Sequence
from typing import final

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
        priority_levels: int = 0,
        default_priority: int = 0,
        queue_policies: Sequence[tuple[int, int, bool]] = (),
    ) -> None: ...
    @property
    def level_count(self) -> int: ...
    @property
    def requests(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def overtaken(self) -> int: ...
    def push(
        self,
        rows: int,
        shape_key: int,
        deadline_ns: int | None,
        priority: int,
        now_ns: int,
        timeout_ns: int = 0,
        nbytes: int = 0,
        near_key: int = 0,
        source: int = 0,
    ) -> int: ...
    def take(self, now_ns: int) -> tuple[list[int], list[int]]: ...
    def expire(self, now_ns: int) -> list[int]: ...
    def cancel(self, id: int) -> None: ...
    def expect_requests(self, requests: int, until_ns: int) -> None: ...
    def due_ns(self, now_ns: int) -> int | None: ...
