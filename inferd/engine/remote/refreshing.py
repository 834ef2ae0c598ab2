"""Fetches again, from time to time, what has changed in a store. A watcher of the fetched path sees the change. Never in here: loading."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from inferd.config import without_secrets
from inferd.engine.remote import limits_of
from inferd.engine.remote.fetching import StoreError, fetch, refresh
from inferd.errors import InferdError
from inferd.log import event

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from inferd.config import Settings

__all__ = ["Refresher"]

log = logging.getLogger("inferd.engine")


class Refresher:
    """Looks every poll_s from start() to stop(), at each URL on a thread of its own: a slow store holds up no other. fetched: each URL,
    and the path that it was fetched to."""

    def __init__(self, fetched: Mapping[str, Path], settings: Settings, poll_s: float) -> None:
        self._limits = limits_of(settings)
        self._paths = dict(fetched)
        self._poll_s = poll_s
        self._away: dict[str, str] = {}  # whose last look failed, and why: the log has it
        self._stopped = threading.Event()

    def start(self) -> None:
        for url in self._paths:
            threading.Thread(target=self._run, args=(url,), name="inferd-refresh", daemon=True).start()

    def stop(self) -> None:
        """A download that goes on ends with the process."""
        self._stopped.set()

    def look(self, url: str) -> str:
        """Fetches it if it has changed. A store that is away leaves what there is: then it returns why."""
        path, why = self._paths[url], ""
        try:
            if refresh(url, path, self._limits[2]):
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

    def look_at_all(self) -> dict[Path, str]:
        """The paths of stores that are away, with why."""
        return {path: why for url, path in self._paths.items() if (why := self.look(url))}

    def _run(self, url: str) -> None:
        while not self._stopped.wait(self._poll_s):
            self.look(url)
