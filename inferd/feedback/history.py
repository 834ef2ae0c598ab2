"""Joined rows of a time, divided into groups, and the figures of each. It reads the store beside its writers.

A version's rows are one group, or one for each value of a slice, and for each of several spans of time. The time is that of the prediction.
The newest rows count where there are more than MOST_ROWS. Never in here: the figures (performance/), who asked.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from inferd.feedback.prediction import unpacked, unpacked_slices
from inferd.feedback.reading import NO_SLICE
from inferd.feedback.schema import reading
from inferd.performance import classification, regression
from inferd.performance.figure import Measure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from inferd.feedback.schema import Connection
    from inferd.performance.figure import Figure
    from inferd.tensors import Array

MOST_ROWS = 200_000  # with a label; with a slice also so many requests
MOST_PROBABILITIES = 8 << 20  # of the newest rows; a row has one for each class
MOST_GROUPS = 100
MOST_FIGURES = 40  # of a group; those of the rarest classes are left out
OF_PROBABILITIES = (Measure.AUC, Measure.LOG_LOSS, Measure.CALIBRATION)
BINARY = ("0", "1")  # classes of a number that is the probability of the second one
FAR_NS = (1 << 63) - 1
IN_TIME = "FROM predictions p INDEXED BY predictions_by_time {} WHERE p.model = :model AND p.time_ns >= :since AND p.time_ns < :until"
OUTCOMES = "JOIN outcomes o ON o.prediction = p.seq"
_names = msgspec.msgpack.Decoder(tuple[str, ...])


class Asked(NamedTuple):
    """version: 0: all. until_ns: 0: no end. slice: the name of an input, or ''. buckets: spans of time; 0: one."""

    model: str
    version: int = 0
    since_ns: int = 0
    until_ns: int = 0
    slice: str = ""
    buckets: int = 0


class Group(NamedTuple):
    """from_ns, until_ns: its span, or the times of its first prediction and behind its last one."""

    version: int
    value: str
    from_ns: int
    until_ns: int
    predicted: int
    labelled: int
    figures: list[Figure]
    figures_left_out: int


class Found(NamedTuple):
    """rows_left_out: with a label, that are older."""

    groups: list[Group]
    rows_left_out: int = 0
    groups_left_out: int = 0


Place = tuple[int, int, str]  # of a group: version, span, value of the slice


class Rows:
    """The rows of one group, the newest first. shares: the probabilities of some, by the number of the row."""

    def __init__(self) -> None:
        self.classes: tuple[list[Any], list[Any]] = [], []  # labels and predictions: texts,
        self.numbers: tuple[list[Any], list[Any]] = [], []  # or numbers
        self.shares: dict[int, Array] = {}


def found(folder: str | Path, asked: Asked) -> Found:
    """Raises StoreError."""
    with reading(folder) as connection:
        connection.execute("BEGIN")  # all of it is of one moment
        row = connection.execute("SELECT id FROM models WHERE name = ?", (asked.model,)).fetchone()
        return Found([]) if row is None else _Search(connection, row[0], asked).found()


class _Search:
    def __init__(self, connection: Connection, model: int, asked: Asked) -> None:
        self._connection, self._asked = connection, asked
        self._given = {"model": model, "version": asked.version, "since": asked.since_ns, "until": asked.until_ns or FAR_NS}
        self._of_version = " AND p.version = :version" if asked.version else ""

    def found(self) -> Found:
        left_out = self._limit()
        first_ns, last_ns = self._one("SELECT MIN(p.time_ns), MAX(p.time_ns)")
        if first_ns is None:
            return Found([], left_out)
        if self._asked.buckets:
            first_ns = self._given["since"] or first_ns
            last_ns = self._asked.until_ns or last_ns + 1
            self._width_ns = max(-((first_ns - last_ns) // self._asked.buckets), 1)
        else:
            self._width_ns = FAR_NS
        self._first_ns = int(first_ns)
        predicted, spans = self._predicted()
        rows, labelled = self._joined()
        kept = sorted(sorted(predicted, key=lambda place: -predicted[place])[:MOST_GROUPS])
        groups = [self._group(place, spans[place], predicted[place], labelled[place], rows[place]) for place in kept]
        return Found(groups, left_out, len(predicted) - len(kept))

    def _limit(self) -> int:
        """Moves the beginning so that at most MOST_ROWS count. Returns how many labels are left out."""
        left_out = 0
        for join in [OUTCOMES, *([""] if self._asked.slice else [])]:
            row = self._one("SELECT p.time_ns", join, f"ORDER BY p.time_ns DESC LIMIT 1 OFFSET {MOST_ROWS}")
            if row is not None:
                before, self._given["since"] = self._given["since"], row[0] + 1
                asked = f"SELECT COUNT(*) {IN_TIME.format(OUTCOMES)}{self._of_version}"
                left_out += self._connection.execute(asked, self._given | {"since": before, "until": row[0] + 1}).fetchone()[0]
        return left_out

    def _all(self, select: str, join: str = "", rest: str = "") -> Iterable[tuple[Any, ...]]:
        return self._connection.execute(f"{select} {IN_TIME.format(join)}{self._of_version} {rest}", self._given)

    def _one(self, select: str, join: str = "", rest: str = "") -> Any:
        return next(iter(self._all(select, join, rest)), None)

    def _span(self, time_ns: int) -> int:
        """The number of a span, from 0."""
        return int(time_ns - self._first_ns) // self._width_ns

    def _predicted(self) -> tuple[Counter[Place], dict[Place, tuple[int, int]]]:
        """Rows of each group, and the times of its first and its last prediction."""
        counts: Counter[Place] = Counter()
        spans: dict[Place, tuple[int, int]] = {}

        def add(place: Place, rows: int, first_ns: int, last_ns: int) -> None:
            counts[place] += rows
            before = spans.get(place, (first_ns, last_ns))
            spans[place] = min(before[0], first_ns), max(before[1], last_ns)

        if self._asked.slice:
            for version, time_ns, rows, content in self._all("SELECT p.version, p.time_ns, p.rows, p.slices"):
                values = unpacked_slices(content).get(self._asked.slice, [NO_SLICE] * rows)
                for value, count in Counter(values).items():
                    add((version, self._span(time_ns), value), count, time_ns, time_ns)
        else:
            span = f"(p.time_ns - {self._first_ns}) / {self._width_ns}"
            select = f"SELECT p.version, {span}, SUM(p.rows), MIN(p.time_ns), MAX(p.time_ns)"
            for version, bucket, rows, first_ns, last_ns in self._all(select, "", "GROUP BY 1, 2"):
                add((version, bucket, ""), rows, first_ns, last_ns)
        return counts, spans

    def _joined(self) -> tuple[dict[Place, Rows], Counter[Place]]:
        found: dict[Place, Rows] = defaultdict(Rows)
        labelled: Counter[Place] = Counter()
        left = MOST_PROBABILITIES
        select = "SELECT p.seq, p.version, p.time_ns, p.rows, p.numbers, p.predicted, p.probabilities, p.slices, o.row, o.label"
        before = -1
        predicted: Any = []
        for seq, version, time_ns, rows, numbers, content, shares, slices, row, label in self._all(
            select, OUTCOMES, "ORDER BY p.time_ns DESC, p.seq"
        ):
            if seq != before:
                before, predicted = seq, unpacked(numbers, content)
                values = unpacked_slices(slices).get(self._asked.slice, [NO_SLICE] * rows) if self._asked.slice else [""] * rows
                probabilities = None if shares is None else np.frombuffer(shares, "<f4").reshape(rows, -1)
            place = version, self._span(time_ns), values[row]
            labelled[place] += 1
            group = found[place]
            truth, given = group.numbers if numbers else group.classes
            truth.append(label)
            given.append(predicted[row])
            if probabilities is not None and left >= probabilities.shape[1]:
                left -= probabilities.shape[1]
                group.shares[len(group.classes[0]) - 1] = probabilities[row]
        return found, labelled

    def _group(self, place: Place, span: tuple[int, int], predicted: int, labelled: int, rows: Rows) -> Group:
        version, bucket, value = place
        from_ns, until_ns = span[0], span[1] + 1
        if self._asked.buckets:
            from_ns = self._first_ns + bucket * self._width_ns
            until_ns = from_ns + self._width_ns
        asked = "SELECT names FROM classes WHERE model = ? AND version = ?"
        row = self._connection.execute(asked, (self._given["model"], version)).fetchone()
        all_figures = list(figures_of(rows, () if row is None else _names.decode(row[0])))
        kept = sorted(all_figures, key=lambda each: (each.of != "", -each.rows))[:MOST_FIGURES]
        figures = [each for each in all_figures if each in kept]
        return Group(version, value, from_ns, until_ns, predicted, labelled, figures, len(all_figures) - len(figures))


def figures_of(rows: Rows, names: Sequence[str] = ()) -> Iterator[Figure]:
    """names: of the classes that probabilities are of, in their order; empty: what was predicted says it."""
    if rows.classes[0]:
        yield from _of_classes(*rows.classes, rows.shares, names)
    if rows.numbers[0]:
        yield from _of_numbers(*(np.array(side, np.float64) for side in rows.numbers))


def _of_classes(truth: list[str], predicted: list[str], shares: dict[int, Array], names: Sequence[str]) -> Iterator[Figure]:
    classes = [*names, *sorted({*truth, *predicted} - {*names})]
    places = {name: place for place, name in enumerate(classes)}
    true, chosen = (np.array([places[name] for name in side], np.int64) for side in (truth, predicted))
    yield from classification.figures(true, chosen, None, classes)
    if not shares:
        return
    width = len(next(iter(shares.values())))
    rows = [row for row, each in shares.items() if len(each) == width]
    probabilities = np.stack([shares[row] for row in rows])
    if len(names) != width:
        names = names_of(probabilities.argmax(axis=1).tolist(), [predicted[row] for row in rows], width)
    if names:
        places = {name: place for place, name in enumerate(names)}
        true, chosen = (np.array([places.get(side[row], -1) for row in rows], np.int64) for side in (truth, predicted))
        yield from (each for each in classification.figures(true, chosen, probabilities, names) if each.name in OF_PROBABILITIES)


def _of_numbers(truth: Array, predicted: Array) -> Iterator[Figure]:
    if np.isin(truth, (0, 1)).all() and bool(((predicted >= 0) & (predicted <= 1)).all()):
        yield from classification.figures(truth, predicted >= 0.5, np.stack([1 - predicted, predicted], axis=1), BINARY)
    else:
        yield from regression.figures(truth, predicted)


def names_of(best: Sequence[int], predicted: Sequence[str], width: int) -> tuple[str, ...]:
    """The name of each class, by what was predicted where it was the most probable one. (): some are not known. Places that no row names
    have their number, if the others have."""
    told: dict[int, Counter[str]] = defaultdict(Counter)
    for place, name in zip(best, predicted, strict=True):
        told[place][name] += 1
    names = {place: counts.most_common(1)[0][0] for place, counts in told.items()}
    if all(name == str(place) for place, name in names.items()):
        return tuple(map(str, range(width)))
    return tuple(names[place] for place in range(width)) if len(names) == len(set(names.values())) == width else ()
