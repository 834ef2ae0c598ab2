"""MLPerf's LoadGen against real servers: its verdict is kept, and what it does not know (failures, a server that dies) is told."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from inferd_client import codec

from inferd.bench import loadgen, scenarios
from inferd.bench.findings import Scenario
from inferd.bench.generator import Target
from inferd.bench.hdr import decode
from inferd.bench.inputs import Requests
from inferd.bench.loadgen import Task
from inferd.bench.measurement import Histogram, Latency, Load
from inferd.bench.verify import Verifier
from inferd.bench.worker import WorkerPlan
from inferd.client_inputs.over_http import HttpEndpoint, whole_requests
from inferd.config import parse_address
from inferd.errors import ConfigError, InferdError, StartError
from tests import models
from tests.reports import is_clean
from tests.server_fixtures import Program, ServerFixture

if TYPE_CHECKING:
    from collections.abc import Iterator

INPUTS = [{"x": np.full((1, 16), number, np.float32)} for number in range(4)]
BODIES = [codec.encode_infer_request("identity", inputs) for inputs in INPUTS]
SHORT = Load(connections=2, streams=4, duration_s=0.3, warm_up_s=0.1)
# Never comes to its end. Of a model of some milliseconds, for LoadGen draws all queries that fit into the time before it asks the first.
ENDLESS = msgspec.structs.replace(SHORT, duration_s=30.0)
SLOW = [codec.encode_infer_request("slow", {"x": np.ones((1, 64), np.float32)})]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.repository(tmp_path_factory.mktemp("models"), {"identity": models.identity(), "slow": models.slow(10)})


@pytest.fixture(scope="module")
def server(model) -> Iterator[ServerFixture]:
    with ServerFixture(model) as served:
        yield served


@pytest.fixture
def interval_us(monkeypatch: pytest.MonkeyPatch) -> float:
    """Of a fifth of a second, for who waits for the first one."""
    monkeypatch.setattr(scenarios, "INTERVAL_NS", 200_000_000)
    return 200_000


def target(address: str) -> Target:
    return Target(parse_address(address))


@pytest.mark.parametrize(
    ("name", "load", "metric"),
    [
        ("single-stream", SHORT, "ms in the 90th percentile"),
        ("MultiStream", SHORT, "ms in the 99th percentile"),
        ("server", msgspec.structs.replace(SHORT, rate=100.0), "samples a second"),
        ("OFFLINE", SHORT, "samples a second"),
    ],
)
def test_each_scenario_has_a_summary_and_a_verdict(server, name, load, metric) -> None:
    intervals = []
    outcome = scenarios.run(name, target(server.address), BODIES, load, least_queries=40, limit_ms=10_000, watch=intervals.append)
    [measured], found = outcome.measurements, outcome.findings
    assert outcome.ended == ""
    assert is_clean(outcome)
    assert "MLPerf Results Summary" in found.summary
    assert found.scenario == scenarios.parse_scenario(name)
    assert f"Scenario : {found.scenario}\n" in found.summary
    assert f"Result is : {found.figures['result_validity']}" in found.summary
    assert (found.metric, found.value > 0) == (metric, True)
    assert found.figures["effective_min_duration_ms"] == 300
    assert measured.requests >= 40
    assert measured.errors == {}
    assert 0 < measured.latency_us.p50 <= measured.latency_us.p99 <= measured.latency_us.max
    assert measured.service_us.p50 > 0
    assert measured.client_cpu_us_per_request > 0
    assert measured.intervals == intervals
    assert sum(interval.requests for interval in intervals) <= measured.requests
    assert found.words()[0].startswith(f"MLPerf {found.scenario}: ")
    assert msgspec.json.decode(msgspec.json.encode(found), type=Scenario) == found


@pytest.mark.parametrize("scenario", ["offline", "server"])
def test_a_scenario_over_http(model, scenario: str) -> None:
    with ServerFixture(model, http_port=0) as served:
        place = HttpEndpoint.of(f"http://{served.http}")
        requests = whole_requests(place, BODIES, (), binary=True)
        load = msgspec.structs.replace(SHORT, rate=100.0)
        outcome = scenarios.run(scenario, Target(place.address), requests, load, least_queries=20, limit_ms=10_000)
    [measured] = outcome.measurements
    assert (outcome.ended, measured.errors, measured.requests >= 20) == ("", {}, True)


def test_what_loadgen_counts_is_what_was_asked(server) -> None:
    """MultiStream's query has 8 samples; LoadGen's latency of a query is that of its slowest."""
    outcome = scenarios.run("multistream", target(server.address), BODIES, SHORT, least_queries=20)
    [measured], found = outcome.measurements, outcome.findings
    assert measured.requests == 8 * found.figures["result_query_count"]
    assert measured.latency_us.p50 == found.figures["result_50.00_percentile_per_query_latency_ns"] / 1e3
    assert found.value == pytest.approx(measured.latency_us.p99 / 1e3)


def test_a_latency_above_the_limit_is_invalid(server) -> None:
    load = msgspec.structs.replace(SHORT, rate=100.0)
    found = scenarios.run("server", target(server.address), BODIES, load, limit_ms=0.001, least_queries=20).findings
    assert not found.valid
    assert found.reasons[0] == "latency is above the limit"
    assert found.figures["effective_target_latency_ns"] == 1000
    assert "INVALID (latency is above the limit" in found.words()[0]


def test_too_few_queries_for_early_stopping_are_invalid(server) -> None:
    load = msgspec.structs.replace(SHORT, rate=100.0)
    found = scenarios.run("server", target(server.address), BODIES, load, limit_ms=10_000, least_queries=20).findings
    assert not found.valid
    assert found.reasons[0].startswith("Run unsuccessful. Processed ")


def test_responses_are_checked(server) -> None:
    requests = Requests(BODIES, INPUTS, 1, [])
    right = Verifier([{"y": inputs["x"]} for inputs in INPUTS], "itself")
    outcome = scenarios.run("offline", target(server.address), requests.bodies, SHORT, verifier=right, verify_every=3)
    [measured] = outcome.measurements
    assert 0 < measured.verified.checked + measured.verified.unchecked < measured.requests
    assert measured.verified.wrong == 0
    wrong = Verifier([{"y": inputs["x"] + 1} for inputs in INPUTS], "itself")
    outcome = scenarios.run("singlestream", target(server.address), requests.bodies, SHORT, verifier=wrong, verify_every=3, least_queries=9)
    assert outcome.measurements[0].verified.wrong == outcome.measurements[0].verified.checked > 0
    assert not is_clean(outcome)


def test_a_failed_request_is_not_valid_whatever_loadgen_says(server) -> None:
    """The first body, which the warm-up asks first, is right; the second is for no input of the model."""
    bodies = [BODIES[0], codec.encode_infer_request("identity", {"z": INPUTS[0]["x"]})]
    outcome = scenarios.run("singlestream", target(server.address), bodies, SHORT, least_queries=100)
    [measured] = outcome.measurements
    assert measured.errors.keys() == {"INVALID_ARGUMENT"}
    assert measured.error_messages["INVALID_ARGUMENT"]
    assert measured.latency_us.p50 == Latency.of(decode(measured.histogram)).p50, "LoadGen takes refusals for answers"
    assert outcome.findings.figures["result_min_queries_met"]
    assert not outcome.findings.valid
    assert outcome.findings.reasons[-1] == f"{measured.failed} of {measured.requests} requests failed"
    assert not is_clean(outcome)


@pytest.mark.parametrize(
    ("scenario", "load", "rate", "told"),
    [
        ("SingleStream", SHORT, 0.25, "LoadGen asks 100 queries of SingleStream at least, which takes some 400 s at 0.25 samples a second"),
        ("MultiStream", SHORT, 10, "LoadGen asks 700 queries of MultiStream at least, which takes some 560 s at 10 samples a second"),
        ("Server", msgspec.structs.replace(SHORT, rate=5), 1000, "LoadGen asks 500 queries of Server at least, which takes some 100 s"),
        ("SingleStream", SHORT, 2, ""),
        ("SingleStream", msgspec.structs.replace(SHORT, duration_s=300.0), 0.25, ""),
        ("Offline", SHORT, 0.25, ""),
    ],
)
def test_a_long_run_is_told_of_beforehand(scenario, load, rate, told) -> None:
    task = Task(scenario, WorkerPlan(parse_address("h:1"), (), [b""], load, None, 1), 1, 0.9, scenarios.LEAST_QUERIES[scenario], "")
    assert loadgen.lasting(task, rate).startswith(told)
    assert bool(loadgen.lasting(task, rate)) == bool(told)


class Puppet:
    """A client, and its generator: so many responses in each turn of a clock that only it moves, whatever waits."""

    lost = ""

    def __init__(self, responses: int = 10, turn_s: float = 1.0) -> None:
        self.responses, self.turn_s = responses, turn_s
        self.generator, self.now_s, self.sent, self.waiting = self, 0.0, 0, []

    def start(self, now_ns: int) -> None: ...

    def schedule(self, tags: list[int], bodies: list[int]) -> None:
        self.waiting += tags
        self.sent += len(tags)

    def turn(self) -> list[int]:
        self.now_s += self.turn_s
        ended, self.waiting = self.waiting[: self.responses], self.waiting[self.responses :]
        return ended

    def moves_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = SimpleNamespace(monotonic=lambda: self.now_s, monotonic_ns=lambda: int(1e9 * self.now_s))
        monkeypatch.setattr(loadgen, "time", clock)

    def messages(self) -> dict[int, bytes]:
        return {}

    def _collect(self, at: int) -> SimpleNamespace:
        return SimpleNamespace(codes=[1], service=SimpleNamespace(min_ns=5))


def test_a_slow_model_warms_up_for_no_longer_than_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model takes 20 ms: eight requests would take 160, and the warm-up is asked to take 100 at most."""
    client = Puppet(responses=1, turn_s=0.02)
    client.moves_time(monkeypatch)
    monkeypatch.setattr(loadgen, "WARM_UP_S", 0.1)
    task = Task("SingleStream", WorkerPlan(parse_address("h:1"), (), SLOW, SHORT, None, 1), 1, 0.9, 100, "")
    rate, _ = loadgen.warm_up(task, client, lambda: False)
    assert client.sent < 1 + loadgen.WARM_UP_REQUESTS
    assert rate == pytest.approx(50)


