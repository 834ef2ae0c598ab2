"""MLPerf's scenarios, driven by its own LoadGen: SingleStream, MultiStream, Server, Offline. Its summary and verdict are kept.

LoadGen decides when a sample starts, and times it from then. The native client sends the request; the time between the two, in Python,
counts against the client. A run is valid if LoadGen calls it valid and no request failed, which LoadGen does not know. A verdict says so
if the client may be its reason. Never in here: a schedule or a verdict of our own.
"""

from __future__ import annotations

import importlib.util
import math
import multiprocessing
import re
import tempfile
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from inferd.bench.client_bound import BUSY, LATE, sent_late
from inferd.bench.findings import Scenario
from inferd.bench.generator import NOTICED_S, allow_files
from inferd.bench.hdr import encode
from inferd.bench.interrupts import interrupts_held, interrupts_noted
from inferd.bench.loadgen import MULTI_STREAM_SAMPLES, Ending, Responses, Task, work
from inferd.bench.measurement import Interval, Latency, Load, Measurement
from inferd.bench.modes import Outcome
from inferd.bench.worker import CODES, Expected, WorkerPlan, sockets_each
from inferd.errors import ConfigError, InferdError, StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from inferd.bench.findings import Slo
    from inferd.bench.generator import Target
    from inferd.bench.verify import Verifier

SCENARIOS = ("SingleStream", "MultiStream", "Server", "Offline")
PERCENTILES = {"SingleStream": 0.9, "MultiStream": 0.99, "Server": 0.99, "Offline": 0.99}  # MLPerf's own
LEAST_QUERIES = {"SingleStream": 100, "MultiStream": 700, "Server": 500, "Offline": 1}  # what early stopping needs, rounded up
LIMIT_MS = 100.0  # LoadGen's own, for Server
INTERVAL_NS = 1_000_000_000
OFFLINE_STREAMS = 16  # under way on each connection in Offline, where no number is given
TOO_SHORT = "too short, for the warm-up was slower and LoadGen counts samples beforehand: give a longer --warm-up"
KEYS = ("result_{}_latency_ns", "result_{}_query_latency_ns", "result_{}_per_query_latency_ns")  # the later ones for MultiStream


def parse_scenario(text: str) -> str:
    """LoadGen's word of "server", "SingleStream", "single-stream" and the like. Raises ConfigError."""
    plain = text.replace("-", "").replace("_", "").lower()
    for scenario in SCENARIOS:
        if scenario.lower() == plain:
            return scenario
    raise ConfigError(f"--scenario {text}: expected one of {', '.join(SCENARIOS)}")


