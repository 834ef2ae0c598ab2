"""A model's probabilities -> how often the class was true with such a probability, learnt by isotonic regression on labelled rows.

Never in here: figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from inferd.performance.probabilities import shares, usable

if TYPE_CHECKING:
    from inferd.compare.statistics import Floats
    from inferd.tensors import Array


class Curve(msgspec.Struct, frozen=True):
    """Maps the probability of one class to the share of rows that had it.

    Between two thresholds it is a straight line. Beyond them it has the last value.
    """

    thresholds: tuple[float, ...]  # rising
    values: tuple[float, ...]  # the share of rows with the class, never falling

    def __post_init__(self) -> None:
        """Raises ValueError for a curve that no labels make: a file may hold it."""
        thresholds, values = np.array(self.thresholds, np.float64), np.array(self.values, np.float64)
        if not len(values) or len(values) != len(thresholds):
            raise ValueError("thresholds, values: expected as many of both, and at least one")
        if not ((values >= 0) & (values <= 1)).all() or (np.diff(values) < 0).any():
            raise ValueError("values: expected numbers from 0 to 1, none below the one before")
        if not np.isfinite(thresholds).all() or not (np.diff(thresholds) > 0).all():
            raise ValueError("thresholds: expected finite numbers, each above the one before")

    def at(self, probabilities: Floats) -> Floats:
        found: Floats = np.interp(probabilities, self.thresholds, self.values)
        return found


class Calibration(msgspec.Struct, frozen=True):
    """The curves of a model. Two classes have one curve, of the second class; more have one each."""

    curves: tuple[Curve, ...]
    rows: int  # that it was learnt from

    def __post_init__(self) -> None:
        """Raises ValueError for a calibration that no labels make: a file may hold it."""
        if len(self.curves) in (0, 2) or self.rows < 1:
            raise ValueError("curves, rows: expected one curve of two classes, or one of each of at least three, and at least one row")

    @property
    def classes(self) -> int:
        return 2 if len(self.curves) == 1 else len(self.curves)

    def applied(self, probabilities: Floats) -> Floats:
        """Calibrated probabilities (rows, classes), each row with a sum of 1. Rows that are not `usable` must not be in it.

        Where the curves of all classes say 0, the model's own probabilities stay.
        """
        if len(self.curves) == 1:
            ones = self.curves[0].at(probabilities[:, 1])
            return np.column_stack([1.0 - ones, ones])
        found = np.column_stack([curve.at(probabilities[:, place]) for place, curve in enumerate(self.curves)])
        return shares(np.where(found.any(axis=1, keepdims=True), found, probabilities))


def calibrated(truth: Array, probabilities: Array) -> Calibration | None:
    """Learns from the labelled rows of a reference; None where no row counts.

    truth: places of classes, (rows,). probabilities: (rows, classes), at least two classes. Rows with an unknown label, or NaN, infinite
    or negative numbers, or zeros alone do not count. Isotonic regression as calibration: Zadrozny, Elkan 2002. Limits: it wants some 1,000
    rows (Niculescu-Mizil, Caruana 2005), and none that the model was trained on. Raises ValueError where the shapes do not fit.
    """
    places = np.asarray(truth, np.int64)
    if np.ndim(probabilities) != 2 or places.shape != np.shape(probabilities)[:1] or np.shape(probabilities)[1] < 2:
        raise ValueError(f"expected a place a row and a probability a class, got shapes {places.shape} and {np.shape(probabilities)}")
    numbers, count = usable(probabilities)
    size = numbers.shape[1]
    count &= (places >= 0) & (places < size)
    if not count.any():
        return None
    places, numbers = places[count], numbers[count]
    wanted = [1] if size == 2 else range(size)
    return Calibration(tuple(isotonic(numbers[:, place], (places == place).astype(np.float64)) for place in wanted), len(places))


def isotonic(scores: Floats, values: Floats) -> Curve:
    """The curve that never falls and has the least squared distance to the values: pool adjacent violators (Ayer et al. 1955).

    Rows with one score are one point. Each pass pools all runs of neighbours that do not rise, until all rise. scores: at least one.
    """
    thresholds, place = np.unique(scores, return_inverse=True)
    weights, sums = np.bincount(place).astype(np.float64), np.bincount(place, values)
    first = np.arange(len(thresholds))  # threshold of each block
    while True:
        means = sums / weights
        starts = np.flatnonzero(np.append(True, means[1:] > means[:-1]))
        if len(starts) == len(means):
            break
        weights, sums, first = np.add.reduceat(weights, starts), np.add.reduceat(sums, starts), first[starts]
    last = np.append(first[1:], len(thresholds)) - 1
    ends = np.unique(np.concatenate([first, last]))
    block = np.searchsorted(first, ends, side="right") - 1
    return Curve(tuple(thresholds[ends].tolist()), tuple(np.clip(means[block], 0.0, 1.0).tolist()))
