from collections.abc import Sequence
from typing import Any

from inferd._core.load.generator import Generator
from inferd._core.load.load_protocol import LoadProtocol

class ScheduledLoad(Generator):
    """A Generator that sends what `schedule` wants, on its connections in turn, and tells which requests are over.

    at_once: at most so many requests are under way, on all connections together, and their times count from the sending. 0: at most
    100,000 are, and their times count from the call of `schedule`. All else is Generator's; `start` says from when on requests count.
    """

    has_dead: bool
    waiting_count: int
    stopped: bool
    under_way_ns: int
    last_ended_ns: int

    def __init__(self, bodies: Sequence[bytes], protocol: LoadProtocol, *, at_once: int = ..., **kwargs: Any) -> None: ...
    def schedule(self, tags: list[int], bodies: list[int]) -> None: ...
    def stop(self) -> None: ...
    def run(self, until_ns: int, spin_ns: int = ...) -> list[int]: ...  # type: ignore[override]
