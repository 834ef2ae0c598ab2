"""Fetches changed stores from time to time. A watcher of the fetched path sees the change. Never in here: loading."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from inferd.config import without_secrets
from inferd.engine.remote import limits_of
from inferd.engine.remote.fetching import StoreError, fetch, has_changed
from inferd.errors import InferdError
from inferd.log import event

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from inferd.config import Settings

log = logging.getLogger("inferd.engine")


class Refresher:
    """Updates every poll_s from start() to stop(). Each URL has a thread of its own, so that a slow store holds up no other. fetched: the
    path of each URL."""

    def __init__(self, fetched: Mapping[str, Path], settings: Settings, poll_s: float) -> None:
        self._limits = limits_of(settings)
        self._paths = dict(fetched)
        self._poll_s = poll_s
        self._away: dict[str, str] = {}  # URLs whose last update failed, and why; the log has it
        self._stopped = threading.Event()

    def start(self) -> None:
        for url in self._paths:
            threading.Thread(target=self._run, args=(url,), name="inferd-refresh", daemon=True).start()

    def stop(self) -> None:
        """Ends the threads; a download under way ends with the process."""
        self._stopped.set()

    def update(self, url: str) -> str:
        """Fetches a store if it has changed. If it cannot be read, the fetched files stay, and it returns why."""
        path, why = self._paths[url], ""
        try:
            if has_changed(url, path, self._limits[2]):
                fetch(url, *self._limits)
        except Exception as error:
            why = str(error)
            if url not in self._away:
                expected = isinstance(error, InferdError)
                level = logging.WARNING if isinstance(error, StoreError) and error.again else logging.ERROR
                log.log(
                    *(level, "%s; what was fetched before stays", error if expected else f"'{without_secrets(url)}'"),
                    extra=event("model_store_away", url=without_secrets(url)),
                    exc_info=None if expected else error,
                )
        if why:
            self._away[url] = why
        else:
            self._away.pop(url, None)
        return why

    def update_all(self) -> dict[Path, str]:
        """Updates all stores. Returns the paths of those that cannot be read, with why."""
        return {path: why for url, path in self._paths.items() if (why := self.update(url))}

    def _run(self, url: str) -> None:
        while not self._stopped.wait(self._poll_s):
            self.update(url)
