"""MLPerf's scenarios, driven by its own LoadGen: SingleStream, MultiStream, Server, Offline. Its summary and verdict are kept.

LoadGen says when, and times each sample from then; the requests go out by Python's gRPC, whose cost is in the figures and reported.
Valid is what LoadGen calls valid and no request failed, which LoadGen does not know. Never in here: a schedule or a verdict of our own.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import re
import tempfile
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from inferd.bench.generator import sent_late
from inferd.bench.loadgen import Answers, Ending, Task, work
from inferd.bench.measurement import Interval, Latency, Load, Measurement
from inferd.bench.modes import Outcome
from inferd.errors import ConfigError, InferdError, StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from inferd.bench.findings import Slo
    from inferd.bench.generator import Target
    from inferd.bench.verify import Verifier

__all__ = ["SCENARIOS", "Scenario", "parse_scenario", "run"]

SCENARIOS = ("SingleStream", "MultiStream", "Server", "Offline")
PERCENTILES = {"SingleStream": 0.9, "MultiStream": 0.99, "Server": 0.99, "Offline": 0.99}  # MLPerf's own
LEAST_QUERIES = {"SingleStream": 100, "MultiStream": 700, "Server": 500, "Offline": 1}  # what early stopping needs, rounded up
LIMIT_MS = 100.0  # LoadGen's own, for Server
# Client-bound: Python's gRPC is busy for more than this share of a core. It does not do much more, since its threads wait for each
# other; where one query is under way at a time, that is its share of the latency.
BUSY = {"SingleStream": 0.4, "MultiStream": 0.4, "Server": 0.6, "Offline": 0.6}
OFFLINE_STREAMS = 16  # under way on each connection in Offline, where no number is given
KEYS = ("result_{}_latency_ns", "result_{}_query_latency_ns", "result_{}_per_query_latency_ns")  # the later ones for MultiStream


class Scenario(msgspec.Struct, frozen=True, tag_field="mode", tag="mlperf"):
    """What LoadGen says of a run."""

    scenario: str
    valid: bool
    reasons: list[str]  # why it is not
    metric: str  # what MLPerf compares in this scenario
    value: float
    figures: dict[str, Any]  # of LoadGen's log
    summary: str  # its summary, as it wrote it

    def words(self) -> list[str]:
        if not self.summary:
            return [f"MLPerf {self.scenario}: no result, for {'; '.join(self.reasons)}"]
        verdict = "VALID" if self.valid else f"INVALID ({'; '.join(self.reasons)})"
        return [f"MLPerf {self.scenario}: {self.value:.6g} {self.metric}: {verdict}"]


def parse_scenario(text: str) -> str:
    """LoadGen's word of "server", "SingleStream", "single-stream" and the like. Raises ConfigError."""
    plain = text.replace("-", "").replace("_", "").lower()
    for scenario in SCENARIOS:
        if scenario.lower() == plain:
            return scenario
    raise ConfigError(f"--scenario {text}: expected one of {', '.join(SCENARIOS)}")


def limit_of(slo: Slo) -> tuple[float, float]:
    """limit_ms and percentile of `run` from --slo, which may name one percentile only: LoadGen knows no more. Raises ConfigError."""
    kinds = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
    if len(slo.limits_us) != 1 or (figure := next(iter(slo.limits_us))) not in kinds or slo.errors:
        raise ConfigError(f"--slo {slo}: expected one of {', '.join(kinds)} for --scenario Server")
    return slo.limits_us[figure] / 1e3, kinds[figure]


def run(
    scenario: str,
    target: Target,
    bodies: Sequence[bytes],
    load: Load,
    *,
    limit_ms: float = LIMIT_MS,
    percentile: float = 0.0,
    least_queries: int = 0,
    watch: Callable[[Interval], None] | None = None,
    verifier: Verifier | None = None,
    verify_every: int = 100,
) -> Outcome:
    """One scenario against a server. bodies: serialized ModelInferRequests, the samples that LoadGen chooses from.

    load: duration_s is LoadGen's min_duration; rate is Server's target, and Offline's expectation where it is given; Offline keeps
    connections * streams requests under way, OFFLINE_STREAMS of each connection where streams is 1.
    limit_ms: what `percentile` of Server's latencies may not exceed. percentile and least_queries: 0 for MLPerf's, and for what
    LoadGen's early stopping needs.

    Ctrl-C and a server that dies end it early: what was measured is returned, without a verdict. Raises ConfigError, StartError, and
    InferdError when the first request fails.
    """
    scenario = parse_scenario(scenario)
    if scenario == "Server" and not load.rate:
        raise ConfigError("--scenario Server: needs a --rate, the requests a second that are to be kept")
    if scenario == "Offline" and load.streams == 1:
        load = replace(load, streams=OFFLINE_STREAMS)
    if importlib.util.find_spec("mlperf_loadgen") is None:
        raise StartError("LoadGen is not installed: pip install 'inferd[bench]'")
    task = Task(
        scenario,
        str(target.address),
        tuple(target.metadata),
        list(bodies),
        load.connections,
        load.streams,
        load.rate,
        load.duration_s,
        load.warm_up_s,
        load.deadline_ms / 1e3,
        round(limit_ms * 1e6),
        percentile or PERCENTILES[scenario],
        least_queries or LEAST_QUERIES[scenario],
        load.seed,
        verify_every if verifier else 0,
        "",
    )
    started_unix_s = time.time() + load.warm_up_s
    with tempfile.TemporaryDirectory() as folder:
        ending, intervals = follow(task._replace(folder=folder), watch, verifier)
    if ending.failure:
        raise InferdError(f"{target.address}: {ending.failure}")
    measured = measurement(task, load, ending, intervals)
    measured.started_unix_s = started_unix_s
    if verifier:
        measured.verified = verifier.result
    return Outcome("mlperf", [measured], judged(task, ending, measured), ending.ended)


