"""Comparisons: what changed is found, what did not is not, and what is not comparable is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from msgspec.structs import replace

from inferd.bench.compare import compare, compare_measurements
from inferd.bench.hdr import encode
from inferd.bench.measurement import Histogram, Interval, Latency, Load, Measurement, ServerSide, Verification
from inferd.bench.verdicts import markdown, plain
from tests.reports import figure, measurement, sample, verdicts


def test_a_slower_server_is_worse() -> None:
    made = compare(sample(measurements=[measurement(seed=1)]), sample(measurements=[measurement(seed=2, slower=2.4, rate=600.0)]))
    found = verdicts(made)
    assert (found["p50"], found["p99"], found["requests/s"], found["errors"]) == ("worse", "unclear", "worse", "same")
    p50 = figure(made, "p50")
    assert p50.low < p50.change < p50.high
    assert p50.change == pytest.approx(1.4, abs=0.05)
    assert made.worse


def test_a_faster_server_is_better() -> None:
    sides = [[measurement(seed=seed, slower=slower, rate=rate)] for seed, slower, rate in ((1, 60.0, 200.0), (2, 10.0, 1000.0))]
    made = compare_measurements(*sides)
    assert {verdicts(made)[name] for name in ("p50", "p99", "requests/s")} == {"better"}
    assert not made.worse


def test_the_same_server_is_the_same() -> None:
    made = compare(sample(measurements=[measurement(seed=1)]), sample(measurements=[measurement(seed=2)]))
    assert verdicts(made)["requests/s"] == "same"
    assert {"worse", "better"}.isdisjoint(verdicts(made).values())
    assert not made.worse


def run_of_a_server(numbers: np.random.Generator, slower: float = 1.0) -> Measurement:
    """Three seconds of a closed loop on a machine with other programs: runs differ by some 6 %, their tails by more, and far more than
    the intervals within one do."""
    run, tail, far = slower * numbers.lognormal(0, 0.06), numbers.lognormal(0, 0.12), numbers.lognormal(0, 0.6)
    seconds = [
        Interval(at, 0.15, int(1e4 / us), 0, us, 2 * tail * us, 9 * us, 1.1 * us, 3 * far * us)
        for at, us in enumerate((run * numbers.lognormal(0, 0.03, 20)).tolist())
    ]
    latency = Latency(1.1 * run, run, run, 2 * tail * run, 3 * far * run, 9 * run)
    requests = sum(second.requests for second in seconds)
    return Measurement(Load(), duration_s=3.0, requests=requests, requests_per_second=requests / 3, latency_us=latency, intervals=seconds)


def test_single_runs_of_one_server_are_rarely_worse() -> None:
    numbers = np.random.default_rng(5)
    pairs = [([run_of_a_server(numbers)], [run_of_a_server(numbers)]) for _ in range(150)]
    assert sum(compare_measurements(*sides).worse for sides in pairs) <= 3
    assert sum(compare_measurements(*sides, margin=0.0).worse for sides in pairs[:50]) > 10, "as spread within runs alone has it"


def test_single_runs_find_a_loss_of_half_and_with_a_smaller_margin_one_of_30_percent() -> None:
    numbers = np.random.default_rng(6)

    def found(left: float, margin: float) -> int:
        pairs = [([run_of_a_server(numbers)], [run_of_a_server(numbers, 1 / left)]) for _ in range(50)]
        return sum(compare_measurements(*sides, margin=margin).worse for sides in pairs)

    assert found(0.5, 0.5) >= 48
    assert found(0.7, 0.25) >= 35


def test_a_margin_is_as_many_times_less_as_it_is_more() -> None:
    full, third = measurement(seed=1), measurement(seed=2, slower=3.0, rate=333.0)
    for margin, verdict in ((1.5, "worse"), (2.5, "unclear")):
        found = verdicts(compare_measurements([full], [third], margin=margin))
        assert (found["requests/s"], found["p50"]) == (verdict, verdict)


def test_figures_that_are_partly_the_clients_have_a_wider_margin() -> None:
    full, half = measurement(seed=1), measurement(seed=2, slower=2.0, rate=500.0)
    assert verdicts(compare_measurements([full], [half]))["p50"] == "worse"
    for sides in ((replace(full, client_bound=True), half), (full, replace(half, client_bound=True))):
        assert verdicts(compare_measurements([sides[0]], [sides[1]]))["p50"] == "unclear"
    slow = measurement(seed=2, slower=5.0, rate=150.0, client_bound=True)
    assert verdicts(compare_measurements([full], [slow]))["p50"] == "worse"
    rounds = [[measurement(seed=seed, rate=100.0, client_bound=seed > 1)] * 4 for seed in (1, 2)]
    rounds[1][0] = measurement(seed=3, rate=100.0, slower=100.0)
    assert verdicts(compare_measurements(*rounds))["mean"] == "unclear", "one round of four, 25 times what it was"


def test_a_tail_of_few_requests_or_of_a_scheduler_is_not_a_single_runs() -> None:
    def p99(slower: float, **fields: float) -> str:
        return verdicts(compare_measurements([measurement(slower=slower, **fields)], [measurement(seed=2, slower=4 * slower, **fields)]))[
            "p99"
        ]

    assert (p99(1.0), p99(2.0)) == ("unclear", "worse"), "6 and 12 ms after"
    assert p99(2.0, rate=50.0) == "unclear", "of 500 requests"


def test_rounds_of_one_server_are_rarely_worse_and_show_a_smaller_loss() -> None:
    numbers = np.random.default_rng(7)

    def side(count: int, slower: float = 1.0) -> list[Measurement]:
        return [run_of_a_server(numbers, slower) for _ in range(count)]

    assert sum(compare_measurements(side(4), side(4)).worse for _ in range(100)) <= 7
    made = [compare_measurements(side(10), side(10, 1.25)) for _ in range(20)]
    assert sum(figure(each, "p50").verdict == "worse" for each in made) >= 18
    assert "the sides did not take turns: what else happened on the machines between them counts as a change, too" in made[0].notices


def test_a_small_change_is_below_the_threshold() -> None:
    sides = [measurement(seed=1)], [measurement(seed=2, slower=1.08)]
    assert verdicts(compare_measurements(*sides, threshold=0.02, margin=0.0))["p50"] == "worse"
    assert not compare_measurements(*sides, threshold=0.2, margin=0.0).worse


def test_a_change_within_the_noise_is_unclear() -> None:
    def noisy(seed: int, slower: float) -> Measurement:
        numbers = np.random.default_rng(seed)
        seconds = [Interval(at, 1.0, 100, 0, slower * 1e3 * numbers.lognormal(0, 0.5), 5e3, 9e3) for at in range(10)]
        mean = float(np.mean([second.p50_us for second in seconds]))
        return Measurement(Load(), requests=1000, requests_per_second=100.0, latency_us=Latency(p50=mean, p99=5e3), intervals=seconds)

    made = compare_measurements([noisy(1, 1.0)], [noisy(2, 1.2)])
    assert verdicts(made)["p50"] == "unclear"
    assert any(notice.startswith("unclear: ") for notice in made.notices)


def test_two_runs_give_the_same_comparison() -> None:
    sides = [measurement(seed=1)], [measurement(seed=2)]
    assert compare_measurements(*sides) == compare_measurements(*sides)


def test_rounds_give_intervals_to_every_figure() -> None:
    def rounds(seed: int, slower: float) -> list[Measurement]:
        cpu = ServerSide(cpu_us_per_request=20 * slower)
        return [measurement(seed=seed + n, slower=slower, seconds=2, server=cpu, client_cpu_us_per_request=4 + n / 100) for n in range(5)]

    made = compare_measurements(rounds(10, 1.0), rounds(20, 1.2))
    assert [change.figure for change in made.changes if change.low is None] == ["max"]
    assert verdicts(made) == {
        "requests/s": "same",
        "mean": "worse",
        "p50": "worse",
        "p99": "worse",
        "p999": verdicts(made)["p999"],  # whatever its few entries say
        "max": "",
        "client CPU/request": "same",
        "server CPU/request": "worse",
        "errors": "same",
    }
    assert not any("rounds a side" in notice for notice in made.notices)


def test_what_has_no_interval_is_worse_only_as_a_multiple() -> None:
    sides = [[measurement(server=ServerSide(cpu_us_per_request=cpu))] for cpu in (1000.0, 1400.0, 1600.0)]
    change = figure(compare_measurements(*sides[:2]), "server CPU/request")
    assert (change.low, change.verdict) == (None, "unclear")
    assert change.change == pytest.approx(0.4)
    assert verdicts(compare_measurements(sides[0], sides[2]))["server CPU/request"] == "worse"
    assert verdicts(compare_measurements(sides[2], sides[0]))["server CPU/request"] == "better"
    little = [[measurement(server=ServerSide(cpu_us_per_request=cpu))] for cpu in (50.0, 150.0)]
    assert verdicts(compare_measurements(*little))["server CPU/request"] == "unclear", "so much differs with what a core did before"


def at_a_rate(stalled: int = 0, requests: int = 200) -> Measurement:
    """Ten seconds of an open loop, of which some are without a response and the next one has them all; p99 shows it."""
    seconds = [Interval(at, 1.0, requests // 10, 0, 300.0, 2e3, 3e3, 400.0, 2.5e3) for at in range(10)]
    seconds[4 : 4 + stalled] = [Interval(at, 1.0, 0, 0, 0.0, 0.0, 0.0) for at in range(4, 4 + stalled)]
    if stalled:
        seconds[4 + stalled] = Interval(4 + stalled, 1.0, requests // 10 * (1 + stalled), 0, 300.0, 9e5, 1e6, 4e5, 1e6)
    latency = Latency(400.0 + 5e4 * stalled, 300.0, 5e2, 9e5 if stalled else 2e3, 1e6 if stalled else 2.5e3, 1e6)
    return Measurement(Load(rate=20), duration_s=10.0, requests=requests, requests_per_second=20.0, latency_us=latency, intervals=seconds)


def test_one_stall_is_worse_whatever_the_intervals_say() -> None:
    good, bad = at_a_rate(requests=2000), at_a_rate(stalled=1, requests=2000)
    made = compare_measurements([good], [bad])
    assert {"mean", "p99"} <= {name for name, verdict in verdicts(made).items() if verdict == "worse"}
    assert (verdicts(made)["p50"], made.worse) == ("unclear" if figure(made, "p50").low is None else "same", 1)
    few = verdicts(compare_measurements([at_a_rate()], [at_a_rate(stalled=1)]))
    assert (few["mean"], few["p99"], few["p999"]) == ("worse", "unclear", "unclear"), "the p99 of 200 requests is one or two of them"


def in_a_closed_loop(stall_s: float = 0.0) -> Measurement:
    """Ten seconds of one stream; while it stalls nothing else is asked, so that one request is slow and no percentile knows of it."""
    histogram, requests = Histogram(), int(1000 * (10 - stall_s))
    histogram.record(1_000_000, requests)
    histogram.record(20_000_000, 5)
    if stall_s:
        histogram.record(int(stall_s * 1e9))
    seconds = [Interval(at, 1.0, int(1000 * (1 - stall_s * (at == 4))), 0, 1e3, 1e3, 2e4, 1e3, 1e3) for at in range(10)]
    latency = Latency.of(histogram)
    return Measurement(
        Load(),
        duration_s=10.0,
        requests=requests,
        requests_per_second=requests / 10,
        latency_us=latency,
        intervals=seconds,
        histogram=encode(histogram),
    )


@pytest.mark.parametrize("rounds", [1, 4])
def test_a_stall_in_a_closed_loop_is_seen_by_the_longest_latency(rounds) -> None:
    good, bad = [in_a_closed_loop()] * rounds, [in_a_closed_loop()] * (rounds - 1) + [in_a_closed_loop(stall_s=1.0)]
    made = compare_measurements(good, bad)
    assert [change.figure for change in made.changes if change.verdict == "worse"] == ["max", "longest silence"]
    named = [notice for notice in made.notices if "round 4 of 4" in notice]
    assert named == (["1x1: max after owes most to round 4 of 4, where it was 1,000,000.0 µs"] if rounds == 4 else [])
    assert verdicts(compare_measurements(bad, good))["max"] == "better"
    assert not compare_measurements(bad, bad).worse


def test_a_pause_of_the_client_is_no_stall_of_the_server() -> None:
    good, paused = in_a_closed_loop(), replace(in_a_closed_loop(stall_s=1.0), held_up_s=0.95)
    made = compare_measurements([good], [paused])
    assert (verdicts(made)["max"], made.worse) == ("", 0)
    assert compare_measurements([good], [replace(in_a_closed_loop(stall_s=2.0), held_up_s=0.95)]).worse


def test_one_slow_request_below_half_a_second_is_no_stall() -> None:
    made = compare_measurements([in_a_closed_loop()], [in_a_closed_loop(stall_s=0.4)])
    assert (verdicts(made)["max"], made.worse) == ("", 0)


def test_one_round_that_stalls_is_worse_and_named() -> None:
    """Of four rounds one has a stall, which leaves the interval of rounds open: the multiples say so all the same."""
    rounds = [at_a_rate(requests=2000) for _ in range(4)]
    made = compare_measurements(rounds, [*rounds[:2], at_a_rate(stalled=1, requests=2000), rounds[3]])
    assert verdicts(made)["mean"] == "worse"
    assert any(re.fullmatch(r"20/s constant: mean after owes most to round 3 of 4, where it was [\d,.]+ µs", each) for each in made.notices)


def test_seconds_without_responses_are_some_of_the_seconds() -> None:
    made = compare_measurements([at_a_rate()], [at_a_rate(stalled=2)])
    change = figure(made, "requests/s")
    assert change.low < 0 < change.high
    assert made.unclear > 0


def silent(load: Load | None = None, **fields) -> Measurement:
    """One second in which nothing was answered."""
    intervals = [Interval(at / 10, 0.1, 0, 0, 0.0, 0.0, 0.0) for at in range(10)]
    return Measurement(load or Load(), duration_s=1.0, intervals=intervals, **fields)


@pytest.mark.parametrize("rounds", [1, 4])
def test_a_server_that_answers_nothing_is_worse(rounds) -> None:
    good, bad = [in_a_closed_loop()] * rounds, [silent()] * rounds
    made = compare_measurements(good, bad)
    assert {name for name, verdict in verdicts(made).items() if verdict == "worse"} == {"requests/s", "longest silence"}
    assert (figure(made, "requests/s").after, made.worse) == (0.0, 1)
    assert verdicts(compare_measurements(bad, good))["requests/s"] == "better"
    assert not compare_measurements(bad, bad).worse


def test_one_round_in_which_nothing_was_answered_is_worse_and_named() -> None:
    good = [in_a_closed_loop()] * 4
    made = compare_measurements(good, [*good[:2], silent(), good[3]])
    assert verdicts(made)["requests/s"] == "worse"
    assert "1x1: after, nothing was answered in round 3 of 4" in made.notices


def test_unanswered_requests_of_an_open_loop_are_errors_and_worse() -> None:
    bad = silent(Load(rate=20), requests=200, errors={"unanswered": 200})
    found = verdicts(compare_measurements([at_a_rate()], [bad]))
    assert (found["requests/s"], found["errors"], found["unanswered"]) == ("worse", "worse", "worse")


def test_streams_that_hang_are_worse_however_few_they_are() -> None:
    good, bad = in_a_closed_loop(), replace(in_a_closed_loop(), unfinished=2)
    made = compare_measurements([good], [bad])
    assert (verdicts(made)["errors"], verdicts(made)["unanswered"], made.worse) == ("same", "worse", 1)
    assert verdicts(compare_measurements([bad], [good]))["unanswered"] == "better"
    assert verdicts(compare_measurements([bad], [bad]))["unanswered"] == ""
    assert "unanswered" not in verdicts(compare_measurements([good], [good]))


def test_a_silence_that_no_latency_shows_is_worse() -> None:
    """A server that is stopped before the measuring begins leaves no slow request, only intervals without responses."""
    good = in_a_closed_loop()
    bad = replace(good, intervals=[replace(each, requests=0) if each.at_s < 2 else each for each in good.intervals])
    made = compare_measurements([good], [bad])
    assert [change.figure for change in made.changes if change.verdict == "worse"] == ["longest silence"]
    assert (figure(made, "longest silence").before, figure(made, "longest silence").after) == (0.0, 2e6)
    assert verdicts(compare_measurements([bad], [good]))["longest silence"] == "better"
    assert verdicts(compare_measurements([bad], [bad]))["longest silence"] == ""


def test_a_run_that_a_server_ended_is_worse() -> None:
    good = in_a_closed_loop()
    for why, code in (("every connection was lost", 1), ("interrupted", 0)):
        made = compare_measurements([good], [replace(good, ended=why)])
        assert (made.worse, verdicts(made).get("ended early")) == (code, "worse" if code else None)
        assert f"after: a measurement ended early: {why}" in made.notices
    both = [replace(good, ended="every connection was lost")]
    assert verdicts(compare_measurements(both, both))["ended early"] == "same"


def test_a_run_that_ended_between_two_rounds_is_worse() -> None:
    good, short = sample("rounds", [in_a_closed_loop()] * 4), [in_a_closed_loop()] * 2
    made = compare(good, sample("rounds", short, notices=["ended early: cannot connect"]))
    assert [(change.load, change.figure) for change in made.changes if change.verdict == "worse"] == [("the run", "ended early")]
    assert not compare(good, sample("rounds", short, notices=["ended early: interrupted"])).worse


def test_any_real_increase_of_errors_is_worse() -> None:
    made = compare_measurements([measurement()], [measurement(errors={"UNAVAILABLE": 20})])
    assert verdicts(made)["errors"] == "worse"
    made = compare_measurements([measurement(errors={"UNAVAILABLE": 1})], [measurement(errors={"INTERNAL": 2})])
    assert verdicts(made)["errors"] == "same"
    few = [replace(measurement(errors=errors), requests=40) for errors in ({"UNAVAILABLE": 1}, {"INTERNAL": 2})]
    assert verdicts(compare_measurements(few[:1], few[1:]))["errors"] == "unclear", "one in forty may be as well as one in ten"
    none = [replace(measurement(), requests=40)]
    assert verdicts(compare_measurements(none, none))["errors"] == "same"
    made = compare_measurements([measurement(errors={"UNAVAILABLE": 20})], [measurement()])
    assert verdicts(made)["errors"] == "better"


def test_wrong_responses_are_worse() -> None:
    made = compare_measurements(
        [measurement(verified=Verification(checked=9))], [measurement(seed=2, verified=Verification(checked=9, wrong=1))]
    )
    assert (verdicts(made)["wrong responses"], made.worse) == ("worse", 1)


def verified(*sides: tuple[int, int]) -> list[list[Measurement]]:
    """Wrong ones of so many that were checked."""
    return [[measurement(seed=seed, verified=Verification(checked, wrong))] for seed, (wrong, checked) in enumerate(sides)]


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ((5950, 5950), (4967, 4967), "same"),
        ((10, 1000), (11, 10_000), "better"),
        ((11, 10_000), (10, 1000), "worse"),
        ((10, 1000), (14, 1000), "unclear"),
        ((1000, 100_000), (1010, 100_000), "same"),
        ((10, 1000), (50, 1000), "worse"),
        ((0, 1000), (1, 100_000), "worse"),
        ((1, 100_000), (0, 1000), "same"),
        ((0, 1000), (0, 9), "same"),
    ],
)
def test_wrong_responses_are_compared_by_their_share(before, after, verdict) -> None:
    """A faster server, or a longer run, has more of them; but a right one has none."""
    made = compare_measurements(*verified(before, after))
    change = figure(made, "wrong responses")
    assert (change.verdict, made.worse) == (verdict, int(verdict == "worse"))
    assert (change.before, change.after) == pytest.approx((100 * before[0] / before[1], 100 * after[0] / after[1]))
    shown = next(line for line in plain(made).splitlines() if line.startswith("  wrong responses"))
    assert f"{change.after:,.3f} %  {100 * change.change:+.3f}" in shown


def test_a_reader_is_told_what_to_doubt() -> None:
    bound = measurement(seed=2, client_bound=True, client_bound_reason="one core was full", ended="the server went away")
    made = compare(
        sample(settings={"shape": "1,32", "json_file": "a.json"}, versions={"cpu": "x"}),
        sample(measurements=[bound], settings={"shape": "1,64", "json_file": "b.json"}, versions={"cpu": "y"}),
    )
    assert made.notices[:4] == [
        "setting shape differs: 1,32 before, 1,64 after",
        "version of cpu differs: x before, y after",
        "after: 1 of 1 measurements were limited by the client: one core was full; not the server's figures",
        "after: a measurement ended early: the server went away",
    ]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, True),
        ({"npz": ["a.npz"]}, False),
        ({"npz": ["a.npz"], "random": True}, True),
        ({"npz": ["a.npz"], "arrivals": "poisson"}, True),
        ({"npz": ["a.npz"], "arrivals": "constant"}, False),
    ],
)
def test_another_seed_is_named_where_something_was_drawn_by_it(settings, named) -> None:
    made = compare(*(sample(settings={**settings, "seed": seed}) for seed in (0, 5)))
    assert ("setting seed differs: 0 before, 5 after" in made.notices) == named


def test_nothing_measured_in_a_side_divides_by_nothing() -> None:
    made = compare_measurements([measurement(Load())], [Measurement(Load())])
    assert verdicts(made) == {"requests/s": "worse", "errors": "same"}
    assert "nan" not in plain(made) + markdown(made)
    assert not compare_measurements([Measurement(Load())], [Measurement(Load())]).worse
