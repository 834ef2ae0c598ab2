"""`inferd bench` held against h2load and perf_analyzer on the same servers, interleaved in one run.

    python benchmarks/bench_check.py [--sections agreement,reach,stall,rate] [--rounds 3] [--seconds 5] [--no-history]

A tester is worth what its figures are worth: where no client is the limit all three must say the same, under load the generator must
reach what h2load reaches while it reads every answer, and a server that stalls must be seen to. All run as a user runs them. The table
is printed, and one line appended to benchmarks/history/bench_check.jsonl; docs/measuring.md shows the newest one.
"""

from __future__ import annotations

import csv
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dev_packages  # noqa: F401
import load as h2load
import numpy as np
import sections
import servers
import tritonclient.grpc
import workloads
from load import Target
from record import Report
from servers import Running
from workloads import INFER_PATH, Workload

HISTORY = Path(__file__).resolve().parent / "history" / "bench_check.jsonl"
PROGRAMS = {"h2load": "--version", "perf_analyzer": "--version"}
OTHERS = ("h2load", "perf_analyzer")
WINDOWS = 3  # of perf_analyzer; with fewer it reports nothing
TURNS_MS = 10  # of the slow model's run
BATCH_OF_ONE = ("--max-batch-size", "1")  # no client's timing makes batches of another size
STALL_S, EVERY_S, STALLED_RATE = 1.0, 10.0, 100


@dataclass(frozen=True)
class Seen:
    """What one tester says of one load."""

    requests_s: float
    p50_us: float
    p99_us: float
    max_us: float
    cpu_us: float  # of the tester's process a request, its start and warm-up included


class Bench:
    """One server, one model, and every tester's way to load it."""

    def __init__(self, running: Running, workload: Workload, folder: Path, seconds: float) -> None:
        self.running, self.workload, self.folder, self.seconds = running, workload, folder, seconds
        self.body = workload.write_body(folder)
        self.client = tritonclient.grpc.InferenceServerClient(running.address)

    def answered(self) -> int:
        stats = self.client.get_inference_statistics(self.workload.model).model_stats[0]
        count: int = stats.inference_stats.success.count
        return count

    def _run(self, command: list[str], tolerant: bool = False) -> tuple[str, float]:
        """A tester to its end: its stdout, and its processor time for each request that the server answered. tolerant: 1 is no failure."""
        before, answered = resource.getrusage(resource.RUSAGE_CHILDREN), self.answered()
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder, timeout=300)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != 0 and not (tolerant and done.returncode == 1):
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return done.stdout, cpu_s * 1e6 / max(1, self.answered() - answered)

    def inferd(self, connections: int, streams: int, *flags: str) -> tuple[Seen, dict[str, Any]]:
        """`inferd bench`, and its whole report."""
        out = self.folder / "bench.json"
        command = [sys.executable, "-m", "inferd", "bench", self.running.address, self.workload.model, "--quiet", "--json", str(out)]
        command += ["--connections", str(connections), "--duration", f"{self.seconds:g}s", *flags]
        command += ["--concurrency", str(streams)] if "--rate" not in flags else []
        if "--input" not in flags and "--npz" not in flags and "--recorded" not in flags:
            command += ["--input", f"{self.workload.input}={json.dumps(self.workload.value.tolist())}"]
        _, cpu_us = self._run(command)
        told = json.loads(out.read_text())
        at = told["latency_us"]
        return Seen(told["requests_per_second"], at["p50"], at["p99"], at["max"], cpu_us), told

    def h2load(self, connections: int, streams: int, rate: float = 0, log_latencies: bool = True) -> Seen:
        """h2load for the same time; an open loop where a rate is given. Its log of latencies, without which they are 0, costs it a write
        for each request: what it reaches is to be measured without."""
        log = self.folder / "h2load.log"
        log.unlink(missing_ok=True)
        target = Target(f"http://{self.running.address}{INFER_PATH}", self.body)
        command = ["h2load", "-D", str(int(self.seconds)), "--warm-up-time", "1", "-c", str(connections), "-m", str(streams)]
        command += ["--rps", f"{rate / connections:g}"] if rate else []
        command += ["--log-file", str(log)] if log_latencies else []
        output, cpu_us = self._run([*command, *target.arguments()])
        requests_s = h2load.parse(output)[1]
        if not log_latencies:
            return Seen(requests_s, 0.0, 0.0, 0.0, cpu_us)
        latencies = np.sort(np.array([int(line.split()[2]) for line in log.read_text().splitlines()]))
        at = [float(np.quantile(latencies, q, method="inverted_cdf")) for q in (0.5, 0.99, 1.0)]
        return Seen(requests_s, *at, cpu_us)  # type: ignore[call-arg]

    def perf_analyzer(self, concurrency: int = 0, rate: float = 0, data: Path | None = None) -> Seen:
        """perf_analyzer, for the same time: it reports the three windows that it wants together."""
        out = self.folder / "perf_analyzer.csv"
        out.unlink(missing_ok=True)
        command = ["perf_analyzer", "-m", self.workload.model, "-u", self.running.address, "-i", "grpc", "-f", str(out), "--async"]
        command += ["-p", str(int(self.seconds * 1000 / WINDOWS)), "-s", "999", "-r", str(WINDOWS), "--percentile", "99"]
        command += ["--request-rate-range", f"{rate:g}"] if rate else ["--concurrency-range", str(concurrency)]
        command += ["--input-data", str(data)] if data else ["--shape", f"{self.workload.input}:{self.workload.value.shape[-1]}", "-b", "1"]
        _, cpu_us = self._run(command, tolerant=True)  # it ends with 1 where its windows differ
        (row,) = csv.DictReader(out.read_text().splitlines())
        return Seen(float(row["Inferences/Second"]), float(row["p50 latency"]), float(row["p99 latency"]), 0.0, cpu_us)


