"""Evidence by simulation: streams that are looked at after every few requests, so that a test for a fixed number would fail here."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from inferd.rollout.evidence import WINDOW, MeanShift, TwoArms, either, quantile_threshold, rate_band, rate_evidence

ALPHA = 0.05
STREAMS = 60


def two_arms(rng: np.random.Generator, shares: list[float], stable_rate: float, rate: float, count: int, every: int = 50) -> int | None:
    """After how many requests the evidence against the candidate is 1/ALPHA; None: never. shares: one after the other."""
    arms = TwoArms()
    for share in shares:
        candidate = rng.random(count) < share
        events = rng.random(count) < np.where(candidate, rate, stable_rate)
        for first in range(0, count, every):
            c, e = candidate[first : first + every], events[first : first + every]
            arms.add(int(c.sum()), int((c & e).sum()), int((~c).sum()), int((~c & e).sum()))
            if arms.evidence() >= -log(ALPHA):
                return first + every
    return None


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


class TestTwoArms:
    def test_errors_of_the_candidate_are_found(self) -> None:
        rng = np.random.default_rng(3)
        found = [two_arms(rng, [0.1], 0.01, 0.05, 3100) for _ in range(STREAMS)]
        assert sum(each is not None for each in found) >= 0.85 * STREAMS  # in full by benchmarks/rollout_check.py

    @pytest.mark.parametrize("shares", [[0.1], [0.01, 0.1, 0.5]], ids=["one split", "a split that changes"])
    def test_an_equal_candidate_is_rarely_accused(self, shares: list[float]) -> None:
        rng = np.random.default_rng(4)
        found = [two_arms(rng, shares, 0.02, 0.02, 4000) for _ in range(STREAMS)]
        assert sum(each is not None for each in found) <= 0.1 * STREAMS

    def test_a_fault_of_both_arms_and_an_unequal_split_are_no_evidence(self) -> None:
        """The split asked for is 1 %, and one large tenant makes it 60 %; then half of all requests fail in both arms."""
        rng = np.random.default_rng(5)
        assert two_arms(rng, [0.6], 0.5, 0.5, 5000) is None

    def test_a_better_candidate_is_no_evidence(self) -> None:
        assert two_arms(np.random.default_rng(6), [0.5], 0.1, 0.01, 5000) is None

    def test_twice_the_rate_is_tolerated_where_it_is_to_be(self) -> None:
        arms = TwoArms()
        for _ in range(200):
            arms.add(100, 2, 100, 1)
        assert arms.evidence() > log(20)
        assert arms.evidence(tolerated=2.0) < 0
        low, high = arms.ratio_band(ALPHA)
        assert 1 < low < 2 < high < 3

    def test_an_arm_without_requests_says_nothing(self) -> None:
        arms = TwoArms()
        arms.add(1000, 500, 0, 0)
        assert arms.evidence() == pytest.approx(0.0)
        assert arms.ratio_band(ALPHA) == (0.0, float("inf"))
        assert arms.alone == (1000, 500)

    def test_requests_are_alone_where_no_stable_one_comes_between(self) -> None:
        arms = TwoArms()
        arms.add(WINDOW - 1, 5, 0, 0)
        arms.add(0, 0, 1, 0)
        arms.add(WINDOW - 1, 5, 0, 0)
        assert arms.alone == (0, 0)
        arms.add(1, 1, 0, 0)
        assert arms.alone == (WINDOW, 6)

    def test_the_excess_is_bounded_by_both_bands(self) -> None:
        arms = TwoArms()
        for _ in range(100):
            arms.add(20, 0, 180, 0)
        low, high = arms.excess_band(ALPHA)
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


def test_evidence_of_either_kind_is_their_weighted_mean() -> None:
    assert either(log(20), log(100), 0.25) == pytest.approx(log(40))
    assert either(-1e4, 2000.0, 0.5) == pytest.approx(2000 + log(0.5))


def test_a_threshold_is_passed_by_the_rest_at_most() -> None:
    assert quantile_threshold(list(range(1, 101)), 0.99) == 99
    assert quantile_threshold([5.0], 0.99) == 5.0
    with pytest.raises(ValueError, match="values"):
        quantile_threshold([], 0.99)
