"""One step of an output's list while the list is compiled: what it is given, what it gives, and how its errors begin.

Never in here: what any step does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from inferd.errors import ConfigError
from inferd.steps.labels import read_labels
from inferd.steps.pipeline import Array, EntryPlace, TensorType

# An array and the run's inputs by the graph's names -> the array after the step; rows first.
Run = Callable[[Array, Mapping[str, Array]], Array]


class At(NamedTuple):
    """One step of a list, and what comes to it."""

    place: EntryPlace
    number: int  # of the step, from 0
    word: str  # the step's name
    name: str  # of the output that clients see
    kind: TensorType  # what the step before gives
    before: str = ""  # the name of the step before; empty: it is the first

    def wrong(self, why: str) -> ConfigError:
        return self.place.wrong(self.number, self.word, why)

    def size(self, axis: int, why: str) -> int:
        """The size of an axis, counted from 0. Raises ConfigError where the graph leaves it open; `why` says what it is needed for."""
        if self.kind.shape[axis] < 0:
            raise self.wrong(
                f"it is given {self.kind}, whose {self.called(axis)} has no fixed size, and needs it {why}: write the size into the "
                f"output's dims in the configuration, or export the graph with it"
            )
        return self.kind.shape[axis]

    def called(self, axis: int) -> str:
        return "last axis" if axis == len(self.kind.shape) - 1 else f"axis {axis}"

    def labels(self, file: str) -> Array | None:
        """The step's labels, if it has any."""
        return read_labels(self.place.file(self.number, self.word, file), self.wrong) if file else None


class Inner(NamedTuple):
    """A step that others may follow."""

    kind: TensorType
    run: Run


class Last(NamedTuple):
    """A step that gives several tensors, or none."""

    outputs: tuple[tuple[str, TensorType], ...]
    run: Callable[[Array], list[Array]]
