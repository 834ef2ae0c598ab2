"""A figure of a model, with the interval that its rows allow.

Never in here: which rows count, how a figure is computed from them.
"""

from __future__ import annotations

from enum import StrEnum
from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

from inferd.compare.statistics import CONFIDENCE, student, wilson

if TYPE_CHECKING:
    from inferd.compare.statistics import Floats

Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
FEW_ROWS = 100  # up to which a mean has the interval of Student's t; its quantile takes time that grows with the rows
MILLIARD = 10**9


class Measure(StrEnum):
    """The names of figures."""

    ACCURACY = "accuracy"
    PRECISION = "precision"
    RECALL = "recall"
    AUC = "auc"
    LOG_LOSS = "log_loss"
    CALIBRATION = "calibration"
    MAE = "mae"
    RMSE = "rmse"
    QUANTILE_LOSS = "quantile_loss"
    BIAS = "bias"


class Figure(NamedTuple):
    """One figure, which is never NaN: a figure that the rows do not define is left out.

    of: the label of its class; "" of all classes. low, high: its interval, at 95 %. rows: those that it rests on.
    """

    name: str
    of: str
    value: float
    low: float
    high: float
    rows: int


def share(name: Measure, of: str, found: int, rows: int) -> Figure:
    """A share of rows, with Wilson's interval (Wilson 1927; Brown, Cai, DasGupta 2001). rows: at least 1."""
    value, low, high = wilson(found, rows, Z)
    return Figure(name, of, value, min(low, value), max(high, value), rows)  # rounding, at 0 and 1


def share_of_variance(name: Measure, of: str, value: float, variance: float, most: float, rows: int) -> Figure:
    """A figure between 0 and 1 whose variance is known: Wilson's interval of as many rows as have this variance.

        value (1 - value) / variance, at most `most`

    So the interval stays within 0 and 1, and is no point where the value is 0 or 1 (Korn, Graubard 1998). most: greater than 0.
    """
    value = min(max(value, 0.0), 1.0)
    spread = value * (1.0 - value)
    count = spread / variance if variance * most > spread else most
    # wilson() takes whole rows. Its interval depends on z^2 / rows alone, so z takes the fraction.
    _, low, high = wilson(round(value * MILLIARD), MILLIARD, Z * sqrt(MILLIARD / count))
    return Figure(name, of, value, min(low, value), max(high, value), rows)


def mean(name: Measure, values: Floats, least: float = 0.0) -> Figure:
    """The mean of one number a row: mean +- t s / sqrt(n), with Student's t, and the normal distribution from FEW_ROWS on.

    values: at least 2. least: no mean is less. Limits: too narrow while a few large values make most of the mean; no width where all
    values are alike.
    """
    rows = len(values)
    middle = float(values.mean())
    times = student(rows - 1, CONFIDENCE) if rows <= FEW_ROWS else Z
    half = times * float(values.std(ddof=1)) / sqrt(rows)
    return Figure(name, "", middle, max(middle - half, least), middle + half, rows)
