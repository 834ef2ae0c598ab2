"""Figures of a model that predicts a number, from its predictions and the true values.

Never in here: figures without labels (estimated.py).
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from inferd.compare.statistics import MAX_FIGURE
from inferd.performance.figure import Figure, Measure, mean

if TYPE_CHECKING:
    from inferd.compare.statistics import Floats
    from inferd.tensors import Array


def figures(truth: Array, predicted: Array, quantile: float = 0.5) -> list[Figure]:
    """MAE, RMSE, quantile loss and bias, in units of the prediction; e = predicted - truth.

        MAE   mean of |e|
        RMSE  square root of the mean of e^2
        quantile loss   mean of -quantile e where e < 0, else (1 - quantile) e (Koenker, Bassett 1978); at 1/2 it is MAE / 2
        bias  mean of e; above 0 the model predicts too much

    Intervals are those of means (`figure.mean`); RMSE has the square root of its mean's. truth, predicted: (rows,). Rows with NaN, or a
    number beyond 1e18, do not count. Fewer than two rows have no figures, for they have no interval. Raises ValueError where the shapes
    do not fit each other. Limits: a few large errors make most of RMSE, and its interval is then too narrow.
    """
    if not 0.0 < quantile < 1.0:
        raise ValueError(f"quantile: expected a number between 0 and 1, got {quantile}")
    expected, given = complete(truth, predicted)
    if len(given) < 2:
        return []
    errors = given - expected
    squared = mean(Measure.RMSE, errors**2)
    return [
        mean(Measure.MAE, np.abs(errors)),
        squared._replace(value=sqrt(squared.value), low=sqrt(squared.low), high=sqrt(squared.high)),
        mean(Measure.QUANTILE_LOSS, np.maximum(-quantile * errors, (1.0 - quantile) * errors)),
        mean(Measure.BIAS, errors, least=-np.inf),
    ]


def complete(truth: Array, predicted: Array) -> tuple[Floats, Floats]:
    """The rows that count, as float64. Raises ValueError."""
    expected, given = np.asarray(truth, np.float64), np.asarray(predicted, np.float64)
    if expected.shape != given.shape or given.ndim != 1:
        raise ValueError(f"truth and predicted: expected one number a row, got shapes {expected.shape} and {given.shape}")
    count = numbers(expected) & numbers(given)
    return expected[count], given[count]


def numbers(values: Floats) -> Array:
    """Which values are finite, and so are their squares."""
    found: Array = np.abs(values) <= MAX_FIGURE  # NaN is not
    return found
