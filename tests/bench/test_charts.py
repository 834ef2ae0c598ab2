"""Axes that hold their values, and markup that no text breaks out of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd.bench.charts import Axis, Chart, Limit, Line, Stop, linear, logarithmic, markup


@given(st.floats(1e-3, 1e9), st.floats(1.0, 1e6), st.booleans())
def test_ticks_are_few_rising_and_around_all_values(low, factor, whole) -> None:
    high = low * factor * 1.01
    for axis in (linear("", 0.0, high, str, whole=whole), linear("", low, high, str), logarithmic("", low, high, str)):
        values = [value for value, _, _ in axis.ticks]
        assert values == sorted(set(values))
        assert 1 <= len(values) <= 16
        assert axis.low <= low * 1.001 or axis.low == 0
        assert axis.high >= high * 0.998
        assert all(0 <= axis.place(value) <= 100 for value in values)


@pytest.mark.parametrize("log", [False, True])
def test_a_value_beyond_the_axis_stays_in_the_chart(log) -> None:
    axis = Axis("", 1.0, 100.0, log, [])
    assert [round(axis.place(value)) for value in (0.0, 1.0, 10.0, 100.0, 1e9)] == [0, 0, 50 if log else 9, 100, 100]


def test_a_gap_lifts_the_pen() -> None:
    axis = Axis("", 0.0, 10.0, False, [])
    nan = float("nan")
    text = markup(Chart("c", "t", "c", axis, axis, [Line("one", 1, [(0.0, 0.0), (5.0, 5.0), (6.0, nan), (10.0, 10.0)])]))
    assert 'd="M0.0 1000.0L500.0 500.0M1000.0 0.0"' in text


def test_texts_are_texts() -> None:
    axis = Axis("<b>", 0.0, 1.0, False, [(0.5, "<i>", True)])
    text = markup(Chart("c", "<t>", "<c>", axis, axis, limits=[Limit("<l>", 0.5)], stops=[Stop(0.5, "<h>", [("<n>", "<v>\x1b")])]))
    assert not any(f"<{name}>" in text for name in ("t", "c", "l", "h", "n", "v"))
    assert "\x1b" not in text
