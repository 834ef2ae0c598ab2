"""Intervals of figures: by textbooks, by scipy and by drawing rows again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from inferd.compare.statistics import wilson
from inferd.performance.figure import FEW_ROWS, Measure, Z, mean, share, share_of_variance


def test_a_share_has_wilsons_interval() -> None:
    """Newcombe 1998, table I: 81 of 263."""
    assert share(Measure.ACCURACY, "", 81, 263) == (
        "accuracy",
        "",
        81 / 263,
        pytest.approx(0.2553, abs=1e-4),
        pytest.approx(0.3662, abs=1e-4),
        263,
    )


@pytest.mark.parametrize(("found", "rows"), [(1, 3), (12, 40), (999, 1000)])
def test_a_variance_of_independent_rows_has_the_same_interval(found: int, rows: int) -> None:
    value = found / rows
    made = share_of_variance(Measure.AUC, "", value, value * (1 - value) / rows, rows, rows)
    assert made[2:5] == pytest.approx(wilson(found, rows, Z), abs=1e-8)


@pytest.mark.parametrize("value", [0.0, 1.0, 1.0 + 1e-12])
def test_no_variance_is_no_certainty(value: float) -> None:
    made = share_of_variance(Measure.AUC, "", value, 0.0, 8.0, 100)
    assert made[2:5] == pytest.approx(wilson(round(value) * 8, 8, Z), abs=1e-8)


@pytest.mark.parametrize("rows", [2, 5, FEW_ROWS, FEW_ROWS + 1, 5000])
def test_a_mean_has_the_interval_of_student(rows: int) -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, rows)
    low, high = stats.t.interval(0.95, rows - 1, values.mean(), stats.sem(values))
    made = mean(Measure.BIAS, values, least=-np.inf)
    assert made[2:] == (pytest.approx(values.mean()), pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01), rows)


def test_a_mean_of_losses_is_never_below_0() -> None:
    assert mean(Measure.MAE, np.array([0.0, 1.0])).low == 0.0
