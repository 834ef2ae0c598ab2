"""`inferd bench compare` held against what is known: one server left as it was, stopped for a second, and given more work.

    python benchmarks/compare_check.py [--sections digits,work] [--runs 8] [--seconds 3] [--no-history]

A comparison is worth what it does not cry over, and what it does not miss. Runs of one server that nothing was done to must not be
called worse than each other, in either order; a run in which the server stood still must be, even if it did so from before the measuring
on, and so must one of a model that does twice as much.
Four runs in a row stand for a run of `--rounds 4`. The table is printed, and one line appended to
benchmarks/history/compare_check.jsonl; docs/measuring.md shows the newest one.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import permutations, product
from pathlib import Path
from statistics import fmean

import sections
import servers
import workloads
from msgspec.structs import replace
from record import ROOT, Report
from servers import Running

from inferd.bench import report as bench_report
from inferd.bench.compare import compare
from inferd.bench.measurement import Interval, Load, Measurement
from inferd.bench.resampling import ROUNDS
from inferd.bench.session import Looks, Session

HISTORY = ROOT / "benchmarks" / "history" / "compare_check.jsonl"
WARM_UP_S = 0.5
CLOSED, OPEN = Load(connections=4, warm_up_s=WARM_UP_S), Load(connections=4, rate=200, warm_up_s=WARM_UP_S)
STALL_S = 1.0
LEAD_S = 0.5  # a server that is stopped in the warm-up is stopped so long before its end, or some moments more
TURNS = 500  # of the model that is given more work: a millisecond or two
LOSSES = (1.3, 2.0)  # times the work
ALIKE = ("--max-batch-size", "1", "--intra-op-threads", "1")  # the versions differ in nothing else: not in batches, not in threads
FIGURES = ("requests/s", "p50", "p99", "server CPU/request")  # whose intervals are shown
Side = Sequence[Measurement]  # one run, or the rounds of one


@dataclass(frozen=True)
class Bench:
    """One server, and one model on it."""

    running: Running
    model: str
    seconds: float

    def run(
        self,
        load: Load,
        version: str = "",
        watch: Callable[[Interval], None] | None = lambda interval: None,
        before: Callable[[], None] = lambda: None,
    ) -> Measurement:
        """One run of `inferd bench`: connections, requests and process of its own. before: called when its time begins."""
        load = replace(load, duration_s=self.seconds)
        looks = Looks(server_pid=self.running.pid)
        with Session(self.running.address, self.model, [version], {}, looks=looks, spin=servers.cores() > 1) as session:
            before()
            measured = session.run(load, version, watch)
        if measured.failed or not measured.requests:
            raise RuntimeError(f"{load}: {measured.requests} requests, {measured.failed} failed: {measured.error_messages}")
        return measured

    def stopped(self, load: Load) -> Measurement:
        """One run, in which the server stands still for a second."""
        with stopping(self.running.pid, self.seconds / 3) as watch:
            return self.run(load, watch=watch)

    def stopped_before(self, load: Load) -> Measurement:
        """One run, in whose warm-up the server is stopped. It goes on when it has stood still for about a second of the measuring."""
        load = replace(load, warm_up_s=2 * LEAD_S)  # nothing is watched, so that the generator has no process that takes its time to start
        with stopped_after(self.running.pid, LEAD_S, LEAD_S + STALL_S) as begin:
            measured = self.run(load, watch=None, before=begin)
        if measured.intervals[0].requests:
            raise RuntimeError("the measuring had begun before the server was stopped")
        return measured


@contextmanager
def stopping(pid: int, at_s: float, for_s: float = STALL_S) -> Iterator[Callable[[Interval], None]]:
    """What watches a run, and stops a process once, when so much of the run is over. It goes on after `for_s`, and in any case at the
    end of the block."""
    timers: list[threading.Timer] = []

    def watch(interval: Interval) -> None:
        if not timers and interval.at_s + interval.duration_s >= at_s:
            timers.append(threading.Timer(for_s, os.kill, (pid, signal.SIGCONT)))
            os.kill(pid, signal.SIGSTOP)
            timers[0].start()

    try:
        yield watch
    finally:
        for timer in timers:
            timer.cancel()
            os.kill(pid, signal.SIGCONT)
    if not timers:
        raise RuntimeError("the run was over before the server was stopped")


@contextmanager
def stopped_after(pid: int, after_s: float, for_s: float) -> Iterator[Callable[[], None]]:
    """What begins the time, after so much of which a process is stopped. It goes on after `for_s`, and in any case at the end of the
    block."""
    timers = [threading.Timer(at_s, os.kill, (pid, what)) for at_s, what in ((after_s, signal.SIGSTOP), (after_s + for_s, signal.SIGCONT))]

    def begin() -> None:
        for timer in timers:
            timer.start()

    try:
        yield begin
    finally:
        for timer in timers:
            timer.cancel()
        os.kill(pid, signal.SIGCONT)


@dataclass
class Tally:
    """What compare says of pairs, of which the second side should be worse, or should not."""

    pairs: int = 0
    worse: int = 0  # pairs in which any figure is
    by_figure: Counter[str] = field(default_factory=Counter)
    widest: dict[str, tuple[float, float]] = field(default_factory=dict)  # intervals by figure

    @classmethod
    def of(cls, pairs: Iterable[tuple[Side, Side]]) -> Tally:
        tally = cls()
        for before, after in pairs:
            changes = compare(reported(before), reported(after)).changes
            worse = {change.figure for change in changes if change.verdict == "worse"}
            tally.pairs += 1
            tally.worse += bool(worse)
            tally.by_figure.update(worse)
            for change in changes:
                if change.figure in FIGURES and change.low is not None and change.high is not None:
                    low, high = tally.widest.get(change.figure, (0.0, 0.0))
                    tally.widest[change.figure] = min(low, change.low), max(high, change.high)
        return tally

    def __str__(self) -> str:
        why = ", ".join(f"{figure} {count}" for figure, count in self.by_figure.most_common())
        return f"{self.worse} of {self.pairs}" + (f" ({why})" if why else "")


def reported(side: Side) -> bench_report.Report:
    return bench_report.make("rounds" if len(side) > 1 else "single", "", "", side)


def alone(runs: Side) -> list[Side]:
    return [[run] for run in runs]


def in_rounds(runs: Side) -> list[Side]:
    """Each four in a row."""
    return [runs[first : first + ROUNDS] for first in range(0, len(runs) - ROUNDS + 1, ROUNDS)]


def spread(values: Sequence[float]) -> float:
    """By how much the largest is more than the smallest."""
    return max(values) / min(values) - 1


def cpus_us(runs: Side) -> list[float]:
    """Of the server, a request."""
    return [run.server.cpu_us_per_request for run in runs if run.server and run.server.cpu_us_per_request]


def left_alone(report: Report, section: str, runs: Side) -> None:
    """Rows on runs that nothing was changed between: none may be worse than another, in either order."""
    rates, medians, cpu = [run.requests_per_second for run in runs], [run.latency_us.p50 for run in runs], spread(cpus_us(runs))
    differ = f"requests/s differ by {spread(rates):.0%}, p50 by {spread(medians):.0%}, server CPU a request by {cpu:.0%}"
    bound = sum(run.client_bound for run in runs)
    report.add(f"{section}, {len(runs)} runs", "", differ + (f"; {bound} of them limited by the client" if bound else ""))
    single, rounds = Tally.of(permutations(alone(runs), 2)), Tally.of(permutations(in_rounds(runs), 2))
    report.add("same: ordered pairs called worse", "0", str(single), not single.worse)
    report.add(f"same, {ROUNDS} rounds a side: ordered pairs called worse", "0", str(rounds), not rounds.worse)
    widest = ", ".join(f"{figure} {low:+.1%} to {high:+.1%}" for figure, (low, high) in rounds.widest.items())
    report.add("same: widest intervals of the rounds", "", widest)
    report.numbers[section] = {"requests_s_spread": spread(rates), "p50_spread": spread(medians), "server_cpu_spread": cpu}
    report.numbers[section] |= {"worse": single.worse, "worse_in_rounds": rounds.worse}


def found(report: Report, what: str, pairs: Iterable[tuple[Side, Side]], asked: bool = True) -> float:
    """A row on pairs of which the second side is worse: the share of which that is said. asked: it must be all."""
    tally = Tally.of(pairs)
    report.add(f"{what}: called worse", "all" if asked else "", str(tally), tally.worse == tally.pairs if asked else None)
    return tally.worse / tally.pairs


def digits(report: Report, folder: Path) -> None:
    """The digits of examples/models, left as they are in run after run, then stopped for a second of one."""
    with servers.inferd("digits", [ROOT / "examples" / "models"], folder) as running:
        bench = Bench(running, "digits", report.seconds)
        for section, load in {"closed loop": CLOSED, "open loop": OPEN}.items():
            runs = [bench.run(load) for _ in range(report.rounds)]
            left_alone(report, f"{section} {load}", runs)
            numbers = report.numbers[f"{section} {load}"]
            for name, words, stopped in (
                ("stall", f"stopped for {STALL_S:g} s of {report.seconds:g} s", bench.stopped(load)),
                ("early_stall", f"stopped from the warm-up on, for some {STALL_S:g} s of {report.seconds:g} s", bench.stopped_before(load)),
            ):
                one = found(report, f"{section}, {words}", product(alone(runs), [[stopped]]))
                pairs = ((before, [*after[1:], stopped]) for before, after in permutations(in_rounds(runs), 2))
                several = found(report, f"same, in one of {ROUNDS} rounds", pairs)
                numbers |= {f"{name}_found": one, f"{name}_found_in_rounds": several}


def work(report: Report, folder: Path) -> None:
    """A model that takes a millisecond or two, and versions of it that do more."""
    repository = folder / "repository"
    workload = workloads.working(repository, [TURNS, *(round(TURNS * times) for times in LOSSES)])
    with servers.inferd("working", [repository], folder, *ALIKE) as running:
        bench = Bench(running, workload.model, report.seconds)
        runs: dict[float, list[Measurement]] = {times: [] for times in (1.0, *LOSSES)}
        for _ in range(report.rounds // ROUNDS):  # four of one, four of the next: no turns, which would cancel what else happens
            for version, some in enumerate(runs.values(), 1):
                some += (bench.run(CLOSED, str(version)) for _ in range(ROUNDS))
    before = runs.pop(1.0)
    left_alone(report, f"a steady model {CLOSED}", before)
    for times, after in runs.items():
        section, cost = f"{times:g} times the work", fmean(cpus_us(after)) / fmean(cpus_us(before))
        report.add(section, "", f"server CPU a request {cost:.2f} times as much")
        one = found(report, "same, single runs", product(alone(before), alone(after)), asked=times == max(LOSSES))
        several = found(report, f"same, {ROUNDS} rounds a side", product(in_rounds(before), in_rounds(after)))
        report.numbers[section] = {"server_cpu": cost, "found": one, "found_in_rounds": several}


SECTIONS = {section.__name__: section for section in (digits, work)}


def main() -> int:
    asked = sections.parser(
        "Holds the verdicts of inferd bench compare against what is known.", SECTIONS, seconds=3, lasts="that one run lasts"
    )
    asked.add_argument("--runs", type=int, default=8, help=f"of each load: a multiple of {ROUNDS}, {2 * ROUNDS} at least (default 8)")
    given = asked.parse_args()
    if given.runs < 2 * ROUNDS or given.runs % ROUNDS:
        asked.error(f"--runs {given.runs}: expected a multiple of {ROUNDS}, {2 * ROUNDS} at least")
    if given.seconds < 2 * STALL_S:
        asked.error(
            f"--seconds {given.seconds:g}: expected {2 * STALL_S:g} at least, for the server is stopped for {STALL_S:g} s of one run"
        )
    report = Report(given.runs, given.seconds)
    sections.run(report, SECTIONS, given.sections)
    sections.keep(HISTORY, given, report)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
