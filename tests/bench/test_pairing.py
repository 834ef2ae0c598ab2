"""Which measurements are held against each other, and which are refused: loads, versions, searches, stresses."""

from __future__ import annotations

import pytest

from inferd.bench import report
from inferd.bench.compare import compare, compare_measurements
from inferd.bench.measurement import Load, Measurement
from inferd.errors import ConfigError
from tests.reports import figure, measurement, sample


def test_different_loads_and_models_need_force() -> None:
    one, other = sample(), sample(measurements=[measurement(Load(rate=500.0), seed=2)])
    with pytest.raises(ConfigError, match=r"loads differ, 4x16 before and 500/s constant on 1 connection after: .* --force"):
        compare(one, other)
    assert figure(compare(one, other, force=True), "p50").load == "4x16 / 500/s constant"
    with pytest.raises(ConfigError, match="different models, mlp and other"):
        compare(one, report.make("single", "localhost:1", "other", [measurement()]))
    with pytest.raises(ConfigError, match="differ in number"):
        compare(one, sample(measurements=[measurement(), measurement(Load(rate=5.0))]), force=True)
    with pytest.raises(ConfigError, match="nothing to compare: mlp at localhost:8001 has no measurement"):
        compare(one, sample(measurements=[]))


def test_two_reports_of_several_versions_are_compared_version_by_version() -> None:
    def of(slower: float) -> report.Report:
        return sample("versions", [measurement(version=n, seed=seed, slower=slower if n == "4" else 1.0) for seed, n in enumerate("3443")])

    made = compare(of(1.0), of(2.0))
    p50 = {change.load: change.verdict for change in made.changes if change.figure == "p50"}
    assert p50 == {"4x16, version 3": "same", "4x16, version 4": "worse"}
    with pytest.raises(ConfigError, match="4x16, version 3, 4x16, version 4 before and 4x16, version 4 after"):
        compare(of(1.0), sample(measurements=[measurement(version="4")]))
    assert not compare(*(sample(measurements=[measurement(version=n)]) for n in "34")).worse, "one version after another"


def test_an_open_loop_on_other_connections_is_another_load() -> None:
    sides = [sample(measurements=[measurement(Load(rate=500.0, connections=count))]) for count in (2, 64)]
    with pytest.raises(ConfigError, match="500/s constant on 2 connections before and 500/s constant on 64 connections after"):
        compare(*sides)
    assert not compare(*sides, force=True).worse


def test_more_processes_are_named_and_not_refused() -> None:
    sides = [sample(measurements=[measurement(Load(rate=500.0, processes=n))], settings={"processes": n}) for n in (1, 2)]
    assert "setting processes differs: 1 before, 2 after" in compare(*sides).notices


def test_how_long_a_load_lasted_is_no_difference() -> None:
    sides = sample(measurements=[measurement(Load(duration_s=1.0, seed=1))]), sample(measurements=[measurement(Load(requests=9), seed=2)])
    assert not compare(*sides).worse


def test_steps_are_compared_load_by_load() -> None:
    rates = (100.0, 200.0)
    sides = [[measurement(Load(rate=rate), rate=rate, seed=seed, seconds=4) for rate in rates] for seed in (1, 2)]
    made = compare_measurements(sides[0], sides[1][::-1])
    assert list(dict.fromkeys(change.load for change in made.changes)) == ["100/s constant", "200/s constant"]
    assert figure(made, "requests/s").change == pytest.approx(0, abs=0.05)


def test_searches_are_compared_by_their_results() -> None:
    sides = [
        sample("search", [measurement(Load(rate=rate / 2)), measurement(Load(rate=rate), rate=rate)], headline=1)
        for rate in (500.0, 1000.0)
    ]
    made = compare(*sides)
    assert figure(made, "requests/s").verdict == "better"
    assert "the rates are those that each search ended on" in made.notices


