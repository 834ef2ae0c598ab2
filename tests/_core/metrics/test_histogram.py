"""Histograms and statistics against numpy."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_access import record_request, record_run

from inferd._core.metrics.histogram import Histogram, Statistics

LARGEST = 2**63 - 1
durations = st.one_of(st.integers(0, 64), st.integers(0, 10**10), st.integers(0, LARGEST))


def filled(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(st.lists(durations, min_size=1, max_size=200))
def test_counts(values: list[int]) -> None:
    histogram = filled(values)
    assert histogram.count == len(values)
    assert histogram.sum_ns == sum(values) % 2**64


@given(st.integers(0, LARGEST))
def test_every_value_has_a_bucket(value: int) -> None:
    assert filled([value]).buckets([LARGEST]) == [1]


@given(st.lists(durations, max_size=200), st.lists(durations, min_size=1, max_size=20, unique=True))
def test_buckets_are_cumulative_and_off_by_less_than_a_sixteenth(values: list[int], bounds: list[int]) -> None:
    bounds.sort()
    counts = filled(values).buckets(bounds)
    assert counts == sorted(counts)
    for bound, count in zip(bounds, counts, strict=True):
        assert sum(value + value // 16 < bound for value in values) <= count <= sum(value <= bound for value in values)


def test_negative_durations_count_as_zero() -> None:
    histogram = filled([-5, -(2**63)])
    assert (histogram.count, histogram.sum_ns, histogram.buckets([0])) == (2, 0, [2])


def test_empty() -> None:
    empty = Histogram()
    assert (empty.count, empty.sum_ns, empty.buckets([1, 10**9])) == (0, 0, [0, 0])


@pytest.mark.parametrize("bounds", [[2, 1], [5, 5], [-1]])
def test_bounds_that_do_not_rise_are_rejected(bounds: list[int]) -> None:
    with pytest.raises(ValueError, match="rising bounds"):
        Histogram().buckets(bounds)


def test_statistics() -> None:
    statistics = Statistics(8)
    assert statistics.last_ns == 0
    before = time.time_ns()
    record_request(statistics, 3, 1, 2, 3, 4, 5, 15)
    record_request(statistics, 1, 10, 20, 30, 40, 50, 150)
    record_run(statistics, 4, 3, 4, 5)
    record_run(statistics, 4, 30, 40, 50)
    record_run(statistics, 1, 7, 8, 9)
    assert (statistics.rows, statistics.runs, statistics.max_rows) == (4, 3, 8)
    sums = [h.sum_ns for h in (statistics.decode, statistics.queue, statistics.preprocess, statistics.execute, statistics.encode)]
    assert sums == [11, 22, 33, 44, 55]
    assert (statistics.request.count, statistics.request.sum_ns) == (2, 165)
    assert statistics.batch_sizes() == {1: (1, 7, 8, 9), 4: (2, 33, 44, 55)}
    assert abs(statistics.last_ns - before) < 5 * 10**9


def test_rows_beyond_the_last_size_count_there() -> None:
    statistics = Statistics(2)
    record_run(statistics, 5, 1, 1, 1)
    record_run(statistics, -1, 1, 1, 1)
    assert statistics.batch_sizes() == {0: (1, 1, 1, 1), 2: (1, 1, 1, 1)}


def test_a_negative_size_is_rejected() -> None:
    with pytest.raises(ValueError, match="max_rows"):
        Statistics(-1)


@pytest.mark.skipif("libtsan" in os.environ.get("LD_PRELOAD", ""), reason="the thread sanitizer takes memory of its own")
def test_what_counts_nothing_holds_no_memory_for_it() -> None:
    """A thousand models have 6,000 histograms of 7.7 KB, and most of the models get no request."""
    before_bytes = resident_bytes()
    kept = [Statistics(1) for _ in range(1000)]
    assert (resident_bytes() - before_bytes) / len(kept) < 10_000


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
