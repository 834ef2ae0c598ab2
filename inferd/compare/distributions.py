"""Two samples of one number, counted in the same bins: how far apart they are, and whether that is more than chance.

Never in here: how values fall into bins, thresholds, windows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from inferd.compare.statistics import Floats

FEWEST = 5.0  # rows that a bin of either sample is expected to have; rarer bins count as one
TERMS = 10_000  # of a series; about ten times the square root of the degrees of freedom are needed


class Distance(NamedTuple):
    """js: the Jensen-Shannon distance, from 0 to 1. effect: the same without the part that chance explains. p: of the chi-squared test."""

    js: float
    effect: float
    p: float


def distance(one: Floats, other: Floats) -> Distance:
    """Compares two samples by their counts in the same bins. Shape of both: (bins,).

    A small sample lies away from any other by chance alone. Take n and m rows of one distribution over B bins that have rows. The mean of
    their squared Jensen-Shannon distance is (B - 1) (1/n + 1/m) / (8 ln 2). `effect` is the distance once this is subtracted. A sample
    without rows is at a distance of 0, with p = 1.
    """
    rows, other_rows = float(one.sum()), float(other.sum())
    if not rows or not other_rows:
        return Distance(0.0, 0.0, 1.0)
    divergence = jensen_shannon(one, other)
    filled = int(((one + other) > 0).sum())
    chance = (filled - 1) * (1 / rows + 1 / other_rows) / (8 * math.log(2))
    return Distance(math.sqrt(divergence), math.sqrt(max(divergence - chance, 0.0)), chi_squared(one, other))


def jensen_shannon(one: Floats, other: Floats) -> float:
    """The Jensen-Shannon divergence in bits, from 0 to 1, of two samples that have rows (Lin 1991). Its square root is a distance."""
    p, q = one / one.sum(), other / other.sum()
    middle = (p + q) / 2

    def divergence(share: Floats) -> float:
        there = share > 0
        return float((share[there] * np.log2(share[there] / middle[there])).sum())

    return min(max((divergence(p) + divergence(q)) / 2, 0.0), 1.0)


def chi_squared(one: Floats, other: Floats) -> float:
    """The p-value of Pearson's test that two samples with rows are of one distribution.

    Bins where either sample is expected to have fewer than FEWEST rows count as one. If that one is too small, the smallest bin joins.
    """
    both = one + other
    rows, other_rows = float(one.sum()), float(other.sum())
    rare = both * min(rows, other_rows) / (rows + other_rows) < FEWEST
    kept = [(float(a), float(b)) for a, b in zip(one[~rare], other[~rare], strict=True)]
    if rare.any() and (pooled := (float(one[rare].sum()), float(other[rare].sum()))) != (0.0, 0.0):
        if kept and sum(pooled) * min(rows, other_rows) / (rows + other_rows) < FEWEST:
            smallest = min(range(len(kept)), key=lambda place: sum(kept[place]))
            pooled = (pooled[0] + kept[smallest][0], pooled[1] + kept[smallest][1])
            del kept[smallest]
        kept.append(pooled)
    weight, other_weight = math.sqrt(other_rows / rows), math.sqrt(rows / other_rows)
    total = sum((weight * a - other_weight * b) ** 2 / (a + b) for a, b in kept)
    return chi_squared_above(total, len(kept) - 1)


def likelihood_ratio(one: Floats, other: Floats) -> float:
    """The p-value of the G-test that two samples with rows are of one distribution: twice the logarithm of the ratio of their likelihoods.
    Bins may be rare in one of them, unlike in `chi_squared`."""
    both, rows = one + other, float(one.sum() + other.sum())
    total = 0.0
    for sample in (one, other):
        there = sample > 0
        total += float((sample[there] * np.log(sample[there] / (both[there] * sample.sum() / rows))).sum())
    return chi_squared_above(2 * total, int((both > 0).sum()) - 1)


def chi_squared_above(value: float, freedom: int) -> float:
    """How likely a chi-squared variable is above a value: the incomplete gamma function Q(freedom/2, value/2). Without freedom: 1.

    By its series below freedom/2 + 1, and by its continued fraction above (Abramowitz, Stegun 6.5.29 and 6.5.31, by Lentz's method).
    """
    a, x = freedom / 2, value / 2
    if freedom <= 0 or x <= 0:
        return 1.0
    scale = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        for step in range(1, TERMS):
            term *= x / (a + step)
            total += term
            if term < total * 1e-16:
                break
        return max(1 - scale * total, 0.0)
    below = x + 1 - a
    upper, lower = 1e300, 1 / below
    fraction = lower
    for step in range(1, TERMS):
        factor = -step * (step - a)
        below += 2
        lower = 1 / ((factor * lower + below) or 1e-300)
        upper = (below + factor / upper) or 1e-300
        change = upper * lower
        fraction *= change
        if abs(change - 1) < 1e-15:
            break
    return min(scale * fraction, 1.0)
