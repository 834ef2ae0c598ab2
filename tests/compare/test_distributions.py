"""Distances between samples against scipy, and what chance explains against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from inferd.compare.distributions import chi_squared, chi_squared_above, distance, jensen_shannon, likelihood_ratio

COUNTS = st.lists(st.integers(5, 1000), min_size=2, max_size=40)


@given(st.floats(0, 3000), st.integers(1, 2000))
def test_the_tail_is_scipys(value: float, freedom: int) -> None:
    assert chi_squared_above(value, freedom) == pytest.approx(stats.chi2.sf(value, freedom), rel=1e-9, abs=1e-14)


def test_without_freedom_nothing_is_a_surprise() -> None:
    assert (chi_squared_above(100.0, 0), chi_squared_above(0.0, 3)) == (1.0, 1.0)


@given(COUNTS, st.integers(0, 2**32))
def test_of_full_bins_the_p_value_is_scipys(one: list[int], seed: int) -> None:
    other = np.random.default_rng(seed).integers(20, 500, len(one)).astype(float)
    table = np.array([one, other], dtype=float)
    if stats.contingency.expected_freq(table).min() >= 5:
        assert chi_squared(table[0], table[1]) == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue, rel=1e-8, abs=1e-14)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)).filter(any), min_size=2, max_size=9))
def test_the_likelihood_ratio_is_scipys(pairs: list[tuple[int, int]]) -> None:
    table = np.array(pairs, float).T
    if table.sum(axis=1).all():
        expected = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood").pvalue
        assert likelihood_ratio(table[0], table[1]) == pytest.approx(expected, rel=1e-8, abs=1e-14)


def test_rare_bins_count_as_one() -> None:
    one, other = np.array([500.0, 400.0, 3.0, 2.0, 4.0, 6.0]), np.array([510.0, 380.0, 1.0, 2.0, 5.0, 4.0])
    pooled = np.array([[500.0, 400.0, 15.0], [510.0, 380.0, 12.0]])
    assert chi_squared(one, other) == pytest.approx(stats.chi2_contingency(pooled).pvalue)


@pytest.mark.parametrize("bins", [[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [1.0]])
def test_few_rows_are_never_a_surprise(bins: list[float]) -> None:
    assert chi_squared(np.array(bins), np.array(bins)[::-1]) > 0.1


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=40))
def test_the_distance_is_scipys(pairs: list[tuple[int, int]]) -> None:
    one, other = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    found = distance(one, other)
    if not one.sum() or not other.sum():
        assert found == (0.0, 0.0, 1.0)
        return
    assert found.js == pytest.approx(float(np.nan_to_num(jensenshannon(one, other, base=2))), abs=1e-7)
    assert 0 <= found.effect <= found.js
    assert found == distance(other, one)


def test_apart_is_1_and_equal_is_0() -> None:
    one, other = np.array([50.0, 0.0]), np.array([0.0, 9.0])
    assert (jensen_shannon(one, other), jensen_shannon(one, 3 * one)) == (1.0, 0.0)


@pytest.mark.parametrize(("rows", "bins"), [(250, 18), (1000, 18), (1000, 34)])
def test_chance_explains_the_distance_of_samples_of_one_distribution(rows: int, bins: int) -> None:
    numbers = np.random.default_rng(rows + bins)
    shares = numbers.dirichlet(np.full(bins, 20.0))
    samples = [(numbers.multinomial(20_000, shares).astype(float), numbers.multinomial(rows, shares).astype(float)) for _ in range(300)]
    found = [distance(*pair) for pair in samples]
    mean = math.sqrt(np.mean([each.js**2 for each in found]))
    assert mean == pytest.approx(math.sqrt((bins - 1) * (1 / 20_000 + 1 / rows) / (8 * math.log(2))), rel=0.08)
    assert not any(each.effect > 0.1 and each.p < 0.001 for each in found)
    assert sum(each.p < 0.05 for each in found) / len(found) == pytest.approx(0.05, abs=0.04)
