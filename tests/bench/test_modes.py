"""The policies against plain functions that model a server: where it saturates, what it refuses, how it dies."""

from __future__ import annotations

import math
import random
import re
from itertools import count, pairwise
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd.bench import findings, modes
from inferd.bench.findings import judge, parse_slo
from inferd.bench.measurement import Interval, Latency, Load, Measurement, Verification
from inferd.errors import ConfigError, StartError
from tests.reports import is_clean

if TYPE_CHECKING:
    from collections.abc import Callable, Container

SLO = parse_slo("p99=10ms")


def measured(load: Load, answered: float, p99_us: float = 500, **fields: object) -> Measurement:
    latency = Latency(p99_us / 2, p99_us / 3, p99_us * 0.9, p99_us, p99_us * 2, p99_us * 3)
    requests = round(answered * load.duration_s)
    return Measurement(load, duration_s=load.duration_s, requests=requests, requests_per_second=answered, latency_us=latency, **fields)


def queue(capacity: float, service_us: float = 500) -> Callable[[Load, str], Measurement]:
    """A server whose waiting time grows without end towards its capacity, and that answers no more than that."""

    def run(load: Load, version: str) -> Measurement:
        if not load.rate:
            answered = min(capacity, load.connections * load.streams * 1e6 / service_us)
            in_flight = load.connections * load.streams
            return measured(load, answered, service_us if in_flight == 1 else max(service_us, 1e6 * in_flight / capacity))
        busy = load.rate / capacity
        return measured(load, min(load.rate, capacity), service_us / (1 - busy) if busy < 1 else 1e7)

    return run


def keeps_up_to(capacity: float, service_us: float = 500, limit_us: float = 10_000) -> float:
    return capacity * (1 - service_us / limit_us)


@pytest.mark.parametrize(
    ("text", "limits_us", "errors"),
    [
        ("p99=10ms", {"p99": 10_000}, 0),
        ("p50=800us, p99.9=1.5s", {"p50": 800, "p999": 1_500_000}, 0),
        ("mean=1ms,max=1s,errors=0.5%", {"mean": 1000, "max": 1_000_000}, 0.005),
        ("p90=1e3us,errors=0.01", {"p90": 1000}, 0.01),
    ],
)
def test_targets(text, limits_us, errors) -> None:
    slo = parse_slo(text)
    assert slo.limits_us == pytest.approx(limits_us)
    assert slo.errors == pytest.approx(errors)


@pytest.mark.parametrize("text", ["", "p99", "p99=", "p99=10", "p98=10ms", "p99=-1ms", "p99=nanms", "p99=infs", "p99=1ms,p99=2ms", "10ms"])
def test_targets_that_are_refused(text) -> None:
    with pytest.raises(ConfigError, match=r"--slo .*: expected FIGURE=TIME as in p99=10ms, with mean, p50"):
        parse_slo(text)


@pytest.mark.parametrize("text", ["p99=1ms,errors=x", "p99=1ms,errors=100%", "p99=1ms,errors=-1%"])
def test_shares_of_errors_that_are_refused(text) -> None:
    with pytest.raises(ConfigError, match="errors: expected a share from 0 to 1"):
        parse_slo(text)


def test_a_target_needs_a_latency() -> None:
    with pytest.raises(ConfigError, match="expected a latency, too"):
        parse_slo("errors=1%")


@given(st.text(max_size=20) | st.from_regex(r"(p99|max|errors)=[0-9.e-]{0,5}(ms|s|us|%)?(,.*)?", fullmatch=True))
def test_any_text_is_a_target_or_refused(text) -> None:
    try:
        slo = parse_slo(text)
    except ConfigError:
        return
    assert all(0 < limit < math.inf for limit in slo.limits_us.values())
    assert 0 <= slo.errors < 1


RATE = Load(rate=1000, duration_s=10)