@pytest.mark.parametrize("streams", [8, 50])
def test_a_warm_up_counts_what_was_answered_however_much_waits(streams, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline asks for as many samples as that rate says: too low a rate makes a run that is too short."""
    client = Puppet()
    client.moves_time(monkeypatch)
    load = Load(connections=1, streams=streams, duration_s=1.0, warm_up_s=1.0)
    task = Task("Offline", WorkerPlan(parse_address("localhost:1"), (), BODIES, load, None, 1), 1, 0.99, 1, "")
    rate, _ = loadgen.warm_up(task, client, lambda: False)
    assert rate == pytest.approx(10, rel=0.25)
    assert not client.waiting


def test_a_run_that_was_too_short_says_what_makes_it_longer() -> None:
    for scenario, cure in {"Offline": "--warm-up, or the --rate that you expect", "SingleStream": "give a longer --warm-up"}.items():
        task = Task(scenario, WorkerPlan(parse_address("localhost:1"), (), BODIES, SHORT, None, 1), 1, 0.9, 1, "")
        ending = loadgen.Ending(figures={"result_validity": "INVALID", "result_min_duration_met": False})
        found = scenarios.judged(task, ending, scenarios.measurement(task, ending, []))
        assert not found.valid
        (reason,) = found.reasons
        assert reason.startswith("too short, ")
        assert reason.endswith(cure)


@pytest.mark.parametrize(
    ("scenario", "connections", "shown"),
    [("SingleStream", 4, "1x1"), ("MultiStream", 4, "4x2"), ("MultiStream", 3, "3x3"), ("MultiStream", 100, "8x1"), ("Offline", 4, "4x16")],
)
def test_the_load_is_shown_as_what_is_under_way(scenario, connections, shown) -> None:
    assert str(scenarios.load_of(scenario, Load(connections=connections))) == shown


def test_an_unknown_model_is_told(server) -> None:
    bodies = [codec.encode_infer_request("absent", INPUTS[0])]
    with pytest.raises(InferdError, match=r"^127\.0\.0\.1:\d+: NOT_FOUND: .*absent"):
        scenarios.run("offline", target(server.address), bodies, SHORT)


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(StartError, match=r"^unix:/nonexistent/socket: cannot connect: .*is the server up\?$"):
        scenarios.run("offline", target("unix:/nonexistent/socket"), BODIES, SHORT)


def test_a_server_that_dies_ends_the_run_and_what_was_measured_is_kept(model, interval_us) -> None:
    with Program(model) as program:
        first = threading.Event()

        def watch(interval: Any) -> None:
            if interval.requests and not first.is_set():
                first.set()
                program.stop(signal.SIGKILL)

        outcome = scenarios.run("singlestream", target(program.address), SLOW, ENDLESS, watch=watch)
    [measured] = outcome.measurements
    assert outcome.ended == measured.ended
    assert outcome.ended.startswith(f"every connection to {program.address} was lost: ")
    assert measured.requests - measured.failed > 0
    assert measured.errors.keys() <= {"connection"}  # what was under way, if anything was
    assert measured.unfinished == 1  # which LoadGen asked for in its place
    assert not outcome.findings.valid
    assert outcome.findings.words()[0].startswith("MLPerf SingleStream: no result, for every connection ")
    assert not is_clean(outcome)


def test_ctrl_c_keeps_what_was_measured(server, interval_us) -> None:
    def watch(interval: Any) -> None:
        if interval.requests:
            os.kill(os.getpid(), signal.SIGINT)

    outcome = scenarios.run("singlestream", target(server.address), SLOW, ENDLESS, watch=watch)
    [measured] = outcome.measurements
    assert outcome.ended == "interrupted"
    assert measured.requests > 0
    assert measured.errors == {}
    assert measured.latency_us.p50 == Latency.of(decode(measured.histogram)).p50  # the client's: LoadGen said nothing
    assert len(measured.intervals) >= 1


def test_ctrl_c_tells_how_long_a_silent_server_was_waited_for(model, interval_us) -> None:
    with Program(model) as program:
        seen: list[Any] = []

        def watch(interval: Any) -> None:
            if not seen:
                os.kill(program.process.pid, signal.SIGSTOP)
            elif not interval.requests:
                os.kill(os.getpid(), signal.SIGINT)
            seen.append(interval)

        outcome = scenarios.run("singlestream", target(program.address), SLOW, ENDLESS, watch=watch)
        program.process.send_signal(signal.SIGCONT)
    [measured] = outcome.measurements
    assert (outcome.ended, measured.errors, measured.unfinished) == ("interrupted", {}, 1)
    assert decode(measured.histogram).count == measured.requests + 1
    assert measured.latency_us.max >= interval_us, "an interval without an answer"


def test_ctrl_c_ends_a_warm_up_whose_first_request_is_never_answered() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        accepted = []

        def interrupt() -> None:
            accepted.append(silent.accept()[0])
            os.kill(os.getpid(), signal.SIGINT)

        interrupted = threading.Thread(target=interrupt)
        interrupted.start()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        outcome = scenarios.run("singlestream", target(address), BODIES, msgspec.structs.replace(SHORT, connections=1))
        interrupted.join()
        accepted[0].close()
    assert outcome.ended == "interrupted"
    assert outcome.measurements[0].requests == 0
    assert not is_clean(outcome)


def test_a_deadline_is_kept(server) -> None:
    hurried = msgspec.structs.replace(SHORT, deadline_ms=1e-6)
    with pytest.raises(InferdError, match=r"^127\.0\.0\.1:\d+: DEADLINE_EXCEEDED"):
        scenarios.run("singlestream", target(server.address), BODIES, hurried)


def test_a_process_that_dies_is_told(server, interval_us) -> None:
    children = []

    def watch(interval: Any) -> None:
        children.extend(multiprocessing.active_children())
        for child in children:
            child.kill()

    with pytest.raises(StartError, match="LoadGen's process ended by itself, with -9"):
        scenarios.run("singlestream", target(server.address), SLOW, ENDLESS, watch=watch)
    assert len(children) == 1


def test_the_server_scenario_needs_a_rate() -> None:
    with pytest.raises(ConfigError, match="--scenario Server: needs a --rate"):
        scenarios.run("server", target("127.0.0.1:1"), BODIES, SHORT)


@pytest.mark.parametrize("text", ["", "batch", "server2"])
def test_words_that_are_no_scenario(text) -> None:
    with pytest.raises(ConfigError, match="expected one of SingleStream, MultiStream, Server, Offline"):
        scenarios.parse_scenario(text)


def task(scenario: str) -> loadgen.Task:
    load = Load(connections=1, streams=1, rate=200.0, duration_s=1.0, seed=3)
    return loadgen.Task(scenario, WorkerPlan(parse_address("127.0.0.1:1"), (), BODIES, load, None, 1_000_000_000), 1000, 0.95, 7, "")


@pytest.mark.parametrize("scenario", scenarios.SCENARIOS)
def test_loadgen_is_told_what_was_asked_for(scenario) -> None:
    chosen = loadgen.settings(task(scenario), 1000.0, 500_000)
    assert chosen.scenario.name == scenario
    assert (chosen.min_duration_ms, chosen.min_query_count) == (1000, 7)
    assert (chosen.qsl_rng_seed, chosen.sample_index_rng_seed, chosen.schedule_rng_seed) == (3, 4, 5)
    percentiles = {
        "SingleStream": chosen.single_stream_target_latency_percentile,
        "MultiStream": chosen.multi_stream_target_latency_percentile,
        "Server": chosen.server_target_latency_percentile,
    }
    assert percentiles.get(scenario, 0.95) == 0.95
    assert chosen.server_target_qps == (200 if scenario == "Server" else 1)


def ending(took_us: int, **changed: Any) -> loadgen.Ending:
    """500 requests, each of which took so long from the sending."""
    took = Histogram()
    took.record(took_us * 1000, 500)
    return loadgen.Ending(duration_s=2.0, codes=[500] + [0] * 19, latency=took, service=took)._replace(**changed)


def said(first_ms: int, last_ms: int, key: str = "result_{}_latency_ns") -> dict[str, Any]:
    """LoadGen's figures of 500 queries, from mean to max."""
    names = ["mean", "50.00_percentile", "90.00_percentile", "99.00_percentile", "99.90_percentile", "max"]
    values = np.linspace(first_ms, last_ms, len(names))
    figures = {key.format(name): int(value * 1_000_000) for name, value in zip(names, values, strict=True)}
    return {**figures, "result_query_count": 500}


def test_a_client_that_was_late_is_told_and_not_held_against_the_server() -> None:
    """LoadGen's latencies count from its schedule; of what is more than the asking took the server knows nothing."""
    seen = ending(450, figures=said(71, 76) | {"result_validity": "INVALID"}, summary="a summary")
    measured = scenarios.measurement(task("Server"), seen, [])
    assert measured.lateness_us.p50 == pytest.approx(72_000 - 450, rel=1e-3)
    assert measured.lateness_us.max == pytest.approx(76_000 - 450, rel=1e-3)
    assert measured.client_bound
    assert measured.client_bound_reason.startswith("requests were sent 71.5 ms late")
    found = scenarios.judged(task("Server"), seen, measured)
    assert found.client_bound == measured.client_bound_reason
    assert "INVALID (LoadGen's log counts errors), client-bound: requests were sent 71.5 ms late" in found.words()[0]


def test_nothing_is_valid_without_saying_that_the_client_was_the_limit() -> None:
    late = ending(450, figures=said(1, 2) | {"result_validity": "VALID"}, summary="a summary")
    found = scenarios.judged(task("Server"), late, scenarios.measurement(task("Server"), late, []))
    assert found.valid
    assert ": VALID, client-bound: requests were sent " in found.words()[0]
    punctual = ending(450, figures=said(0, 0) | {"result_validity": "VALID"}, summary="a summary")
    found = scenarios.judged(task("Server"), punctual, scenarios.measurement(task("Server"), punctual, []))
    assert found.words()[0].endswith(": VALID")


@pytest.mark.parametrize("scenario", ["SingleStream", "MultiStream"])
def test_of_a_latency_that_is_not_the_servers_the_part_is_told(scenario) -> None:
    """500 queries of 2 ms on average are 1 s, of which requests were under way for less."""
    figures = said(2, 2, "result_{}_per_query_latency_ns" if scenario == "MultiStream" else "result_{}_latency_ns")
    measured = scenarios.measurement(task(scenario), ending(450, figures=figures, under_way_s=0.75), [])
    assert measured.client_bound_reason == "25% of the latency passes between LoadGen and the connection"
    assert measured.lateness_us.max == 0
    measured = scenarios.measurement(task(scenario), ending(450, figures=figures, under_way_s=0.95, busy=1.0), [])
    assert not measured.client_bound


def test_offline_keeps_several_under_way(server) -> None:
    load = msgspec.structs.replace(SHORT, connections=2, streams=1)
    [measured] = scenarios.run("offline", target(server.address), BODIES, load).measurements
    assert (measured.load.connections, measured.load.streams) == (2, scenarios.OFFLINE_STREAMS)


def test_a_client_that_was_busy_is_told() -> None:
    measured = scenarios.measurement(task("Offline"), ending(1, cpu_s=1.9, busy=0.95, figures=said(70, 70)), [])
    assert measured.client_bound
    assert measured.client_bound_reason == "the client was busy for 95% of the time"
    assert measured.client_cpu_us_per_request == pytest.approx(3800)
    assert measured.requests_per_second == 250
    assert measured.latency_us.max == 1  # from the sending: LoadGen's count from the beginning


def test_the_histogram_holds_every_request(server) -> None:
    load = msgspec.structs.replace(SHORT, rate=100.0)
    for scenario in ("singlestream", "offline", "server"):
        [measured] = scenarios.run(scenario, target(server.address), BODIES, load, least_queries=20, limit_ms=10_000).measurements
        assert decode(measured.histogram).count == measured.requests > 0
        assert measured.sent > measured.requests  # the warm-up's


def test_the_largest_seed_is_loadgens_too() -> None:
    largest = task("Server")
    seed = 2**63 - 1  # that the flag takes
    largest = largest._replace(plan=largest.plan._replace(load=msgspec.structs.replace(largest.plan.load, seed=seed)))
    chosen = loadgen.settings(largest, 1000.0, 500_000)
    assert (chosen.qsl_rng_seed, chosen.sample_index_rng_seed, chosen.schedule_rng_seed) == (seed, seed + 1, seed + 2)
