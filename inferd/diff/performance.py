"""The cost of a request for OLD and NEW.

Latency, throughput and CPU are measured by turns (A B B A), load time and memory in processes of their own. A round is two short turns of
each side with the same requests, so other work of the machine disturbs both. A round counts by its ratio NEW / OLD alone.

The interval of the ratios is Wilcoxon's: the median of all pairwise means, and those around it that signed ranks allow (Hodges, Lehmann
1963). One disturbed round moves it little. There are looks after 12, 24, 48 ... rounds, until the result is clear or the time is
over.

- Worse and better need a change beyond the threshold. Their interval, at the level of all looks and figures together (Bonferroni), must
  leave out 0.
- Same needs two one-sided tests at 5 % that put the change within the threshold (Schuirmann 1987).

The interval that is shown is the figure's own at 95 %.

Never in here: predictions, what becomes of a report.
"""

from __future__ import annotations

import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from inferd.bench.compare import Change, Comparison
from inferd.compare.statistics import hodges_lehmann
from inferd.diff.loading import loaded
from inferd.errors import InferdError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from inferd.diff.requests import Request
    from inferd.diff.sources import Source

THRESHOLD = 0.05
CONFIDENCE = 0.95
EQUIVALENCE = 0.90  # of both one-sided tests
LOOKS = (12, 24, 48, 96, 192)  # rounds
FIGURES = 4  # with an interval
TURN_S = {1: 0.01, 8: 0.04}  # by how many requests are in flight
LEAST = 3  # requests of a turn; the first is not counted: it finds the other side's data in the caches
LOADS = 4  # A B B A
COPIES = 2  # of each model, beside the first,
MOST_COPIED_NBYTES = 256 << 20  # where its files are no larger
ONE, MANY = "one request at a time", "8 requests in flight"
LOADING = "loading"
# A figure without an interval is worse from this change on: as a share, and in its unit.
MARGINS = {"load time": (0.5, 200e3), "memory": (0.25, 16.0)}
Ratios = np.ndarray[Any, np.dtype[np.float64]]


@contextmanager
def one_core(is_local: bool) -> Iterator[None]:
    """Keeps all threads of this process on one core.

    To wake a thread on another core takes longer than many a run. Else the scheduler decides for a long time whether requests do that. A
    model that runs on one thread loses nothing here."""
    if not is_local or not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    try:
        move({max(cores)})
        yield
    finally:
        move(cores)


def move(cores: set[int]) -> None:
    for thread in os.listdir("/proc/self/task"):
        with suppress(OSError):  # it has ended
            os.sched_setaffinity(int(thread), cores)


class Turn(NamedTuple):
    """Counted requests of one side. latencies_us: each of them. cpu_us: of one request; nan: not known."""

    latencies_us: list[float]
    requests_per_second: float
    cpu_us: float


class Rounds:
    """All turns of one kind: (old, new) of each round."""

    def __init__(self, load: str) -> None:
        self.load = load
        self.turns: list[tuple[list[Turn], list[Turn]]] = []

    def values(self, figure: Callable[[list[Turn]], float]) -> Ratios:
        """The figure of each round and side."""
        return np.array([[figure(side) for side in pair] for pair in self.turns], np.float64)


def p50(turns: list[Turn]) -> float:
    return float(np.median(np.concatenate([turn.latencies_us for turn in turns])))


def p99(turns: list[Turn]) -> float:
    return float(np.quantile(np.concatenate([turn.latencies_us for turn in turns]), 0.99))


def rate(turns: list[Turn]) -> float:
    return float(np.mean([turn.requests_per_second for turn in turns]))


def cpu(turns: list[Turn]) -> float:
    return float(np.mean([turn.cpu_us for turn in turns]))