@pytest.mark.parametrize(
    ("measurement", "why"),
    [
        (measured(RATE, 1000), ""),
        (measured(RATE, 1000, 10_000), ""),
        (measured(RATE, 1000, 10_100), "p99 is 10.1 ms"),
        (measured(RATE, 991), ""),
        (measured(RATE, 989), "989/s are answered in time, where 989.9/s were due"),
        (measured(Load(rate=2000, duration_s=1), 1978.8), "less than 1,979/s are answered in time, where 1,979/s were due"),
        (measured(RATE, 700, errors={"INTERNAL": 10}), "10 of 7000 requests failed, most with INTERNAL"),
        (measured(RATE, 1000, errors={"RESOURCE_EXHAUSTED": 2, "INTERNAL": 1}), "3 of 10000 requests failed, most with RESOURCE_EXHAUSTED"),
        (measured(RATE, 1000, errors={"INTERNAL": 10_000}), "no request was answered with OK"),
        (measured(RATE, 0), "no request was answered with OK"),
        (measured(Load(rate=100, duration_s=1, arrivals="poisson"), 75), ""),  # chance alone does that
        (measured(Load(rate=100, duration_s=1, arrivals="poisson"), 65), "65/s are answered in time, where 69/s were due"),
        (measured(Load(rate=100, duration_s=1, arrivals="burst:32"), 68), ""),
        (measured(Load(rate=100, duration_s=1, arrivals="trace:x"), 40), ""),  # a trace's rate is not even
        (measured(Load(rate=100, duration_s=1, arrivals="trace:x"), 40, unfinished=10), "40/s are answered in time, where 48.5/s were due"),
        (measured(Load(duration_s=10), 3), ""),  # a closed loop asks for no rate
    ],
)
def test_what_keeps_a_target(measurement, why) -> None:
    assert judge(measurement, SLO) == why


def test_what_was_answered_too_late_is_not_said_to_be_answered() -> None:
    late = measured(Load(rate=1824, duration_s=1), 1713)
    late.requests = 1824
    assert judge(late, SLO) == "1,713/s are answered in time, where 1,805/s were due"


def test_errors_that_are_allowed() -> None:
    slo = parse_slo("p99=10ms,errors=0.1%")
    assert judge(measured(RATE, 1000, errors={"UNAVAILABLE": 10}), slo) == ""
    assert judge(measured(RATE, 1000, errors={"UNAVAILABLE": 11}), slo).startswith("11 of 10000 requests failed")


@pytest.mark.parametrize("start", [0, 1, 700, 950, 123_456])
@pytest.mark.parametrize("capacity", [3, 1000, 87_654])
@pytest.mark.parametrize("width", [0.1, 0.01])
def test_search_finds_the_rate_within_the_width(start, capacity, width) -> None:
    outcome = modes.carry_out(modes.search(Load(rate=start), SLO, width=width), queue(capacity))
    truth = keeps_up_to(capacity)
    found = outcome.findings
    assert found.rate <= truth < found.above <= found.rate * (1 + width)
    assert outcome.measurements[found.step].load.rate == found.rate
    assert found.why.startswith(("p99 is", f"{capacity}/s are answered"))
    assert found.stopped.startswith("the gap is at most")
    assert len(outcome.measurements) <= modes.SEARCH_STEPS
    assert is_clean(outcome)
    assert f"{findings.per_second(found.rate)} keeps p99 10 ms" in found.words()[0]


def test_a_single_stall_does_not_halve_the_result() -> None:
    """Every step that is measured for the first time at its rate stalls once, at random."""
    chance, seen = random.Random(3), set()
    server = queue(10_000)

    def run(load: Load, version: str) -> Measurement:
        stalls = load.rate and load.rate not in seen and chance.random() < 0.5
        seen.add(load.rate)
        return measured(load, load.rate, 1e6) if stalls else server(load, version)

    found = modes.carry_out(modes.search(Load(rate=100), SLO), run).findings
    assert found.rate == pytest.approx(keeps_up_to(10_000), rel=0.03)
    assert any(not one.kept for one in found.tried if one.rate == 100 or one.rate < found.rate)


def test_a_single_stroke_of_luck_does_not_make_the_result() -> None:
    """Some rates above what the server does keep the target when they are measured for the first time."""
    chance, seen = random.Random(3), set()
    server = queue(10_000)

    def run(load: Load, version: str) -> Measurement:
        lucky = load.rate not in seen and load.rate < 15_000 and chance.random() < 0.3
        seen.add(load.rate)
        return measured(load, load.rate) if lucky else server(load, version)

    outcome = modes.carry_out(modes.search(Load(rate=100), SLO), run)
    found = outcome.findings
    assert found.rate == pytest.approx(keeps_up_to(10_000), rel=0.03)
    assert any(one.kept for one in found.tried if one.rate > keeps_up_to(10_000)), "there was luck"
    assert [one.kept for one in found.tried if one.rate == found.rate][-2:] == [True, True]
    assert [m.load.rate for m in outcome.measurements[-2:]] == [found.rate, found.above]


