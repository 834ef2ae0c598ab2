from collections.abc import Callable
from typing import final

from inferd._core.batching.tap import Tap
from inferd._core.codec.columns import Columns

@final
class RecordTap(Tap):
    columns: Columns
    def __init__(
        self, share: float, columns: Columns, wall_offset_ns: int, failed: Callable[[Columns, Exception], None], *, max_held_nbytes: int
    ) -> None: ...
