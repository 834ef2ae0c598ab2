"""Which charts a report has and what stands in them: every measurement for itself, beside the target."""

from __future__ import annotations

import math

import pytest

from inferd.bench import plots
from inferd.bench.charts import Bars, Chart
from inferd.bench.hdr import decode
from inferd.bench.measurement import Interval, Latency, Load, ServerSide, Stage
from inferd.bench.report import Report
from tests.reports import measurement, sample


def drawn(report: Report) -> dict[str, Chart | Bars]:
    return {chart.name: chart for chart in plots.plots(report)}


def chart_of(report: Report, name: str) -> Chart:
    chart = drawn(report)[name]
    assert isinstance(chart, Chart)
    return chart


def searched() -> Report:
    """700/s was measured twice: it stalled for seconds, then it did not."""
    rates = (500.0, 700.0, 700.0, 900.0, 800.0)
    slower = (1.0, 2000.0, 1.2, 3000.0, 4000.0)
    measured = [measurement(Load(rate=r), rate=r, slower=s, seconds=2) for r, s in zip(rates, slower, strict=True)]
    tried = [{"rate": r, "kept": s < 10, "client_bound": False} for r, s in zip(rates, slower, strict=True)]
    summary = {"words": ["700/s keeps p99 10 ms"], "rate": 700.0, "above": 800.0, "tried": tried, "confirmed": True}
    return sample("search", measured, headline=2, summary=summary, settings={"slo": "p99=10ms"})


def test_two_measurements_of_one_rate_are_never_one_line() -> None:
    lines = chart_of(searched(), "percentiles").lines
    assert [line.name for line in lines] == [
        "500/s constant",
        "700/s constant, step 2",
        "700/s constant, step 3",
        "900/s constant",
        "800/s constant",
    ]
    tails = {line.name: line.points[-1][1] for line in lines}
    assert tails["700/s constant, step 2"] > 1e6 > 1e4 > tails["700/s constant, step 3"]


def test_throughput_has_one_line_through_one_point_of_each_load() -> None:
    chart = chart_of(searched(), "throughput")
    (high, low) = chart.lines
    assert len(high.points) == len(low.points) == 4, "the repetition of 700/s is a point, and on no line"
    assert [mark.shape for mark in chart.marks] == ["dot", "cross", "dot", "cross", "cross"]
    assert [(limit.text, limit.value) for limit in chart.limits] == [("SLO p99 10 ms", 10_000.0)]
    assert chart.y.low <= 10_000 <= chart.y.high
    assert {stop.head for stop in chart.stops} >= {"version 1, 700/s constant, step 2", "version 1, 700/s constant, step 3"}


def test_percentiles_are_those_of_the_histogram() -> None:
    made = sample()
    (line,) = chart_of(made, "percentiles").lines
    whole = decode(made.measurements[0].histogram)
    for at, us in line.points[:-1]:
        assert us == pytest.approx(whole.quantile_ns(1 - 10**-at) / 1e3, rel=2e-3)
    assert line.points[-1][1] == whole.max_ns / 1e3


def test_of_many_loads_some_are_drawn_and_the_headline_is_one_of_them() -> None:
    loads = [Load(rate=100.0 * place) for place in range(1, 16)]
    made = sample("steps", [measurement(load, seconds=1, rate=50, seed=3) for load in loads], headline=6)
    chart = chart_of(made, "percentiles")
    names = {line.name for line in chart.lines}
    assert len(names) == 6
    assert {"100/s constant", "700/s constant", "1500/s constant"} <= names
    assert "6 of 15 measurements are drawn" in chart.caption


def test_versions_are_told_apart_and_each_round_is_a_line() -> None:
    rounds = [measurement(version=version, seed=seed, seconds=2) for seed, version in enumerate("3443")]
    found = drawn(sample("versions", rounds))
    assert list(found) == ["rounds", "percentiles", "stages", "time", "batches"], "nothing was compared"
    lines = chart_of(sample("versions", rounds), "percentiles").lines
    assert [line.name for line in lines] == ["version 3, 4x16, 2 rounds", "version 4, 4x16, 2 rounds", "", ""]
    assert [line.colour for line in lines] == [1, 2, 2, 1]


