"""The run of a tuning over servers that are functions of their settings, with a clock that is turned by hand; and its statistics."""

from __future__ import annotations

import math
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from inferd.bench import evidence, tune
from inferd.bench.climb import Settings, Space
from inferd.bench.findings import number_of, parse_slo
from inferd.bench.measurement import Latency, Load, Measurement, ServerSide
from inferd.bench.plots_sides import searched
from inferd.bench.tune import Server, Target, Tuned, chance, compare
from inferd.engine.configuration.batching import ALONE, UNDECLARED
from inferd.errors import StartError
from inferd.protocol.inference import ModelConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEFAULT = Settings("cpu", 1, 2, 64)
SPACE = Space(("cpu",), (1, 2, 4), (1, 2), (16, 32, 64, 128), 2)
LOAD = Load(connections=4, streams=16, duration_s=2.0)
SERVER_S = 3.0  # that each server takes


class Bench:
    """capacity: responses a second by settings. service_us: of one request that is alone; a queue makes it longer."""

    default, space = DEFAULT, SPACE

    def __init__(self, capacity: Callable[[Settings], float], service_us: float = 1000, largest_run: int = 64) -> None:
        self.capacity, self.service_us, self.largest_run = capacity, service_us, largest_run
        self.now_s = 0.0
        self.started: list[Settings | None] = []
        self.loads: list[Load] = []
        self.refused: set[Settings] = set()
        self.interrupt_at = 0

    @contextmanager
    def serve(self, settings: Settings | None) -> Iterator[Server]:
        self.started.append(settings)
        self.now_s += SERVER_S
        if settings in self.refused:
            raise StartError("no room")
        yield Server(settings or self.default, lambda load: self.run(settings or self.default, load))

    def run(self, settings: Settings, load: Load) -> Measurement:
        self.loads.append(load)
        in_flight, capacity = load.connections * load.streams, self.capacity(settings)
        answered = min(capacity, in_flight * 1e6 / self.service_us)
        latency_us = max(self.service_us, in_flight / capacity * 1e6)
        return Measurement(
            load,
            duration_s=load.duration_s,
            requests=round(answered * load.duration_s),
            requests_per_second=answered,
            latency_us=Latency(latency_us, latency_us, latency_us, latency_us, latency_us, latency_us),
            server=ServerSide(batch_sizes={min(self.largest_run, settings.rows): 10}),
            ended="interrupted" if len(self.loads) == self.interrupt_at else "",
        )

    def tune(self, **target: object) -> Tuned:
        wanted = Target(**({"load": LOAD, "budget_s": 3000.0} | target))
        return tune.tune(self.serve, lambda default: self.space, wanted, now=lambda: self.now_s)


def two_instances_are_better(settings: Settings) -> float:
    return {1: 1000.0, 2: 1500.0, 4: 1200.0}[settings.instances] * (1.0 if settings.threads == 1 or settings.instances == 1 else 0.5)


def test_the_best_is_found_and_held_against_the_default_in_turn() -> None:
    bench = Bench(two_instances_are_better)
    tuned = bench.tune()
    assert (tuned.default, tuned.best, tuned.found) == (DEFAULT, Settings("cpu", 2, 1, 64), Settings("cpu", 2, 1, 64))
    assert tuned.verdict is not None
    assert tuned.verdict.gain == pytest.approx(0.5)
    assert tuned.verdict.luck == 1 / 64
    finals = [trial.settings for trial in tuned.trials if trial.stage == "final"]
    assert finals == [DEFAULT, tuned.best, tuned.best, DEFAULT] * 3
    assert bench.started[-12:] == [None, tuned.best, tuned.best, None] * 3, "the default is served as it is, not as it was read"
    assert tuned.ended == "nothing near the best is better"


def test_the_default_stays_where_nothing_is_better() -> None:
    bench = Bench(lambda settings: 1000.0 - settings.instances)
    tuned = bench.tune()
    assert tuned.best == tuned.found == DEFAULT
    assert tuned.verdict is None
    assert (tuned.kept, tuned.out_of_time) == (True, False)


def test_what_was_only_luck_is_seldom_taken() -> None:
    """Servers that are all the same, on a machine that makes 20 % more or less of each measurement."""
    found = taken = 0
    for seed in range(100):
        noise = random.Random(seed)
        tuned = Bench(lambda settings, noise=noise: 1000.0 * noise.uniform(0.8, 1.2)).tune()  # type: ignore[misc]
        found += tuned.found != DEFAULT
        taken += tuned.best != DEFAULT
    assert found > 50, "the search by itself is easily taken in"
    assert taken <= 5


