"""When a whole fetch must be done, whatever it is doing."""

from __future__ import annotations

import threading
import time

from inferd.engine.remote.source import SourceError

__all__ = ["Until"]


class Until:
    """ended: set as soon as nobody wants it any longer."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._end_s = time.monotonic() + timeout_s
        self.ended = threading.Event()

    @property
    def left_s(self) -> float:
        return self._end_s - time.monotonic()

    def check(self) -> None:
        if self.left_s <= 0:
            raise SourceError(f"it took longer than {self.timeout_s:g} s (model_download_timeout_s)")
        if self.ended.is_set():
            raise SourceError("another part of the download failed")
