"""The verdict on a run of each mode, and how sure it is of itself."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from inferd.bench import modes
from inferd.bench.conclusion import Confidence, Word, conclude
from inferd.bench.findings import parse_slo
from inferd.bench.measurement import Latency, Load, Measurement, Verification
from inferd.bench.outcome_report import report_of
from inferd.bench.report import Report
from inferd.errors import InferdError
from tests.reports import measurement, sample


def of(mode: modes.Mode, run: modes.Run) -> Report:
    return report_of(modes.carry_out(mode, run), "localhost:1", "m")


def server_of(limit: float, *, client_bound_above: float = 1e9, collapses: bool = False) -> modes.Run:
    """Answers at most `limit` requests a second, and takes 1 ms below that."""

    def run(load: Load, version: str) -> Measurement:
        answered = min(load.rate or 100.0 * load.connections * load.streams, limit)
        if collapses and load.rate > limit:
            answered = limit / 10
        us = 1e6 if load.rate > limit else 1e3
        return Measurement(
            load,
            version,
            requests=int(10 * (load.rate or answered)),
            duration_s=10.0,
            requests_per_second=answered,
            latency_us=Latency(us, us, us, us, us, us),
            client_bound=answered > client_bound_above,
            client_bound_reason="busy" if answered > client_bound_above else "",
        )

    return run


def test_one_run_is_fair_and_rounds_that_agree_are_sure() -> None:
    found = conclude(sample())
    assert (found.word, found.confidence) == (Word.OK, Confidence.FAIR)
    assert found.sentence == "997.1 responses/s with p99 1.58 ms; no request failed"
    assert "--rounds 4" in found.because
    alike = conclude(sample("rounds", [measurement(seed=seed, seconds=2) for seed in range(5)]))
    assert (alike.word, alike.confidence) == (Word.OK, Confidence.HIGH)
    apart = conclude(sample("rounds", [measurement(seed=seed, seconds=2, rate=600.0 * (seed + 1)) for seed in range(5)]))
    assert (apart.word, apart.confidence) == (Word.OK, Confidence.FAIR)
    assert "5 rounds, which differ by " in apart.because


@pytest.mark.parametrize(
    ("measured", "word", "says"),
    [
        ([], Word.FAILED, "nothing was measured"),
        (
            [Measurement(Load(), requests=3, errors={"INTERNAL": 3}, error_messages={"INTERNAL": "no room"})],
            Word.FAILED,
            "with OK: no room",
        ),
        ([measurement(errors={"INTERNAL": 7, "UNAVAILABLE": 1})], Word.FAILED, "8 of 9,979 requests failed, most with INTERNAL"),
        ([measurement(verified=Verification(checked=9, wrong=2))], Word.FAILED, "2 of 9 checked responses were wrong"),
        ([measurement(client_bound=True, client_bound_reason="busy")], Word.CLIENT_BOUND, "can do at least 997.1/s"),
        (
            [measurement(Load(rate=2000.0))],
            Word.BEHIND,
            "the server answers 997.1 responses/s with p99 1.58 ms, and 2000/s constant was asked",
        ),
        ([measurement(seconds=1, rate=20)], Word.INCONCLUSIVE, "only 20 requests were measured"),
        ([measurement(seconds=1, rate=20, client_bound=True)], Word.INCONCLUSIVE, "only 20 requests were measured"),
        ([measurement(ended="interrupted")], Word.INCONCLUSIVE, "ended early: interrupted"),
        ([measurement(connections_missing=0.5)], Word.INCONCLUSIVE, "connections were missing, so the load was less than 4x16"),
        ([measurement(verified=Verification())], Word.INCONCLUSIVE, "that --verify was to check were checked"),
        ([measurement(verified=Verification(checked=5, unchecked=2))], Word.INCONCLUSIVE, "not all responses that --verify was to check"),
    ],
)
def test_what_is_no_clean_run_says_so(measured: list[Measurement], word: Word, says: str) -> None:
    found = conclude(sample(measurements=measured))
    assert found.word is word
    assert says in found.sentence
    assert found.client_bound == (word is Word.CLIENT_BOUND)


@pytest.mark.parametrize(
    ("fields", "text", "word", "says"),
    [
        ({}, "p99>5ms,rate<10", Word.KEPT, "kept: p99 at most 5 ms, rate at least 10/s"),
        ({}, "p99>1ms", Word.MISSED, "p99 is 1.58 ms, above 1 ms"),
        ({"client_bound": True}, "p99>5ms", Word.KEPT, "a generator that is late makes latencies longer, never shorter"),
        (
            {"client_bound": True, "client_bound_reason": "busy"},
            "p99>1ms",
            Word.INCONCLUSIVE,
            "p99 is 1.58 ms, above 1 ms, but the load generator was the limit",
        ),
        ({"errors": {"INTERNAL": 1}}, "p99>5ms", Word.FAILED, "1 of 9,972 requests failed"),
        ({"errors": {"INTERNAL": 1}}, "errors>0.1%", Word.KEPT, "errors at most 0.1 %"),
        ({"errors": {"INTERNAL": 99}, "client_bound": True}, "errors>0.1%", Word.MISSED, "errors"),
    ],
)
def test_conditions_decide(fields: dict[str, Any], text: str, word: Word, says: str) -> None:
    found = conclude(sample(measurements=[measurement(**fields)], settings={"fail_if": [text]}))
    assert found.word is word
    assert says in found.sentence or fields == {"client_bound": True}


def test_a_search_keeps_its_target_or_does_not() -> None:
    kept = conclude(of(modes.search(Load(rate=100.0), parse_slo("p99=10ms")), server_of(1000.0)))
    assert (kept.word, kept.confidence) == (Word.KEPT, Confidence.HIGH)
    assert "/s keeps p99 10 ms; " in kept.sentence
    assert "were measured twice" in kept.because
    missed = conclude(of(modes.search(Load(rate=100.0), parse_slo("p99=1us")), server_of(1000.0)))
    assert missed.word is Word.MISSED
    assert "no rate that was tried keeps p99 1 µs" in missed.sentence


def test_a_search_that_does_not_end_says_nothing() -> None:
    times = iter(range(5))

    def ending(load: Load, version: str) -> Measurement:
        if next(times) == 4:
            raise InferdError("the server went away")
        return server_of(1000.0)(load, version)

    found = conclude(of(modes.search(Load(rate=100.0), parse_slo("p99=10ms")), ending))
    assert (found.word, found.confidence) == (Word.INCONCLUSIVE, Confidence.LOW)
    assert "the search did not finish: the server went away; 800/s kept p99 10 ms once" in found.sentence


@pytest.mark.parametrize(
    ("run", "word", "says"),
    [
        (server_of(1000.0), Word.OK, "at 2 times its saturation of 1,000/s the server still answers 1,000/s"),
        (server_of(1000.0, collapses=True), Word.DEGRADED, "10% of its best"),
        (server_of(1000.0, client_bound_above=900.0), Word.INCONCLUSIVE, "the load generator was the limit at "),
    ],
)
def test_a_stress_that_the_client_bound_says_nothing(run: modes.Run, word: Word, says: str) -> None:
    found = conclude(of(modes.stress(Load(connections=4)), run))
    assert found.word is word
    assert says in found.sentence
    assert found.client_bound == (word is Word.INCONCLUSIVE)
    passing = modes.carry_out(modes.stress(Load(connections=4)), run)
    assert conclude(report_of(passing, "t", "m", settings={"fail_if": ["rate<1"]})).word is word, "a condition that holds not hides nothing"
    assert conclude(report_of(passing, "t", "m", settings={"fail_if": ["rate>1"]})).word in (Word.MISSED, Word.INCONCLUSIVE)


def test_a_search_may_lack_connections_at_a_rate_that_is_too_high() -> None:
    def run(load: Load, version: str) -> Measurement:
        return replace(server_of(1000.0)(load, version), connections_missing=0.5 if load.rate > 1000 else 0.0)

    assert conclude(of(modes.search(Load(rate=100.0), parse_slo("p99=10ms")), run)).word is Word.KEPT


def missing(client_bound: bool = False) -> modes.Run:
    """One request at a time keeps p99=10ms, and no rate does."""

    def run(load: Load, version: str) -> Measurement:
        bound = client_bound and load.rate > 0
        reason = "a core was full" if bound else ""
        return measurement(load, slower=50.0 if load.rate else 1.0, seconds=2, client_bound=bound, client_bound_reason=reason)

    return run


def test_a_search_that_finds_no_rate_stands_on_a_rate_that_it_tried() -> None:
    """Not on the first look, of another load, whose figures keep the target."""
    made = of(modes.search(Load(), parse_slo("p99=10ms")), missing())
    found, main = conclude(made), made.main
    assert (found.word, found.client_bound) == (Word.MISSED, False)
    assert main is not None
    assert main.load.rate == min(one.load.rate for one in made.measurements if one.load.rate)
    assert "p99 is " in found.sentence


def test_a_search_that_the_generator_ends_says_so() -> None:
    made = of(modes.search(Load(), parse_slo("p99=10ms")), missing(client_bound=True))
    found = conclude(made)
    assert (found.word, found.client_bound) == (Word.INCONCLUSIVE, True)
    assert found.sentence.startswith("CLIENT-BOUND: the generator was the limit at ")
    assert found.because == "a core was full"
    assert len(made.measurements) == 7


def test_a_search_that_ends_before_it_found_a_rate_missed_nothing() -> None:
    def dying(load: Load, version: str) -> Measurement:
        if load.rate:
            raise InferdError("the server went away")
        return measurement(load, seconds=2)

    found = conclude(of(modes.search(Load(), parse_slo("p99=10ms")), dying))
    assert (found.word, found.sentence) == (Word.INCONCLUSIVE, "the run ended early: the server went away")


def test_a_run_that_ended_between_two_loads_says_so() -> None:
    def dying(load: Load, version: str) -> Measurement:
        if load.rate > 100:
            raise InferdError("the server went away")
        return measurement(load, seconds=2)

    found = conclude(of(modes.steps([Load(rate=100.0), Load(rate=200.0)]), dying))
    assert (found.word, found.sentence) == (Word.INCONCLUSIVE, "the run ended early: the server went away")


@pytest.mark.parametrize(("slower", "word"), [(1.5, Word.WORSE), (0.6, Word.BETTER), (1.0, Word.SAME)])
def test_versions_that_took_turns(slower: float, word: Word) -> None:
    def run(load: Load, version: str) -> Measurement:
        return measurement(load, version, seconds=2, slower=slower if version == "4" else 1.0)

    found = conclude(of(modes.versions(Load(), ["3", "4"], 4), run))
    assert (found.word, found.confidence) == (word, Confidence.HIGH)
    assert "m version 4" in found.sentence


def test_a_soak_that_rises_degrades() -> None:
    def run(load: Load, version: str) -> Measurement:
        long = measurement(load, seconds=80, rate=40)
        long.intervals[:] = [replace(one, p99_us=1e3 * (1 + one.at_s)) for one in long.intervals]
        return long

    found = conclude(of(modes.soak(Load(rate=40.0)), run))
    assert found.word is Word.DEGRADED
    assert "p99 by " in found.sentence
    assert found.sentence.endswith(" s")
    short = conclude(of(modes.soak(Load(rate=40.0)), lambda load, version: measurement(load, seconds=3)))
    assert short.word is Word.INCONCLUSIVE


def test_a_report_of_an_earlier_version_has_a_verdict_too() -> None:
    """Nothing but what reports always had: no verdict of their own, no settings."""
    old = sample("search", summary={"rate": 100.0, "target": "p99 10 ms", "tried": [], "confirmed": False})
    assert conclude(old).word is Word.INCONCLUSIVE
    for kind in ("single", "stress", "soak", "versions", "mlperf", "tune", "of a later version"):
        assert conclude(sample(kind)).sentence or kind in ("mlperf", "tune")
