"""A store for tests, and a plain version of it. `python -m tests.feedback.stores FOLDER` writes until it is killed."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np

from inferd.feedback.label import Fate, Label, Value
from inferd.feedback.prediction import Prediction
from inferd.feedback.store import Report, Store

NOW_NS = 1_800_000_000_000_000_000
MINUTE_NS = 60 * 10**9
ROWS = 20  # requests of a transaction of the program


class Clock:
    def __init__(self) -> None:
        self.ns = NOW_NS

    def __call__(self) -> int:
        return self.ns


def made(folder: Path, clock: Clock | None = None, limit_bytes: int = 1 << 30, keep_s: float = 3600) -> Store:
    return Store(folder, limit_bytes=limit_bytes, keep_s=keep_s, clock=clock or Clock())


def prediction(request_id: str, *predicted: Value, model: str = "m", version: int = 1, time_ns: int = NOW_NS, width: int = 0) -> Prediction:
    found = list(map(str, predicted)) if isinstance(predicted[0], str) else np.array(predicted, np.float64)
    return Prediction(request_id, model, version, time_ns, found, np.ones((len(predicted), width), np.float32) if width else None)


def report(*labels: tuple[str, int, Value], model: str = "m") -> Report:
    return Report(model, [Label(*each) for each in labels])


def fates(store: Store, *labels: tuple[str, int, Value], model: str = "m") -> list[str]:
    """What became of each label, one transaction each."""
    return [str(next(iter(store.write([], [report(label, model=model)])[0].fates))) for label in labels]


class Plain:
    """The same in dictionaries, without room, age and ids that are used again."""

    def __init__(self) -> None:
        self.rows: dict[str, list[str]] = {}
        self.outcomes: dict[tuple[str, int], str] = {}
        self.waiting: dict[tuple[str, int], str] = {}
        self.counts: Counter[str] = Counter()

    def predict(self, request_id: str, rows: list[str]) -> None:
        if request_id in self.rows:
            self.counts["reused_ids"] += 1
            return
        self.rows[request_id] = rows
        self.counts["predicted_rows"] += len(rows)
        for place in [place for place in self.waiting if place[0] == request_id]:
            self.counts[self._joined(place, self.waiting.pop(place))] += 1

    def label(self, request_id: str, row: int, value: str) -> str:
        place = (request_id, row)
        if request_id in self.rows:
            fate = self._joined(place, value)
        elif place in self.waiting:
            fate = Fate.REPEATED if self.waiting[place] == value else Fate.CONTRADICTORY
        else:
            self.waiting[place], fate = value, Fate.WAITING
        if fate is not Fate.WAITING:
            self.counts[fate] += 1
        return fate

    def _joined(self, place: tuple[str, int], value: str) -> Fate:
        if place[1] >= len(self.rows[place[0]]):
            return Fate.MISFIT
        there = self.outcomes.setdefault(place, value) if place in self.outcomes else None
        if there is None:
            self.outcomes[place] = value
            return Fate.JOINED
        return Fate.REPEATED if there == value else Fate.CONTRADICTORY


def write_until_killed(folder: Path, name: str) -> None:
    """Requests NAME-0, NAME-1, ..., and then the label of each. A line says what was acknowledged."""
    store = made(folder)
    for begin in range(0, 1_000_000, ROWS):
        ids = [f"{name}-{number}" for number in range(begin, begin + ROWS)]
        store.write([prediction(each, "a") for each in ids])
        print("predicted", begin, flush=True)
        (taken,) = store.write([], [report(*((each, 0, "a") for each in ids))])
        assert taken.fates == {Fate.JOINED: ROWS}
        print("labelled", begin, flush=True)


if __name__ == "__main__":
    write_until_killed(Path(sys.argv[1]), sys.argv[2])
