"""Comparisons: what changed is found, what did not is not, and what is not comparable is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from click.testing import CliRunner
from reports import measurement, sample

from inferd.bench import report
from inferd.bench.compare import Change, Comparison, compare, compare_measurements, compare_versions, wilson
from inferd.bench.export import encode
from inferd.bench.measurement import Histogram, Interval, Latency, Load, Measurement, ServerSide, Verification
from inferd.bench.verdicts import markdown, plain
from inferd.cli.bench_compare import compare as command
from inferd.errors import ConfigError


def verdicts(made: Comparison) -> dict[str, str]:
    return {change.figure: change.verdict for change in made.changes}


def figure(made: Comparison, name: str) -> Change:
    return next(change for change in made.changes if change.figure == name)


def test_a_slower_server_is_worse():
    made = compare(sample(measurements=[measurement(seed=1)]), sample(measurements=[measurement(seed=2, slower=2.4, rate=600.0)]))
    found = verdicts(made)
    assert (found["p50"], found["p99"], found["requests/s"], found["errors"]) == ("worse", "worse", "worse", "same")
    p50 = figure(made, "p50")
    assert p50.low < p50.change < p50.high
    assert p50.change == pytest.approx(1.4, abs=0.05)
    assert made.exit_code == 1


def test_a_faster_server_is_better():
    made = compare(sample(measurements=[measurement(seed=1, slower=6.0, rate=600.0)]), sample(measurements=[measurement(seed=2)]))
    assert {verdicts(made)[name] for name in ("p50", "p99", "requests/s")} == {"better"}
    assert made.exit_code == 0


def test_the_same_server_is_the_same():
    made = compare(sample(measurements=[measurement(seed=1)]), sample(measurements=[measurement(seed=2)]))
    assert verdicts(made)["requests/s"] == "same"
    assert {"worse", "better"}.isdisjoint(verdicts(made).values())
    assert made.exit_code == 0


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


def test_single_runs_of_one_server_are_rarely_worse():
    numbers = np.random.default_rng(5)
    pairs = [([run_of_a_server(numbers)], [run_of_a_server(numbers)]) for _ in range(150)]
    assert sum(compare_measurements(*sides).exit_code for sides in pairs) <= 3
    assert sum(compare_measurements(*sides, margin=0.0).exit_code for sides in pairs) > 30, "as spread within runs alone has it"


def test_single_runs_find_a_loss_of_30_percent():
    numbers = np.random.default_rng(6)
    lost = [compare_measurements([run_of_a_server(numbers)], [run_of_a_server(numbers, 1 / 0.7)]).exit_code for _ in range(50)]
    assert sum(lost) >= 35


def test_rounds_of_one_server_are_rarely_worse_and_show_a_smaller_loss():
    numbers = np.random.default_rng(7)

    def side(count: int, slower: float = 1.0) -> list[Measurement]:
        return [run_of_a_server(numbers, slower) for _ in range(count)]

    assert sum(compare_measurements(side(4), side(4)).exit_code for _ in range(100)) <= 7
    made = [compare_measurements(side(10), side(10, 1.25)) for _ in range(20)]
    assert sum(figure(each, "p50").verdict == "worse" for each in made) >= 18
    assert "the sides did not take turns: what else happened on the machines between them counts as a change, too" in made[0].notices


def test_a_small_change_is_below_the_threshold():
    sides = [measurement(seed=1)], [measurement(seed=2, slower=1.08)]
    assert verdicts(compare_measurements(*sides, threshold=0.02, margin=0.0))["p50"] == "worse"
    assert compare_measurements(*sides, threshold=0.2, margin=0.0).exit_code == 0


def test_a_change_within_the_noise_is_unclear():
    def noisy(seed: int, slower: float) -> Measurement:
        numbers = np.random.default_rng(seed)
        seconds = [Interval(at, 1.0, 100, 0, slower * 1e3 * numbers.lognormal(0, 0.5), 5e3, 9e3) for at in range(10)]
        mean = float(np.mean([second.p50_us for second in seconds]))
        return Measurement(Load(), requests=1000, requests_per_second=100.0, latency_us=Latency(p50=mean, p99=5e3), intervals=seconds)

    made = compare_measurements([noisy(1, 1.0)], [noisy(2, 1.2)])
    assert verdicts(made)["p50"] == "unclear"
    assert any(notice.startswith("unclear: ") for notice in made.notices)


def test_intervals_cover_no_change_as_often_as_they_say():
    """Two hundred comparisons of a server with itself: 95 % intervals may miss zero in some 5 % of them."""

    def seconds(seed: int) -> Measurement:
        values = 1e3 * np.random.default_rng(seed).lognormal(0, 0.05, 12)
        intervals = [Interval(at, 1.0, 100, 0, value, 2 * value, 3 * value) for at, value in enumerate(values.tolist())]
        return Measurement(Load(), requests=1200, latency_us=Latency(p50=float(values.mean())), intervals=intervals)

    made = [figure(compare_measurements([seconds(2 * n)], [seconds(2 * n + 1)]), "p50") for n in range(200)]
    missed = sum(not change.low <= 0 <= change.high for change in made)
    assert missed <= 14


def test_two_runs_give_the_same_comparison():
    sides = [measurement(seed=1)], [measurement(seed=2)]
    assert compare_measurements(*sides) == compare_measurements(*sides)


def test_rounds_give_intervals_to_every_figure():
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


def test_rounds_that_took_turns_are_compared_in_pairs():
    """Each pair was disturbed by something else, and version 4 is a tenth slower in all of them."""

    def turns(starts: list[list[int]]) -> list[list[Measurement]]:
        disturbed = (1.0, 2.0, 1.5, 3.0, 1.2)
        return [
            [
                Measurement(Load(), started_unix_s=at, requests=100, latency_us=Latency(p50=1e3 * slower * much))
                for at, much in zip(side, disturbed, strict=True)
            ]
            for side, slower in zip(starts, (1.0, 1.1), strict=True)
        ]

    paired = figure(compare_measurements(*turns([[1, 4, 5, 8, 9], [2, 3, 6, 7, 10]])), "p50")
    assert (paired.verdict, paired.low) == ("worse", pytest.approx(0.1))
    apart = figure(compare_measurements(*turns([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]])), "p50")
    assert (apart.verdict, apart.low < 0 < apart.high) == ("unclear", True)


def test_what_has_no_interval_is_worse_only_as_a_multiple():
    sides = [[measurement(client_cpu_us_per_request=cpu)] for cpu in (4.0, 9.0, 12.0)]
    change = figure(compare_measurements(*sides[:2]), "client CPU/request")
    assert (change.low, change.verdict) == (None, "unclear")
    assert change.change == pytest.approx(1.25)
    assert verdicts(compare_measurements(sides[0], sides[2]))["client CPU/request"] == "worse"
    assert verdicts(compare_measurements(sides[2], sides[0]))["client CPU/request"] == "better"


def at_a_rate(stalled: int = 0, requests: int = 200) -> Measurement:
    """Ten seconds of an open loop, of which some are without an answer and the next one has them all; p99 shows it."""
    seconds = [Interval(at, 1.0, requests // 10, 0, 300.0, 2e3, 3e3, 400.0, 2.5e3) for at in range(10)]
    seconds[4 : 4 + stalled] = [Interval(at, 1.0, 0, 0, 0.0, 0.0, 0.0) for at in range(4, 4 + stalled)]
    if stalled:
        seconds[4 + stalled] = Interval(4 + stalled, 1.0, requests // 10 * (1 + stalled), 0, 300.0, 9e5, 1e6, 4e5, 1e6)
    latency = Latency(400.0 + 5e4 * stalled, 300.0, 5e2, 9e5 if stalled else 2e3, 1e6 if stalled else 2.5e3, 1e6)
    return Measurement(Load(rate=20), duration_s=10.0, requests=requests, requests_per_second=20.0, latency_us=latency, intervals=seconds)


def test_one_stall_is_worse_whatever_the_intervals_say():
    good, bad = at_a_rate(requests=2000), at_a_rate(stalled=1, requests=2000)
    made = compare_measurements([good], [bad])
    assert {"mean", "p99"} <= {name for name, verdict in verdicts(made).items() if verdict == "worse"}
    assert (verdicts(made)["p50"], made.exit_code) == ("unclear" if figure(made, "p50").low is None else "same", 1)
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
def test_a_stall_in_a_closed_loop_is_seen_by_the_longest_latency(rounds):
    good, bad = [in_a_closed_loop()] * rounds, [in_a_closed_loop()] * (rounds - 1) + [in_a_closed_loop(stall_s=1.0)]
    made = compare_measurements(good, bad)
    assert [change.figure for change in made.changes if change.verdict == "worse"] == ["max"]
    named = [notice for notice in made.notices if "round 4 of 4" in notice]
    assert named == (["1x1: max after owes most to round 4 of 4, where it was 1,000,000.0 us"] if rounds == 4 else [])
    assert verdicts(compare_measurements(bad, good))["max"] == "better"
    assert compare_measurements(bad, bad).exit_code == 0


def test_one_slow_request_below_half_a_second_is_no_stall():
    made = compare_measurements([in_a_closed_loop()], [in_a_closed_loop(stall_s=0.4)])
    assert (verdicts(made)["max"], made.exit_code) == ("", 0)


def test_one_round_that_stalls_is_worse_and_named():
    """Of four rounds one has a stall, which leaves the interval of rounds open: the multiples say so all the same."""
    rounds = [at_a_rate(requests=2000) for _ in range(4)]
    made = compare_measurements(rounds, [*rounds[:2], at_a_rate(stalled=1, requests=2000), rounds[3]])
    assert verdicts(made)["mean"] == "worse"
    assert any(re.fullmatch(r"20/s constant: mean after owes most to round 3 of 4, where it was [\d,.]+ us", each) for each in made.notices)


def test_seconds_without_answers_are_some_of_the_seconds():
    made = compare_measurements([at_a_rate()], [at_a_rate(stalled=2)])
    change = figure(made, "requests/s")
    assert change.low < 0 < change.high
    assert made.unclear > 0


def test_no_interval_is_wider_than_a_screen():
    change = Change("4x1", "mean", "us", 1.0, 2.0, 1.0, -1.0, 1e130, "unclear")
    assert "  -100.0 % to > +100,000 %  unclear" in plain(Comparison("a", "b", 0.05, 0.95, changes=[change]))


def test_a_server_that_answers_nothing_is_worse():
    silent = Measurement(Load(rate=20), duration_s=10.0, requests=200, errors={"unanswered": 200}, intervals=at_a_rate(stalled=5).intervals)
    assert verdicts(compare_measurements([at_a_rate()], [silent]))["requests/s"] == "worse"


def test_any_real_increase_of_errors_is_worse():
    made = compare_measurements([measurement()], [measurement(errors={"UNAVAILABLE": 20})])
    assert verdicts(made)["errors"] == "worse"
    made = compare_measurements([measurement(errors={"UNAVAILABLE": 1})], [measurement(errors={"INTERNAL": 2})])
    assert verdicts(made)["errors"] == "same"
    made = compare_measurements([measurement(errors={"UNAVAILABLE": 20})], [measurement()])
    assert verdicts(made)["errors"] == "better"


def test_wilson_is_the_textbook_interval():
    """Newcombe 1998, table I: 81 of 263 and 1 of 29 at 95 %."""
    assert wilson(81, 263, 1.959964)[1:] == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(1, 29, 1.959964)[1:] == pytest.approx((0.0061, 0.1718), abs=1e-4)
    assert wilson(0, 0, 2.0) == (0.0, 0.0, 1.0)


def test_wrong_answers_are_worse():
    made = compare_measurements(
        [measurement(verified=Verification(checked=9))], [measurement(seed=2, verified=Verification(checked=9, wrong=1))]
    )
    assert (verdicts(made)["wrong answers"], made.exit_code) == ("worse", 1)


def test_versions_of_one_report():
    rounds = [measurement(version=version, seed=seed, slower=1.5 if version == "4" else 1.0) for seed, version in enumerate("3443")]
    made = compare_versions(sample("versions", rounds), "3", "4")
    assert (made.before, made.after) == ("mlp version 3", "mlp version 4")
    assert verdicts(made)["p50"] == "worse"
    with pytest.raises(ConfigError, match="version 5 was not measured: the report has 3, 4"):
        compare_versions(sample("versions", rounds), "3", "5")


def test_different_loads_and_models_need_force():
    one, other = sample(), sample(measurements=[measurement(Load(rate=500.0), seed=2)])
    with pytest.raises(ConfigError, match=r"loads differ, 4x16 before and 500/s constant after: .* --force"):
        compare(one, other)
    assert figure(compare(one, other, force=True), "p50").load == "4x16 / 500/s constant"
    with pytest.raises(ConfigError, match="different models, mlp and other"):
        compare(one, report.make("single", "localhost:1", "other", [measurement()]))
    with pytest.raises(ConfigError, match="differ in number"):
        compare(one, sample(measurements=[measurement(), measurement(Load(rate=5.0))]), force=True)
    with pytest.raises(ConfigError, match="nothing to compare: mlp at localhost:8001 has no measurement"):
        compare(one, sample(measurements=[]))


def test_how_long_a_load_lasted_is_no_difference():
    sides = sample(measurements=[measurement(Load(duration_s=1.0, seed=1))]), sample(measurements=[measurement(Load(requests=9), seed=2)])
    assert compare(*sides).exit_code == 0


def test_steps_are_compared_load_by_load():
    rates = (100.0, 200.0)
    sides = [[measurement(Load(rate=rate), rate=rate, seed=seed, seconds=4) for rate in rates] for seed in (1, 2)]
    made = compare_measurements(sides[0], sides[1][::-1])
    assert list(dict.fromkeys(change.load for change in made.changes)) == ["100/s constant", "200/s constant"]
    assert figure(made, "requests/s").change == pytest.approx(0, abs=0.05)


def test_searches_are_compared_by_their_results():
    sides = [
        sample("search", [measurement(Load(rate=rate / 2)), measurement(Load(rate=rate), rate=rate)], headline=1)
        for rate in (500.0, 1000.0)
    ]
    made = compare(*sides)
    assert figure(made, "requests/s").verdict == "better"
    assert "the rates are those that each search ended on" in made.notices


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


def test_stresses_are_compared_by_shares_of_their_saturation():
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


def test_a_stress_that_collapses_is_worse():
    made = compare(stress(600.0), stress(600.0, collapses=True))
    assert [change.load.partition(" (")[0] for change in made.changes if change.verdict == "worse"] == ["2 times the saturation"]
    assert compare(stress(600.0), stress(600.0)).exit_code == 0


def test_other_pictures_are_other_requests():
    with pytest.raises(ConfigError, match=r"different requests: --image is \['a.png'\] and nothing"):
        compare(stress(600.0, settings={"images": ["a.png"]}), stress(600.0))


def test_stresses_with_other_deadlines():
    made = compare(stress(600.0), stress(600.0, deadline_ms=12.5))
    assert any(notice.startswith("the goodput is of 10 ms before and of 12.5 ms after") for notice in made.notices)
    settings = [{"deadline": at} for at in (0.01, 0.0125)]
    sides = [stress(600.0, settings=one, deadline_ms=1e3 * one["deadline"]) for one in settings]
    with pytest.raises(ConfigError, match=r"different requests: --deadline is 0\.01 and 0\.0125"):
        compare(*sides)
    assert compare(*sides, force=True).exit_code == 0
    with pytest.raises(ConfigError, match="has closed loops"):
        compare(stress(600.0), sample("stress", [measurement(Load(rate=5.0))]))


def test_a_reader_is_told_what_to_doubt():
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


def test_nothing_measured_in_a_side_divides_by_nothing():
    made = compare_measurements([Measurement(Load())], [measurement(Load())])
    assert verdicts(made) == {"errors": "same"}
    assert "nan" not in plain(made) + markdown(made)


def test_the_text_and_the_table():
    made = compare(sample(measurements=[measurement()]), sample(measurements=[measurement(seed=2, slower=1.7)]), confidence=0.99)
    text, table = plain(made, lambda verdict, line: f"<{verdict}>{line}"), markdown(made)
    assert re.search(r"<worse>  p50 +[\d,]+\.\d us +[\d,]+\.\d us +\+\d+\.\d % +\+\d+\.\d % to \+\d+\.\d %  worse$", text, re.MULTILINE)
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert rows[0] == "| load | figure | before | after | change | 99 % interval | verdict |"
    assert {row.count("|") for row in rows} == {8}
    assert any("| **worse** |" in row for row in rows)


def test_names_do_not_break_the_table():
    told = plain(Comparison("\x1b[31ma", "c\x1b]0;title\x07", 0.05, 0.95, notices=["\x1b[2J"]))
    assert "\x1b" not in told
    assert r"a\|b" in markdown(Comparison("a|b\n", "c", 0.05, 0.95))


def saved(folder, name: str, **fields) -> str:
    report.save(sample(measurements=[measurement(**fields)]), folder / name)
    return str(folder / name)


def test_the_command(tmp_path):
    paths = saved(tmp_path, "a.json"), saved(tmp_path, "b.json", seed=2, slower=1.7)
    result = CliRunner().invoke(command, paths, standalone_mode=False)
    assert (result.return_value, result.exception) == (1, None)
    assert "before  mlp at localhost:8001" in result.output
    assert CliRunner().invoke(command, [*paths, "--margin", "90%"], standalone_mode=False).return_value == 0
    strict = [*paths, "--margin", "90%", "--fail-on-unclear"]
    assert CliRunner().invoke(command, strict, standalone_mode=False).return_value == 1
    result = CliRunner().invoke(command, [*paths, "--markdown", "--threshold", "80%", "--confidence", "0.9"], standalone_mode=False)
    assert result.return_value == 0
    assert "90 % interval" in result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--threshold", "5"], "expected from 0% to below 100%, got '5'"),
        (["--threshold", "much"], "expected a share such as 5% or 0.05, got 'much'"),
        (["--threshold", "nan"], "expected from 0%"),
        (["--confidence", "5%"], "expected from 50% to below 100%"),
    ],
)
def test_a_wrong_share_is_a_usage_error(tmp_path, arguments, says):
    path = saved(tmp_path, "a.json")
    result = CliRunner().invoke(command, [path, path, *arguments])
    assert result.exit_code == 2
    assert says in result.output


def test_a_missing_report_is_an_error_of_one_line(tmp_path):
    result = CliRunner().invoke(command, [saved(tmp_path, "a.json"), "none.json"])
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception) == "none.json: cannot be read: No such file or directory"