def load_of(scenario: str, load: Load) -> Load:
    """The load that LoadGen makes of it, in the words of other modes."""
    if scenario == "Server":
        return replace(load, arrivals="poisson")
    if scenario == "Offline":
        return replace(load, rate=0.0, streams=OFFLINE_STREAMS if load.streams == 1 else load.streams)
    at_once = MULTI_STREAM_SAMPLES if scenario == "MultiStream" else 1
    connections = min(load.connections, at_once)
    return replace(load, rate=0.0, connections=connections, streams=math.ceil(at_once / connections))


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
    expected: Expected = Expected(),  # noqa: B008 - it cannot change
    limit_ms: float = LIMIT_MS,
    percentile: float = 0.0,
    least_queries: int = 0,
    watch: Callable[[Interval], None] | None = None,
    notice: Callable[[str], None] = lambda _: None,
    verifier: Verifier | None = None,
    verify_every: int = 100,
) -> Outcome:
    """One scenario against a server. bodies: serialized ModelInferRequests, the samples that LoadGen chooses from. expected: what
    responses may say.

    load: duration_s is LoadGen's min_duration. rate is Server's target, and Offline's expectation where it is given. Offline keeps
    connections * streams requests in flight, OFFLINE_STREAMS on each connection where streams is 1. SingleStream has one in flight, on
    one connection. MultiStream has those of a query, on `connections` of them.
    notice: is told once the warm-up has shown that the run will be long.
    limit_ms: what `percentile` of Server's latencies may not exceed. percentile and least_queries: 0 for MLPerf's, and for what
    LoadGen's early stopping needs.

    Ctrl-C and a server that dies end it early: what was measured is returned, without a verdict. Raises ConfigError, StartError, and
    InferdError when the first request fails.
    """
    scenario = parse_scenario(scenario)
    if scenario == "Server" and not load.rate:
        raise ConfigError("--scenario Server: needs a --rate, the requests a second that are to be kept")
    shown = load_of(scenario, load)
    if importlib.util.find_spec("mlperf_loadgen") is None:
        raise StartError("LoadGen is not installed: pip install 'inferd[bench]'")
    task = Task(
        scenario,
        WorkerPlan(
            target.address,
            target.metadata,
            list(bodies),
            replace(shown, rate=load.rate),
            None,
            INTERVAL_NS,
            verify_every=verify_every if verifier else 0,
            expected=expected,
            reach=target.reach,
        ),
        round(limit_ms * 1e6),
        percentile or PERCENTILES[scenario],
        least_queries or LEAST_QUERIES[scenario],
        "",
    )
    allow_files(load, sockets_each(target.address, shown))
    started_unix_s = time.time() + load.warm_up_s
    with tempfile.TemporaryDirectory() as folder:
        ending, intervals, unchecked = follow(task._replace(folder=folder), watch, notice, verifier)
    measured = measurement(task, ending, intervals)
    measured.started_unix_s = started_unix_s
    if verifier:
        measured.verified = replace(verifier.result, unchecked=unchecked)
    return Outcome("mlperf", [measured], judged(task, ending, measured), ending.ended)


def follow(
    task: Task, watch: Callable[[Interval], None] | None, notice: Callable[[str], None], verifier: Verifier | None
) -> tuple[Ending, list[Interval], int]:
    """Starts LoadGen's process and listens to it until its last word. Returns that, the intervals, and how many responses could not be
    checked. Raises what it raised."""
    context = multiprocessing.get_context("spawn")  # nothing of this process is shared but the pipe
    pipe, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, task), daemon=True)
    intervals: list[Interval] = []
    told_to_stop, unchecked = False, 0
    try:
        with interrupts_held():
            process.start()
        theirs.close()
        with interrupts_noted() as interrupted:
            while True:
                if interrupted() and not told_to_stop:
                    told_to_stop = True
                    with suppress(OSError):  # it has ended already, and its last word is in the pipe
                        pipe.send("stop")
                if not pipe.poll(NOTICED_S):
                    continue
                told = received(pipe, process)
                if isinstance(told, InferdError):
                    raise told
                if isinstance(told, Ending):
                    return told, intervals, unchecked
                if isinstance(told, str):
                    notice(told)
                if isinstance(told, Interval):
                    intervals.append(told)
                    if watch:
                        watch(told)
                elif isinstance(told, Responses) and verifier:
                    unchecked += told.unchecked
                    for body, response in told.responses:
                        verifier.check(body, response)
    finally:
        with interrupts_noted():  # its last word has come, or it failed
            if process.pid is not None:
                process.kill()  # deaf to all other signals, and without anything to put away
                process.join()
            pipe.close()


def received(pipe: Connection, process: BaseProcess) -> object:
    try:
        return pipe.recv()
    except (EOFError, OSError):
        process.join()
        raise StartError(f"LoadGen's process ended by itself, with {process.exitcode}") from None


