"""Predictions and labels in one file, for all processes of a server: exact, and bounded.

    write(predictions, reports)    one transaction: all of it is on disk when it returns, or nothing
    prune()                        the oldest predictions make room, and labels end their wait

A label joins the prediction with its model, request id and row. The fate of each label is counted in the transaction that takes it. So
the counts of a store and the labels that wait always add up to the labels that it took. Not for several threads. Never in here: threads,
requests, which figures the rows have (history.py).
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from inferd.feedback.label import Fate, Label, Value, fitting
from inferd.feedback.prediction import Prediction, is_right, key_of, packed, packed_slices, unpacked
from inferd.feedback.schema import PAGE_BYTES, opened
from inferd.tensors import Array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

WAIT_S = 600.0  # that a label waits for its prediction
MOST_WAITING = 100_000  # labels that do
GONE_BYTES = 640  # bytes of the limit for each key of a prediction that made room: an eighth of it
CHUNK = 1000  # predictions that make room at once
ROOM_PART = 32  # one part in so many is free after that
OLDEST = f"FROM (SELECT seq, time_ns FROM predictions ORDER BY seq LIMIT {CHUNK})"
PREDICTED, REUSED_IDS = "predicted_rows", "reused_ids"  # counts beside those of Fate


class Report(NamedTuple):
    """Labels of one model."""

    model: str
    labels: Sequence[Label]


class Taken(NamedTuple):
    """The fates of a report's labels, and whether the prediction of each request that got its first labels was right."""

    fates: Counter[Fate]
    right: dict[str, bool]


