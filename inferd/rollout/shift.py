"""How far the means of an output of floats lie from those of the stable version, in spreads of the stable output.

    the first LEARNED_AFTER requests   teach the spread: the standard deviation of all elements of the stable responses
    each later request                 adds one number for each place on the last axis: the mean difference there, over that spread

The spread is frozen, so that no later response moves the measure that it is taken with. Each place has a mean, because the mean of all
probabilities of a softmax is the same whatever it says. Whole numbers and text have no mean that tells anything. Never in here:
decisions, how responses come here.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from inferd.compare.outputs import Rule, tolerance_of
from inferd.compare.statistics import MeanShift
from inferd.tensors import Array, as_numbers, is_fraction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LEARNED_AFTER = 200  # requests
MAX_PLACES = 64  # on the last axis; with more, and in an output of one axis, all elements have one mean
LARGEST = 1e100  # a larger value counts as this one: its square has to be a number, too


class OutputShift(msgspec.Struct):
    """One output, in all requests so far."""

    alpha: float  # the probability that the band of any place is wrong at any time
    places: list[MeanShift] = []  # none until the spread is frozen
    width: int = 0  # places in each response that taught the spread; 1: all elements have one mean; 0: none came yet
    learned: int = 0  # requests that the spread is made of
    values: int = 0  # their elements
    center: float = 0.0  # the mean of these
    squares: float = 0.0  # the sum of their squared distances to it
    spread: float = 0.0  # 0: it is not frozen yet

    def __post_init__(self) -> None:
        """Raises ValueError for figures that no responses make: a file may hold them."""
        if self.spread < 0 or (self.places and not self.spread) or min(self.width, self.learned, self.values, self.squares) < 0:
            raise ValueError("spread, width, learned, values, squares: expected numbers from 0, and a spread where there are places")

    def add(self, expected: Array, got: Array, word: str) -> None:
        """One request: arrays of one shape, of the stable version and of the candidate. word: their datatype."""
        if not expected.size:
            return
        expected, got = as_numbers(expected, word), as_numbers(got, word)
        if not self.places:
            self._learn(expected, word)
            return
        places = len(self.places)
        with np.errstate(invalid="ignore", over="ignore"):
            alike = (expected == got) | (np.isnan(expected) & np.isnan(got))
            differences = np.where(alike, 0.0, got - expected)
            # A response with other places than those that taught the spread counts for each with the mean of all its elements.
            of_places = differences.reshape(-1, places if width_of(expected) == places else 1)
            means = np.broadcast_to(of_places.mean(axis=0) / self.spread, places)
        for place, mean in zip(self.places, means.tolist(), strict=True):
            place.add(mean)

    def share(self, alpha: float) -> None:
        """Gives the output this alpha: any of its places may raise a false alarm."""
        self.alpha = alpha
        for place in self.places:
            place.alpha = alpha / len(self.places)

    def worst(self, limit: float) -> tuple[int, MeanShift]:
        """The place that keeps a candidate back most, and its mean: one beyond the limit, else one that may be furthest from 0."""
        if not self.places:
            return 0, MeanShift(self.alpha)
        place = max(range(len(self.places)), key=lambda place: badness(self.places[place], limit))
        return place, self.places[place]

    def _learn(self, expected: Array, word: str) -> None:
        """Adds a request to the spread. Chan, Golub, LeVeque 1979: two sets by their counts, means and sums of squares."""
        finite = np.clip(expected[np.isfinite(expected)], -LARGEST, LARGEST)
        if finite.size:
            count, center = self.values + finite.size, float(finite.mean())
            squares = float(np.square(finite - center).sum())
            self.squares += squares + (center - self.center) ** 2 * self.values * finite.size / count
            self.center += (center - self.center) * finite.size / count
            self.values = count
        width = width_of(expected)
        self.width = width if self.width in (0, width) else 1
        self.learned += 1
        if self.learned >= LEARNED_AFTER:
            absolute, relative = tolerance_of(Rule(), word)  # differences of rounding are no shift where an output hardly varies
            self.spread = max(sqrt(self.squares / max(self.values, 1)), absolute + relative * abs(self.center))
            self.places = [MeanShift(self.alpha / self.width) for _ in range(self.width)]


def width_of(array: Array) -> int:
    """How many places of a response have a mean of their own."""
    return array.shape[-1] if array.ndim > 1 and array.shape[-1] <= MAX_PLACES else 1


def floats_of(outputs: Iterable[tuple[str, str, object]]) -> list[str]:
    """The names of the outputs whose mean tells something. outputs: name, datatype and shape of each."""
    return [name for name, word, _ in outputs if is_fraction(word)]


def worst_of(shifts: Mapping[str, OutputShift], limit: float) -> str:
    """The output that keeps a candidate back most. '': there is none."""
    return max(shifts, key=lambda name: badness(shifts[name].worst(limit)[1], limit), default="")


def badness(mean: MeanShift, limit: float) -> tuple[bool, float]:
    low, high = mean.band()
    return max(low, -high) > limit, max(-low, high)
