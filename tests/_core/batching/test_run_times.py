"""How long runs are expected to take, with integers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_access import estimate, record_time

from inferd._core.batching.run_times import RunTimes

SECOND_NS = 10**9


def measured(*runs: tuple[int, int], now_ns: int = 0) -> RunTimes:
    """Of (rows, ns) that ended now."""
    times = RunTimes()
    for rows, run_ns in runs:
        record_time(times, rows, run_ns, now_ns)
    return times


def test_nothing_is_known_at_first() -> None:
    assert estimate(RunTimes(), 1, 0) == 0


def test_runs_that_vary_are_known_by_their_mean() -> None:
    assert 950 <= estimate(measured(*[(8, 800), (8, 1200)] * 100), 8, 0) <= 1050


def test_a_change_is_followed_within_some_runs() -> None:
    slower = measured(*[(8, 1000)] * 50, *[(8, 10_000)] * 40)
    assert 9000 <= estimate(slower, 8, 0) <= 10_000
    quicker = measured(*[(8, 10_000)] * 50, *[(8, 1000)] * 40)
    assert 1000 <= estimate(quicker, 8, 0) <= 1200


def test_one_run_that_was_interrupted_says_little() -> None:
    times = measured(*[(8, 1000)] * 50, (8, SECOND_NS))
    assert estimate(times, 8, 0) <= 1125


def test_each_power_of_two_is_known_by_itself() -> None:
    times = measured((1, 100), (2, 200), (3, 200), (4, 400), (65_536, 9000))
    assert [estimate(times, rows, 0) for rows in (1, 2, 3, 4, 7, 65_536, 10**9)] == [100, 200, 200, 400, 400, 9000, 9000]


def test_what_was_not_seen_is_taken_for_short() -> None:
    times = measured((8, 1000))
    assert estimate(times, 64, 0) == 1000, "more rows take no less"
    assert estimate(times, 2, 0) == 250, "fewer take at least their share"


def test_what_was_not_seen_for_long_is_forgotten() -> None:
    times = measured((8, 1000), (1, 10 * SECOND_NS))
    assert estimate(times, 8, SECOND_NS - 1) == 1000
    assert estimate(times, 8, SECOND_NS) == 10 * SECOND_NS, "the smaller kind is still known: a second is nothing for its runs"
    assert estimate(times, 8, 80 * SECOND_NS) == 0
    record_time(times, 8, 7, 80 * SECOND_NS)
    assert estimate(times, 8, 80 * SECOND_NS) == 7, "the next run alone counts"


@given(
    st.lists(st.tuples(st.integers(-1, 2**62), st.integers(-(2**62), 2**63 - 1), st.integers(0, 2**61)), max_size=20), st.integers(0, 2**61)
)
def test_no_numbers_make_nonsense(runs: list[tuple[int, int, int]], now_ns: int) -> None:
    times = RunTimes()
    for rows, run_ns, at_ns in runs:
        record_time(times, rows, run_ns, at_ns)
    for rows in (-1, 0, 1, 64, 2**40):
        assert 0 <= estimate(times, rows, now_ns) < 2**62


@pytest.mark.parametrize("rows", [1, 5, 64, 1000])
def test_all_runs_alike_are_that_long_whatever_their_number(rows: int) -> None:
    assert all(estimate(measured(*[(rows, 12_345)] * count), rows, 0) == 12_345 for count in (1, 2, 30))