def test_time_goes_on_where_nothing_is_answered() -> None:
    """A server that died after two of six seconds: the axis has all six, and the line ends."""
    died = measurement(seconds=6)
    died.intervals[2:] = [Interval(one.at_s, 1.0, 0, 100, 0.0, 0.0, 0.0) for one in died.intervals[2:]]
    chart = chart_of(sample(measurements=[died]), "time")
    assert chart.x.high == 6
    assert [math.isnan(us) for _, us in chart.lines[0].points] == [False, False, *[True] * 5]


def test_stages_add_up_to_the_latency() -> None:
    told = {"queue": Stage(100.0), "execute": Stage(300.0), "request": Stage(450.0)}
    made = sample(measurements=[measurement(server=ServerSide(stages=told), seconds=1)])
    made.measurements[0].latency_us = Latency(mean=1000.0, max=1.0)
    bars = drawn(made)["stages"]
    assert isinstance(bars, Bars)
    (row,) = bars.rows
    assert [(text, us) for _, us, text in row.parts] == [
        ("outside the server 550 µs, 55%", 550.0),
        ("queue 100 µs, 10%", 100.0),
        ("execute 300 µs, 30%", 300.0),
        ("between stages 50 µs, 5%", 50.0),
    ]
    assert row.note == "1 ms"


def test_the_memory_of_a_soak_is_drawn() -> None:
    made = sample("soak", summary={"memory": [[0.5, 100 << 20], [1.5, 120 << 20], [2.5, 110 << 20]]})
    assert list(drawn(made))[:2] == ["time", "memory"]
    (line,) = chart_of(made, "memory").lines
    assert line.points == [(0.5, 100), (1.5, 120), (2.5, 110)]
    assert "memory" not in drawn(sample("soak"))


def test_batch_sizes_stand_where_their_number_is() -> None:
    made = sample(measurements=[measurement(server=ServerSide(batch_sizes={1: 5, 2: 1, 64: 10}), seconds=1)])
    chart = chart_of(made, "batches")
    assert [round(chart.x.place(mark.x) - chart.x.place(0)) for mark in chart.marks] == [
        round(100 * size / chart.x.high) for size in (1, 2, 64)
    ]


def test_a_tuning_has_its_search_and_its_rounds() -> None:
    small, large = ({"provider": "cpu", "instances": 1, "threads": 1, "rows": rows} for rows in (8, 16))
    trials = [
        {"stage": "default", "settings": small, "in_flight": 64, "why": "", "requests_per_second": 100.0, "measurement": 0},
        {"stage": "search", "settings": large, "in_flight": 64, "why": "", "requests_per_second": 150.0, "measurement": 0},
    ]
    verdict = {"better": True, "gain": 0.5, "luck": 0.01, "default": [100.0, 0.0, 102.0], "best": [150.0, 151.0, 149.0]}
    made = sample("tune", summary={"words": ["best"], "default": small, "best": large, "verdict": verdict, "trials": trials})
    chart, bars = chart_of(made, "turns"), drawn(made)["searched"]
    assert [line.name for line in chart.lines] == ["as it is now", "best"]
    assert "a median: as it is now 101, best 150. A cross" in chart.caption, "a round that was not kept is in no median"
    assert [mark.shape for mark in chart.marks] == ["dot", "cross", "dot", "dot", "dot", "dot"]
    assert isinstance(bars, Bars)
    assert [(row.label, row.note, row.strong) for row in bars.rows] == [
        ("cpu, 1 x 1 threads, batches of 16", "150/s  best", True),
        ("cpu, 1 x 1 threads, batches of 8", "100/s  as it is now", False),
    ]