def test_one_figure_is_shown_for_one_setting() -> None:
    """The median of the rounds stands for the search and the second measurement, too."""
    noise = random.Random(3)
    bench = Bench(lambda settings: two_instances_are_better(settings) * noise.uniform(0.99, 1.01))
    tuned = bench.tune()
    assert tuned.best != DEFAULT
    (search, turns), made = evidence.tables(tuned), evidence.report_of(tuned, Target(LOAD), "m", "m", {}, {}, [])
    at = search.head.index("responses/s")
    for settings, name, column in (tuned.best, "best", 2), (DEFAULT, "as it is now", 1):
        (row,) = [row.cells for row in search.rows if row.cells[-1] == name]
        assert row[at] == turns.rows[-1].cells[column]
        assert any(f"{settings}: {row[at]}/s" in line.text for line in evidence.sentences(tuned, Target(LOAD)))
    assert "again" not in search.head
    assert number_of(made.requests_per_second) == turns.rows[-1].cells[2]
    bars = searched(made)
    assert bars is not None
    assert bars.rows[0].note == f"{turns.rows[-1].cells[2]}/s  best"


def test_what_was_luck_is_said() -> None:
    scores = iter([1000.0, 1000.0, 2000.0])
    tuned = Bench(lambda settings: next(scores, 1000.0 if settings == DEFAULT else 630.0)).tune()
    assert (tuned.found != DEFAULT, tuned.best) == (True, DEFAULT)
    said = [line.text for line in evidence.sentences(tuned, Target(LOAD))]
    assert "the model stays as it is now" in said[0]
    assert said[2] == "the best of the search was 37 % slower when compared in turns, so nothing was written"
    assert evidence.report_of(tuned, Target(LOAD), "m", "m", {}, {}, []).verdict["because"] == "6 rounds of each, in turn"


def test_a_gain_below_the_margin_is_none() -> None:
    bench = Bench(lambda settings: 1000.0 + 25 * (settings.instances == 2))
    tuned = bench.tune(margin=0.03)
    assert tuned.best == DEFAULT
    said = evidence.sentences(tuned, Target(LOAD))[2].text
    assert said == "the best of the search was 2.5 % faster when compared in turns, less than 3 %, so nothing was written"
    assert bench.tune(margin=0.02).best.instances == 2


def test_batches_that_are_never_full_are_not_made_larger() -> None:
    bench = Bench(two_instances_are_better, largest_run=20)
    bench.tune()
    assert {settings.rows for settings in bench.started if settings} == {16, 64}, "32 and 128 are the same as 64 where a run has 20 rows"


def test_the_budget_is_kept_with_the_final_rounds_in_it() -> None:
    bench = Bench(lambda settings: 10.0 * settings.instances * settings.rows)
    tuned = bench.tune(budget_s=60.0)
    assert tuned.ended == "the budget of 60 s was used up"
    assert tuned.verdict is not None
    assert tuned.verdict.better
    assert bench.now_s <= 60


def test_a_budget_that_is_too_small_says_so() -> None:
    bench = Bench(two_instances_are_better)
    tuned = bench.tune(budget_s=20.0)
    assert len(bench.loads) == 1, "the first measurement shows it"
    assert tuned.ended == ("in the budget of 20 s nothing can be tried and compared: give --budget 99s")
    assert (tuned.best, tuned.out_of_time) == (DEFAULT, True)
    first = evidence.sentences(tuned, Target(LOAD))[0]
    assert (first.mark, first.text) == ("bad", "nothing but the model as it is now was tried: cpu, 1 x 2 threads, batches of 64")


def test_settings_that_cannot_be_served_are_evidence_and_no_end() -> None:
    bench = Bench(lambda settings: 1000.0 * settings.instances)
    bench.refused = {Settings("cpu", 2, 1, 64)}
    tuned = bench.tune()
    assert [trial.why for trial in tuned.trials if trial.settings in bench.refused] == ["no room"]
    assert tuned.best == Settings("cpu", 4, 2, 64)
    (search, *_) = evidence.tables(tuned)
    assert "not served" in search.rows[-1].cells
    assert "cpu, 2 x 1 threads, batches of 64 is not served: no room" in [line.text for line in evidence.sentences(tuned, Target(LOAD))]


class Padding(Bench):
    default, space = replace(DEFAULT, buckets=()), SPACE._replace(buckets=((), (32, 64), (64,)))