def stalling(where: Container[int], answered: float) -> Callable[[Load, str], Measurement]:
    """A server of 10,000/s. In its measurements number `where`, from 0, it stalls: that share of what was due is answered, and late."""
    server, numbers = queue(10_000), count()

    def run(load: Load, version: str) -> Measurement:
        return measured(load, load.rate * answered, 3e6) if next(numbers) in where else server(load, version)

    return run


@pytest.mark.parametrize("answered", [1, 0.9, 0.1], ids=["late", "not-all", "hardly-any"])
@pytest.mark.parametrize("at", range(18))
def test_a_stall_never_caps_the_result(at, answered) -> None:
    """Whichever measurement it hits, also those that confirm the result."""
    outcome = modes.carry_out(modes.search(Load(rate=100), SLO), stalling({at}, answered))
    assert outcome.findings.rate == pytest.approx(keeps_up_to(10_000), rel=0.03)
    assert is_clean(outcome)


@pytest.mark.parametrize("answered", [1, 0.9], ids=["late", "not-all"])
@pytest.mark.parametrize("at", range(12))
def test_nor_does_a_stall_of_two_measurements(at, answered) -> None:
    """Both looks at a rate are within it: what finds out is that the end of the gap is measured once more."""
    found = modes.carry_out(modes.search(Load(rate=100), SLO), stalling({at, at + 1}, answered)).findings
    assert found.rate == pytest.approx(keeps_up_to(10_000), rel=0.03)


class Paced:
    """A server that answers `capacity` requests a second, one after the other, give or take `noise` from one measurement to the next, and
    that is stopped for the first `stop_s` of every `every_s` of a time which goes on while it is measured."""

    def __init__(self, capacity: float, seed: int, *, stop_s: float, every_s: float = 5.3, noise: float = 0.02) -> None:
        self.capacity, self.stop_s, self.every_s, self.noise = capacity, stop_s, every_s, noise
        self.chance = random.Random(seed)
        self.now_s = self.chance.random() * every_s

    def ran_s(self, at_s):
        """For how long it was not stopped until then."""
        periods, rest_s = np.divmod(at_s, self.every_s)
        return periods * (self.every_s - self.stop_s) + np.maximum(rest_s - self.stop_s, 0)

    def when_s(self, ran_s):
        """The reverse."""
        periods = np.maximum(np.ceil(ran_s / (self.every_s - self.stop_s)) - 1, 0)
        return ran_s + (periods + 1) * self.stop_s

    def run(self, load: Load, version: str) -> Measurement:
        took_s = 1 / (self.capacity * (1 + self.chance.gauss(0, self.noise)))
        rate = load.rate or self.capacity / 4  # what one request at a time reaches
        begun_s, measured_s = self.now_s, self.now_s + load.warm_up_s
        end_s = measured_s + load.duration_s
        at_s = begun_s + np.arange(int((end_s - begun_s) * rate)) / rate
        turns = np.arange(len(at_s)) * took_s
        done_s = self.when_s(turns + took_s + np.maximum.accumulate(self.ran_s(at_s) - turns))
        self.now_s = max(end_s, done_s[-1]) + 0.1
        latency_us = (done_s - at_s)[at_s >= measured_s] * 1e6
        answered = np.count_nonzero((done_s >= measured_s) & (done_s < end_s)) / load.duration_s
        p50, p90, p99, p999, most = np.quantile(latency_us, [0.5, 0.9, 0.99, 0.999, 1]).tolist()
        seen = Latency(float(latency_us.mean()), p50, p90, p99, p999, most)
        return Measurement(load, duration_s=load.duration_s, requests=len(latency_us), requests_per_second=answered, latency_us=seen)


@pytest.mark.parametrize(("stop_s", "every_s"), [(0.4, 5.3), (0.65, 5.3), (0.65, 5.6)])
def test_a_server_that_stalls_now_and_then_is_found_as_fast_as_it_is(stop_s, every_s) -> None:
    """Steps of a second: a stall takes much of one, and comes back while the same rate is measured again."""
    wrong = 0
    for seed in range(60):
        server = Paced(1790, seed, stop_s=stop_s, every_s=every_s)
        load = Load(duration_s=1.0, warm_up_s=0.3)
        found = modes.carry_out(modes.search(load, parse_slo("p99=100ms")), server.run).findings
        wrong += found.confirmed and not 0.95 * 1790 <= found.rate <= 1.05 * 1790
    assert wrong <= 1


