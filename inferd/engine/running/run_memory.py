"""The memory that the runs of one model version take, as far as inferd knows it: arenas, and arrays bound for the largest batch. Never in
here: the memory of weights (loading/room.py)."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from inferd._core.tensor.datatypes import DATATYPES
from inferd.engine.runtime.arena import KEPT_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inferd._core.metrics.histogram import Statistics
    from inferd._core.tensor.signature import Signature
    from inferd.engine.running.executor import Instance
    from inferd.engine.runtime.arena import RunArena

log = logging.getLogger("inferd.engine")


class RunMemory:
    """The memory of a version's runs. title: the version, for the log. signature: the tensors of its graph. statistics: of its runs."""

    def __init__(
        self, title: str, signature: Signature, arenas: Sequence[RunArena], instances: Sequence[Instance], statistics: Statistics
    ) -> None:
        self.arenas = arenas
        self._title, self._signature, self._instances, self._statistics = title, signature, instances, statistics
        self._decayed_runs = 0  # runs at the last decay
        self._seen_runs, self._arena_bytes = -1, 0  # runs when the arenas were looked at, and what they held

    @property
    def has_arena(self) -> bool:
        """Whether its runs have arenas of inferd's, with a limit and decay."""
        return bool(self.arenas)

    @property
    def arena_bytes(self) -> int:
        """Memory that the runs' arenas hold at the moment, in use or kept for the next run; 0 where inferd has none."""
        if self._statistics.runs != self._seen_runs or any(instance.running for instance in self._instances):
            self.measure()
        return self._arena_bytes

    def measure(self) -> None:
        """Looks at the arenas."""
        self._seen_runs, self._arena_bytes = self._statistics.runs, sum(arena.held_bytes() for arena in self.arenas)

    @property
    def peak_bytes(self) -> int:
        """The most that its runs needed at once, as found by each decay."""
        return sum(arena.peak_bytes for arena in self.arenas)

    @property
    def buffer_bytes(self) -> int:
        """Bytes of the arrays that its instances bind for their largest batch, if every size but the rows is known. Only pages that
        batches have touched are in memory."""
        signature = self._signature
        if not signature.fixed:
            return 0
        rows = max(signature.max_batch_size, 1)
        specs = (*signature.run_input_specs, *signature.run_output_specs)
        axes = 1 if signature.max_batch_size else 0
        return len(self._instances) * rows * sum(math.prod(shape[axes:]) * DATATYPES[word][1] for _, word, shape in specs)

    def decay(self) -> None:
        """Returns unused memory to the system if there were runs since the last decay. Not on the loop."""
        runs = self._statistics.runs
        if runs != self._decayed_runs:
            self._decayed_runs = runs
            self.give_back()

    def give_back(self, kept_bytes: int = KEPT_BYTES) -> int:
        """Returns unused memory to the system. Returns the bytes held before."""
        held_bytes = sum(arena.give_back(kept_bytes) for arena in self.arenas)
        log.debug("%s: its runs held %d bytes; what none of them uses is given back", self._title, held_bytes)
        self._seen_runs = -1
        return held_bytes
