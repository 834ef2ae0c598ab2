from collections.abc import Sequence
from typing import Any

from inferd._core.load.generator import Generator

class Asker(Generator):
    """A Generator that asks what `ask` says, on its connections in turn, and says what is over.

    at_once: so many requests are under way at most, on all connections together, and their times count from the sending; 0: as many as are
    asked for (100,000), and their times count from the asking. All else is Generator's; `start` says from when on requests are counted.
    """

    has_dead: bool
    waiting_count: int
    stopped: bool
    under_way_ns: int
    last_ended_ns: int

    def __init__(self, bodies: Sequence[bytes], headers: Sequence[tuple[bytes, bytes]], *, at_once: int = ..., **kwargs: Any) -> None: ...
    def ask(self, tags: list[int], bodies: list[int]) -> None: ...
    def stop(self) -> None: ...
    def run(self, until_ns: int, spin_ns: int = ...) -> list[int]: ...  # type: ignore[override]
