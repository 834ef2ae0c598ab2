"""One side of a comparison: the rounds of a load, and which figures are read from them. Never in here: what a difference means."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from inferd.bench.hdr import decode
from inferd.bench.measurement import Histogram, Latency

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd.bench.measurement import Interval, Measurement

STALL_S = 0.5  # a longest latency below this is no stall, however many times the other side's; nor is a silence,
SILENCES = 3  # which must be so many times the other side's, too,
SILENT, GOOD = 0.05, 0.8  # in an interval with less than this share of what the better ones have: were they fewer, the rate would tell
LEAST_DUE = 10  # and so long that so many responses were due in it
SLICES_US = 1e4  # a tail below this may be other programs' turns on a core
LEAST_CPU_US = 500.0  # of a request: of less, what a core does else is too much
UNANSWERED, INTERRUPTED = "unanswered", "interrupted"


class Side:
    """The rounds of one load, and what they show together."""

    def __init__(self, rounds: list[Measurement]) -> None:
        self.rounds = rounds
        self.unanswered = sum(map(unanswered, rounds))
        uncounted = self.unanswered - sum(measured.errors.get(UNANSWERED, 0) for measured in rounds)
        self.requests = sum(measured.requests for measured in rounds) + uncounted
        self.failed = sum(measured.failed for measured in rounds) + uncounted
        self.wrong = sum(measured.verified.wrong for measured in rounds if measured.verified)
        self.checked = sum(measured.verified.checked for measured in rounds if measured.verified)
        self.verified = any(measured.verified for measured in rounds)
        self.silent = [place for place, measured in enumerate(rounds, 1) if not measured.requests_per_second]  # from 1 on
        self.share_silent = len(self.silent) / len(rounds)
        self.silence_s = max(map(longest_silence_s, rounds))
        self.ended_early = sum(bool(measured.ended) and measured.ended != INTERRUPTED for measured in rounds)
        self.client_bound = any(measured.client_bound for measured in rounds)
        self.held_up_s = max(measured.held_up_s for measured in rounds)
        self.latency = self._latency()

    def _latency(self) -> Latency | None:
        """The latency of all rounds as one, if all have their histogram; a single round has it itself."""
        if len(self.rounds) == 1:
            return self.rounds[0].latency_us
        if not all(measured.histogram for measured in self.rounds):
            return None
        whole = Histogram()
        for measured in self.rounds:
            whole.add_sparse(decode(measured.histogram).sparse())
        return Latency.of(whole)


def unanswered(measured: Measurement) -> int:
    """Requests that got no response after a long wait. Requests in flight at Ctrl-C, or when a server died, do not count. Those that were
    lost with their connection are errors."""
    given_up = 0 if measured.ended else measured.unfinished - measured.errors.get("connection", 0)
    return max(measured.errors.get(UNANSWERED, 0), given_up)


def longest_silence_s(measured: Measurement) -> float:
    """The longest stretch of intervals without an OK response, or with next to none, less the time for which the client itself stood
    still."""
    rates = [interval.requests / interval.duration_s if interval.duration_s else 0.0 for interval in measured.intervals]
    few = SILENT * float(np.quantile(rates, GOOD, method="higher")) if rates else 0.0
    longest = silence = 0.0
    for interval, rate in zip(measured.intervals, rates, strict=True):
        silence = silence + interval.duration_s if not interval.requests or rate < few else 0.0
        longest = max(longest, silence)
    return max(longest - measured.held_up_s, 0.0)


def stalled(side: Side, other: Side) -> bool:
    """Whether a side was silent for longer than a run of the other side's server is by chance. Responses, more than one burst of them,
    must have been due meanwhile."""
    kind, _, burst = side.rounds[0].load.arrivals.partition(":")
    due = (value_of(RATE, other) or 0.0) * side.silence_s - (float(burst) if kind == "burst" else 0.0)
    return side.silence_s >= max(STALL_S, SILENCES * other.silence_s) and due >= LEAST_DUE


class Figure(NamedTuple):
    """How a figure is read. `weight` says what a round or interval counts for in a mean of several."""

    name: str
    unit: str
    value: Callable[[Measurement], float | None]
    of_interval: Callable[[Interval], float | None] | None  # None: that interval does not know it
    weight: Callable[[Any], float]
    multiple: float  # times as much, or as little, is no difference of two runs of one server
    more_is_worse: bool = True
    latency: str = ""  # the field of Latency
    margins: float = 1.0  # how many margins it may differ by from run to run
    least: float = 0.0  # what the larger side must reach, for a single run or a multiple to mean anything: less is the machine's doing
    least_requests: int = 0  # and of how many requests either side must be: else the tail is one of them
    by_multiple: bool = False  # of one request: nothing else can be said of it, with any number of rounds


def answered(part: Any) -> float:
    return float(part.requests)


def duration(part: Any) -> float:
    return float(part.duration_s)


def latency_figure(name: str) -> Figure:
    return Figure(
        name,
        "us",
        lambda measured: float(getattr(measured.latency_us, name)) or None,
        lambda interval: float(getattr(interval, f"{name}_us", 0.0)) or None,
        answered,
        {"p50": 10.0, "mean": 20.0, "p99": 30.0, "p999": 100.0, "max": 5.0}[name],
        latency=name,
        margins={"p99": 3.0, "p999": math.inf}.get(name, 1.0),
        least={"p99": SLICES_US, "max": 1e6 * STALL_S}.get(name, 0.0),
        least_requests={"p99": 1000, "p999": 10_000}.get(name, 0),
        by_multiple=name == "max",
    )


# On a machine with other programs, closed loops of one server differ by three times. A request's cost differs by some ten microseconds. But
# a request that costs a millisecond does so on a busy machine, too: there 1.1 times is much.
RATE = Figure(
    "requests/s",
    "1/s",
    lambda measured: measured.requests_per_second,
    lambda interval: interval.requests / interval.duration_s if interval.duration_s else None,
    duration,
    5.0,
    more_is_worse=False,
)
FIGURES = (
    RATE,
    *map(latency_figure, ("mean", "p50", "p99", "p999", "max")),
    Figure(
        "client CPU/request",
        "us",
        lambda measured: measured.client_cpu_us_per_request or None,
        None,
        answered,
        3.0,
        least=LEAST_CPU_US,
    ),
    Figure(
        "server CPU/request",
        "us",
        lambda measured: measured.server.cpu_us_per_request if measured.server else None,
        None,
        answered,
        1.5,
        least=LEAST_CPU_US,
    ),
)


def value_of(figure: Figure, side: Side) -> float | None:
    """The figure over all rounds; None where a round does not know it. A side without measurements had no responses."""
    if figure.latency and side.latency is not None:
        return float(getattr(side.latency, figure.latency)) or None
    known = [(weight, figure.value(measured)) for measured in side.rounds if (weight := figure.weight(measured))]
    values = [value for _, value in known if value is not None]
    if not known or len(values) < len(known):
        return 0.0 if figure is RATE else None
    return float(np.average(values, weights=[weight for weight, _ in known]))
