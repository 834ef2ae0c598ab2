"""Reports as a run leaves them, made from seeded numbers: what the tests of report, terminal, html, export and compare show. And what a
comparison of them says."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from inferd.bench import findings, report
from inferd.bench.compare import Change, Comparison
from inferd.bench.hdr import encode
from inferd.bench.measurement import Histogram, Interval, Latency, Load, Measurement, ServerSide
from inferd.bench.modes import Outcome


@cache
def measured(seconds: int, rate: float, slower: float, seed: int) -> tuple[Histogram, list[Interval]]:
    numbers = np.random.default_rng(seed)
    whole = Histogram()
    intervals = []
    for at in range(seconds):
        count = int(rate * numbers.normal(1, 0.01))
        part = Histogram()
        for duration in (numbers.lognormal(0, 0.2, count) * numbers.normal(1, 0.01) * slower * 1e6).astype(int).tolist():
            part.record(duration)
        whole.add_sparse(part.sparse())
        seen = Latency.of(part)
        intervals.append(Interval(at, 1.0, count, 0, seen.p50, seen.p99, seen.max))
    return whole, intervals


def measurement(
    load: Load | None = None,
    version: str = "1",
    seconds: int = 10,
    rate: float = 1000.0,
    slower: float = 1.0,
    seed: int = 1,
    errors: dict[str, int] | None = None,
    **fields: Any,
) -> Measurement:
    """Lognormal latencies around 1 ms times `slower`, in intervals of a second with some noise between them."""
    whole, intervals = measured(seconds, rate, slower, seed)
    return Measurement(
        load=load or Load(connections=4, streams=16),
        version=version,
        started_unix_s=1_800_000_000.0 + seed,
        duration_s=float(seconds),
        requests=whole.count + sum((errors or {}).values()),
        errors=errors or {},
        requests_per_second=whole.count / seconds,
        latency_us=Latency.of(whole),
        service_us=Latency.of(whole),
        client_cpu_us_per_request=fields.pop("client_cpu_us_per_request", 4.2),
        intervals=list(intervals),
        server=fields.pop("server", ServerSide(queue_us=120.0, compute_infer_us=640.0, batch_sizes={1: 40, 8: 300}, runs=340)),
        histogram=encode(whole),
        **fields,
    )


def sample(kind: str = "single", measurements: list[Measurement] | None = None, **fields: Any) -> report.Report:
    return report.make(kind, "localhost:8001", "mlp", [measurement()] if measurements is None else measurements, **fields)


def verdicts(made: Comparison) -> dict[str, str]:
    return {change.figure: change.verdict for change in made.changes}


def figure(made: Comparison, name: str) -> Change:
    return next(change for change in made.changes if change.figure == name)


def is_clean(outcome: Outcome) -> bool:
    """Whether it came to its end, nothing failed, and it has a result."""
    if outcome.ended or outcome.has_failed():
        return False
    if isinstance(outcome.findings, findings.Search):
        return outcome.findings.confirmed
    if isinstance(outcome.findings, findings.Stress):
        return any(m.requests_per_second for m in outcome.measurements)
    return not any(m.lacked_connections for m in outcome.measurements)
