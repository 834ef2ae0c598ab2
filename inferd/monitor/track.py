"""One version over time: its windows, and what is found in two of the last three.

A window ends with its rows, or with its age. Counts only ever grow, so that a window is the difference of two of them, and one that a
restart interrupts goes on. Never in here: where counts are, threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from inferd.monitor.counters import divided
from inferd.monitor.feature import Counts
from inferd.monitor.judging import FEWEST_ROWS, Finding, Look, look

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from inferd.monitor.feature import Feature
    from inferd.monitor.reference import Reference
    from inferd.tensors import Array

LAST = 3  # windows that are looked at together,
ENOUGH = 2  # and in how many of them a finding is to be
MOST_WINDOWS = 200  # whose effects are kept for pictures


class Found(msgspec.Struct, frozen=True):
    """A finding in the last windows. share: of rows, or the effect (see Look). since_unix_ns: the start of the first window that had it.
    request_id: of an example; empty: not known."""

    place: int
    finding: Finding
    share: float
    since_unix_ns: int
    units: str = ""
    request_id: str = ""

    def said(self, feature: Feature) -> str:
        """In words, for people; the feature's name goes before them."""
        share = f"{self.share:.1%} of rows"
        match self.finding:
            case Finding.DRIFT:
                return f"moved away from the reference (effect {self.share:.2f})"
            case Finding.OUT_OF_RANGE:
                return f"beyond the reference's range, {feature.low:.5g} to {feature.high:.5g}, in {share}"
            case Finding.NEW_VALUES:
                return f"with values that the reference does not have, in {share}"
            case Finding.CONSTANT:
                return "with one value in all rows"
            case Finding.STUCK:
                return f"with the value of the row before in {share}, {feature.repeats:.1%} in the reference"
            case Finding.UNITS:
                return f"in other units, it seems: {self.units}"
            case Finding.MISSING:
                return f"missing in {share}, {feature.missing:.1%} in the reference"
            case Finding.REPEATED:
                return f"in {share}, {feature.repeats:.1%} in the reference"
        return f"in {share}, 1% in the reference"


class Window(msgspec.Struct, frozen=True):
    """effects: of each feature."""

    from_unix_ns: int
    until_unix_ns: int
    rows: int
    effects: list[float]


class Track(msgspec.Struct, kw_only=True):
    """The state that is kept. base: the counts at the start of the window that goes on. last: the counts of the last windows; looks: what
    they say, by feature."""

    base: bytes = b""
    from_unix_ns: int = 0
    windows: list[Window] = []
    last: list[bytes] = []
    looks: list[list[Look]] = []
    found: list[Found] = []

    def begin(self, total: Array, now_unix_ns: int) -> None:
        """Called once, and for counts of another size. Rows from before do not count."""
        self.base, self.from_unix_ns = total.tobytes(), now_unix_ns

    def rows(self, first: int) -> int:
        """Rows of the window that goes on. first: the first word of its counts."""
        rows = (first - int.from_bytes(self.base[:8], "little")) % 2**64
        return rows if rows < 2**63 else 0  # another thread has just ended the window

    def is_over(self, first: int, now_unix_ns: int, most_rows: int, most_ns: int) -> bool:
        """Whether it has its rows or its age. Without FEWEST_ROWS it goes on. A clock that was set back begins its age anew."""
        rows = self.rows(first)
        self.from_unix_ns = min(self.from_unix_ns, now_unix_ns)
        return rows >= most_rows or (rows >= FEWEST_ROWS and now_unix_ns - self.from_unix_ns >= most_ns)

    def end(
        self,
        reference: Reference,
        total: Array,
        now_unix_ns: int,
        examples: Sequence[str] = (),
        rest: Callable[[], object] = lambda: None,
    ) -> None:
        """Ends the window, and judges it. examples: the id of a request with an unusual value, by feature. rest(): called between features,
        for each takes 0.1 ms, in which no other thread has the GIL."""
        words = total - np.frombuffer(self.base, np.uint64)
        looks = []
        for feature, each in zip(reference.features, divided(words, [each.words for each in reference.features]), strict=True):
            looks.append(look(reference, feature, Counts(each)))
            rest()
        window = Window(self.from_unix_ns, now_unix_ns, max(each.rows for each in looks), [each.effect for each in looks])
        self.windows = [*self.windows, window][-MOST_WINDOWS:]
        self.last = [*self.last, words.tobytes()][-LAST:]
        self.looks = [*self.looks, looks][-LAST:]
        self.found = list(self._found(examples))
        self.begin(total, now_unix_ns)

    def _found(self, examples: Sequence[str]) -> Iterator[Found]:
        before = {(each.place, each.finding): each for each in self.found}
        starts = [window.from_unix_ns for window in self.windows[-len(self.looks) :]]
        for place in range(len(self.looks[-1])):
            history = [(start_ns, looks[place]) for start_ns, looks in zip(starts, self.looks, strict=True)]
            for finding in Finding:
                having = [(start_ns, each) for start_ns, each in history if finding in each.findings]
                if len(having) < ENOUGH:
                    continue
                newest = having[-1][1]
                made = Found(place, finding, newest.findings[finding], having[0][0], newest.units if finding is Finding.UNITS else "")
                if known := before.get((place, finding)):
                    made = msgspec.structs.replace(made, since_unix_ns=known.since_unix_ns, request_id=known.request_id)
                if newest is history[-1][1] and place < len(examples) and examples[place]:
                    made = msgspec.structs.replace(made, request_id=examples[place])
                yield made


def read(path: Path, words: int) -> Track:
    """A new one where there is no file that can be read, or that of other counts."""
    try:
        found = msgspec.msgpack.decode(path.read_bytes(), type=Track)
    except (OSError, msgspec.MsgspecError):
        return Track()
    return found if len(found.base) == words * 8 and all(len(each) == words * 8 for each in found.last) else Track()


def packed(track: Track) -> bytes:
    return msgspec.msgpack.encode(track)
