"""Evidence by simulation: streams that are looked at after every few requests, so that a test for a fixed number would fail here.

Intervals and tests by textbooks, exact sums and scipy.
"""

from __future__ import annotations

import math
from fractions import Fraction
from math import log
from statistics import NormalDist

import numpy as np
import pytest

from inferd.compare.statistics import (
    GROUPS,
    Excess,
    MeanShift,
    binomial_at_most,
    clopper_pearson,
    hodges_lehmann,
    mcnemar,
    quantile_threshold,
    rate_band,
    rate_evidence,
    student,
    wilson,
)

RNG = np.random.default_rng(23)
ALPHA = 0.05
STREAMS = 40


Counted = tuple[np.ndarray, np.ndarray]


def of_groups(counts: np.ndarray, events: np.ndarray) -> Counted:
    """Counts of each group of keys, and none without a key."""
    return np.append(counts, 0), np.append(events, 0)


def keyless(count: int, events: int) -> Counted:
    nothing = np.zeros(GROUPS, np.int64)
    return np.append(nothing, count), np.append(nothing, events)


def accused(excess: Excess) -> bool:
    return excess.evidence() >= -log(ALPHA)


class TestOneRate:
    def test_a_band_holds_its_rate_at_all_times(self) -> None:
        rng = np.random.default_rng(1)
        missed = 0
        for _ in range(STREAMS):
            events = np.cumsum(rng.random(2000) < 0.03)
            looks = range(50, 2001, 50)
            missed += any(not low <= 0.03 <= high for low, high in (rate_band(int(events[n - 1]), n, ALPHA) for n in looks))
        assert missed <= 0.1 * STREAMS

    @pytest.mark.parametrize(
        ("events", "count", "low", "high"), [(0, 0, 0, 1), (0, 1000, 0, 0.007), (5, 5, 0.415, 1), (50, 100, 0.338, 0.662)]
    )
    def test_a_band_is_as_wide_as_its_formula_says(self, events: int, count: int, low: float, high: float) -> None:
        assert rate_band(events, count, ALPHA) == pytest.approx((low, high), abs=1e-3)

    def test_flips_above_a_limit_are_found_and_flips_at_the_limit_are_not(self) -> None:
        rng = np.random.default_rng(2)

        def found(rate: float, count: int) -> bool:
            events = np.cumsum(rng.random(count) < rate)
            return any(rate_evidence(int(events[n - 1]), n, 0.001) >= -log(ALPHA) for n in range(20, count + 1, 20))

        assert sum(found(0.01, 1000) for _ in range(STREAMS)) >= 0.9 * STREAMS
        assert sum(found(0.001, 5000) for _ in range(STREAMS)) <= 0.1 * STREAMS

    def test_discordant_pairs_that_one_side_wins_are_evidence(self) -> None:
        assert rate_evidence(20, 20, 0.5) > log(1000)
        assert rate_evidence(10, 20, 0.5) < log(3)


