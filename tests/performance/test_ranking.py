"""The AUC against a loop over pairs and scikit-learn; its variance against DeLong's matrices and against rows drawn again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from inferd.performance.ranking import macro, ranking


def by_pairs(scores, weights) -> float | None:
    """The formula, pair by pair."""
    won = pairs = 0.0
    for i, (one, weight) in enumerate(zip(scores, weights, strict=True)):
        for j, (other, its) in enumerate(zip(scores, weights, strict=True)):
            if i != j:
                pairs += weight * (1 - its)
                won += weight * (1 - its) * ((one > other) + (one == other) / 2)
    return won / pairs if pairs > 1e-9 else None


def delong(scores, labels) -> float:
    """The variance as the paper has it: of the kernel's means of each row."""
    ones, rest = scores[labels == 1], scores[labels == 0]
    kernel = (ones[:, None] > rest) + (ones[:, None] == rest) / 2
    return float(kernel.mean(axis=1).var(ddof=1) / len(ones) + kernel.mean(axis=0).var(ddof=1) / len(rest))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0])), max_size=12))
def test_as_pair_by_pair(rows) -> None:
    scores, weights = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows], float)
    expected, found = by_pairs(scores, weights), ranking(scores, weights)
    assert (found is None) == (expected is None)
    if found is not None:
        assert found.auc == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("share", [0.5, 0.02])
@pytest.mark.parametrize("step", [0.0, 0.5])
def test_labels_as_scikit_learn_and_delong(share: float, step: float) -> None:
    rng = np.random.default_rng(3)
    labels = (rng.random(2000) < share).astype(float)
    scores = rng.normal(labels)
    scores = np.round(scores / step) * step if step else scores
    found = ranking(scores, labels)
    assert found is not None
    assert found.auc == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert found.parts @ found.parts == pytest.approx(delong(scores, labels), rel=1e-9)


def test_slopes_are_the_derivative() -> None:
    rng = np.random.default_rng(4)
    scores, weights = rng.integers(0, 9, 30).astype(float), rng.random(30)
    found = ranking(scores, weights)
    assert found is not None
    for row in range(30):
        step = np.zeros(30)
        step[row] = 1e-6
        up, down = by_pairs(scores, weights + step), by_pairs(scores, weights - step)
        assert up is not None
        assert down is not None
        assert found.slopes[row] == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("weights", [[], [1.0], [0.3], [1.0, 1.0], [0.0, 0.0, 0.0]])
def test_one_label_has_none(weights) -> None:
    assert ranking(np.arange(len(weights), dtype=float), np.array(weights, float)) is None


def test_the_mean_of_classes_is_worth_the_rows_of_the_poor_ones() -> None:
    labels = np.array([1.0] * 10 + [0.0] * 10)
    good, poor = ranking(labels, labels), ranking(labels, np.eye(20)[0])
    assert good is not None
    assert poor is not None
    value, rows = macro([good, poor])
    assert value == pytest.approx((good.auc + poor.auc) / 2)
    assert poor.rows < rows < good.rows
