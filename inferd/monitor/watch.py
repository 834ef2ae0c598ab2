"""Watches one version: its counters, which the requests of all processes add to, and its track. Never in here: threads, which versions."""

from __future__ import annotations

import logging
import time
import weakref
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from inferd._core.monitor.feature_counts import FeatureCounts
from inferd.engine.files.kept_file import replace
from inferd.log import LIMITED
from inferd.monitor import track
from inferd.monitor.counters import Counters
from inferd.monitor.verdict import ranked, verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from inferd.engine.model import Model
    from inferd.monitor.reference import Reference
    from inferd.monitor.track import Track

log = logging.getLogger("inferd.monitor")

REST_S = 0.0005  # between two features of a window


class Watch:
    """folder: of the counts and tracks of all versions; None: they are this process's own, and end with it. Rows count from here on.
    changed(watch): called by the process that judges, when findings have come or gone."""

    def __init__(
        self, model: Model, reference: Reference, folder: Path | None, now_unix_ns: int, changed: Callable[[Watch], object] = lambda _: None
    ) -> None:
        self._changed = changed
        self.reference = reference
        self.name, self.version = model.name, model.version
        self._model = weakref.ref(model)
        sizes = [feature.words for feature in reference.features]
        stem = blake2b(f"{model.name}\0{model.version}\0{reference.key}".encode(errors="surrogatepass"), digest_size=16).hexdigest()
        self._counters = Counters(None if folder is None else folder / f"{stem}.counts", sizes)
        self.path = folder / f"{stem}.track" if folder is not None and self._counters.is_shared else None
        self._words = sum(sizes)
        self._counts = FeatureCounts([feature.native() for feature in reference.features], list(self._counters.words))
        self._began = self._counters.total(), now_unix_ns
        self._track: Track | None = None  # of the process that judges
        self._is_kept = True
        self._seen = -1  # rows at the last look
        for runner in model.runners:
            runner.features = self._counts

    @property
    def is_alive(self) -> bool:
        """Whether the version is still there."""
        return self._model() is not None

    def rows(self) -> int:
        """Rows of all processes, since its counts began."""
        return self._counters.first()

    def track(self) -> Track:
        """Returns all that is known, in any process; that of another one may be some seconds old."""
        found = self._track or (track.Track() if self.path is None else track.read(self.path, self._words))
        if not found.base:
            found.begin(*self._began)
        return found

    def scores(self, rows: int) -> list[float]:
        """How unusual the first rows of the last request of this process were."""
        return self._counts.scores(rows)

    def told(self) -> dict[str, Any]:
        """The findings, for a notice."""
        track = self.track()
        return {
            "state": "FOUND" if track.found else "QUIET",
            "verdict": verdict(self.reference, track, 0, 0),
            "time_unix_ns": track.windows[-1].until_unix_ns if track.windows else 0,
            "findings": [
                {
                    "feature": self.reference.features[each.place].name,
                    "kind": each.finding.value,
                    "share": each.share,
                    "since_unix_ns": each.since_unix_ns,
                    "explanation": each.said(self.reference.features[each.place]),
                    "request_id": each.request_id,
                }
                for each in ranked(track)
            ],
        }

    def look(self, now_unix_ns: int, most_rows: int, most_ns: int) -> bool:
        """Ends the window where it is over. By one process at a time. Returns whether rows have come since the last look."""
        before, self._seen = self._seen, self._counters.first()
        first = self._seen
        if self._track is None:
            self._track, self._is_kept = self.track(), False
        if self._track.is_over(first, now_unix_ns, most_rows, most_ns):
            examples = [self._counts.take_example(place) or "" for place in range(len(self.reference.features))]
            told = {(each.place, each.finding) for each in self._track.found}
            self._track.end(self.reference, self._counters.total(), now_unix_ns, examples, lambda: time.sleep(REST_S))
            self._is_kept = False
            now = {(each.place, each.finding) for each in self._track.found}
            if now != told:
                self._changed(self)
            if now - told:
                words = verdict(self.reference, self._track, 0, most_rows)
                log.warning("model '%s' version %d: %s", self.name, self.version, words, extra=LIMITED)
        return first != before

    def keep(self) -> None:
        """Writes the track where it has changed, but not that of a version without a row: there may be many. Raises OSError."""
        if self._is_kept or self.path is None or self._track is None:
            return
        if self._track.windows or self._track.rows(self.rows()):
            replace(self.path, track.packed(self._track))
            self._is_kept = True
