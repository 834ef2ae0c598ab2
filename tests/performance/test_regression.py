"""Figures of numbers against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from inferd.performance.regression import figures


def named(*arguments):
    found = {each.name: each for each in figures(*arguments)}
    for each in found.values():
        assert all(map(math.isfinite, each[2:5]))
        assert each.low <= each.value <= each.high
    return found


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.95])
def test_as_scikit_learn(quantile: float) -> None:
    rng = np.random.default_rng(7)
    truth = rng.normal(size=500)
    predicted = truth + rng.gamma(1.0, size=500)
    found = named(truth, predicted, quantile)
    assert found["mae"].value == pytest.approx(metrics.mean_absolute_error(truth, predicted))
    assert found["rmse"].value == pytest.approx(metrics.root_mean_squared_error(truth, predicted))
    assert found["quantile_loss"].value == pytest.approx(metrics.mean_pinball_loss(truth, predicted, alpha=quantile))
    assert found["bias"].value == pytest.approx((predicted - truth).mean())
    assert {each.rows for each in found.values()} == {500}


def test_intervals_hold_the_true_values() -> None:
    rng = np.random.default_rng(8)
    true = {"mae": math.sqrt(2 / math.pi), "rmse": 1.0, "quantile_loss": math.sqrt(2 / math.pi) / 2, "bias": 0.0}
    held = dict.fromkeys(true, 0)
    for _ in range(300):
        for name, figure in named(np.zeros(60), rng.normal(size=60)).items():
            held[name] += figure.low <= true[name] <= figure.high
    assert min(held.values()) >= 0.92 * 300


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(rows: int) -> None:
    assert figures(np.ones(rows), np.ones(rows)) == []


def test_identical_predictions() -> None:
    assert {each[2:5] for each in figures(np.ones(9), np.ones(9))} == {(0.0, 0.0, 0.0)}


def test_rows_that_are_no_numbers_do_not_count() -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 1e200])
    truth, predicted = np.concatenate([[1.0, 2.0], odd, np.ones(4)]), np.concatenate([[2.0, 4.0], np.ones(4), odd])
    assert figures(truth, predicted) == figures(truth[:2], predicted[:2])


@pytest.mark.parametrize(("truth", "predicted", "quantile"), [([1, 2], [1], 0.5), ([[1]], [[1]], 0.5), ([1], [1], 0.0), ([1], [1], 1.0)])
def test_bad_arguments(truth, predicted, quantile: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        figures(np.array(truth), np.array(predicted), quantile)
