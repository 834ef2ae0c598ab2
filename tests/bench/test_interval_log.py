"""However long a measurement is its log stays small, and holds every latency once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferd.bench import interval_log
from inferd.bench.interval_log import IntervalLog
from inferd.bench.measurement import Histogram
from tests.reports import measurement


def histogram(*durations_ns: int) -> Histogram:
    made = Histogram()
    for duration_ns in durations_ns:
        made.record(duration_ns)
    return made


def test_a_line_an_interval_and_the_last_one_has_what_came_after() -> None:
    log, measured = IntervalLog(), measurement()
    for at in range(3):
        log.add(at, 1.0, histogram(*[1000 * (at + 1)] * (at + 1)))
    log.add_after(histogram(9000).sparse())
    log.end(measured)
    lines = log.lines(measured)
    assert [(line.at_s, line.duration_s) for line in lines] == [(0, 1.0), (1, 1.0), (2, 1.0)]
    assert [int(line.latency.counts.sum()) for line in lines] == [1, 2, 4]
    assert [line.latency.max_ns for line in lines] == [1000, 2000, 9000]


@given(count=st.integers(1, 200))
@settings(deadline=None, max_examples=30)
def test_of_many_intervals_neighbours_are_put_together(count: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(interval_log, "MOST_LINES", 8)
        log, measured, whole = IntervalLog(), measurement(seconds=1), Histogram()
        for at in range(count):
            part = histogram(at + 1, 500 * at)
            log.add(at, 1.0, part)
            whole.add_sparse(part.sparse())
        log.end(measured)
    lines = log.lines(measured)
    assert min(count, 4) <= len(lines) <= 8
    assert lines[0].at_s == 0
    assert [line.at_s + line.duration_s for line in lines] == [*(line.at_s for line in lines[1:]), count]
    assert len({line.duration_s for line in lines[:-1]}) <= 1, "all but the last are equally long"
    together = Histogram()
    for line in lines:
        together.add_sparse(line.latency)
    assert np.array_equal(together.counts, whole.counts)
    assert (together.sum_ns, together.max_ns, together.min_ns) == (whole.sum_ns, whole.max_ns, whole.min_ns)


def test_each_measurement_has_its_own_lines() -> None:
    log, first, second = IntervalLog(), measurement(), measurement()
    log.add(0.0, 1.0, histogram(1))
    log.end(first)
    log.add(0.0, 1.0, histogram(2))
    log.begin()  # that one failed
    log.add_after(histogram(3, 3).sparse())
    log.end(second)
    assert [int(line.latency.counts.sum()) for line in log.lines(first) + log.lines(second)] == [1, 2]
    assert log.lines(measurement()) == []