def steps(workload: Workload, folder: Path, values: list[float]) -> Path:
    """perf_analyzer's input file: one step a request."""
    data = [{workload.input: {"content": [value], "shape": [1]}} for value in values]
    path = folder / "steps.json"
    path.write_text(json.dumps({"data": data}))
    return path


def recorded(workload: Workload, folder: Path, values: list[float]) -> Path:
    """The same requests as `inferd bench --recorded` takes them."""
    path = folder / "steps.recorded"
    with path.open("wb") as out:
        for value in values:
            one = Workload(workload.model, workload.input, workload.output, np.full((1, 1), value, np.float32))
            out.write(one.write_body(folder).read_bytes())
    return path


def turns_for(bench: Bench, milliseconds: float) -> float:
    """How many turns of the slow model take so long on this machine, now."""

    def took_ms(turns: float) -> float:
        tensor = tritonclient.grpc.InferInput("x", [1, 1], "FP32")
        tensor.set_data_from_numpy(np.full((1, 1), turns, np.float32))
        bench.client.infer("turning", [tensor])
        before = bench.client.get_inference_statistics("turning").model_stats[0].inference_stats.compute_infer.ns
        bench.client.infer("turning", [tensor])
        after = bench.client.get_inference_statistics("turning").model_stats[0].inference_stats.compute_infer.ns
        return float(after - before) / 1e6

    some = 1000.0
    return max(1.0, float(round(some * milliseconds / statistics.median(took_ms(some) for _ in range(5)))))


def within(ours: float, others: list[float]) -> float:
    """The largest distance to another's figure, as a share of it."""
    return max(abs(ours / other - 1) for other in others)


def medians(seen: list[Seen]) -> Seen:
    return Seen(*(statistics.median(getattr(one, name) for one in seen) for name in Seen.__dataclass_fields__))


def words(seen: Seen) -> str:
    return f"{seen.requests_s:,.1f}/s, p50 {seen.p50_us / 1e3:.3f} ms, p99 {seen.p99_us / 1e3:.3f} ms, {seen.cpu_us:.1f} us CPU a request"


def keep(report: Report, section: str, found: dict[str, list[Seen]]) -> dict[str, Seen]:
    middle = {name: medians(seen) for name, seen in found.items()}
    for name, seen in middle.items():
        report.add(f"{section}, {name}", "", words(seen))
    report.numbers[section] = {name: vars(seen) for name, seen in middle.items()}
    return middle