def test_a_target_that_was_missed_now_and_then_below_the_result_is_said() -> None:
    found = modes.carry_out(modes.search(Load(rate=1000), SLO), stalling({1}, 0.4)).findings
    assert found.confirmed
    (said,) = [line for line in found.words() if "did not keep it" in line]
    assert said.startswith("1 of 8 measurements at 9,500/s")
    assert said.endswith("and below it did not keep it, once at 2,000/s (p99 is 3 s): a longer --duration counts that in")
    steady = modes.carry_out(modes.search(Load(rate=1000), SLO), queue(10_000)).findings
    assert not any("did not keep it" in line for line in steady.words())


def test_a_search_that_begins_far_too_high_goes_down_in_great_steps() -> None:
    """By what was answered there, for halving would take as many measurements as there are; but no single one leads it to nothing."""
    outcome = modes.carry_out(modes.search(Load(rate=160_000), SLO), queue(1000))
    assert [m.load.rate for m in outcome.measurements][:5] == [160_000, 160_000, 10_000, 10_000, 1000]
    assert outcome.findings.rate == pytest.approx(keeps_up_to(1000), rel=0.03)
    stalled = modes.carry_out(modes.search(Load(rate=1000), SLO), stalling({0, 1}, 0.0001))
    assert stalled.findings.rate == pytest.approx(keeps_up_to(10_000), rel=0.03)


def test_what_a_search_measures_once_more() -> None:
    """Rates that miss the target, by however much, and in the end both ends of the gap."""
    outcome = modes.carry_out(modes.search(Load(rate=1000), SLO, width=0.1), lambda load, version: measured(load, min(load.rate, 1900)))
    assert [m.load.rate for m in outcome.measurements] == [1000, 2000, 2000, 1500, 1750, 1875, 1875, 2000]
    outcome = modes.carry_out(modes.search(Load(rate=1000), SLO, width=0.5), lambda load, version: measured(load, min(load.rate, 900)))
    assert [m.load.rate for m in outcome.measurements] == [1000, 1000, 500, 750, 750, 1000]
    outcome = modes.carry_out(modes.search(Load(rate=1000), SLO, width=0.5), lambda load, version: measured(load, min(load.rate, 400)))
    assert [m.load.rate for m in outcome.measurements] == [1000, 1000, 400, 700, 700, 550, 550, 400, 550]


def test_search_ends_soon_where_not_even_one_request_keeps_the_target() -> None:
    outcome = modes.carry_out(modes.search(Load(), SLO), queue(1000, service_us=11_000))
    assert len(outcome.measurements) == 2, "once more, lest a stall of a moment ends it"
    assert outcome.findings.rate == 0
    assert outcome.findings.stopped == "one request at a time does not keep it: p99 is 11 ms"
    assert not is_clean(outcome)


def test_a_stall_of_the_first_request_does_not_end_a_search() -> None:
    server, looks = queue(1000), []

    def run(load: Load, version: str) -> Measurement:
        looks.append(load)
        return measured(load, 0.3, 3e6) if len(looks) == 1 else server(load, version)

    outcome = modes.carry_out(modes.search(Load(), SLO), run)
    assert outcome.findings.rate == pytest.approx(keeps_up_to(1000), rel=0.03)
    assert [load.rate > 0 for load in looks[:3]] == [False, False, True]


@pytest.mark.parametrize("always", [False, True])
def test_a_first_look_without_a_response_is_no_rate_to_begin_with(always) -> None:
    """The generator was stopped until the end, and every response came after it."""
    server, looks = queue(1000), []

    def run(load: Load, version: str) -> Measurement:
        looks.append(load)
        return msgspec.structs.replace(measured(load, 0), requests=100) if always or len(looks) == 1 else server(load, version)

    outcome = modes.carry_out(modes.search(Load(), SLO), run)
    assert [load.rate > 0 for load in looks[:3]] == ([False, False] if always else [False, False, True])
    if always:
        why = "one request at a time does not keep it: no request was answered with OK while it was measured"
        assert (outcome.findings.stopped, is_clean(outcome)) == (why, False)
    else:
        assert outcome.findings.rate == pytest.approx(keeps_up_to(1000), rel=0.03)


