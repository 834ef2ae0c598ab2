"""More than a server can do: what is still answered in time, how soon the others are refused, and how soon it is over.

    python benchmarks/overload.py [--sections thread,inline] [--rounds 3] [--seconds 30] [--no-history]

A server of one model, `inferd bench` beside it on the same cores. Each round, within a minute or so: the capacity, by a closed loop; the
peak, the goodput of an open loop at that rate; then three times the capacity for --seconds, whose requests have ten times the service
time, which is the median latency of a request alone. Meanwhile and for some seconds after it a light load asks the same model, and
another client the health service. Goodput is OK answers by their deadline, counted from the sending; a refusal is RESOURCE_EXHAUSTED.
Recovery is the time from the end of the load until the light load's answers are OK again, and as quick as before.

The model is a loop as long as its requests say, so that neither the generator nor reading and writing is the limit: of a model that
costs less than its request's way, no server can refuse more cheaply than it answers. The load has many connections, or requests would
wait in the generator for a stream of theirs. Medians of the rounds; the table is printed, and a line appended to
benchmarks/history/overload.jsonl; docs/operations.md shows the newest one.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import sections
import servers
import workloads
from load import rss_bytes
from record import Report
from servers import Running

HISTORY = Path(__file__).resolve().parent / "history" / "overload.jsonl"
TIMES = 3  # the capacity
DEADLINES = 10  # times the service time
CONNECTIONS = 64
LIGHT_RATE = 50
AFTER_S = 4  # of the light load
WINDOW = 10  # answers of the light load, of which the median counts
PROBE_S = 0.02  # between two health checks
OK, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED = 0, 4, 8
INTENDED, SENT, DONE, CODE = range(4)  # columns of bench's samples; ns
MiB = 1 << 20

Samples = np.ndarray[Any, np.dtype[np.int64]]


@dataclass
class Round:
    """What one round showed. Times in ms."""

    capacity: float
    service_ms: float
    peak: float
    goodput: float
    asked: float
    codes: dict[int, int]
    refusal_p99_ms: float
    probe_p99_ms: float
    probe_max_ms: float
    recovery_s: float
    grown_mib: float
    late_p99_ms: float

    @property
    def ratio(self) -> float:
        return self.goodput / self.peak if self.peak else 0.0


@dataclass
class Watch:
    """Looks at a server beside its load, on a thread: health checks and resident memory."""

    server: Running
    probes_ms: list[float] = field(default_factory=list)
    rss: list[int] = field(default_factory=list)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=self._look, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _look(self, over: threading.Event) -> None:
        with grpc.insecure_channel(self.server.address) as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            while not over.wait(PROBE_S):
                begun = time.monotonic_ns()
                check(b"", timeout=10)
                self.probes_ms.append((time.monotonic_ns() - begun) / 1e6)
                self.rss.append(rss_bytes(self.server.pid))


class Bench:
    """`inferd bench` on one server and one request."""

    def __init__(self, server: Running, turns: int, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.flags = ["--input", f"x=[[{turns}]]", "--quiet"]

    def start(self, name: str, *flags: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "inferd", "bench", self.server.address, "turning", *self.flags, *flags]
        command += ["--json", str(self.folder / f"{name}.json"), "--samples", str(self.folder / f"{name}.npy")]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def report(self, name: str, started: subprocess.Popen[str]) -> tuple[dict[str, Any], Samples]:
        """Its report and samples, once it has ended."""
        _, errors = started.communicate(timeout=300)
        if not (self.folder / f"{name}.json").exists():
            raise RuntimeError(f"inferd bench ended with {started.returncode}:\n{errors}")
        return json.loads((self.folder / f"{name}.json").read_text()), np.load(self.folder / f"{name}.npy")

    def run(self, name: str, *flags: str) -> tuple[dict[str, Any], Samples]:
        return self.report(name, self.start(name, *flags))


def open_loop(rate: float, deadline_ms: float, seconds: float) -> list[str]:
    words = ["--rate", f"{rate:.0f}", "--arrivals", "poisson", "--deadline", f"{deadline_ms:.3f}ms", "--duration", f"{seconds:g}s"]
    return [*words, "--connections", str(CONNECTIONS), "--no-spin"]


def quantile_ms(times_ns: Samples, q: float) -> float:
    return float(np.quantile(times_ns, q)) / 1e6 if len(times_ns) else 0.0


def took_ns(samples: Samples) -> Samples:
    return samples[:, DONE] - samples[:, SENT]


def recovered_s(light: Samples, end_ns: int, quiet_ms: float) -> float:
    """From the end of the load to the first of WINDOW requests in a row that are answered, in twice the median before it at most."""
    after = light[light[:, INTENDED] >= end_ns]
    after = after[np.argsort(after[:, INTENDED])]
    for first in range(len(after) - WINDOW + 1):
        window = after[first : first + WINDOW]
        if (window[:, CODE] == OK).all() and quantile_ms(window[:, DONE] - window[:, INTENDED], 0.5) <= 2 * quiet_ms:
            return float(window[0, INTENDED] - end_ns) / 1e9
    return float("inf")


def measure(bench: Bench, seconds: float) -> Round:
    alone, _ = bench.run("alone", "--connections", "1", "--duration", "2s")
    _, quiet = bench.run("quiet", "--rate", str(LIGHT_RATE), "--connections", "1", "--duration", "2s", "--no-spin")
    quiet_ms = quantile_ms(quiet[:, DONE] - quiet[:, INTENDED], 0.5)
    service_ms = alone["latency_us"]["p50"] / 1e3
    deadline_ms = DEADLINES * service_ms
    closed, _ = bench.run("closed", "--connections", "8", "--concurrency", "4", "--duration", "3s")
    capacity = closed["requests_per_second"]
    peak, _ = bench.run("peak", *open_loop(capacity, deadline_ms, 5))
    watch, grown = Watch(bench.server), rss_bytes(bench.server.pid)
    with ExitStack() as beside:
        beside.enter_context(watch.going_on())
        light = bench.start("light", *open_loop(LIGHT_RATE, 1000, seconds + AFTER_S), "--connections", "1")
        over, samples = bench.run("over", *open_loop(TIMES * capacity, deadline_ms, seconds))
        _, lights = bench.report("light", light)
    codes, counts = np.unique(samples[:, CODE], return_counts=True)
    return Round(
        capacity=capacity,
        service_ms=service_ms,
        peak=peak["requests_per_second"],
        goodput=over["requests_per_second"],
        asked=over["requests"] / seconds,
        codes={int(code): int(count) for code, count in zip(codes, counts, strict=True)},
        refusal_p99_ms=quantile_ms(took_ns(samples[samples[:, CODE] == RESOURCE_EXHAUSTED]), 0.99),
        probe_p99_ms=float(np.quantile(watch.probes_ms, 0.99)),
        probe_max_ms=max(watch.probes_ms),
        recovery_s=recovered_s(lights, int(samples[:, INTENDED].max()), quiet_ms),
        grown_mib=(max(watch.rss) - grown) / MiB,
        late_p99_ms=quantile_ms(samples[:, SENT] - samples[:, INTENDED], 0.99),
    )


def judge(report: Report, name: str, rounds: list[Round]) -> None:
    def median(value: str) -> float:
        return float(statistics.median(getattr(each, value) for each in rounds))

    shares = {code: statistics.median(each.codes.get(code, 0) / sum(each.codes.values()) for each in rounds) for code in range(17)}
    words = f"{median('capacity'):,.0f}/s, a request alone {median('service_ms'):.2f} ms, sent late by {median('late_p99_ms'):.1f} ms (p99)"
    report.add(f"{name}: capacity", "", words)
    report.add(f"{name}: asked", f"{TIMES} x capacity", f"{median('asked') / median('capacity'):.2f} x, {median('asked'):,.0f}/s")
    words = f"{median('ratio'):.3f} ({median('goodput'):,.0f}/s of {median('peak'):,.0f}/s at 1 x)"
    report.add(f"{name}: goodput by its peak", ">= 0.95", words, median("ratio") >= 0.95)
    words = f"{100 * shares[RESOURCE_EXHAUSTED]:.1f} % refused, {100 * shares[DEADLINE_EXCEEDED]:.1f} % late"
    report.add(f"{name}: of the requests", "", words)
    for what, value, most in (("refusals, p99", "refusal_p99_ms", 5), ("health checks, p99", "probe_p99_ms", 50)):
        report.add(f"{name}: {what}", f"<= {most} ms", f"{median(value):.2f} ms", median(value) <= most)
    report.add(f"{name}: memory grew by", "<= 64 MiB", f"{median('grown_mib'):.1f} MiB", median("grown_mib") <= 64)
    report.add(f"{name}: recovery", "<= 1 s", f"{median('recovery_s'):.2f} s", median("recovery_s") <= 1)
    report.numbers[name] = {"rounds": [vars(each) | {"ratio": round(each.ratio, 4)} for each in rounds]}


def overloaded(report: Report, folder: Path, name: str, turns: int, *flags: str) -> None:
    """turns: of the model's loop, some 2 us each. flags: how it is served."""
    workloads.turning(folder / "models")
    with servers.inferd(name, [folder / "models"], folder, *flags) as server:
        bench = Bench(server, turns, folder)
        judge(report, name, [measure(bench, report.seconds) for _ in range(report.rounds)])


def thread(report: Report, folder: Path) -> None:
    """Runs of some 10 ms on an executor thread, 8 requests in each."""
    overloaded(report, folder, "thread", 4000, "--max-batch-size", "8", "--inline", "off")


def inline(report: Report, folder: Path) -> None:
    """Runs of some 0.4 ms on the event loop, one request in each."""
    overloaded(report, folder, "inline", 200, "--max-batch-size", "1", "--inline", "on")


SECTIONS = {section.__name__: section for section in (thread, inline)}


def main() -> int:
    asked = sections.parser(
        "What a server answers in time when three times as much is asked as it can do.",
        SECTIONS,
        rounds=3,
        seconds=30,
        lasts="that the overload lasts",
    )
    given = asked.parse_args()
    report = Report(given.rounds, given.seconds)
    sections.run(report, SECTIONS, given.sections)
    sections.keep(HISTORY, given, report)
    return 0 if report.kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