class TestExcess:
    """A block of one second is closed by each call. Full tables: benchmarks/rollout_check.py, section clusters."""

    @staticmethod
    def independent(rng: np.random.Generator, share: float, stable_rate: float, rate: float, blocks: int, per: int = 40) -> bool:
        excess = Excess(0.01)
        for _ in range(blocks):
            count = int(rng.binomial(per, share))
            ours, theirs = keyless(count, rng.binomial(count, rate)), keyless(per - count, rng.binomial(per - count, stable_rate))
            excess.add(ours, theirs, 1.0)
            if accused(excess):
                return True
        return False

    @pytest.mark.parametrize(("rate", "least", "most"), [(0.02, 0, 2), (0.03, 0, 2), (0.10, 38, 40)], ids=["equal", "limit", "far above"])
    def test_an_excess_up_to_the_limit_is_no_evidence(self, rate: float, least: int, most: int) -> None:
        rng = np.random.default_rng(3)
        assert least <= sum(self.independent(rng, 0.5, 0.02, rate, 100) for _ in range(STREAMS)) <= most

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
    def test_a_batch_that_fails_as_a_whole_counts_once(self, share: float) -> None:
        """Two batches of a hundred fail, in both versions; all requests of it together."""
        rng, wrong = np.random.default_rng(4), 0
        for _ in range(STREAMS):
            excess = Excess(0.01)
            for _ in range(100):
                n1, n0 = round(40 * share), 40 - round(40 * share)
                excess.add(keyless(n1, n1 * int(rng.random() < 0.02)), keyless(n0, n0 * int(rng.random() < 0.02)), 1.0)
                if accused(excess):
                    wrong += 1
                    break
        assert wrong <= 0.05 * STREAMS

    @pytest.mark.parametrize("tenants", [20, 1000])
    def test_tenants_of_unequal_size_and_kind_are_no_evidence(self, tenants: int) -> None:
        """A key stays in its arm: what it always did never averages out."""
        rng, wrong = np.random.default_rng(5), 0
        for _ in range(STREAMS):
            excess, moved = Excess(0.01), rng.random(tenants) < 0.5
            size = 1 / np.arange(1, tenants + 1)
            own = np.minimum(rng.exponential(0.05, tenants), 0.9)
            group = rng.integers(0, GROUPS, tenants)
            for _ in range(100):
                counts = rng.multinomial(100, size / size.sum())
                events = rng.binomial(counts, own)
                arms = [
                    of_groups(*(np.bincount(group[arm], each[arm], GROUPS).astype(np.int64) for each in (counts, events)))
                    for arm in (moved, ~moved)
                ]
                excess.add(*arms, 1.0)  # type: ignore[call-arg]
                if accused(excess):
                    wrong += 1
                    break
        assert wrong <= 0.05 * STREAMS

    def test_all_keys_that_fail_more_are_evidence_and_two_are_not(self) -> None:
        for keys, is_evidence in ((32, True), (2, False)):
            excess = Excess(0.01)
            for _ in range(100):
                ours, theirs = (np.zeros(GROUPS, np.int64) for _ in range(2))
                ours[:keys], theirs[keys:] = 10, 10
                excess.add(of_groups(ours, ours // 5), of_groups(theirs, 0 * theirs), 1.0)
            assert accused(excess) is is_evidence
            assert excess.keys == pytest.approx(keys)

    def test_a_fault_of_both_arms_and_a_better_candidate_are_no_evidence(self) -> None:
        rng = np.random.default_rng(6)
        assert not self.independent(rng, 0.6, 0.5, 0.5, 200)
        assert not self.independent(rng, 0.5, 0.1, 0.01, 200)

    def test_a_few_blocks_are_no_evidence_however_many_requests_they_have(self) -> None:
        excess = Excess(0.01)
        for _ in range(4):
            excess.add(keyless(10_000, 10_000), keyless(10_000, 0), 1.0)
        assert not accused(excess)
        for _ in range(12):
            excess.add(keyless(10_000, 10_000), keyless(10_000, 0), 1.0)
        assert accused(excess)

    def test_a_block_lasts_until_both_arms_have_a_request_and_a_second_has_passed(self) -> None:
        excess = Excess(0.01)
        excess.add(keyless(5, 5), keyless(0, 0), 10.0)
        excess.add(keyless(0, 0), keyless(0, 0), 10.0)
        assert excess.sums[1] == 0
        excess.add(keyless(0, 0), keyless(5, 0), 0.1)
        assert excess.sums[1] == pytest.approx(2.5)
        excess.add(keyless(5, 5), keyless(5, 0), 0.9)
        assert excess.sums[1] == pytest.approx(2.5)
        assert (excess.candidate_count, excess.stable_count) == (10, 10)

    def test_the_band_widens_where_errors_come_together(self) -> None:
        alone, together = Excess(0.01), Excess(0.01)
        for block in range(200):
            alone.add(keyless(20, block % 2), keyless(180, block % 10), 1.0)
            together.add(keyless(20, 20 * (block % 40 == 0)), keyless(180, 45 * (block % 10 == 0)), 1.0)
        assert alone.clustering < 1.5
        assert together.clustering > 5
        (low, high), (lower, higher) = alone.band(ALPHA), together.band(ALPHA)
        assert lower < low < 0.01 < high < higher

    def test_a_step_is_bounded_without_an_error(self) -> None:
        excess = Excess(0.01)
        for _ in range(100):
            excess.add(keyless(20, 0), keyless(180, 0), 1.0)
        low, high = excess.band(ALPHA)
        assert -0.01 < low < 0 < high < 0.01


class TestMeanShift:
    def test_the_band_holds_the_mean_at_all_times(self) -> None:
        rng = np.random.default_rng(7)
        missed = 0
        for _ in range(20):
            shift = MeanShift(ALPHA)
            held = True
            for value in rng.normal(0.1, 0.3, 500):
                shift.add(value)
                low, high = shift.band()
                held = held and low <= 0.1 <= high
            missed += not held
        assert missed <= 2

    def test_a_shift_is_found_and_nan_is_one(self) -> None:
        rng = np.random.default_rng(8)
        shift = MeanShift(ALPHA)
        for value in rng.normal(0.2, 0.3, 1000):
            shift.add(value)
        assert shift.band().low > 0.1
        broken = MeanShift(ALPHA)
        for _ in range(100):
            broken.add(float("nan"))
        assert broken.band().low > 0.8


def test_a_threshold_is_passed_by_the_rest_at_most() -> None:
    assert quantile_threshold(list(range(1, 101)), 0.99) == 99
    assert quantile_threshold([5.0], 0.99) == 5.0
    with pytest.raises(ValueError, match="values"):
        quantile_threshold([], 0.99)


def test_clopper_and_pearson():
    assert clopper_pearson(0, 100) == pytest.approx((0, 0.03622), abs=1e-4)
    assert clopper_pearson(10, 100) == pytest.approx((0.0490, 0.1762), abs=1e-4)
    assert clopper_pearson(7, 7) == pytest.approx((0.5904, 1), abs=1e-4)


@pytest.mark.parametrize(("one", "other"), [(0, 0), (1, 0), (5, 5), (9, 1), (1, 9), (40, 55), (300, 220), (2000, 1)])
def test_mcnemar(one, other):
    count = one + other
    tail = Fraction(sum(math.comb(count, k) for k in range(min(one, other) + 1)), 2**count)
    assert mcnemar(one, other) == pytest.approx(float(min(1, 2 * tail)), rel=1e-9)


@pytest.mark.parametrize(("number", "count", "share"), [(0, 9, 0.3), (3, 9, 0.3), (8, 9, 0.3), (9, 9, 0.3), (400, 500, 0.1), (3, 500, 0.1)])
def test_the_binomial_distribution(number, count, share):
    oracle = sum(math.comb(count, k) * Fraction(share) ** k * (1 - Fraction(share)) ** (count - k) for k in range(number + 1))
    assert binomial_at_most(number, count, share) == pytest.approx(float(oracle), rel=1e-10)


def test_mcnemar_of_many_rows_takes_a_step_for_each():
    """The normal approximation is good there. The sum of whole numbers would take minutes."""
    one, other = 50_300, 49_700
    assert mcnemar(one, other) == pytest.approx(2 * NormalDist().cdf((other - one + 1) / math.sqrt(one + other)), rel=1e-3)


@pytest.mark.parametrize(
    ("freedom", "confidence", "value"),
    [
        (1, 0.99, 63.6567),
        (2, 0.9997, 57.7220),
        (3, 0.9997, 19.3821),
        (8, 0.99, 3.3554),
        (18, 0.99, 2.8784),
        (100, 0.99, 2.6259),
    ],
)
def test_student(freedom, confidence, value):
    assert student(freedom, confidence) == pytest.approx(value, rel=1e-4)


def test_student_of_any_degrees_and_confidence():
    stats = pytest.importorskip("scipy.stats")
    for freedom in (*range(1, 12), 30, 101, 1000):
        for confidence in (0.5, 0.95, 0.99, 0.9997, 1 - 1e-6, 1 - 1e-9):
            assert student(freedom, confidence) == pytest.approx(stats.t.ppf((1 + confidence) / 2, freedom), rel=1e-3)


def test_wilson_is_the_textbook_interval():
    """Newcombe 1998, table I: 81 of 263 and 1 of 29 at 95 %."""
    assert wilson(81, 263, 1.959964)[1:] == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(1, 29, 1.959964)[1:] == pytest.approx((0.0061, 0.1718), abs=1e-4)
    assert wilson(0, 0, 2.0) == (0.0, 0.0, 1.0)


def test_the_interval_covers():
    inside = sum(low <= 0 <= high for _, low, high in (hodges_lehmann(RNG.normal(size=24), 0.9) for _ in range(500)))
    assert 0.85 * 500 < inside < 0.95 * 500
    assert hodges_lehmann(np.zeros(12), 0.999) == (0, 0, 0)


@pytest.mark.parametrize("count", [6, 12])
def test_few_rounds_have_the_widest_interval(count):
    values = np.arange(count, dtype=np.float64)
    _, low, high = hodges_lehmann(values, 1 - 1e-9)
    assert (low, high) == (0, count - 1)