def test_search_ends_where_no_rate_keeps_the_target() -> None:
    outcome = modes.carry_out(modes.search(Load(rate=100), SLO), lambda load, version: measured(load, load.rate, 20_000))
    assert outcome.findings.stopped == "even a request now and then does not keep it"
    (said,) = outcome.findings.words()
    assert said.startswith("no rate that was tried keeps p99 10 ms: even a request now and then does not keep it; at 0.")
    assert said.endswith("/s p99 is 20 ms")
    assert not outcome.findings.client_bound
    assert len(outcome.measurements) == 22  # 11 rates, each twice


def test_search_ends_at_the_highest_rate_that_may_be_tried() -> None:
    outcome = modes.carry_out(modes.search(Load(rate=100), SLO, highest=350), lambda load, version: measured(load, load.rate))
    assert [m.load.rate for m in outcome.measurements] == [100, 200, 350, 350]
    assert (outcome.findings.rate, outcome.findings.above) == (350, 0)
    assert outcome.findings.stopped == "350/s is the highest rate that may be tried"


def test_a_generator_that_is_the_limit_is_told_apart_from_a_server_that_is() -> None:
    def run(load: Load, version: str) -> Measurement:
        slow = load.rate > 5000
        return measured(load, min(load.rate, 5000), client_bound=slow, client_bound_reason="a core was full" if slow else "")

    outcome = modes.carry_out(modes.search(Load(rate=1000), SLO), run)
    assert 4800 < outcome.findings.rate <= 5000 / findings.ACHIEVED
    assert outcome.findings.why == "the generator was the limit (a core was full)"
    assert re.fullmatch(r"at [\d,]+/s the generator was the limit; the server may do more", outcome.findings.stopped)


def test_a_generator_that_is_always_the_limit() -> None:
    outcome = modes.carry_out(modes.search(Load(rate=10), SLO), lambda load, version: measured(load, 1, 20_000, client_bound=True))
    assert outcome.findings.stopped == "the generator was the limit at 10/s, 1/s, 0.5/s"
    assert len(outcome.measurements) == 6, "each rate twice: to go on down would only measure the generator"
    assert (outcome.findings.rate, outcome.findings.client_bound) == (0.0, True)
    assert not is_clean(outcome)


def test_a_generator_that_is_the_limit_of_one_request_at_a_time() -> None:
    outcome = modes.carry_out(modes.search(Load(), SLO), lambda load, version: measured(load, 1, 20_000, client_bound=True))
    assert outcome.findings.stopped == "the generator was the limit with one request at a time: p99 is 20 ms"
    assert outcome.findings.client_bound


def test_a_late_generator_that_keeps_the_target_keeps_it() -> None:
    """Its lateness is in the latency, which is within the limit all the same."""
    server = queue(1000)
    outcome = modes.carry_out(
        modes.search(Load(rate=100), SLO), lambda load, version: msgspec.structs.replace(server(load, version), client_bound=True)
    )
    assert outcome.findings.rate == pytest.approx(keeps_up_to(1000), rel=0.03)
    assert is_clean(outcome)


def test_a_step_that_the_generator_bounds_is_measured_twice() -> None:
    """Every step that is measured for the first time at its rate lacks responses: the generator had no core."""
    seen = set()
    server = queue(1000)

    def run(load: Load, version: str) -> Measurement:
        first = load.rate not in seen
        seen.add(load.rate)
        return measured(load, load.rate / 2, client_bound=True) if first else server(load, version)

    found = modes.carry_out(modes.search(Load(rate=100), SLO), run).findings
    assert found.rate == pytest.approx(keeps_up_to(1000), rel=0.03)


def test_search_ends_when_the_server_is_gone() -> None:
    def run(load: Load, version: str) -> Measurement:
        if load.rate > 3000:
            requests = round(load.rate * load.duration_s)
            return Measurement(load, requests=requests, errors={"connection": requests}, error_messages={"connection": "refused"})
        return measured(load, load.rate)

    outcome = modes.carry_out(modes.search(Load(rate=1000), SLO), run)
    assert outcome.findings.rate == 2000
    assert outcome.findings.stopped == "nothing is answered any more: refused"
    assert not is_clean(outcome)


@pytest.mark.parametrize("start", [0, 1000])
def test_search_halves_a_server_that_never_settles(start) -> None:
    chance = random.Random(4)

    def run(load: Load, version: str) -> Measurement:
        return measured(load, load.rate, chance.choice([100, 20_000])) if load.rate else measured(load, 2000)

    outcome = modes.carry_out(modes.search(Load(rate=start), SLO, width=1e-12), run)
    found = outcome.findings
    assert len(outcome.measurements) == modes.SEARCH_STEPS
    assert found.words()[1].startswith("the search did NOT finish: 40 steps were measured")
    assert not is_clean(outcome)
    last = {one.rate: one.kept for one in found.tried}
    assert all(rate > found.rate for rate, kept in last.items() if not kept)


