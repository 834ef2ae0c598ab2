"""Fetches again, from time to time, what has changed in a store. A watcher of the fetched path sees the change. Never in here: loading."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from inferd.engine.remote import limits_of
from inferd.engine.remote.fetching import fetch, refresh
from inferd.errors import InferdError
from inferd.log import event

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from inferd.config import Settings

__all__ = ["Refresher"]

log = logging.getLogger("inferd.engine")


class Refresher:
    """Looks every poll_s, on a thread of its own, from start() to stop(). fetched: each URL, and the path that it was fetched to."""

    def __init__(self, fetched: Mapping[str, Path], settings: Settings, poll_s: float) -> None:
        self._limits = limits_of(settings)
        self._paths = dict(fetched)
        self._poll_s = poll_s
        self._away: set[str] = set()  # whose last look failed: the log has it
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inferd-refresh", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """A download that goes on ends with the process."""
        self._stopped.set()

    def look(self) -> None:
        """Fetches what has changed. A store that is away leaves what there is."""
        for url, path in self._paths.items():
            try:
                if refresh(url, path):
                    fetch(url, *self._limits)
                self._away.discard(url)
            except InferdError as error:
                if url not in self._away:
                    log.warning("%s; what was fetched before stays", error, extra=event("model_store_away", url=str(path)))
                self._away.add(url)

    def _run(self) -> None:
        while not self._stopped.wait(self._poll_s):
            self.look()