def test_a_search_that_found_no_rate_is_worse() -> None:
    found, nothing = (sample("search", [measurement()], summary={"rate": rate}) for rate in (500.0, 0.0))
    made = compare(found, nothing)
    (change,) = made.changes
    assert (change.load, change.figure, change.after, change.verdict) == ("the rate found", "requests/s", 0.0, "worse")
    assert compare(nothing, found).changes[0].verdict == "better"
    assert compare(nothing, nothing).changes[0].verdict == "same"


def stress(capacity: float, *, deepest: int = 5, deadline_ms: float = 10.0, collapses: bool = False, **fields) -> report.Report:
    """A stress as `modes.stress` leaves it, of a server that answers 100 a second for each request in flight, up to its capacity."""
    closed = [(Load(streams=2**n), min(capacity, 100.0 * 2**n)) for n in range(deepest)]
    rates = [(factor, factor * capacity) for factor in (0.5, 1.0, 2.0)]
    opened = [
        (Load(rate=rate, deadline_ms=deadline_ms), min(rate, capacity) * (0.1 if collapses and factor > 1 else 1)) for factor, rate in rates
    ]
    made = [measurement(load, rate=answered, seed=n) for n, (load, answered) in enumerate([*closed, *opened])]
    for measured, (_, answered) in zip(made, [*closed, *opened], strict=True):
        measured.requests_per_second = answered
    return sample("stress", made, **fields)


def test_stresses_are_compared_by_shares_of_their_saturation() -> None:
    made = compare(stress(600.0), stress(300.0, deepest=4))
    loads = list(dict.fromkeys(change.load for change in made.changes))
    assert loads[0] == "saturation (8 / 4 in flight)"
    assert loads[1].startswith("best goodput (")
    assert loads[2:6] == [f"{n} in flight" for n in (1, 2, 4, 8)]
    assert [load.partition(" (")[0] for load in loads[6:]] == [f"{share} times the saturation" for share in ("0.5", "1", "2")]
    of_saturation = [change for change in made.changes if change.load == loads[0]]
    assert [(change.figure, change.verdict) for change in of_saturation] == [("requests/s", "worse")]
    assert of_saturation[0].change == pytest.approx(-0.5, abs=0.05)
    assert {change.figure for change in made.changes if change.load == loads[8]} == {"requests/s"}
    assert "measured on one side only, and not compared: 16 in flight" in made.notices


def test_a_stress_that_collapses_is_worse() -> None:
    made = compare(stress(600.0), stress(600.0, collapses=True))
    assert [change.load.partition(" (")[0] for change in made.changes if change.verdict == "worse"] == ["2 times the saturation"]
    assert not compare(stress(600.0), stress(600.0)).worse
    nothing_left = stress(600.0)
    nothing_left.measurements[-1] = Measurement(nothing_left.measurements[-1].load, duration_s=10.0)
    made = compare(stress(600.0), nothing_left)
    assert [change.load.partition(" (")[0] for change in made.changes if change.verdict == "worse"] == ["2 times the saturation"]


def test_stresses_with_other_deadlines() -> None:
    made = compare(stress(600.0), stress(600.0, deadline_ms=12.5))
    assert any(notice.startswith("the goodput is of 10 ms before and of 12.5 ms after") for notice in made.notices)
    settings = [{"deadline": at} for at in (0.01, 0.0125)]
    sides = [stress(600.0, settings=one, deadline_ms=1e3 * one["deadline"]) for one in settings]
    with pytest.raises(ConfigError, match=r"different requests: --deadline is 0\.01 and 0\.0125"):
        compare(*sides)
    assert not compare(*sides, force=True).worse
    with pytest.raises(ConfigError, match="has closed loops"):
        compare(stress(600.0), sample("stress", [measurement(Load(rate=5.0))]))


def test_other_pictures_are_other_requests() -> None:
    with pytest.raises(ConfigError, match=r"different requests: --image is \['a.png'\] and nothing"):
        compare(stress(600.0, settings={"images": ["a.png"]}), stress(600.0))