def test_too_few_requests_are_told() -> None:
    outcome = modes.carry_out(modes.search(Load(rate=4, duration_s=1), SLO), queue(10))
    assert outcome.findings.words()[-1] == "that rests on 10 requests: measure longer"


@pytest.mark.parametrize(("rate", "text"), [(0.12345, "0.1235/s"), (999.96, "1000/s"), (12345.6, "12,346/s"), (1e6, "1,000,000/s")])
def test_rates_are_written_without_an_exponent(rate, text) -> None:
    assert findings.per_second(rate) == text


def test_steps_are_told_one_by_one_and_make_a_curve() -> None:
    told = []
    loads = modes.along(Load(rate=1), modes.parse_steps("500,1000,2000"))
    outcome = modes.carry_out(modes.steps(loads), queue(1500), told.append)
    assert [(p.step, p.of, p.load.rate) for p in told] == [(1, 3, 500), (2, 3, 1000), (3, 3, 2000)]
    assert [(p.asked, p.answered) for p in outcome.findings.points] == [(500, 500), (1000, 1000), (2000, 1500)]
    assert outcome.findings.words() == ["most responses: 1,500/s at 2000/s constant", "saturated at 2000/s constant"]
    assert is_clean(outcome)


def test_steps_of_a_closed_loop_are_streams() -> None:
    loads = modes.along(Load(connections=2), [1, 4])
    assert [str(load) for load in loads] == ["2x1", "2x4"]
    assert [p.in_flight for p in findings.curve([measured(load, 1) for load in loads]).points] == [2, 8]
    with pytest.raises(ConfigError, match=r"expected whole numbers of streams in a closed loop, got 1\.5"):
        modes.along(Load(), [1.5])


def test_ramps() -> None:
    assert modes.parse_ramp("100:1000/10") == [100 * step for step in range(1, 11)]
    assert modes.parse_ramp("8:2/3") == [8, 5, 2]


@pytest.mark.parametrize("text", ["", "1:2", "1:2/1", "1:2/x", "0:2/3", "1:2:3/4", "1/4", "a:b/4", "1:inf/4", "1:2/1001"])
def test_ramps_that_are_refused(text) -> None:
    with pytest.raises(ConfigError, match=r"--ramp .*: expected FROM:TO/N as in 100:1000/10"):
        modes.parse_ramp(text)


@pytest.mark.parametrize("text", ["", "1,", "1,x", "0", "-1", "nan", "inf"])
def test_steps_that_are_refused(text) -> None:
    with pytest.raises(ConfigError, match=r"--steps .*: expected up to 1000 numbers above 0 as in 1000,2000,4000"):
        modes.parse_steps(text)


def refusing(load: Load, version: str) -> Measurement:
    """Answers 1000 a second; past that it spends work on refusals."""
    if not load.rate:
        return measured(load, min(1000, 300 * load.streams), 2000 * load.streams)
    good = min(load.rate, 1000) - max(0, load.rate - 1000) / 10
    result = measured(load, load.rate, errors={"RESOURCE_EXHAUSTED": round((load.rate - good) * load.duration_s)})
    return msgspec.structs.replace(result, requests_per_second=good)


def test_stress_goes_past_the_saturation() -> None:
    outcome = modes.carry_out(modes.stress(Load(duration_s=1)), refusing)
    found = outcome.findings
    assert (found.saturation, found.in_flight) == (1000, 4)
    assert [p.in_flight for p in found.closed] == [1, 2, 4, 8, 16]
    assert [p.asked for p in found.open] == [500, 750, 1000, 1250, 1500, 2000]
    assert [p.answered for p in found.open] == [500, 750, 1000, 975, 950, 900]
    assert (found.peak, found.kept) == (1000, 0.9)
    assert found.deadline_ms == 10  # ten times the first median, 667 us, is less than the least
    assert {m.load.deadline_ms for m in outcome.measurements if m.load.rate} == {10}
    assert is_clean(outcome)  # errors are what a stress looks for
    assert found.words()[1] == "at 2,000/s, 2 times that, 900/s are answered within 10 ms: 90% of the best, 1,000/s"


