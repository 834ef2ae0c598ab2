"""What a report says of each mode's outcome."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from inferd.bench import findings, modes, terminal
from inferd.bench.findings import Scenario, Versions
from inferd.bench.measurement import Latency, Load, Measurement
from inferd.bench.outcome_report import report_of
from tests.reports import measurement


def test_valid_is_no_submission() -> None:
    found = Scenario("Offline", True, [], "samples a second", 5.0, {}, "summary")
    made = report_of(modes.Outcome("mlperf", [measurement()], found, ""), "localhost:1", "m")
    assert "a result of MLPerf takes 600 s at least" in terminal.render(made)
    made = report_of(modes.Outcome("mlperf", [measurement()], replace(found, valid=False), ""), "localhost:1", "m")
    assert "600 s" not in terminal.render(made)


def test_the_headline_of_rounds_is_their_median() -> None:
    rounds = [Measurement(Load(), requests_per_second=rate) for rate in (5.0, 1.0, 3.0)]
    assert report_of(modes.Outcome("rounds", rounds, None, ""), "localhost:1", "m").headline == 2


def server_of(limit: float) -> Callable[[Load, str], Measurement]:
    """Answers at most `limit` requests a second."""

    def run(load: Load, version: str) -> Measurement:
        answered = min(load.rate or limit, limit)
        late = load.rate > limit
        return Measurement(
            load,
            version,
            requests=1000,
            duration_s=1000 / answered,
            requests_per_second=answered,
            latency_us=Latency(p99=1e6 if late else 1e3),
            ended="interrupted" if load.rate == 13 else "",
        )

    return run


def test_the_headline_of_a_search_is_what_it_found() -> None:
    made = report_of(modes.carry_out(modes.search(Load(rate=100.0), findings.parse_slo("p99=10ms")), server_of(1000.0)), "t", "m")
    assert made.main.load.rate == made.summary["rate"]
    assert made.requests_per_second == made.main.requests_per_second > 900
    assert made.summary["words"][0].startswith(f"{made.summary['rate']:,.0f}/s keeps p99 10 ms")


def test_the_headline_of_steps_is_the_best() -> None:
    loads = [Load(rate=rate) for rate in (100.0, 300.0, 200.0)]
    made = report_of(modes.carry_out(modes.steps(loads), server_of(1000.0)), "t", "m")
    assert (made.kind, made.headline, made.requests_per_second) == ("steps", 1, 300.0)


def test_an_early_end_is_told() -> None:
    loads = [Load(rate=rate) for rate in (100.0, 13.0, 200.0)]
    made = report_of(modes.carry_out(modes.steps(loads), server_of(1000.0)), "t", "m", notices=["first"])
    assert made.notices == ["first", "ended early: interrupted"]
    assert len(made.measurements) == 2


def test_one_load_has_no_findings() -> None:
    made = report_of(modes.carry_out(modes.single(Load(rate=100.0)), server_of(1000.0)), "t", "m")
    assert (made.kind, made.summary, made.headline) == ("single", {}, 0)


def test_versions_are_compared() -> None:
    def run(load: Load, version: str) -> Measurement:
        return measurement(load, version, seconds=2, slower=1.5 if version == "4" else 1.0)

    made = report_of(modes.carry_out(modes.versions(Load(), ["3", "4"], 4), run), "t", "m")
    (found,) = made.summary["comparisons"]
    assert (found["before"], found["after"]) == ("m version 3", "m version 4")
    assert {change["figure"]: change["verdict"] for change in found["changes"]}["p50"] == "worse"
    text = terminal.render(made)
    assert re.search(r"^m version 4 against m version 3, all rounds together\n +version 3  +version 4  +change ", text, re.MULTILINE)
    assert re.search(r"^  p50 .*worse$", text, re.MULTILINE)
    assert set(found["notices"]) <= set(text.splitlines())


@pytest.mark.parametrize(("rounds", "level"), [(1, "fair"), (2, "low"), (3, "low"), (4, "low")])
def test_client_bound_measurements_of_one_version_lower_the_confidence(rounds, level) -> None:
    seen = itertools.count()

    def run(load: Load, version: str) -> Measurement:
        bound = version == "4" and next(seen) < rounds
        return measurement(load, version, seconds=2, slower=1.5 if version == "4" else 1.0, client_bound=bound)

    made = report_of(modes.carry_out(modes.versions(Load(), ["3", "4"], 4), run), "t", "m")
    assert made.verdict["confidence"] == level
    because = f"4 rounds of each version, in turn, {rounds} of version 4's 4 measurements were client-bound"
    assert f"confidence {level}: {because}\n" in terminal.render(made)
    assert made.summary["comparisons"][0]["notices"][0].startswith(f"version 4: {rounds} of 4 measurements were limited by the client")


def test_versions_that_got_few_requests_are_compared_with_low_confidence() -> None:
    def run(load: Load, version: str) -> Measurement:
        return measurement(load, version, seconds=2, rate=49.0 if version == "4" else 50.0)

    made = report_of(modes.carry_out(modes.versions(Load(), ["3", "4"], 4), run), "t", "m")
    assert made.verdict["confidence"] == "low"
    assert "in turn, 4 of version 4's 4 measurements had fewer than 100 requests" in made.verdict["because"]


def test_versions_of_which_one_was_measured_are_not() -> None:
    made = report_of(modes.Outcome("versions", [measurement(seconds=1)], Versions([]), "interrupted"), "t", "m")
    assert made.summary["comparisons"] == []
    assert report_of(modes.Outcome("versions", [], Versions([]), "x"), "t", "m").summary["comparisons"] == []
