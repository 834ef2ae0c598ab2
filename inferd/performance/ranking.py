"""The area under the ROC curve: how likely a row of a class has a higher score than a row of another class.

Labels are given as weights: 1 where a row has the class, 0 where not, and a probability where nobody knows. So one formula has the AUC of
labels and the expected one of estimates.

Never in here: calibration, thresholds, what the scores are.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inferd.compare.statistics import Floats, Integers

ROUNDING = 1e-9  # of the number of pairs


class Ranking(NamedTuple):
    """An AUC, and what its interval is made of. rows: an AUC of 1 is worth so many independent rows."""

    auc: float
    rows: float
    parts: Floats  # of each row in the error of the AUC, if rows are drawn again; the labels are known
    slopes: Floats  # the AUC's derivative by each row's weight


def ranking(scores: Floats, weights: Floats) -> Ranking | None:
    """The AUC of one class against the rest; None where all rows have one label.

        sum of w_i (1 - w_j) h(s_i - s_j) / sum of w_i (1 - w_j), i <> j; h = 0, 1/2 or 1

    A tie counts as half (Mann, Whitney 1947: mid-ranks). The parts are those of DeLong, DeLong, Clarke-Pearson (1988): their squares add up
    to the variance. rows: 4 m n / (m + n + 2) for m rows of the class and n of the rest. That is the variance of Hanley and McNeil (1982)
    near 1 (Newcombe 2006, method 5).
    """
    others = 1.0 - weights
    ones, rest = float(weights.sum()), float(others.sum())
    pairs = ones * rest - float(weights @ others)  # a row makes no pair with itself
    if pairs <= ROUNDING * ones * rest:
        return None
    _, place = np.unique(scores, return_inverse=True)
    won = _below(place, others) - others / 2  # against rows of the rest
    lost = ones - _below(place, weights) - weights / 2  # to rows of the class
    auc = float(weights @ won) / pairs
    parts = weights * (won / rest - auc) / sqrt(ones * max(ones - 1, 1)) + others * (lost / ones - auc) / sqrt(rest * max(rest - 1, 1))
    slopes = (won - lost - auc * (rest - ones + 2 * weights - 1)) / pairs
    return Ranking(auc, 4 * pairs / (ones + rest + 2), parts, slopes)


def _below(place: Integers, weights: Floats) -> Floats:
    """The weight of all rows with a lower score, and half the weight of those with the same."""
    held = np.bincount(place, weights)
    found: Floats = (np.cumsum(held) - held / 2)[place]
    return found


def macro(rankings: Sequence[Ranking]) -> tuple[float, float]:
    """The mean AUC of classes, and the independent rows that a mean of 1 is worth. rankings: at least one."""
    count = len(rankings)
    return sum(each.auc for each in rankings) / count, count / sum(1 / each.rows for each in rankings)