def test_stress_keeps_the_deadline_that_was_asked_for() -> None:
    outcome = modes.carry_out(modes.stress(Load(deadline_ms=50, duration_s=1, connections=3), (1, 3)), refusing)
    assert {m.load.deadline_ms for m in outcome.measurements if m.load.rate} == {50}
    assert [p.in_flight for p in outcome.findings.closed] == [3, 6, 12, 24, 48]
    assert [p.asked for p in outcome.findings.open] == [1000, 3000]


def test_stress_goes_on_while_all_is_answered() -> None:
    """The closed loops stop early here: the server batches, and answers in an open loop what they never asked for."""

    def run(load: Load, version: str) -> Measurement:
        return measured(load, min(load.rate, 5000) if load.rate else 1000)

    found = modes.carry_out(modes.stress(Load(), (1, 2)), run).findings
    assert [p.asked for p in found.open] == [1000, 2000, 3000, 4500, 6750]
    assert (found.peak, found.kept) == (5000, 1)
    endless = modes.carry_out(modes.stress(Load(), (1, 2)), lambda load, version: measured(load, load.rate or 1000)).findings
    assert len(endless.open) == 2 + modes.MOST_FURTHER
    assert endless.words()[-1] == "that is not past what the server can do: all was answered"
    bound = modes.carry_out(modes.stress(Load(), (1,)), lambda load, version: measured(load, load.rate or 1000, client_bound=True)).findings
    assert len(bound.open) == 1
    assert bound.words()[-1].startswith("the generator was the limit at 1x1, 1x2")


def test_stress_of_a_server_that_answers_nothing() -> None:
    outcome = modes.carry_out(modes.stress(Load()), lambda load, version: measured(load, 0))
    assert len(outcome.measurements) == 1
    assert outcome.findings.open == []


def soaked(seconds: int, p99_us: Callable[[int], float], memory: list[tuple[float, float]] | None = None) -> findings.Soak:
    chance = random.Random(1)
    intervals = [Interval(float(at), 1.0, 100, 0, 300, p99_us(at) * chance.uniform(0.9, 1.1), 1e4) for at in range(seconds)]
    outcome = modes.carry_out(modes.soak(Load(), memory or []), lambda load, version: measured(load, 100, intervals=intervals))
    return outcome.findings


def test_a_soak_that_does_not_drift() -> None:
    found = soaked(600, lambda at: 1000)
    p50, p99 = found.drifts
    assert (p99.figure, p99.drifts) == ("p99", False)
    assert p99.low < 0 < p99.high
    assert p50.per_hour == p50.low == p50.high == 0
    assert found.notices == ["memory: 0 samples are too few to tell a drift; 20 are needed"]
    assert found.words()[1].startswith("p99 does not drift: ")


@pytest.mark.parametrize("seconds", [0, 3, 59])
def test_a_short_soak_says_nothing_of_drift(seconds) -> None:
    """Even if it has as many intervals as a line needs."""
    found = soaked(seconds, lambda at: 1000 + 100 * at, [(float(at), 2**20 * (100.0 + at)) for at in range(seconds)])
    assert found.drifts == []
    assert found.words() == [f"a soak of {seconds} s is too short to tell a drift; 60 s are needed"]
    assert len(soaked(60, lambda at: 1000).drifts) == 2
    late = [Interval(at * 0.9999, 0.9999, 100, 0, 300, 300, 300) for at in range(60)]
    assert findings.soaked([measured(Load(), 100, intervals=late)], []).drifts, "it was asked for a minute"


def test_one_stall_is_no_drift() -> None:
    assert not soaked(600, lambda at: 1_000_000 if at == 590 else 1000).drifts[1].drifts


def test_a_soak_that_drifts() -> None:
    drift = soaked(600, lambda at: 1000 + at).drifts[1]
    assert drift.drifts
    assert drift.low < 3600 < drift.high
    assert drift.per_hour == pytest.approx(3600, rel=0.1)


def test_memory_that_levels_off_is_no_leak_and_memory_that_does_not_is() -> None:
    levels = [(float(at), 2**20 * min(100.0, 50 + at)) for at in range(600)]
    leaks = [(float(at), 2**20 * (100 + at / 10)) for at in range(600)]
    assert not soaked(600, lambda at: 1000, levels).drifts[2].drifts
    leak = soaked(600, lambda at: 1000, leaks).drifts[2]
    assert leak.drifts
    assert leak.per_hour == pytest.approx(360)


