from collections.abc import Callable
from typing import Any, Final, final

from inferd._core.batching.batcher import Batcher
from inferd._core.inference.inline_policy import InlinePolicy
from inferd._core.inference.path import Route, Runner
from inferd._core.tensor.signature import Signature
from inferd.errors import RequestError

@final
class BatchedRoute(Route):
    def __init__(
        self,
        model: Any,
        signature: Signature,
        run_queue: Batcher,
        instance: Runner,
        schedule: Callable[[Callable[[], None]], object] | None,
    ) -> None: ...
    model: Any
    first_queue: Batcher
    large: Batcher | None
    contents: bytes
    rejected: dict[str, int]
    first_waits: Callable[[], None] | None
    inline: bool
    policy: InlinePolicy | None
    works_alone: bool
    turn_ns: int
    short_nbytes: int
    polling: Final[bool]
    def count_rejection(self, error: RequestError) -> None: ...
    def schedule_inline(self) -> None: ...
