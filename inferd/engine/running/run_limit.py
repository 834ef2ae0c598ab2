"""Ends a run that takes longer than max_run_s. The event loop checks active models some times a second, at no cost for a run.

    WITHIN --max_run_ns--> ENDING --GRACE_NS--> HUNG
       ^                     |                   |
       +---- the batch is finished -------------+

ENDING: the run was terminated; ONNX Runtime ends it between two nodes of the graph. HUNG: it did not end, as one node takes that long or
does not return. Its requests fail then, and its instance is lost until the run is over after all.

The limit holds for a batch, with all parts of it that are run again. Its time begins when a check finds the batch, so a run may last one
interval longer. A run on the event loop cannot be checked: inline models are those whose shapes bound their runs. Never in here: threads,
clocks, what the model does without its instances.
"""

from __future__ import annotations

import enum
import logging
from typing import TYPE_CHECKING

from inferd.errors import Aborted

if TYPE_CHECKING:
    from inferd._core.batching.batch import Batch
    from inferd.engine.running.executor import Instance

log = logging.getLogger("inferd.engine")

GRACE_NS = 3 * 10**9  # for a run that was terminated: only the slowest nodes of a graph take longer


class Stage(enum.Enum):
    """The stage of the batch that an instance runs."""

    WITHIN = "within"  # within its time; or nothing runs
    ENDING = "ending"
    HUNG = "hung"


class RunLimit:
    """The limit of one instance. max_run_ns: 0: no limit."""

    def __init__(self, instance: Instance, max_run_ns: int) -> None:
        self.stage = Stage.WITHIN
        self.ended = 0  # runs that were terminated
        self._instance = instance
        self._max_run_ns = max_run_ns
        self._batch: Batch | None = None  # the running batch, as found by the last check
        self._since_ns = 0

    @property
    def watches(self) -> bool:
        """Whether the last check found a batch, so that another check is needed."""
        return self._batch is not None

    def enforce(self, now_ns: int) -> None:
        """Called some times a second on the event loop's thread, and once by `Model.close`. Also ends a run whose requests
        are all too late, and tells taps of each that is."""
        running = self._instance.running
        if running is not None:
            running.tap_late(now_ns)
            running.end_if_late(now_ns)
        batch = self._batch
        if batch is None or batch.finished_ns or running not in (None, batch):
            self._begin(running, now_ns)
        elif self.stage is Stage.WITHIN and 0 < self._max_run_ns <= now_ns - self._since_ns:
            self._end(batch, now_ns)
        elif self.stage is Stage.ENDING and now_ns - self._since_ns >= GRACE_NS:
            self._abandon(batch)

    def _begin(self, batch: Batch | None, now_ns: int) -> None:
        if self.stage is Stage.HUNG:
            log.warning("%s: the run that did not end is over: its instance runs batches again", self._instance.name)
        self.stage = Stage.WITHIN
        self._batch, self._since_ns = batch, now_ns

    def _end(self, batch: Batch, now_ns: int) -> None:
        name, rows, limit_s = self._instance.name, batch.rows, self._max_run_ns / 1e9
        log.warning("%s: a run of %d rows takes longer than max_run_s, %g s, and is told to end", name, rows, limit_s)
        self.stage = Stage.ENDING
        self._since_ns = now_ns
        self.ended += 1
        batch.end(
            Aborted(
                f"{name}: the run took longer than max_run_s, {limit_s:g} s, and was ended; send fewer rows or smaller inputs, or have "
                "max_run_s raised",
                reason="max_run",
            )
        )

    def _abandon(self, batch: Batch) -> None:
        name, grace_s = self._instance.name, GRACE_NS / 1e9
        log.error("%s: a run does not end %g s after it was told to: its instance is lost until it does", name, grace_s)
        self.stage = Stage.HUNG
        batch.abandon()
