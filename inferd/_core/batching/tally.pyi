from typing import Final, final

from inferd._core.batching.tap import Tap

@final
class Tally(Tap):
    def __init__(self, sample: int = 0, threshold_ns: int = 0) -> None: ...
    threshold_ns: int
    latencies_ns: Final[list[int]]
    def by_group(self) -> bytes: ...
