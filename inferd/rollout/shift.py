"""How far the mean of an output of floats lies from that of the stable version, in spreads of the stable output.

    the first LEARNED_AFTER requests   teach the spread: the standard deviation of all elements of the stable responses
    each later request                 adds one number: the mean difference of its elements, over that spread

The spread is frozen, so that no later response moves the measure that it is taken with. Whole numbers and text have no mean that tells
anything. Never in here: decisions, how responses come here.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from inferd.diff.outputs import Rule, as_numbers, tolerance_of
from inferd.rollout.evidence import MeanShift

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["LEARNED_AFTER", "OutputShift", "floats_of", "worst_of"]

Array = np.ndarray[Any, np.dtype[Any]]

LEARNED_AFTER = 200  # requests
FLOATS = frozenset({"FP16", "BF16", "FP32", "FP64"})
LARGEST = 1e100  # a larger value counts as this one: its square has to be a number, too


class OutputShift(msgspec.Struct):
    """One output, in all requests so far."""

    mean: MeanShift  # the band of the shift
    learned: int = 0  # requests that the spread is made of
    values: int = 0  # their elements
    center: float = 0.0  # the mean of these
    squares: float = 0.0  # the sum of their squared distances to it
    spread: float = 0.0  # 0: it is not frozen yet

    def add(self, expected: Array, got: Array, word: str) -> None:
        """One request: arrays of one shape, of the stable version and of the candidate. word: their datatype."""
        if not expected.size:
            return
        expected, got = as_numbers(expected, word), as_numbers(got, word)
        if not self.spread:
            self._learn(expected, word)
            return
        with np.errstate(invalid="ignore", over="ignore"):
            alike = (expected == got) | (np.isnan(expected) & np.isnan(got))
            self.mean.add(float(np.where(alike, 0.0, got - expected).mean() / self.spread))

    def _learn(self, expected: Array, word: str) -> None:
        """Adds a request to the spread. Chan, Golub, LeVeque 1979: two sets by their counts, means and sums of squares."""
        finite = np.clip(expected[np.isfinite(expected)], -LARGEST, LARGEST)
        if finite.size:
            count, center = self.values + finite.size, float(finite.mean())
            squares = float(np.square(finite - center).sum())
            self.squares += squares + (center - self.center) ** 2 * self.values * finite.size / count
            self.center += (center - self.center) * finite.size / count
            self.values = count
        self.learned += 1
        if self.learned >= LEARNED_AFTER:
            absolute, relative = tolerance_of(Rule(), word)  # differences of rounding are no shift where an output hardly varies
            self.spread = max(sqrt(self.squares / max(self.values, 1)), absolute + relative * abs(self.center))


def floats_of(outputs: Iterable[tuple[str, str, object]]) -> list[str]:
    """The names of the outputs whose mean tells something. outputs: name, datatype and shape of each."""
    return [name for name, word, _ in outputs if word in FLOATS]


def worst_of(shifts: Mapping[str, OutputShift], limit: float) -> str:
    """The output that keeps a candidate back most: one beyond the limit, else one that may be furthest from 0. '': there is none."""

    def badness(name: str) -> tuple[bool, float]:
        low, high = shifts[name].mean.band()
        return max(low, -high) > limit, max(-low, high)

    return max(shifts, key=badness, default="")
