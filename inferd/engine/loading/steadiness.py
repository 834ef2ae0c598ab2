"""Decides when a version is warm: once its runs take a steady time.

The first runs of a model pay for pages, caches and threads that later ones find. The policy sees only run times: it has no clock and runs
nothing. Never in here: warm-up runs (warmup.py).
"""

from __future__ import annotations

import statistics

LAST = 3  # runs that are compared
SHARE = 0.2  # the most that each of them may differ from their median
SLACK_NS = 50_000  # a difference that is always allowed: timers and the scheduler make runs of some microseconds differ more
MOST_RUNS = 20
MOST_NS = 500_000_000  # for all runs together, to keep loads short


class Steadiness:
    """The runs of one size, the first one included."""

    def __init__(self) -> None:
        self._runs_ns: list[int] = []

    def ran(self, run_ns: int) -> bool:
        """Called with the time of each run. True: no more runs are needed, or allowed."""
        self._runs_ns.append(run_ns)
        return self.steady or len(self._runs_ns) >= MOST_RUNS or sum(self._runs_ns) >= MOST_NS

    @property
    def runs(self) -> int:
        """The number of runs."""
        return len(self._runs_ns)

    @property
    def compared(self) -> bool:
        """Whether there were enough runs to compare."""
        return len(self._runs_ns) >= LAST

    @property
    def steady(self) -> bool:
        """Whether the last runs took about the same time."""
        if not self.compared:
            return False
        last_ns = self._runs_ns[-LAST:]
        median_ns = statistics.median(last_ns)
        return all(abs(run_ns - median_ns) <= max(SHARE * median_ns, SLACK_NS) for run_ns in last_ns)
