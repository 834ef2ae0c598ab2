"""A feature's reference, learned from values: bins, shares and scores, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from inferd._core.monitor.feature_counts import Reading
from inferd.monitor.feature import Kind
from inferd.monitor.learning import FARTHEST_SCORE, LEVELS, MOST_TEXTS, binned, learn, learn_waves
from tests.monitor.profiles import element, learned

VALUES = np.random.default_rng(0).lognormal(3.0, 1.0, 5000)


def test_edges_are_quantiles_and_the_outermost_bins_are_empty() -> None:
    found = learned(VALUES)
    assert (found.kind, found.rows, len(found.at), len(found.shares)) == (Kind.RANGES, 5000, len(LEVELS), len(LEVELS) + 1)
    assert found.at[:-1] == pytest.approx(np.quantile(VALUES, LEVELS[:-1], method="inverted_cdf"))
    assert (found.shares[0], found.shares[-1], sum(found.shares)) == (0.0, 0.0, pytest.approx(1.0))
    assert (found.low, found.high) == (VALUES.min(), VALUES.max())
    assert (found.centre, found.scale) == (pytest.approx(VALUES.mean()), pytest.approx(VALUES.std()))
    assert np.bincount(binned(found, VALUES), minlength=len(found.shares)) / 5000 == pytest.approx(found.shares)


def test_few_numbers_are_bins_of_their_own() -> None:
    found = learned(np.array([3.0, 1.0, 1.0, 7.0]))
    assert (found.kind, found.at, found.shares) == (Kind.VALUES, (1.0, 3.0, 7.0), (0.5, 0.25, 0.25, 0.0))
    assert binned(found, np.array([7.0, 2.0, 0.0, np.nan, 1.0])).tolist() == [2, 3, 3, -1, 0]


@pytest.mark.parametrize(
    ("values", "bins", "scale"),
    [
        (np.full(50, 2.0), 2, 1.0),
        (np.full(50, np.nan), 1, 1.0),
        (np.concatenate([np.zeros(4000), np.arange(1000.0)]), None, None),
        (np.array([-1e300, 1e300] * 50), 3, None),
        (np.array([5e-324] * 10 + [0.0] * 10), 3, None),
    ],
)
def test_odd_values(values: np.ndarray, bins: int | None, scale: float | None) -> None:
    found = learned(values)
    assert len(found.shares) == len(found.at) + 1 == (bins or len(found.shares))
    assert len(found.scores) == len(found.shares) + 1
    assert np.isfinite(found.scores).all()
    assert found.scale > 0 if scale is None else found.scale == scale
    assert (np.diff(found.at) > 0).all()


def test_missing_and_repeats_are_shares() -> None:
    found = learned(np.array([1.0, np.nan, np.inf, 2.0]), repeats=1)
    assert (found.missing, found.repeats) == (0.5, 0.25)


def test_texts_by_frequency() -> None:
    found = learned(np.array([0.0, 1, 1, 2, 1, np.nan] * 2), texts=["a", "b", "c"], reading=Reading.TEXT)
    assert (found.kind, found.texts, found.missing) == (Kind.TEXTS, ("b", "a", "c"), pytest.approx(1 / 6))
    assert found.shares == pytest.approx((0.6, 0.2, 0.2, 0.0))


def test_ten_thousand_categories_keep_the_most_frequent() -> None:
    rng = np.random.default_rng(1)
    values = np.floor(rng.pareto(1.0, 100_000) * 30) % 10_000
    texts = [f"c{number}" for number in range(10_000)]
    found = learned(values, texts=texts, reading=Reading.TEXT)
    assert len(found.texts) == MOST_TEXTS
    assert 0.01 < found.shares[-1] < 0.5
    assert sum(found.shares) == pytest.approx(1.0)


def test_free_text_is_no_category() -> None:
    values = np.arange(1000.0)
    assert learn(element(reading=Reading.TEXT), values, 0, [str(number) for number in range(1000)]) is None


def test_scores_are_lowest_where_rows_are_dense() -> None:
    found = learned(np.random.default_rng(2).normal(size=20_000))
    score = np.asarray(found.scores)[binned(found, np.array([0.0, 1.5, 3.0, 9.0]))]
    assert score[0] < 0.3 < score[1] < score[2] < score[3] <= FARTHEST_SCORE


def test_waves_have_a_mean_and_a_covariance() -> None:
    rows = np.random.default_rng(3).normal(size=(200, 4))
    rows[7] = np.nan
    found = learn_waves(element(reading=Reading.WAVES, kind=Kind.WAVES, elements=9), rows, 1.0, 2.0)
    kept = np.delete(rows, 7, axis=0)
    assert found.means == pytest.approx(kept.mean(axis=0))
    assert np.reshape(found.covariance, (4, 4)) == pytest.approx(np.cov(kept, rowvar=False))
    assert (found.rows, found.missing, found.centre, found.scale) == (200, pytest.approx(0.005), 1.0, 2.0)