def interleaved(rounds: int, ways: dict[str, Callable[[], Seen]]) -> dict[str, list[Seen]]:
    found: dict[str, list[Seen]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    return found


def agreement(report: Report, folder: Path) -> None:
    """A model of 10 ms a run, which is nobody's limit but the server's: all testers must say the same. In three times as many rounds of
    twice the time: p99 wants it. How far the two others are from each other stands beside how far this one is from them."""
    repository = folder / "repository"
    workload = workloads.turning(repository)
    with servers.inferd("turning", [repository], folder, *BATCH_OF_ONE) as running:
        probe = Bench(running, workload, folder, 2 * report.seconds)
        value = np.full((1, 1), turns_for(probe, TURNS_MS), np.float32)
        bench = Bench(running, Workload(workload.model, workload.input, workload.output, value), folder, 2 * report.seconds)
        data = steps(workload, folder, [float(value[0, 0])])
        rate = 0.5 * 1000 / TURNS_MS
        closed: dict[str, Callable[[], Seen]] = {
            "inferd bench": lambda: bench.inferd(4, 1)[0],
            "h2load": lambda: bench.h2load(4, 1),
            "perf_analyzer": lambda: bench.perf_analyzer(concurrency=4, data=data),
        }
        opened: dict[str, Callable[[], Seen]] = {
            "inferd bench": lambda: bench.inferd(4, 1, "--rate", str(rate), "--no-spin")[0],
            "h2load": lambda: bench.h2load(1, 16, rate),  # its connections ask all at once
            "perf_analyzer": lambda: bench.perf_analyzer(rate=rate, data=data),
        }
        for section, ways in {"closed loop 4x1": closed, f"open loop {rate:g}/s": opened}.items():
            middle = keep(report, section, interleaved(3 * report.rounds, ways))
            ours, others = middle["inferd bench"], [middle[name] for name in OTHERS]
            for figure, asked in {"requests_s": 0.05, "p50_us": 0.10, "p99_us": 0.10}.items():
                off = within(getattr(ours, figure), [getattr(other, figure) for other in others])
                apart = within(getattr(others[0], figure), [getattr(others[1], figure)])
                shown = f"{off:.1%} ({' and '.join(OTHERS)}, of each other: {apart:.1%})"
                report.add(f"{section}: {figure} off by", f"<= {asked:.0%}", shown, off <= asked)


def reach(report: Report, folder: Path) -> None:
    """The identity model at full speed: what each tester reaches, and what a request costs it. h2load's latencies are those of another
    run, with its log."""
    repository = folder / "repository"
    workload = workloads.identity(repository)
    with servers.inferd("identity", [repository], folder) as running:
        bench = Bench(running, workload, folder, report.seconds)
        told: list[dict[str, Any]] = []

        def ours() -> Seen:
            seen, whole = bench.inferd(4, 16)
            told.append(whole)
            return seen

        def h2() -> Seen:
            fast, logged = bench.h2load(4, 16, log_latencies=False), bench.h2load(4, 16)
            return replace(logged, requests_s=fast.requests_s, cpu_us=fast.cpu_us)

        ways = {"inferd bench": ours, "h2load": h2, "perf_analyzer": lambda: bench.perf_analyzer(concurrency=64)}
        middle = keep(report, "identity 4x16", interleaved(report.rounds, ways))
        mine, other, perf = middle["inferd bench"], middle["h2load"], middle["perf_analyzer"]
        reached = statistics.median(one["requests_per_second"] / other.requests_s for one in told)
        report.add("identity 4x16: requests/s against h2load's", ">= 0.8", f"{reached:.2f}", reached >= 0.8)
        cost = statistics.median(one["client_cpu_us_per_request"] for one in told)
        report.add("same: generator's CPU a request, by its own report", "", f"{cost:.2f} us; with start and warm-up {mine.cpu_us:.2f} us")
        share = mine.cpu_us / perf.cpu_us
        report.add("same: against perf_analyzer's", "<= 0.1", f"{share:.3f}", share <= 0.1)
        report.add("same: requests/s against perf_analyzer's", "", f"{mine.requests_s / perf.requests_s:.1f}")
        report.numbers["identity 4x16"]["by its own report"] = {"cpu_us": cost}


def stall(report: Report, folder: Path) -> None:
    """A model that stalls for 1 s in every 10 s: one request in so many makes the loop that long. Everybody asks at one rate."""
    repository = folder / "repository"
    workload = workloads.turning(repository)
    with servers.inferd("stalling", [repository], folder, *BATCH_OF_ONE) as running:
        bench = Bench(running, workload, folder, 2 * EVERY_S)
        quick = int(EVERY_S * STALLED_RATE)
        values = [1.0] * (quick // 2) + [turns_for(bench, STALL_S * 1000)] + [1.0] * (quick - quick // 2 - 1)
        requests, data = recorded(workload, folder, values), steps(workload, folder, values)
        seen, _ = bench.inferd(4, 1, "--rate", str(STALLED_RATE), "--recorded", str(requests), "--warm-up", "0s")
        other = bench.perf_analyzer(rate=STALLED_RATE, data=data)
        closed, _ = bench.inferd(1, 1, "--recorded", str(requests), "--warm-up", "0s", "--requests", str(2 * quick))
        named = {"inferd bench, open loop": seen, "perf_analyzer, same rate": other, "inferd bench, closed loop 1x1": closed}
        for name, one in named.items():
            most = f", max {one.max_us / 1e3:,.0f} ms" if one.max_us else ""
            report.add(f"stall of 1 s in 10 s, {name}", "", f"{words(one)}{most}")
        shown = seen.p99_us >= 0.7e6 * STALL_S and seen.max_us >= 0.9e6 * STALL_S
        report.add("stall: p99 and max show it", "yes", f"p99 {seen.p99_us / 1e3:,.0f} ms, max {seen.max_us / 1e3:,.0f} ms", shown)
        report.numbers["stall"] = {name: vars(one) for name, one in named.items()}


def rate(report: Report, folder: Path) -> None:
    """Poisson at 20 k/s: are requests sent as often, and as randomly, as was asked for? Each run draws other arrivals."""
    repository = folder / "repository"
    asked, seed = 20_000, time.time_ns() % 2**31
    workload = workloads.identity(repository)
    with servers.inferd("identity", [repository], folder) as running:
        bench = Bench(running, workload, folder, report.seconds)
        samples = folder / "samples.npy"
        _, told = bench.inferd(4, 1, "--rate", str(asked), "--arrivals", "poisson", "--seed", str(seed), "--samples", str(samples))
        intended, sent = (np.sort(np.load(samples)[:, column]) for column in (0, 1))
        off = abs((len(sent) - 1) / ((sent[-1] - sent[0]) / 1e9) / asked - 1)
        report.add("Poisson at 20 k/s: rate of the sending off by", "<= 1%", f"{off:.2%}", off <= 0.01)
        found = {}
        for name, times in {"intended": intended, "sent": sent}.items():
            found[name] = as_random_as_asked(report, name, times, asked, seed)
        late = told["measurements"][0]["lateness_us"]
        report.add("same: sent behind the schedule", "", f"p50 {late['p50']:.1f} us, p99 {late['p99']:.1f} us")
        report.numbers["rate"] = {"off": off, "ks": found, "lateness_us": late, "seed": str(seed)}  # a name, no figure


def as_random_as_asked(report: Report, name: str, times_ns: np.ndarray[Any, np.dtype[Any]], asked: float, seed: int) -> dict[str, float]:
    """A row: whether the gaps between all of the ascending times are exponential, of a mean of 1/asked seconds. What is judged is all of
    the gaps; the first thousand stand beside it."""
    from scipy import stats

    gaps = np.diff(times_ns) / 1e9
    whole, first = (stats.kstest(some, "expon", args=(0, 1 / asked)) for some in (gaps, gaps[:1000]))
    shown = f"D {whole.statistic:.4f}, p {whole.pvalue:.2g} of {len(gaps):,}; p {first.pvalue:.2g} of the first 1,000; seed {seed}"
    report.add(f"same: inter-arrivals as {name}, KS test", "p > 0.01", shown, bool(whole.pvalue > 0.01))
    return {"d": float(whole.statistic), "p": float(whole.pvalue), "p_of_1000": float(first.pvalue)}


SECTIONS = {section.__name__: section for section in (agreement, reach, stall, rate)}


def main() -> int:
    asked = sections.parser(
        "Holds inferd bench against h2load and perf_analyzer.", SECTIONS, rounds=3, seconds=5, lasts="that one run lasts"
    )
    given = asked.parse_args()
    if missing := h2load.missing_programs(list(PROGRAMS)):
        print(f"missing programs: {', '.join(missing)}; `make bench` installs them", file=sys.stderr)
        return 2
    report = Report(given.rounds, given.seconds)
    sections.run(report, SECTIONS, given.sections)
    sections.keep(HISTORY, given, report, PROGRAMS)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