def test_noise_alone_is_rarely_a_drift() -> None:
    chance = random.Random(7)
    wrong = 0
    for _ in range(300):
        level, samples = 0.0, []
        for at in range(400):
            level = 0.7 * level + chance.gauss(0, 100)  # neighbours are alike
            samples.append((float(at), 300 + level))
        wrong += findings.drift("p99", "us", samples).drifts
    assert wrong <= 12  # 1 % are 3


def test_versions_take_turns() -> None:
    told = []
    outcome = modes.carry_out(
        modes.versions(Load(), ["3", "4"], 3), lambda load, version: measured(load, 100 * int(version), version=version), told.append
    )
    assert [m.version for m in outcome.measurements] == list("344334")
    assert [p.why for p in told] == ["round 1", "round 1", "round 2", "round 2", "round 3", "round 3"]
    first, second = outcome.findings.rounds
    assert (first.version, first.steps, first.requests_per_second) == ("3", [0, 3, 4], 300)
    assert (second.version, second.steps, second.requests_per_second) == ("4", [1, 2, 5], 400)


MODES = {
    "single": lambda: modes.single(Load()),
    "steps": lambda: modes.steps(modes.along(Load(), [1, 2, 3, 4])),
    "search": lambda: modes.search(Load(), SLO),
    "stress": lambda: modes.stress(Load()),
    "soak": lambda: modes.soak(Load()),
    "versions": lambda: modes.versions(Load(), ["1", "2"]),
}


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("end", [KeyboardInterrupt(), StartError("the server is gone"), ConnectionResetError("reset"), "interrupted"])
@pytest.mark.parametrize("after", range(8))
def test_what_was_measured_is_kept(name, end, after) -> None:
    """However and whenever it ends, the measurements up to then are there, with what they say."""
    server, runs = queue(10_000), []

    def run(load: Load, version: str) -> Measurement:
        if len(runs) == after and isinstance(end, BaseException):
            raise end
        runs.append(server(load, version))
        if len(runs) == after + 1 and end == "interrupted":
            runs[-1].ended = end
        return runs[-1]

    mode = MODES[name]()
    if after == 0 and isinstance(end, BaseException):
        with pytest.raises(type(end)):
            modes.carry_out(mode, run)
        return
    outcome = modes.carry_out(mode, run)
    assert outcome.mode == name
    assert outcome.measurements == runs
    if outcome.ended:
        assert outcome.ended == ("interrupted" if isinstance(end, KeyboardInterrupt) else str(end))
        assert not is_clean(outcome)
    else:
        assert len(runs) == after or len(runs) == (mode.loads or len(runs))
    assert (outcome.findings is None) == (name == "single")
    if outcome.findings:
        assert all(isinstance(line, str) for line in outcome.findings.words())


def test_what_ended_in_its_warm_up_is_no_row() -> None:
    """There is nothing to tell of it but that it ended."""
    runs = [measured(RATE, 1000), Measurement(RATE, ended="interrupted")]
    outcome = modes.carry_out(modes.steps([RATE, RATE, RATE]), lambda load, version: runs.pop(0))
    assert (len(outcome.measurements), outcome.ended, is_clean(outcome)) == (1, "interrupted", False)
    alone = modes.carry_out(modes.single(RATE), lambda load, version: Measurement(RATE, ended="interrupted"))
    assert (len(alone.measurements), alone.ended) == (1, "interrupted")


def test_a_fault_of_the_program_is_no_partial_result() -> None:
    with pytest.raises(ZeroDivisionError):
        modes.carry_out(modes.steps([Load(), Load()]), lambda load, version: 1 / 0)


def test_wrong_responses_are_not_clean() -> None:
    outcome = modes.carry_out(modes.single(Load()), lambda load, version: measured(load, 1, verified=Verification(checked=2, wrong=1)))
    assert not is_clean(outcome)
    assert not is_clean(modes.carry_out(modes.single(Load()), lambda load, version: measured(load, 1, errors={"INTERNAL": 1})))


def test_findings_are_kept_in_json() -> None:
    for name, make in MODES.items():
        if found := modes.carry_out(make(), queue(1000)).findings:
            again = msgspec.json.decode(msgspec.json.encode(found), type=findings.Findings)
            assert again == found, name


def test_rates_of_a_search_narrow_down() -> None:
    rates = [m.load.rate for m in modes.carry_out(modes.search(Load(rate=100), SLO), queue(1000)).measurements]
    gaps = [abs(after - before) for before, after in pairwise(dict.fromkeys(rates[4:-1]))]
    assert gaps == sorted(gaps, reverse=True)