def follow(task: Task, watch: Callable[[Interval], None] | None, verifier: Verifier | None) -> tuple[Ending, list[Interval]]:
    """Starts LoadGen's process and listens to it until its last word."""
    context = multiprocessing.get_context("spawn")  # nothing of this process is shared but the pipe
    pipe, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, task), daemon=True)
    intervals: list[Interval] = []
    told_to_stop = False
    process.start()
    theirs.close()
    try:
        while True:
            try:
                told = received(pipe, process)
                if isinstance(told, Ending):
                    return told, intervals
                if isinstance(told, Interval):
                    intervals.append(told)
                    if watch:
                        watch(told)
                elif isinstance(told, Answers) and verifier:
                    for body, answer in told.answers:
                        verifier.check(body, answer)
            except KeyboardInterrupt:
                if told_to_stop:  # it does not listen: its first request is never answered
                    process.kill()
                told_to_stop = True
                with suppress(OSError):  # it has ended already, and its last word is in the pipe
                    pipe.send("stop")
    finally:
        process.terminate()
        process.join()
        pipe.close()


def received(pipe: Connection, process: BaseProcess) -> object:
    try:
        return pipe.recv()
    except (EOFError, OSError):
        process.join()
        raise StartError(f"LoadGen's process ended by itself, with {process.exitcode}") from None


def measurement(task: Task, load: Load, ending: Ending, intervals: list[Interval]) -> Measurement:
    """What the process saw; the latencies are LoadGen's where it came to its end."""
    answered = ending.took.count
    finished = answered + sum(ending.errors.values())
    service = Latency.of(ending.took)
    load = replace(load, rate=task.rate, arrivals="poisson") if task.scenario == "Server" else replace(load, rate=0.0)
    busy = ending.cpu_s / ending.duration_s if ending.duration_s else 0.0
    seen = latency(ending.figures) or service
    late = lateness(seen, service) if task.scenario == "Server" else Latency()
    reason = sent_late(late, seen)
    if not reason and busy > BUSY[task.scenario]:
        reason = f"LoadGen and Python's gRPC were busy for {busy:.0%} of a core"
    return Measurement(
        load,
        duration_s=ending.duration_s,
        requests=finished,
        errors=ending.errors,
        error_messages=ending.messages,
        requests_per_second=answered / ending.duration_s if ending.duration_s else 0.0,
        latency_us=seen,
        service_us=service,
        lateness_us=late,
        client_cpu_us_per_request=ending.cpu_s * 1e6 / finished if finished else 0.0,
        client_bound=bool(reason),
        client_bound_reason=reason,
        intervals=intervals,
        sent=finished,
        ended=ending.ended,
    )


def latency(figures: dict[str, Any]) -> Latency | None:
    """LoadGen's own, from the time that it had scheduled: of a query, all of its samples, where it has several."""
    names = ("mean", "50.00_percentile", "90.00_percentile", "99.00_percentile", "99.90_percentile", "max")
    found = [[figures[key.format(name)] for key in KEYS if key.format(name) in figures] for name in names]
    return Latency(*(values[-1] / 1e3 for values in found)) if all(found) else None


def lateness(latency_us: Latency, service_us: Latency) -> Latency:
    """How much of Server's latencies, which count from the schedule, is none from the asking to the answer, figure by figure: LoadGen
    does not tell its schedule."""
    return Latency(*(max(getattr(latency_us, name) - getattr(service_us, name), 0.0) for name in Latency.__struct_fields__))


def judged(task: Task, ending: Ending, measured: Measurement) -> Scenario:
    figures = ending.figures
    reasons = [ending.ended] if ending.ended else []
    if figures.get("result_validity", "INVALID") != "VALID" and figures:
        asked = {"perf_constraints": "latency is above the limit", "min_duration": "too short", "min_queries": "too few queries"}
        reasons += [text for key, text in asked.items() if figures.get(f"result_{key}_met") is False]
        if figures.get("early_stopping_met") is False:
            reasons.append(" ".join(str(figures.get("early_stopping_result", "early stopping")).replace("*", "").split()))
        reasons = reasons or ["LoadGen's log counts errors"]
        if measured.client_bound:
            reasons.append(f"client-bound, which may be why: {measured.client_bound_reason}")
    if measured.failed:
        reasons.append(f"{measured.failed} of {measured.requests} requests failed")
    name, value = metric(task, ending, measured)
    return Scenario(task.scenario, not reasons, reasons, name, value, figures, ending.summary)


def metric(task: Task, ending: Ending, measured: Measurement) -> tuple[str, float]:
    """What MLPerf compares: a rate or a latency, as LoadGen says it."""
    if task.scenario in ("Server", "Offline"):
        names = ("result_completed_samples_per_sec", "result_samples_per_second")
        rates = [float(ending.figures[name]) for name in names if name in ending.figures]
        return "samples a second", rates[0] if rates else measured.requests_per_second
    found = re.search(r"percentile latency \(ns\) +: +(\d+)", ending.summary)
    return f"ms in the {100 * task.percentile:.4g}th percentile", float(found[1]) / 1e6 if found else 0.0
