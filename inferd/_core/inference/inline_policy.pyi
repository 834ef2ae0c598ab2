from typing import Final, final

WINDOW_NS: int
HELD_NS: int
MAX_PAUSE_LIMITS: int
FIRST_RETURN_RUNS: int
MAX_RETURN_RUNS: int

@final
class InlinePolicy:
    def __init__(self, limit_ns: int, busy_share: float) -> None: ...
    limit_ns: int
    busy_share: float
    return_runs: int
    debt: Final[float]
    def admits(self, run_ns: int) -> bool: ...
    def overrun(self, run_ns: int, now_ns: int) -> str: ...
    def recovered(self, run_ns: int, now_ns: int) -> bool: ...
    def begin_anew(self) -> None: ...
