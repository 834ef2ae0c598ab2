from collections.abc import Callable
from typing import Any, Final, final

from inferd._core.base.scheduler import Flow
from inferd._core.batching.batch import Batch
from inferd._core.batching.batcher import Batcher

@final
class WorkQueue:
    sleepers: Final[int]
    closed: Final[bool]
    def __init__(self, quantum: int) -> None: ...
    def take(self) -> tuple[Source, Batch] | None: ...
    def close(self) -> None: ...
    def post(self) -> None: ...

@final
class Source(Flow):
    work: Final[Callable[[Batch], Any]]
    busy: Final[bool]
    def __init__(
        self,
        work_queue: WorkQueue,
        batcher: Batcher,
        work: Callable[[Batch], Any],
        *,
        most: int,
        room_requests: int,
        room_nbytes: int,
        schedule: Callable[[Callable[[], None]], object] | None = None,
    ) -> None: ...
    def arrived(self) -> None: ...
    def offer(self) -> None: ...
    def done(self) -> None: ...
