"""Tells that the files of models have changed, once nobody writes them any more: at once where the system sends events, else by looking.

Events come from watchfiles, where it is installed; they only say that it is time to look. A look every poll_s finds what no event told:
network file systems send none, and a ConfigMap is swapped by a link. A file that is half written keeps changing, or its load fails and is
tried again when it changes once more. Never in here: whether the bytes are others (content.py), loading.
"""

from __future__ import annotations

import logging
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from inferd.engine.content import stamp_of, stamps_of
from inferd.engine.places import survey
from inferd.errors import ConfigError, StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from inferd.engine.content import Stamps

__all__ = ["SETTLE_S", "Settling", "Watcher", "look"]

log = logging.getLogger("inferd.engine")

SETTLE_S = 1.0  # without a change, and files are taken for whole
STEP_MS, DEBOUNCE_MS = 200, 1000  # of watchfiles: how often it looks for events, and the longest time that it gathers them
LOST_NS = 60 * 10**9  # between two log lines that models cannot be looked for


class Settling:
    """Which models have changed and are written to no more. The policy: it has no clock and sees no files."""

    def __init__(self, settle_ns: int, taken: Mapping[str, Stamps]) -> None:
        """taken: the files that are known already."""
        self._settle_ns = settle_ns
        self._taken = dict(taken)
        self._changing: dict[str, tuple[Stamps | None, int]] = {}  # models that differ from what was taken: how they are, since when

    @property
    def settled(self) -> bool:
        """Whether nothing changes just now."""
        return not self._changing

    def saw(self, found: Mapping[str, Stamps], now_ns: int) -> set[str]:
        """Takes a look at all models. Returns the names of those that are to be compared now: changed, new or gone, and settled."""
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


def look(paths: Sequence[Path], file: Path | None = None) -> dict[str, Stamps]:
    """The files of all models below the paths, by name, and under '' those of `file`. Raises ConfigError and StartError."""
    places, failures = survey(paths)
    found = {name: stamps_of(place) for name, place in places.items()} | {name: {"": ()} for name in failures}
    stamp = None if file is None else stamp_of(file)
    return found if stamp is None else found | {"": {str(file): stamp}}


class Watcher:
    """Looks for changes on threads of its own, from start() to stop(). changed(names): called there; '': `file` has changed.

    taken: the look before the models were loaded.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        changed: Callable[[set[str]], object],
        poll_s: float,
        *,
        settle_s: float = SETTLE_S,
        file: Path | None = None,
    ) -> None:
        self._paths, self._file = [Path(path) for path in paths], file
        self._changed = changed
        self._poll_s, self._settle_s = poll_s, settle_s
        self._event, self._stopped = threading.Event(), threading.Event()
        self._lost_ns = 0
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
            return look(self._paths, self._file)
        except (ConfigError, StartError) as error:
            if (now_ns := time.monotonic_ns()) >= self._lost_ns:
                log.error("%s; the models that are loaded go on serving", error)
                self._lost_ns = now_ns + LOST_NS
            return None

    def _hear(self) -> None:
        """Wakes the thread that looks."""
        from watchfiles import watch

        folders = {path if path.is_dir() else path.parent for path in self._paths}
        if self._file is not None and self._file.parent.is_dir():
            folders.add(self._file.parent)
        try:
            for _ in watch(
                *folders,
                watch_filter=None,
                step=STEP_MS,
                debounce=DEBOUNCE_MS,
                stop_event=self._stopped,
                raise_interrupt=False,
                ignore_permission_denied=True,
            ):
                self._event.set()
        except Exception as error:
            log.warning("the system sends no events of changed files (%s): a change is found within %g s", error, self._poll_s)