def measure(
    old: Source,
    new: Source,
    requests: Sequence[Request],
    *,
    threshold: float = THRESHOLD,
    seconds: float = 30.0,
    watch: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """requests: those that succeed on both sides. seconds: at most, for latency and for throughput together."""
    made = Comparison(old.name, new.name, threshold, CONFIDENCE)
    inputs = [request.inputs for request in requests]
    with ExitStack() as stack:
        pairs = [(old, new), *copies(old, new, stack)]
        for in_flight, load in ((1, ONE), (8, MANY)):
            watch(f"measuring, {load}")
            rounds = Rounds(load)
            with one_core(old.is_local):
                take_turns(rounds, pairs, inputs, in_flight, threshold, seconds / 2)
            made.changes += found(rounds, in_flight, threshold, is_local=old.is_local)
            made.rounds = min(made.rounds or len(rounds.turns), len(rounds.turns))
    if old.is_local:
        watch("loading each in a process of its own")
        made.changes += loads(old, new)
    return made


def copies(old: Source, new: Source, stack: ExitStack) -> list[tuple[Source, Source]]:
    """More loads of both. Where its weights come to lie in memory makes one load of a model some percent slower than another."""
    if not old.is_local or max(side.nbytes for side in (old, new)) > MOST_COPIED_NBYTES:
        return []
    return [(stack.enter_context(old.again()), stack.enter_context(new.again())) for _ in range(COPIES)]


def take_turns(
    rounds: Rounds,
    pairs: Sequence[tuple[Source, Source]],
    inputs: Sequence[dict[str, Any]],
    in_flight: int,
    threshold: float,
    seconds: float,
) -> None:
    until_s = time.monotonic() + seconds
    at = 0
    with ThreadPoolExecutor(in_flight) as pool:
        while True:
            if len(rounds.turns) in LOOKS:
                changes = [each for each in found(rounds, in_flight, threshold, is_local=False) if each.verdict]
                if len(rounds.turns) == LOOKS[-1] or all(each.verdict != "unclear" for each in changes):
                    return
            if time.monotonic() > until_s and len(rounds.turns) >= LOOKS[0] // 2:
                return
            sides: tuple[list[Turn], list[Turn]] = ([], [])
            pair = pairs[len(rounds.turns) // 2 % len(pairs)]
            first = len(rounds.turns) % 2  # A B B A, then B A A B
            count = 0
            for side in (first, 1 - first, 1 - first, first):
                turn, asked = one_turn(pair[side], inputs, at, in_flight, pool)
                sides[side].append(turn)
                count = max(count, asked)
            at += count
            rounds.turns.append(sides)


def one_turn(source: Source, inputs: Sequence[dict[str, Any]], at: int, in_flight: int, pool: ThreadPoolExecutor) -> tuple[Turn, int]:
    """The turn, and how many requests it had. at: the first one's number."""
    turn_ns = int(TURN_S[in_flight] * 1e9)
    numbers, lock = iter(range(at, at + (1 << 40))), threading.Lock()

    def ask(until_ns: int, least: int) -> list[int]:
        taken_ns: list[int] = []
        while len(taken_ns) < least or time.perf_counter_ns() < until_ns:
            with lock:
                number = next(numbers)
            before_ns = time.perf_counter_ns()
            source.infer(inputs[number % len(inputs)])
            taken_ns.append(time.perf_counter_ns() - before_ns)
        return taken_ns

    source.infer(inputs[at % len(inputs)])
    begun_ns, cpu_ns = time.perf_counter_ns(), time.process_time_ns()
    if in_flight == 1:
        taken = ask(begun_ns + turn_ns, LEAST - 1)
    else:
        parts = [pool.submit(ask, begun_ns + turn_ns, 1) for _ in range(in_flight)]
        taken = [each for part in parts for each in part.result()]
    spent_ns, cpu_ns = time.perf_counter_ns() - begun_ns, time.process_time_ns() - cpu_ns
    return Turn([each / 1e3 for each in taken], len(taken) / spent_ns * 1e9, cpu_ns / len(taken) / 1e3), len(taken)


def found(rounds: Rounds, in_flight: int, threshold: float, *, is_local: bool) -> list[Change]:
    """The changes of one kind of turns. CPU is this process's, so of a model in it only."""
    if in_flight > 1:
        return [judged(rounds, "requests/s", "1/s", rate, 2 * threshold, more_is_worse=False)]
    changes = [judged(rounds, "p50", "us", p50, threshold), tail(rounds)]
    return [*changes, judged(rounds, "CPU/request", "us", cpu, 2 * threshold)] if is_local else changes


def judged(
    rounds: Rounds, name: str, unit: str, figure: Callable[[list[Turn]], float], threshold: float, *, more_is_worse: bool = True
) -> Change:
    values = rounds.values(figure)
    before, after = (float(np.median(values[:, side])) for side in (0, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.log(values[:, 1] / values[:, 0])
    if not np.isfinite(ratios).all():
        return Change(rounds.load, name, unit, before, after, None, None, None, "")
    level = 1 - (1 - CONFIDENCE) / (len(LOOKS) * FIGURES)
    middle, low, high = (math.expm1(each) for each in hodges_lehmann(ratios, CONFIDENCE))
    _, surely_above, surely_below = hodges_lehmann(ratios, level)
    if surely_above > 0 and middle > threshold:
        verdict = "worse" if more_is_worse else "better"
    elif surely_below < 0 and middle < -threshold:
        verdict = "better" if more_is_worse else "worse"
    else:
        _, least, most = (math.expm1(each) for each in hodges_lehmann(ratios, EQUIVALENCE))
        verdict = "same" if -threshold <= least and most <= threshold else "unclear"
    return Change(rounds.load, name, unit, before, after, middle, low, high, verdict)


def tail(rounds: Rounds) -> Change:
    """p99 of all rounds: shown, and not judged. One busy moment of the machine makes it."""
    before, after = (p99([turn for pair in rounds.turns for turn in pair[side]]) for side in (0, 1))
    return Change(rounds.load, "p99", "us", before, after, after / before - 1 if before else None, None, None, "")


def loads(old: Source, new: Source) -> list[Change]:
    """Load time and memory, the better one of each side's two loads: what disturbs makes more of either."""
    sides: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
    try:
        for turn in range(LOADS):
            side = turn % 3 > 0
            sides[side].append(loaded((old, new)[side].text))
    except InferdError:
        return []
    changes = []
    for place, (name, unit, scale) in enumerate((("load time", "us", 1e3), ("memory", "MiB", 1.0))):
        before, after = (scale * min(load[place] for load in side) for side in sides)
        share, least = MARGINS[name]
        large = max(before, after) > (1 + share) * min(before, after) and abs(after - before) > least
        verdict = ("worse" if after > before else "better") if large else "same"
        changes.append(Change(LOADING, name, unit, before, after, after / before - 1 if before > 0 else None, None, None, verdict))
    return changes