class Store:
    """folder: is made if it is not there. limit_bytes: of the file, beside its log. keep_s: age at which a prediction goes. clock: ns since
    the epoch. Raises StartError. Other methods raise StoreError, and nothing has changed then."""

    def __init__(self, folder: str | Path, *, limit_bytes: int, keep_s: float, clock: Callable[[], int] = time.time_ns) -> None:
        self.connection = opened(folder)
        self._execute = self.connection.execute
        self._limit_bytes, self._keep_ns, self._clock = limit_bytes, int(keep_s * 1e9), clock
        self._models: dict[str, int] = {}
        self._classes: dict[tuple[int, int], tuple[str, ...]] = {}
        self._counts: Counter[tuple[int, str]] = Counter()  # of this transaction

    def close(self) -> None:
        self.connection.close()

    def write(self, predictions: Sequence[Prediction], reports: Sequence[Report] = ()) -> list[Taken]:
        """Predictions first, so that a label finds those that came before it."""
        with self._transaction():
            if predictions:
                self._add(predictions)
            return [self._take(report) for report in reports]

    def prune(self) -> None:
        """Call it now and then."""
        self._end_waiting()
        while self._forget_old():
            pass
        if self.used_bytes > self._limit_bytes:
            while self.used_bytes > self._limit_bytes - self._limit_bytes // ROOM_PART and self._forget_oldest():
                pass

    def totals(self) -> dict[tuple[str, str], int]:
        """Counts since the store began, by model and kind: those of Fate, PREDICTED, REUSED_IDS. WAITING is how many wait now."""
        told = "SELECT name, kind, count FROM counts JOIN models ON id = model"
        waits = f"SELECT name, '{Fate.WAITING}', COUNT(*) FROM waiting JOIN models ON id = model GROUP BY name"
        return {(name, kind): count for name, kind, count in self._execute(f"{told} UNION ALL {waits}")}

    def knows(self, model: str) -> bool:
        """Whether there is a prediction of this model."""
        asked = "SELECT 1 FROM predictions WHERE model = (SELECT id FROM models WHERE name = ?) LIMIT 1"
        return self._execute(asked, (model,)).fetchone() is not None

    @property
    def used_bytes(self) -> int:
        pages, free = (self._execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
        return int(pages - free) * PAGE_BYTES

    # ---- inside a transaction ----

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._counts.clear()
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            add = "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT(model, kind) DO UPDATE SET count = count + excluded.count"
            self.connection.executemany(add, [(model, kind, count) for (model, kind), count in self._counts.items()])
            self._execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:  # a full disk ends it by itself
                self._execute("ROLLBACK")
            self._models.clear()  # these may have been new
            self._classes.clear()
            raise

    def _model(self, name: str) -> int:
        if (found := self._models.get(name)) is None:
            self._execute("INSERT OR IGNORE INTO models(name) VALUES (?)", (name,))
            (found,) = self._execute("SELECT id FROM models WHERE name = ?", (name,)).fetchone()
            self._models[name] = found
        return found

    def _add(self, predictions: Sequence[Prediction]) -> None:
        """The first of several predictions with one id stays."""
        (last,) = self._execute("SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'predictions'").fetchone()
        put = "INSERT OR IGNORE INTO predictions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        self.connection.executemany(put, map(self._row, predictions))
        offered = Counter(self._model(each.model) for each in predictions)
        for model, count, rows in self._execute("SELECT model, COUNT(*), SUM(rows) FROM predictions WHERE seq > ? GROUP BY model", (last,)):
            offered[model] -= count
            self._counts[model, PREDICTED] += rows
        self._counts.update({(model, REUSED_IDS): count for model, count in offered.items() if count})
        if self._execute("SELECT 1 FROM waiting LIMIT 1").fetchone() is not None:
            self._join_waiting(last)

    def _row(self, made: Prediction) -> tuple[bytes, int, int, int, int, bool, bytes, bytes | None, bytes | None]:
        model, numbers = self._model(made.model), not isinstance(made.predicted, list)
        if made.classes and self._classes.get((model, made.version)) != made.classes:
            names = msgspec.msgpack.encode(made.classes)
            self._execute("INSERT OR REPLACE INTO classes VALUES (?, ?, ?)", (model, made.version, names))
            self._classes[model, made.version] = made.classes
        probabilities = None if made.probabilities is None else made.probabilities.astype("<f4").tobytes()
        key, rows = key_of(made.model, made.request_id), len(made.predicted)
        content = packed(made.predicted)
        return key, model, made.version, made.time_ns, rows, numbers, content, probabilities, packed_slices(made.slices)

    def _join_waiting(self, last: int) -> None:
        """Labels that waited for one of the predictions after `last`."""
        asked = (
            "SELECT w.key, w.row, w.label, p.model, p.seq, p.rows, p.numbers FROM predictions p JOIN waiting w USING (key) WHERE p.seq > ?"
        )
        for key, row, label, model, seq, rows, numbers in self._execute(asked, (last,)).fetchall():
            self._execute("DELETE FROM waiting WHERE key = ? AND row = ?", (key, row))
            self._counts[model, self._joined(seq, rows, numbers, row, label)] += 1

    def _take(self, report: Report) -> Taken:
        model, taken = self._model(report.model), Taken(Counter(), {})
        (waiting,) = self._execute("SELECT COUNT(*) FROM waiting").fetchone()
        asked = "SELECT seq, rows, numbers, predicted FROM predictions WHERE key = ?"
        before: tuple[bytes, list[str] | Array] | None = None  # the last request's
        for label in report.labels:
            key = key_of(report.model, label.request_id)
            found = self._execute(asked, (key,)).fetchone()
            if found is not None:
                seq, rows, numbers, content = found
                fate = self._joined(seq, rows, numbers, label.row, label.value)
                if fate is Fate.JOINED:
                    if before is None or before[0] != key:
                        before = key, unpacked(numbers, content)
                    value = fitting(label.value, numbers)
                    assert value is not None
                    if (right := is_right(before[1][label.row], value)) is not None:
                        taken.right[label.request_id] = taken.right.get(label.request_id, True) and right
            elif self._execute("SELECT 1 FROM gone WHERE key = ?", (key,)).fetchone() is not None:
                fate = Fate.LATE
            else:
                fate = self._wait(key, label, model, full=waiting >= MOST_WAITING)
                waiting += fate is Fate.WAITING
            taken.fates[fate] += 1
        self._counts.update({(model, fate): count for fate, count in taken.fates.items() if fate is not Fate.WAITING})
        return taken

    def _joined(self, seq: int, rows: int, numbers: bool, row: int, label: Value) -> Fate:
        value = fitting(label, numbers)
        if value is None or row >= rows:
            return Fate.MISFIT
        if self._execute("INSERT OR IGNORE INTO outcomes VALUES (?, ?, ?)", (seq, row, value)).rowcount:
            return Fate.JOINED
        (there,) = self._execute("SELECT label FROM outcomes WHERE prediction = ? AND row = ?", (seq, row)).fetchone()
        return Fate.REPEATED if there == value else Fate.CONTRADICTORY

    def _wait(self, key: bytes, label: Label, model: int, *, full: bool) -> Fate:
        found = self._execute("SELECT label FROM waiting WHERE key = ? AND row = ?", (key, label.row)).fetchone()
        if found is not None:
            return Fate.REPEATED if found[0] == label.value else Fate.CONTRADICTORY
        if full:
            return Fate.UNKNOWN
        self._execute("INSERT INTO waiting VALUES (?, ?, ?, ?, ?)", (key, label.row, label.value, model, self._clock()))
        return Fate.WAITING

    # ---- room ----

    def _end_waiting(self) -> None:
        before_ns = self._clock() - int(WAIT_S * 1e9)
        if self._execute("SELECT 1 FROM waiting WHERE at_ns < ? LIMIT 1", (before_ns,)).fetchone() is None:
            return
        with self._transaction():
            for model, count in self._execute("SELECT model, COUNT(*) FROM waiting WHERE at_ns < ? GROUP BY model", (before_ns,)):
                self._counts[model, Fate.UNKNOWN] += count
            self._execute("DELETE FROM waiting WHERE at_ns < ?", (before_ns,))

    def _forget_old(self) -> bool:
        """A chunk of those that are too old. False: there are none."""
        asked = f"SELECT MAX(seq) {OLDEST} WHERE time_ns < ?"
        return self._forgot(self._execute(asked, (self._clock() - self._keep_ns,)).fetchone()[0])

    def _forget_oldest(self) -> bool:
        return self._forgot(self._execute(f"SELECT MAX(seq) {OLDEST}").fetchone()[0])

    def _forgot(self, last: int | None) -> bool:
        if last is None:
            return False
        with self._transaction():
            self._forget(last)
        return True

    def _forget(self, last: int) -> None:
        self._execute("INSERT OR REPLACE INTO gone SELECT seq, key FROM predictions WHERE seq <= ?", (last,))
        self._execute("DELETE FROM predictions WHERE seq <= ?", (last,))
        self._execute("DELETE FROM outcomes WHERE prediction <= ?", (last,))
        self._execute("DELETE FROM gone WHERE seq <= ?", (last - self._limit_bytes // GONE_BYTES,))
