"""Intervals: that they cover what they say."""

from __future__ import annotations

import numpy as np
import pytest

from inferd.bench.compare import compare_measurements
from inferd.bench.measurement import Interval, Latency, Load, Measurement
from tests.reports import figure


def test_intervals_cover_no_change_as_often_as_they_say() -> None:
    """Two hundred comparisons of a server with itself: 95 % intervals may miss zero in some 5 % of them."""

    def seconds(seed: int) -> Measurement:
        values = 1e3 * np.random.default_rng(seed).lognormal(0, 0.05, 12)
        intervals = [Interval(at, 1.0, 100, 0, value, 2 * value, 3 * value) for at, value in enumerate(values.tolist())]
        return Measurement(Load(), requests=1200, latency_us=Latency(p50=float(values.mean())), intervals=intervals)

    made = [figure(compare_measurements([seconds(2 * n)], [seconds(2 * n + 1)]), "p50") for n in range(200)]
    missed = sum(not change.low <= 0 <= change.high for change in made)
    assert missed <= 14


def test_rounds_that_took_turns_are_compared_in_pairs() -> None:
    """Each pair was disturbed by something else, and version 4 is a tenth slower in all of them."""

    def turns(starts: list[list[int]]) -> list[list[Measurement]]:
        disturbed = (1.0, 2.0, 1.5, 3.0, 1.2)
        return [
            [
                Measurement(Load(), started_unix_s=at, requests=100, latency_us=Latency(p50=1e3 * slower * much))
                for at, much in zip(side, disturbed, strict=True)
            ]
            for side, slower in zip(starts, (1.0, 1.1), strict=True)
        ]

    paired = figure(compare_measurements(*turns([[1, 4, 5, 8, 9], [2, 3, 6, 7, 10]])), "p50")
    assert (paired.verdict, paired.low) == ("worse", pytest.approx(0.1))
    apart = figure(compare_measurements(*turns([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]])), "p50")
    assert (apart.verdict, apart.low < 0 < apart.high) == ("unclear", True)