def test_buckets_that_are_better_are_found_and_shown_beside_those_that_are_not_served() -> None:
    bench = Padding(lambda settings: {(): 1000.0, (32, 64): 1300.0}[settings.buckets])  # type: ignore[index]
    bench.refused = {replace(bench.default, buckets=(64,))}
    tuned = bench.tune()
    assert tuned.best == replace(bench.default, buckets=(32, 64))
    (search, turns) = evidence.tables(tuned)
    shown = {row.cells[search.head.index("buckets")]: row.cells[-1] for row in search.rows if row.cells[:4] == ("cpu", "1", "2", "64")}
    assert shown == {"32,64": "best", "none": "as it is now", "64": "not served"}
    assert turns.rows[-1].cells == ("median", "1,000", "1,300")
    said = [line.text for line in evidence.sentences(tuned, Target(LOAD))]
    assert said[0] == "best: cpu, 1 x 2 threads, batches of 64, buckets 32,64: 1,300/s"
    assert "cpu, 1 x 2 threads, batches of 64, buckets 64 is not served: no room" in said
    assert evidence.report_of(tuned, Target(LOAD), "m", "m", {}, {}, []).summary["best"]["buckets"] == (32, 64)


def test_buckets_that_are_not_better_leave_the_default() -> None:
    tuned = Padding(lambda settings: 1000.0 - len(settings.buckets or ())).tune()
    assert tuned.best == Padding.default


def test_a_model_that_pads_nothing_has_no_column_of_buckets() -> None:
    (search, *_) = evidence.tables(Bench(two_instances_are_better).tune())
    assert "buckets" not in search.head


def test_a_default_that_cannot_be_served_is_an_error() -> None:
    bench = Bench(two_instances_are_better)
    bench.refused = {None}  # type: ignore[arg-type]
    with pytest.raises(StartError, match="no room"):
        bench.tune()


@pytest.mark.parametrize(
    ("capacity", "duration_s", "warm_up_s"),
    [
        (1000.0, 2.0, 1.0),  # 64 ms, 2000 requests
        (200.0, 3.2, 1.0),  # ten turns of 320 ms
        (50.0, 12.8, 2.0),  # of 1.28 s
        (10.0, 20.0, 2.0),  # not beyond ten times what was asked
    ],
)
def test_slow_models_are_measured_for_longer(capacity, duration_s, warm_up_s) -> None:
    bench = Bench(lambda settings: capacity)
    bench.tune(fixed=True)
    assert (bench.loads[0].duration_s, bench.loads[0].warm_up_s) == (2.0, 1.0)
    assert {(load.duration_s, load.warm_up_s) for load in bench.loads[1:]} == {(duration_s, warm_up_s)}


@pytest.mark.parametrize(
    ("capacity", "in_flight", "duration_s"),
    [
        (100.0, 64, 6.4),  # ten turns of 640 ms
        (20.0, 16, 10.0),  # 200 requests
        (5.0, 4, 320 / 22 - SERVER_S - 1.0),  # a 22nd of the budget, without what a server's start takes
        (0.5, 1, 320 / 22 - SERVER_S - 1.0),
    ],
)
def test_a_model_that_is_too_slow_for_so_many_in_flight_gets_fewer(capacity, in_flight, duration_s) -> None:
    """So that there is time in the budget to try others, and to compare."""
    bench = Bench(lambda settings: capacity * settings.instances)
    tuned = bench.tune(budget_s=320.0)
    assert (tuned.in_flight, tuned.out_of_time) == (in_flight, False)
    assert {round(load.duration_s, 6) for load in bench.loads[2:]} == {round(duration_s, 6)}
    said = [line.text for line in evidence.sentences(tuned, Target(LOAD))]
    assert any(f"the search began with {in_flight}" in text for text in said) == (in_flight < 64)


def test_a_model_that_answers_nothing_in_time_gets_one() -> None:
    def none(settings: Settings, load: Load) -> Measurement:
        measured = Bench.run(bench, settings, load)
        return replace(measured, errors={"unanswered": measured.requests}, requests_per_second=0.0) if load.streams > 1 else measured

    bench = Bench(lambda settings: 1.0)
    bench.run = none  # type: ignore[method-assign]
    assert bench.tune().in_flight == 1


@pytest.mark.parametrize(("start", "expected"), [(1, 8), (8, 8), (64, 8)])
def test_with_a_target_the_number_in_flight_is_looked_for(start, expected) -> None:
    """One request takes 1 ms, 1000 a second are the most: 8 in flight take 8 ms, and all above 10 ms break the target."""
    bench = Bench(lambda settings: 1000.0 if settings.instances == 1 else 1.0, service_us=7900)
    tuned = bench.tune(slo=parse_slo("p99=10ms"), load=Load(connections=1, streams=start, duration_s=2.0))
    best = max((trial for trial in tuned.trials if trial.stage == "default"), key=lambda trial: trial.score)
    assert best.in_flight == expected
    assert tuned.best == DEFAULT