def measurement(task: Task, ending: Ending, intervals: list[Interval]) -> Measurement:
    """The measurement of the process. The latencies are LoadGen's if it came to its end and no request failed, except in Offline, where
    LoadGen's count from the beginning."""
    load, finished, answered = task.plan.load, sum(ending.codes), ending.codes[0]
    native, service = Latency.of(ending.latency), Latency.of(ending.service)
    loadgens = task.scenario != "Offline" and answered == finished  # which does not know that a request failed, however soon
    seen = (latency(ending.figures) if loadgens else None) or native
    late = Latency()
    if task.scenario == "Server":
        late = lateness(seen, service) if ending.figures else Latency.of(ending.lateness)
    reason = bound_by_client(task, ending, seen, late)
    return Measurement(
        load_of(task.scenario, load),
        duration_s=ending.duration_s,
        requests=finished,
        errors={name: count for name, count in zip(CODES[1:], ending.codes[1:], strict=True) if count},
        error_messages=ending.messages,
        requests_per_second=answered / ending.duration_s if ending.duration_s else 0.0,
        latency_us=seen,
        service_us=service,
        lateness_us=late,
        client_cpu_us_per_request=ending.cpu_s * 1e6 / finished if finished else 0.0,
        client_bound=bool(reason),
        client_bound_reason=reason,
        intervals=intervals,
        sent=ending.sent,
        unfinished=ending.unfinished,
        ended=ending.ended,
        histogram=encode(ending.latency),
    )


def bound_by_client(task: Task, ending: Ending, seen: Latency, late: Latency) -> str:
    """Why the figures are too much those of LoadGen, Python and the client's thread; empty: they are not."""
    if task.scenario in ("SingleStream", "MultiStream"):  # one query at a time: what is not under way is not the server's
        queried_s = seen.mean * ending.figures.get("result_query_count", 0) / 1e6
        part = 1 - ending.under_way_s / queried_s if queried_s else 0.0
        return f"{part:.0%} of the latency passes between LoadGen and the connection" if part > LATE else ""
    if task.scenario == "Server" and (reason := sent_late(late, seen)):
        return reason
    return f"the client was busy for {ending.busy:.0%} of the time" if ending.busy > BUSY else ""


def latency(figures: dict[str, Any]) -> Latency | None:
    """LoadGen's own, from the time that it had scheduled: of a query, all of its samples, where it has several."""
    names = ("mean", "50.00_percentile", "90.00_percentile", "99.00_percentile", "99.90_percentile", "max")
    found = [[figures[key.format(name)] for key in KEYS if key.format(name) in figures] for name in names]
    return Latency(*(values[-1] / 1e3 for values in found)) if all(found) else None


def lateness(latency_us: Latency, service_us: Latency) -> Latency:
    """The part of Server's latencies before the sending, figure by figure. They count from the schedule, which LoadGen does not tell."""
    return Latency(*(max(getattr(latency_us, name) - getattr(service_us, name), 0.0) for name in Latency.__struct_fields__))


def judged(task: Task, ending: Ending, measured: Measurement) -> Scenario:
    figures = ending.figures
    reasons = [ending.ended] if ending.ended else []
    if figures.get("result_validity", "INVALID") != "VALID" and figures:
        asked = {"perf_constraints": "latency is above the limit", "min_duration": TOO_SHORT, "min_queries": "too few queries"}
        if task.scenario == "Offline":
            asked["min_duration"] += ", or the --rate that you expect"
        reasons += [text for key, text in asked.items() if figures.get(f"result_{key}_met") is False]
        if figures.get("early_stopping_met") is False:
            reasons.append(" ".join(str(figures.get("early_stopping_result", "early stopping")).replace("*", "").split()))
        reasons = reasons or ["LoadGen's log counts errors"]
    if measured.failed:
        reasons.append(f"{measured.failed} of {measured.requests} requests failed")
    name, value = metric(task, ending, measured)
    return Scenario(task.scenario, not reasons, reasons, name, value, figures, ending.summary, measured.client_bound_reason)


def metric(task: Task, ending: Ending, measured: Measurement) -> tuple[str, float]:
    """The figure that MLPerf compares: a rate or a latency, in LoadGen's words."""
    if task.scenario in ("Server", "Offline"):
        names = ("result_completed_samples_per_sec", "result_samples_per_second")
        rates = [float(ending.figures[name]) for name in names if name in ending.figures]
        return "samples a second", rates[0] if rates else measured.requests_per_second
    found = re.search(r"percentile latency \(ns\) +: +(\d+)", ending.summary)
    return f"ms in the {100 * task.percentile:.4g}th percentile", float(found[1]) / 1e6 if found else 0.0
