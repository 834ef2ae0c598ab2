"""The time limit of a whole fetch."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from inferd.engine.remote.source import SourceError


class Until:
    """ended: set when another part of the fetch failed, so that the rest is not needed."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._end_s = time.monotonic() + timeout_s
        self.ended = threading.Event()

    @property
    def left_s(self) -> float:
        return self._end_s - time.monotonic()

    def beside(self) -> Until:
        """Another fetch's limit with the same end."""
        other = Until(self.timeout_s)
        other._end_s = self._end_s
        return other

    @contextmanager
    def at_most(self, timeout_s: float) -> Iterator[None]:
        """Shortens the limit inside the block."""
        before = self.timeout_s, self._end_s
        if timeout_s < self.left_s:
            self.timeout_s, self._end_s = timeout_s, time.monotonic() + timeout_s
        try:
            yield
        finally:
            self.timeout_s, self._end_s = before

    def check(self) -> None:
        if self.left_s <= 0:
            raise SourceError(f"it took longer than {self.timeout_s:g} s (model_download_timeout_s)", again=True)
        if self.ended.is_set():
            raise SourceError("another part of the download failed")