@pytest.mark.parametrize(("in_flight", "expected"), [(64, (4, 16, 2)), (6, (3, 2, 2)), (4, (4, 1, 2)), (1, (1, 1, 1)), (7, (1, 7, 1))])
def test_requests_in_flight_are_shared_evenly(in_flight, expected) -> None:
    load = tune.with_in_flight(Load(connections=4, streams=16, processes=2), in_flight)
    assert (load.connections, load.streams, load.processes) == expected


def test_a_target_that_only_the_best_keeps() -> None:
    bench = Bench(lambda settings: 5000.0 if settings.instances == 2 else 50.0, service_us=100)
    tuned = bench.tune(slo=parse_slo("p99=10ms"))
    assert tuned.best.instances == 2
    assert tuned.verdict is not None
    assert math.isinf(tuned.verdict.gain)
    target = Target(LOAD, parse_slo("p99=10ms"))
    assert (
        "batches of 64: not kept in any of 6 rounds; the best keeps the target where the model as it is now fails; chance"
        in evidence.sentences(tuned, target)[1].text
    )
    assert evidence.report_of(tuned, target, "m", "m", {}, {}, []).summary["verdict"]["gain"] is None


def test_medians_are_of_the_rounds_that_kept_the_target() -> None:
    """0 stands for a round that did not: it is no rate."""
    tuned = Bench(two_instances_are_better).tune()
    target = Target(LOAD, parse_slo("p99=10ms"))

    def shown(default: list[float], best: list[float]) -> tuple[list[str], tuple[str, ...]]:
        mixed = tuned._replace(verdict=compare(default, best, 0.03))
        mixed = mixed._replace(best=tuned.found if mixed.verdict and mixed.verdict.better else DEFAULT)
        (_, turns) = evidence.tables(mixed)
        return [line.text for line in evidence.sentences(mixed, target)], turns.rows[-1].cells

    said, medians = shown([100.0, 0.0, 102.0, 0.0, 0.0, 0.0], [0.0, 150.0, 153.0, 0.0, 0.0, 0.0])
    assert said[0] == (
        "the model stays as it is now: cpu, 1 x 2 threads, batches of 64: 102/s within p99 10 ms in 2 of 6 rounds, not kept in the others"
    )
    assert "153/s within p99 10 ms in 2 of 6 rounds" in said[1]
    assert (
        said[2]
        == "the best of the search was 50 % faster when compared in turns, but in too few of the rounds to be sure, so nothing was written"
    )
    assert medians == ("median, where kept", "102", "153")
    said, medians = shown([0.0] * 6, [0.0] * 6)
    assert said[0] == "the model stays as it is now: cpu, 1 x 2 threads, batches of 64: not kept in any of 6 rounds"
    assert not any("0/s with" in text for text in said)
    assert medians == ("median, where kept", "not kept", "not kept")
    hardly = tuned._replace(best=DEFAULT, verdict=compare([100.0, *[0.0] * 5], [0.0] * 6, 0.03))
    verdict = evidence.report_of(hardly, target, "m", "m", {}, {}, []).verdict
    assert (verdict["word"], verdict["because"][:28]) == ("INCONCLUSIVE", "1 of 12 rounds kept the targ")


def test_a_target_that_nothing_keeps() -> None:
    tuned = Bench(lambda settings: 50.0).tune(slo=parse_slo("p99=10ms"))
    assert not tuned.kept
    assert tuned.best == DEFAULT
    first = evidence.sentences(tuned, Target(LOAD, parse_slo("p99=10ms")))[0]
    assert first.mark == "bad"
    assert "p99 is 20 ms" in first.text


@pytest.mark.parametrize("at", [2, 4, 12])
def test_ctrl_c_keeps_what_there_is(at) -> None:
    bench = Bench(two_instances_are_better)
    bench.interrupt_at = at
    if at == 2:
        with pytest.raises(KeyboardInterrupt):
            bench.tune()
        return
    tuned = bench.tune()
    assert tuned.interrupted
    assert len(tuned.trials) == at - 2
    assert tuned.best == DEFAULT, "what was not held against the default is not chosen"
    assert "the best so far: cpu, 2 x 1 threads" in evidence.sentences(tuned, Target(LOAD))[0].text


