"""Reports that the files of models have changed, once nobody writes them any more. It finds changes by events of the system and by polling.

Events come from watchfiles, if it is installed; they only wake the polling thread. Polling every poll_s finds changes without an event:
network file systems send none, and a ConfigMap is swapped by a link. A half-written file keeps changing, or its load fails and is tried
again when it changes once more. Never in here: whether the bytes are others (content.py), loading.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from inferd.engine.files.content import stamp_of, stamps_of
from inferd.engine.files.places import survey
from inferd.engine.files.roots import HIDDEN, as_roots
from inferd.errors import ConfigError, StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from inferd.engine.files.content import Stamps
    from inferd.engine.files.roots import Root

log = logging.getLogger("inferd.engine")

SETTLE_S = 1.0  # files that do not change for so long count as complete
STEP_MS, DEBOUNCE_MS = 200, 1000  # how often watchfiles looks for events, and how long it gathers them at most
REWATCH_S = 1.0  # after events were lost, until the folders are watched again
MAX_WATCHES = 4096  # watched folders: the system has a limit for each user
LOST_NS = 60 * 10**9  # between two log lines that models cannot be looked for, or that events were lost


class Settling:
    """Decides which models have changed and are no longer written to. It has no clock and sees no files."""

    def __init__(self, settle_ns: int, taken: Mapping[str, Stamps]) -> None:
        """taken: the files that are already loaded."""
        self._settle_ns = settle_ns
        self._taken = dict(taken)
        self._changing: dict[str, tuple[Stamps | None, int]] = {}  # models that differ from `_taken`: their stamps, and since when

    @property
    def settled(self) -> bool:
        """Whether no model is changing."""
        return not self._changing

    def saw(self, found: Mapping[str, Stamps], now_ns: int) -> set[str]:
        """Called with the stamps of all models. Returns the models to compare now: changed, new or gone, and settled."""
        due = set()
        for name in {*found, *self._taken, *self._changing}:
            stamps = found.get(name)
            if stamps == self._taken.get(name):
                self._changing.pop(name, None)
                continue
            seen, since_ns = self._changing.get(name, (stamps, now_ns))
            if seen != stamps:
                since_ns = now_ns
            self._changing[name] = stamps, since_ns
            if now_ns - since_ns >= self._settle_ns:
                due.add(name)
        for name in due:
            stamps, _ = self._changing.pop(name)
            if stamps is None:
                del self._taken[name]
            else:
                self._taken[name] = stamps
        return due


def look(paths: Sequence[str | Path | Root], file: Path | None = None) -> dict[str, Stamps]:
    """Stamps of all models below the paths, by name, and of `file` under ''. Raises ConfigError and StartError."""
    places, failures = survey(paths)
    found = {name: stamps_of(place) for name, place in places.items()} | {name: {"": ()} for name in failures}
    stamp = None if file is None else stamp_of(file)
    return found if stamp is None else found | {"": {str(file): stamp}}


class Watcher:
    """Looks for changes on threads of its own, one without watchfiles, else two, from start() to stop(). changed(names): called there; '':
    `file` has changed.

    Make it before the models are loaded, so that it finds changes during the load.
    """

    def __init__(
        self,
        paths: Sequence[str | Path | Root],
        changed: Callable[[set[str]], object],
        poll_s: float,
        *,
        settle_s: float = SETTLE_S,
        file: Path | None = None,
    ) -> None:
        self._roots, self._file = as_roots(paths), file
        self._changed = changed
        self._poll_s, self._settle_s = poll_s, settle_s
        self._event, self._stopped = threading.Event(), threading.Event()
        self._lost_ns = self._deaf_ns = 0  # the earliest time of the next log line
        self._bounded = False  # the log has a line that there are more folders than watches
        self._policy = Settling(int(1e9 * settle_s), self._look() or {})
        self._threads = [threading.Thread(target=self._run, name="watcher", daemon=True)]
        if find_spec("watchfiles") is not None:
            self._threads.append(threading.Thread(target=self._hear, name="watcher events", daemon=True))
        else:
            log.info("watchfiles is not installed: a change of a model's files is found within %g s", poll_s)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._event.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._event.wait(self._poll_s if self._policy.settled else self._settle_s)
            self._event.clear()
            if self._stopped.is_set():
                return
            try:
                found = self._look()
                if found is not None and (names := self._policy.saw(found, time.monotonic_ns())):
                    self._changed(names)
            except Exception:
                log.exception("models could not be looked for")

    def _look(self) -> dict[str, Stamps] | None:
        try:
            return look(self._roots, self._file)
        except (ConfigError, StartError) as error:
            if (now_ns := time.monotonic_ns()) >= self._lost_ns:
                log.error("%s; the models that are loaded go on serving", error)
                self._lost_ns = now_ns + LOST_NS
            return None

    def _hear(self) -> None:
        """Wakes the polling thread at events. Watches the folders anew when they change, or after an event without a readable name."""
        while not self._stopped.is_set():
            try:
                self._hear_of(self._folders())
            except Exception as error:
                self._event.set()
                if (now_ns := time.monotonic_ns()) >= self._deaf_ns:
                    log.warning("events of changed files were lost (%s): they are asked for anew", error)
                    self._deaf_ns = now_ns + LOST_NS
                self._stopped.wait(REWATCH_S)

    def _hear_of(self, folders: set[Path]) -> None:
        """Wakes the polling thread at events, until the folders change."""
        from watchfiles import watch

        began = True
        for changes in watch(
            *folders,
            watch_filter=None,
            step=STEP_MS,
            debounce=DEBOUNCE_MS,
            stop_event=self._stopped,
            rust_timeout=DEBOUNCE_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
            ignore_permission_denied=True,
            recursive=False,
        ):
            if changes or began:  # changes before the watch began had no event
                began = False
                self._event.set()
                if self._folders() != folders:
                    return

    def _folders(self) -> set[Path]:
        """The folders to watch: at most MAX_WATCHES, the highest first."""
        whole = [root.path for root in self._roots if root.path.is_dir()]
        alone = [root.path.parent for root in self._roots if root.path not in whole]
        alone += [] if self._file is None else [self._file.parent]
        found = {path: None for path in (*whole, *alone) if path.is_dir()}
        for folder in folders_below(whole):
            if len(found) >= MAX_WATCHES:
                if not self._bounded:
                    self._bounded = True
                    log.warning(
                        "the models have more than %d folders: a change in the others is found within %g s", MAX_WATCHES, self._poll_s
                    )
                break
            found[folder] = None
        return set(found)


def folders_below(roots: Collection[Path]) -> Iterator[Path]:
    """Folders below the roots, the highest first. Does not follow a link out of a root. Skips hidden folders, except targets of links."""
    for root in roots:
        real, seen = root.resolve(), set[Path]()
        left = deque([real])
        while left:
            folder = left.popleft()
            if folder in seen:
                continue
            seen.add(folder)
            if folder != real:
                yield folder
            try:
                entries = [entry for entry in folder.iterdir() if not entry.name.startswith(HIDDEN) and os.path.isdir(entry)]
            except OSError:
                continue
            left += [target for entry in sorted(entries) if (target := entry.resolve()).is_relative_to(real)]
