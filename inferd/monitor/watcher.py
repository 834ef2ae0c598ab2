"""The versions that are watched, and the thread that judges them: that of one process of a server, which has the folder's lock.

Never in here: how a version is judged.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from inferd.log import LIMITED
from inferd.monitor import reference as profiles
from inferd.monitor.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from inferd.engine.model import Model

log = logging.getLogger("inferd.monitor")

LOOK_S = 1.0  # between two looks,
IDLE_S = 10.0  # and where no row came
KEEP_S = 10.0  # between two times that tracks are written
OLD_S = 90 * 86_400.0
FOLDER = "monitor"
LOCK = "lock"


class Watcher:
    """folder: of counts and tracks; None: there is none. changed(watch): see Watch."""

    def __init__(
        self,
        folder: Path | None,
        window_rows: int,
        window_s: float,
        clock: Callable[[], int] = time.time_ns,
        changed: Callable[[Watch], object] = lambda _: None,
    ) -> None:
        self._changed = changed
        self.window_rows = window_rows
        self._folder, self._window_ns, self._clock = folder, int(window_s * 1e9), clock
        self._watches: dict[tuple[str, int], Watch] = {}
        self._lock = -1  # held: this process judges
        self._kept_ns = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)

    def watch(self, model: Model) -> None:
        """Watches a version that has a profile. The log has what is wrong with a profile, and the version serves all the same."""
        file = model.origin.file
        if file is None or not (path := profiles.path_of(file)).is_file():
            return
        before = self._watches.get((model.name, model.version))
        try:
            reference = profiles.read(path)
            reference.check(model.signature)
            if before is not None:
                before.keep()  # the new one goes on in its track
            self._watches[model.name, model.version] = Watch(model, reference, self._folder, self._clock(), self._changed)
        except Exception as error:  # of a file that anyone may have written
            log.error("model '%s' version %d is not watched: %s: %s", model.name, model.version, path.name, error)

    def watches(self) -> list[Watch]:
        """Those of versions that are there, by name and version."""
        return [watch for _, watch in sorted(self._watches.items()) if watch.is_alive]

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Writes what there is."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        busy = True
        while not self._stopping.wait(LOOK_S if busy else IDLE_S):
            busy = self.look()
        self.keep()
        self.close()

    def close(self) -> None:
        """Lets another process judge."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def look(self) -> bool:
        """Looks at each version once, if it is this process that judges. Returns whether to look again soon."""
        watches = self._watches.copy()
        for key, watch in watches.items():
            if not watch.is_alive:
                del self._watches[key]
        if not self._watches or not self._judges():
            return bool(self._watches)
        busy, now_ns = False, self._clock()
        for watch in watches.values():
            try:
                busy |= watch.look(now_ns, self.window_rows, self._window_ns)
            except Exception:
                log.exception("model '%s' version %d cannot be judged", watch.name, watch.version, extra=LIMITED)
        if not 0 <= now_ns - self._kept_ns < KEEP_S * 1e9:
            self._kept_ns = now_ns
            self.keep()
        return busy

    def keep(self) -> None:
        for watch in self.watches():
            try:
                watch.keep()
            except OSError as error:
                log.error("drift: what is known of model '%s' cannot be written: %s", watch.name, error, extra=LIMITED)

    def _judges(self) -> bool:
        if self._folder is None or self._lock >= 0:
            return True
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            log.error("drift: %s cannot be used: %s", self._folder, error, extra=LIMITED)
            self._folder = None
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another process judges
            os.close(descriptor)
            return False
        self._lock = descriptor
        self._remove_old(self._folder)
        return True

    def _remove_old(self, folder: Path) -> None:
        """Removes counts and tracks of versions and profiles that have gone. Nobody has written to them for OLD_S."""
        for path in folder.iterdir():
            with suppress(OSError):
                if path.suffix in (".counts", ".track") and self._clock() - path.stat().st_mtime_ns > OLD_S * 1e9:
                    path.unlink()
