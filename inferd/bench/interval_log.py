"""The latencies of each interval, kept for a log. Neighbours are merged, so that a soak of hours keeps no more than a minute.

Never in here: what a log looks like (export), measuring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from inferd.bench.measurement import Histogram

if TYPE_CHECKING:
    from inferd.bench.measurement import Measurement, Sparse

MOST_LINES = 300  # of a measurement; each takes a hundred KiB at most


class Line(NamedTuple):
    """An interval, or several in a row."""

    at_s: float  # since the measuring began
    duration_s: float
    latency: Sparse


class IntervalLog:
    """The log of all measurements of a run. For each call `begin`, `add` for each interval in turn, `add_after` for later responses, and
    `end`.

    All lines of a measurement together hold each of its latencies once. The last line has the later ones, too."""

    def __init__(self) -> None:
        self._kept: list[tuple[Measurement, list[Line]]] = []
        self.begin()

    def begin(self) -> None:
        """Another measurement; of one that was begun and not ended nothing is kept."""
        self._lines: list[Line] = []
        self._after = Histogram()
        self._each = self._in_last = 1  # how many intervals a line has, and the last line

    def add(self, at_s: float, duration_s: float, latency: Histogram) -> None:
        line = Line(at_s, duration_s, latency.sparse())
        if self._lines and self._in_last < self._each:
            self._lines[-1] = joined(self._lines[-1], line)
            self._in_last += 1
            return
        if len(self._lines) == MOST_LINES:
            self._lines = [joined(*pair) for pair in zip(self._lines[::2], self._lines[1::2], strict=True)]
            self._each *= 2
        self._lines.append(line)
        self._in_last = 1

    def add_after(self, latency: Sparse) -> None:
        self._after.add_sparse(latency)

    def end(self, measured: Measurement) -> None:
        *before, last = self._lines or [Line(0.0, measured.duration_s, Histogram().sparse())]
        self._kept.append((measured, [*before, joined(last, Line(last.at_s, last.duration_s, self._after.sparse()))]))
        self.begin()

    def lines(self, measured: Measurement) -> list[Line]:
        """None of one that was not logged."""
        return next((lines for one, lines in self._kept if one is measured), [])


def joined(first: Line, second: Line) -> Line:
    both = Histogram()
    both.add_sparse(first.latency)
    both.add_sparse(second.latency)
    return Line(first.at_s, second.at_s + second.duration_s - first.at_s, both.sparse())
