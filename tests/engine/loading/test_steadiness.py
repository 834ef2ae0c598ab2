"""When a warm-up is over, by run times that a test makes up."""

from __future__ import annotations

import pytest

from inferd.engine.loading.steadiness import MOST_NS, MOST_RUNS, Steadiness

MS = 1_000_000


def ran(*runs_ms: float) -> tuple[int, bool]:
    """How many of these runs a warm-up makes, and whether they were steady then."""
    steadiness = Steadiness()
    for run_ms in runs_ms:
        if steadiness.ran(int(MS * run_ms)):
            break
    return steadiness.runs, steadiness.steady


@pytest.mark.parametrize(
    ("runs_ms", "count"),
    [
        ((10, 10, 10, 10), 3),
        ((90, 30, 10, 11, 9, 10), 5),  # cold, then steady
        ((10, 12, 10, 10), 3),  # 20 % above the median
        ((10, 12.1, 10, 10, 10), 5),  # more
        ((0.01, 0.06, 0.01, 0.01), 3),  # tiny runs differ by what a timer does
    ],
)
def test_runs_of_a_steady_time_end_a_warm_up(runs_ms: tuple[float, ...], count: int) -> None:
    assert ran(*runs_ms) == (count, True)


def test_a_warm_up_ends_where_runs_never_get_steady() -> None:
    assert ran(*[1, 3] * MOST_RUNS) == (MOST_RUNS, False)


def test_a_warm_up_of_long_runs_is_short() -> None:
    long_ms = MOST_NS / MS
    assert ran(long_ms, long_ms) == (1, False)
    assert ran(0.6 * long_ms, 0.4 * long_ms, 1) == (2, False)