def test_the_report_says_what_each_measurement_was_of() -> None:
    bench = Bench(two_instances_are_better)
    bench.refused = {Settings("cpu", 4, 1, 64)}
    tuned = bench.tune()
    report = evidence.report_of(tuned, Target(LOAD), "m.onnx", "m", {"budget": 1}, {"inferd": "0"}, ["notice"])
    assert (report.kind, report.model, report.target, report.notices) == ("tune", "m", "m.onnx", ["notice"])
    assert report.requests_per_second == 1500
    assert report.verdict["word"] == "BETTER"
    assert report.verdict["sentence"] == "best: cpu, 2 x 1 threads, batches of 64: 1,500/s, 50% more than as it is now"
    assert report.summary["best"] == {"provider": "cpu", "instances": 2, "threads": 1, "rows": 64}
    for trial in report.summary["trials"]:
        if trial["measurement"] is None:
            assert trial["why"] == "no room"
        else:
            assert report.measurements[trial["measurement"]].requests_per_second == trial["requests_per_second"]


def test_requests_that_share_no_run_are_told_in_the_verdict_and_the_table() -> None:
    config = ModelConfig(max_batch_size=32)
    config.inferd.batching_reason = ALONE + UNDECLARED
    said = evidence.unshared_words(config)
    assert said == (
        "Requests of this model share no run (no dynamic_batching in its configuration), and tune does not change that: "
        "add `dynamic_batching {}` first"
    )
    config.inferd.batching_reason = ALONE + "batching is off"
    assert "share no run (batching is off), and tune does not change that" in evidence.unshared_words(config)
    config.dynamic_batching.SetInParent()
    assert evidence.unshared_words(config) == ""
    tuned = Bench(lambda settings: 1000.0 - settings.instances).tune()._replace(unshared=said)
    assert evidence.report_of(tuned, Target(LOAD), "m", "m", {}, {}, []).verdict["sentence"].endswith(f". {said}")
    assert next(evidence.tables(tuned)).title == "the search, in which requests share no run: batches are of one request"


def test_comments_hold_the_evidence_line_by_line() -> None:
    tuned = Bench(two_instances_are_better).tune()
    text = evidence.comments("instances = 2\n", tuned, Target(LOAD), {"cpu": "a\nb"})
    head, _, rest = text.partition("\n\n")
    assert rest == "instances = 2\n"
    assert all(line.startswith("#") for line in head.splitlines())
    assert "# best: cpu, 2 x 1 threads, batches of 64: 1,500/s\n" in head
    assert "# as it is now, cpu, 1 x 2 threads, batches of 64: 1,000/s; the median of 6 rounds in turn brought 50.0% more" in head


# ---- statistics ----


def test_chance_is_that_of_swapping_rounds_by_lot() -> None:
    generator = random.Random(3)
    for _ in range(5):
        default, best = ([generator.uniform(90, 110 + more) for _ in range(7)] for more in (0, 8))

        def ahead(pairs: list[tuple[float, float]]) -> float:
            return sum((after - before) / (after + before) for before, after in pairs)

        pairs = list(zip(default, best, strict=True))
        seen = ahead(pairs)
        drawn = [ahead([pair[:: generator.choice((1, -1))] for pair in pairs]) for _ in range(4000)]
        assert chance(default, best) == pytest.approx(sum(one >= seen - 1e-9 for one in drawn) / len(drawn), abs=0.03)


@pytest.mark.parametrize(
    ("default", "best", "gain", "better", "luck"),
    [
        ([100] * 5, [110] * 5, 0.1, True, 1 / 32),
        ([100] * 5, [102] * 5, 0.02, False, 1 / 32),
        ([100] * 6, [110, 110, 110, 110, 110, 99], 0.1, True, 2 / 64),
        ([100] * 6, [110, 110, 110, 110, 90, 99], 0.1, False, 12 / 64),
        ([100, 200, 400, 800, 1600], [110, 220, 440, 880, 1760], 0.1, True, 1 / 32),
        ([110] * 5, [100] * 5, -1 / 11, False, 1.0),
        ([100] * 5, [100] * 5, 0.0, False, 1.0),
        ([0] * 5, [1] * 5, math.inf, True, 1 / 32),
        ([0] * 5, [0] * 5, 0.0, False, 1.0),
    ],
)
def test_verdicts(default, best, gain, better, luck) -> None:
    verdict = compare(default, best, 0.03)
    assert verdict.gain == pytest.approx(gain)
    assert (verdict.better, verdict.luck) == (better, luck)
