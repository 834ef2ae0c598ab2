"""Ends a trial or warm-up run that takes longer than max_run_s. The load then fails, and another one can begin.

The event loop checks some times a second, as it does for runs of requests (running/run_limit.py). ONNX Runtime ends a run between two
nodes of the graph. Never in here: threads, what a load does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

from inferd.errors import Aborted, StartError


class LoadLimit:
    """The time limit on runs of one loader, which loads one version at a time."""

    def __init__(self) -> None:
        self._title, self._max_run_s = "", 0
        self._began_ns = 0
        self._end: Callable[[], None] | None = None  # ends the current run
        self._over = False  # a run of this load was ended

    @contextmanager
    def load(self, title: str, max_run_s: int) -> Iterator[None]:
        """Limits the runs of one load, inside the block; 0: no limit. Raises StartError in place of the error of an ended run."""
        self._title, self._max_run_s, self._over = title, max_run_s, False
        token = _load.set(self)
        try:
            yield
        except Exception:
            self.check()
            raise
        finally:
            _load.reset(token)

    def check(self) -> None:
        """Raises StartError if a run of this load was ended, even if that raised no error: a warm-up may fail, for example."""
        if self._over:
            raise StartError(
                f"{self._title} cannot be loaded: a run took longer than max_run_s, {self._max_run_s} s, and was ended"
            ) from None

    @contextmanager
    def run(self, end: Callable[[], None]) -> Iterator[None]:
        if self._over:
            raise Aborted("an earlier run of this load took too long")
        self._began_ns, self._end = time.monotonic_ns(), end
        try:
            yield
        finally:
            self._end = None

    def enforce(self, now_ns: int) -> None:
        """Ends the current run if it takes too long. Called some times a second on the event loop's thread."""
        end = self._end
        if end is not None and 0 < self._max_run_s * 10**9 <= now_ns - self._began_ns:
            self._over = True
            end()


_load: ContextVar[LoadLimit | None] = ContextVar("load", default=None)  # the load on this thread


def limited(end: Callable[[], None]) -> AbstractContextManager[None]:
    """Limits one run on this thread, inside the block, if it belongs to a load. end(): ends the run."""
    load = _load.get()
    return nullcontext() if load is None else load.run(end)
