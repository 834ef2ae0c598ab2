"""Figures of a model while labels are missing: what its own predictions lead one to expect, from what labels said of a reference.

CBPE (confidence-based performance estimation) for classes, DLE (direct loss estimation) for numbers: NannyML's documentation, "How
performance is estimated". The intervals say where the figures of these rows are expected, if ASSUMPTION holds. They have two parts: the
labels of the rows, which come by chance, and the finite reference.

Never in here: labels of the rows whose figures are estimated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from inferd.performance.figure import Figure, Measure, Z, share_of_variance
from inferd.performance.probabilities import usable
from inferd.performance.ranking import macro, ranking
from inferd.performance.regression import complete, numbers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inferd.compare.statistics import Floats, Integers
    from inferd.performance.calibration import Calibration
    from inferd.tensors import Array

ASSUMPTION = "holds while the meaning of an input stays the same: it does not see that labels changed (concept drift)"
BINS = 16  # of predictions, of equal mass on the reference


def of_classes(calibration: Calibration, predicted: Array, probabilities: Array, classes: Sequence[str]) -> list[Figure]:
    """Estimates accuracy, precision, recall and AUC by CBPE. With c_ik the calibrated probability that row i has class k:

        accuracy      mean of c_i,predicted
        precision     the same of the rows that are predicted as k
        recall        sum of c_ik over rows that are predicted as k / sum of c_ik over all rows
        AUC           that of weights c_ik (ranking.py); two classes: of the second one, more: their mean

    predicted: places in `classes`, (rows,). probabilities: (rows, classes). Rows with NaN, infinite or negative numbers, or zeros alone,
    do not count. A class has no recall where less than one row of it is expected. Variances: c (1 - c) a row, by the delta method, times
    1 + rows / reference's rows. Limits: ASSUMPTION, and probabilities that the reference did not have. Each of several classes is
    calibrated by its own probability alone, so an estimate may be some hundredths off when data move. Raises ValueError where the shapes
    do not fit.
    """
    places, size = np.asarray(predicted, np.int64), len(classes)
    if places.ndim != 1 or np.shape(probabilities) != (len(places), size) or calibration.classes != size:
        raise ValueError(
            f"expected a place a row and {calibration.classes} classes, "
            f"got shapes {places.shape} and {np.shape(probabilities)}, and {size} classes"
        )
    given, count = usable(probabilities)
    places, given = places[count], given[count]
    if not len(places):
        return []
    expected, more = calibration.applied(given), 1.0 + len(places) / calibration.rows
    return [*_confusion(expected, places, classes, more), *_auc(expected, given, classes, more)]


def _confusion(expected: Floats, predicted: Integers, classes: Sequence[str], more: float) -> Iterator[Figure]:
    rows, size = expected.shape
    known = (predicted >= 0) & (predicted < size)
    right = np.where(known, expected[np.arange(rows), np.where(known, predicted, 0)], 0.0)
    yield share_of_variance(Measure.ACCURACY, "", float(right.mean()), more * _spread(right) / rows**2, rows, rows)
    for place, label in enumerate(classes):
        of_class, chosen = expected[:, place], predicted == place
        found, missed = float(of_class[chosen].sum()), float(of_class[~chosen].sum())
        if count := int(chosen.sum()):
            variance = more * _spread(of_class[chosen]) / count**2
            yield share_of_variance(Measure.PRECISION, label, found / count, variance, count, count)
        if (occurring := found + missed) >= 1.0:
            recall = found / occurring
            variance = (1 - recall) ** 2 * _spread(of_class[chosen]) + recall**2 * _spread(of_class[~chosen])
            yield share_of_variance(Measure.RECALL, label, recall, more * variance / occurring**2, occurring, rows)


def _spread(expected: Floats) -> float:
    """The variance of how many rows of these have the class."""
    return float((expected * (1.0 - expected)).sum())


def _auc(expected: Floats, given: Floats, classes: Sequence[str], more: float) -> Iterator[Figure]:
    places = [1] if len(classes) == 2 else range(len(classes))
    found = {place: each for place in places if (each := ranking(given[:, place], expected[:, place]))}
    if found:
        value, most = macro(list(found.values()))
        slopes = np.column_stack([each.slopes for each in found.values()]) / len(found)
        weighted = expected[:, list(found)] * slopes
        variance = float((weighted * slopes).sum() - (weighted.sum(axis=1) ** 2).sum())  # a row has one class
        of = classes[1] if len(classes) == 2 else ""
        yield share_of_variance(Measure.AUC, of, value, more * max(variance, 0.0), most, len(given))


class ErrorCurve(msgspec.Struct, frozen=True):
    """How large errors were on the reference, by bins of the prediction."""

    edges: tuple[float, ...]  # between bins, rising; a bin has the predictions above the edge before it, up to the one after it
    errors: tuple[float, ...]  # the mean of |predicted - truth|, of each bin
    variances: tuple[float, ...]  # of |predicted - truth| within each bin
    rows: int

    def __post_init__(self) -> None:
        """Raises ValueError for a curve that no labels make: a file may hold it."""
        edges, errors, variances = (np.array(each, np.float64) for each in (self.edges, self.errors, self.variances))
        if len(errors) != len(edges) + 1 or len(variances) != len(errors) or self.rows < 2:
            raise ValueError("edges, errors, variances, rows: expected one edge less than bins, and at least two rows")
        if not numbers(edges).all() or not (np.diff(edges) > 0).all():
            raise ValueError("edges: expected finite numbers, each above the one before")
        if not numbers(errors).all() or not np.isfinite(variances).all() or min(*self.errors, *self.variances) < 0:
            raise ValueError("errors, variances: expected finite numbers, none below 0")


def learnt_errors(truth: Array, predicted: Array) -> ErrorCurve | None:
    """Learns from the labelled rows of a reference, which the model must not have been trained on; None for fewer than two rows.

    Each bin's mean error. Bins have equal mass on the reference, and equal predictions are in one bin. Rows count as in
    `regression.figures`. Raises ValueError where the shapes do not fit.
    """
    expected, given = complete(truth, predicted)
    if len(given) < 2:
        return None
    errors = np.abs(given - expected)
    edges = np.unique(np.quantile(given, np.linspace(0.0, 1.0, BINS + 1)[1:-1]))
    edges = edges[edges < given.max()]  # or the last bin would be empty
    place = np.searchsorted(edges, given)
    counts = np.bincount(place, minlength=len(edges) + 1)
    held = counts > 0
    means = np.bincount(place, errors)[held] / counts[held]
    variances = np.bincount(place, (errors - means[(np.cumsum(held) - 1)[place]]) ** 2)[held] / counts[held]
    return ErrorCurve(tuple(edges[held[:-1]].tolist()), tuple(means.tolist()), tuple(variances.tolist()), len(given))


def of_numbers(curve: ErrorCurve, predicted: Array) -> list[Figure]:
    """Estimates MAE by DLE, in units of the prediction: the mean of the errors of the bins that the predictions are in.

    predicted: (rows,); NaN and numbers beyond 1e18 do not count. Variance: the mean of the bins' / rows, times 1 + rows / reference's rows.
    Limits: ASSUMPTION. It sees that predictions move, and no cause of larger errors that predictions do not show: NannyML's own DLE learns
    from all features instead.
    """
    given = np.asarray(predicted, np.float64)
    if given.ndim != 1:
        raise ValueError(f"predicted: expected one number a row, got shape {given.shape}")
    given = given[numbers(given)]
    if not (rows := len(given)):
        return []
    place = np.searchsorted(np.array(curve.edges, np.float64), given)
    value = float(np.array(curve.errors)[place].mean())
    half = Z * float(np.array(curve.variances)[place].mean() / rows * (1.0 + rows / curve.rows)) ** 0.5
    return [Figure(Measure.MAE, "", value, max(value - half, 0.0), value + half, rows)]
