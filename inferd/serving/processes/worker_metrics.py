"""One page of metrics for all workers, on the threads of scrapes. Never in here: how pages are added up (observe/pages.py)."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from inferd import log as logs
from inferd.observe.pages import Sums
from inferd.part import counter, gauge
from inferd.serving.processes.child import read_page

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from inferd.observe.pages import Page
    from inferd.part import Table
    from inferd.serving.processes.child import Child

METRICS_TIMEOUT_S = 3.0  # for all workers to send their metrics


class WorkerMetrics:
    """The metrics of workers, those that have ended included, and of their restarts. children: the running ones, by number."""

    def __init__(self, children: Mapping[int, Child]) -> None:
        self.restarted = 0
        self.starts_failed = 0
        self._children = children
        self._sums = Sums()
        self._asking = threading.Lock()

    def begin(self, child: Child) -> None:
        self._sums.begin(child)

    def end(self, child: Child) -> None:
        """Its process has ended: its counts stay in the sums."""
        if page := child.last_page():
            self._sums.saw(child, page)
        self._sums.end(child)

    def page(self, own: Page) -> Page:
        """Asks all workers at once. The last page of a worker counts if it does not respond. A worker that hangs is not asked."""
        with self._asking:  # else an older page could come last
            able = [child for child in list(self._children.values()) if child.state != "loading" and child.is_responsive]
            asked = [(child, child.ask_metrics()) for child in able]
            overdue_s = time.monotonic() + METRICS_TIMEOUT_S
            for child, pipe in asked:
                if page := read_page(pipe, overdue_s):
                    self._sums.saw(child, page)
            return self._sums.page(own)

    def tables(self) -> Iterator[Table]:
        """The supervisor's own counts."""
        serving = sum(child.state == "ready" and child.is_responsive for child in list(self._children.values()))
        yield gauge("inferd_workers", "Worker processes that take requests; only with several.", serving)
        told = "Worker processes that had ended and were started again; only with several."
        yield counter("inferd_worker_restarts", told, self.restarted)
        told = "Worker processes that ended before they were ready; only with several."
        yield counter("inferd_worker_starts_failed", told, self.starts_failed)
        yield counter("inferd_log_dropped", "Log lines that were dropped: stderr was not read fast enough.", logs.dropped())
