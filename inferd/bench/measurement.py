"""The results of one load: counts, latencies, and the generator's own lateness. Values only, made by generator.py, embedded.py and
scenarios.py.

Latencies are kept as an HdrHistogram of nanoseconds with three significant digits; merging two measurements loses nothing.
Never in here: sockets, clocks, files, terminals.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

WHOLE = "request"  # the stage that is all of a request in the server
MISSING = 0.01  # of the connections, on the average: more are not only made anew
PART_BITS = 10  # each power of two is cut into 2^10 parts: three significant digits, HdrHistogram's own buckets
PARTS = 1 << PART_BITS
HIGHEST_NS = (1 << 42) - 1  # 73 minutes; longer times count as that
BUCKETS = (42 - PART_BITS + 1) << PART_BITS

Counts = np.ndarray[Any, np.dtype[np.uint64]]


class Sparse(NamedTuple):
    """A Histogram's entries without its empty buckets: small enough to keep many of, and to send."""

    buckets: Any  # int array
    counts: Counts
    sum_ns: int
    max_ns: int
    min_ns: int


class Histogram:
    """How often each duration was seen. counts: one number a bucket (see `lowest_ns`); sum_ns and max_ns are exact."""

    __slots__ = ("counts", "max_ns", "min_ns", "sum_ns")

    def __init__(self, counts: Counts | None = None, sum_ns: int = 0, max_ns: int = 0, min_ns: int = HIGHEST_NS) -> None:
        self.counts = np.zeros(BUCKETS, np.uint64) if counts is None else counts
        self.sum_ns, self.max_ns, self.min_ns = sum_ns, max_ns, min_ns

    @property
    def count(self) -> int:
        return int(self.counts.sum())

    def record(self, duration_ns: int, times: int = 1) -> None:
        """For durations that Python measured; the native generator fills `counts` by itself."""
        value = min(max(duration_ns, 0), HIGHEST_NS)
        self.counts[bucket_of(value)] += np.uint64(times)
        self.sum_ns += value * times
        self.max_ns, self.min_ns = max(self.max_ns, value), min(self.min_ns, value)

    def sparse(self) -> Sparse:
        buckets = np.flatnonzero(self.counts)
        return Sparse(buckets, self.counts[buckets], self.sum_ns, self.max_ns, self.min_ns)

    def add_sparse(self, other: Sparse) -> None:
        """Takes in all of another one."""
        self.counts[other.buckets] += other.counts
        self.sum_ns += other.sum_ns
        self.max_ns, self.min_ns = max(self.max_ns, other.max_ns), min(self.min_ns, other.min_ns)

    def quantile_ns(self, q: float) -> int:
        """The duration that a share q (0 to 1) of all entries does not exceed; at most 0.1 % too long. 0 without entries."""
        cumulative = np.cumsum(self.counts)
        if not len(cumulative) or cumulative[-1] == 0:
            return 0
        rank = max(1, math.ceil(q * int(cumulative[-1])))
        bucket = int(np.searchsorted(cumulative, rank))
        return min(highest_ns(bucket), self.max_ns)

    @property
    def mean_ns(self) -> float:
        return self.sum_ns / self.count if self.count else 0.0


def bucket_of(duration_ns: int) -> int:
    if duration_ns < PARTS:
        return duration_ns
    shift = duration_ns.bit_length() - 1 - PART_BITS
    return (shift << PART_BITS) + (duration_ns >> shift)


def lowest_ns(bucket: int) -> int:
    """The shortest duration that a bucket counts."""
    if bucket < 2 * PARTS:
        return bucket
    shift = (bucket >> PART_BITS) - 1
    return ((bucket & (PARTS - 1)) + PARTS) << shift


def highest_ns(bucket: int) -> int:
    """The longest."""
    return lowest_ns(bucket + 1) - 1


class Latency(msgspec.Struct, frozen=True):
    """A distribution in microseconds."""

    mean: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    max: float = 0.0

    @classmethod
    def of(cls, histogram: Histogram) -> Latency:
        p50, p90, p99, p999 = (histogram.quantile_ns(q) / 1e3 for q in (0.5, 0.9, 0.99, 0.999))
        return cls(histogram.mean_ns / 1e3, p50, p90, p99, p999, histogram.max_ns / 1e3)


class Load(msgspec.Struct, frozen=True):
    """The load that a generator makes. rate 0: a closed loop, in which each stream sends its next request after a response. Else an open
    loop of so many requests a second on average, whatever the responses do."""

    connections: int = 1
    streams: int = 1  # in flight on each connection, closed loop only
    rate: float = 0.0
    arrivals: str = "constant"  # constant, poisson, burst:N, trace:FILE; open loop only
    duration_s: float = 10.0  # measured, after the warm-up; 0: until `requests` are over
    requests: int = 0  # at most; 0: no limit
    warm_up_s: float = 1.0
    deadline_ms: float = 0.0  # 0: none
    processes: int = 1
    seed: int = 0

    def __str__(self) -> str:
        if self.rate:
            return f"{self.rate:g}/s {self.arrivals}"
        return f"{self.connections}x{self.streams}"


class Interval(msgspec.Struct, frozen=True):
    """A part of a measurement, of 0.1 to 1 s (generator.interval_length_s)."""

    at_s: float  # since the measuring began
    duration_s: float
    requests: int  # with the response OK
    errors: int
    p50_us: float
    p99_us: float
    max_us: float
    mean_us: float = 0.0
    p999_us: float = 0.0
    late_p99_us: float = 0.0  # the sending behind the schedule

    @classmethod
    def of(
        cls, at_s: float, duration_s: float, requests: int, errors: int, latency: Histogram, lateness: Histogram | None = None
    ) -> Interval:
        p50_us, p99_us, p999_us = (latency.quantile_ns(q) / 1e3 for q in (0.5, 0.99, 0.999))
        late_us = lateness.quantile_ns(0.99) / 1e3 if lateness else 0.0
        return cls(at_s, duration_s, requests, errors, p50_us, p99_us, latency.max_ns / 1e3, latency.mean_ns / 1e3, p999_us, late_us)


class Verification(msgspec.Struct, frozen=True):
    """Responses that were compared with a reference."""

    checked: int = 0
    wrong: int = 0
    largest_difference: float = 0.0
    first_wrong: str = ""  # what was expected and what came
    reference: str = ""  # where the expected responses are from
    unchecked: int = 0  # responses that were to be checked, and for which there was no room
    beyond_numbers: int = 0  # wrong ones of which no difference tells: NaN or infinity on one side, another shape or output, text


class Stage(msgspec.Struct, frozen=True):
    """Time of a request in one stage of the server. None: the server does not say."""

    mean_us: float
    p50_us: float | None = None
    p99_us: float | None = None
    least_us: float = 0.0  # quantiles up to this are not told apart


class ServerSide(msgspec.Struct):
    """The server's figures for the same requests. None or empty: it gives none."""

    stages: dict[str, Stage] = {}  # decode, queue, preprocess, execute, encode, and WHOLE; those that it tells of
    queue_us: float | None = None  # mean of a request
    compute_input_us: float | None = None
    compute_infer_us: float | None = None
    compute_output_us: float | None = None
    batch_sizes: dict[int, int] = {}  # rows of a run -> runs
    requests: int | None = None
    runs: int | None = None
    cpu_us_per_request: float | None = None
    rss_bytes: int | None = None
    dollars_per_million: float | None = None
    notices: list[str] = []  # what could not be had, and why

    @property
    def stages_known(self) -> bool:
        return bool(self.stages) or self.queue_us is not None or self.compute_infer_us is not None


class Measurement(msgspec.Struct):
    """One load against one model version. Made by a generator; `server` and `verified` are filled in by whoever asked.

    Latency counts from the intended start. In an open loop that is the schedule's time, so that neither a stalled server nor a late
    generator can hide. In a closed loop it is the sending.
    """

    load: Load
    version: str = ""
    started_unix_s: float = 0.0
    duration_s: float = 0.0  # of the measured part
    requests: int = 0  # finished, of those that were meant to start in it, or, in a closed loop, were under way when it began
    errors: dict[str, int] = {}  # gRPC code's name, or "malformed", "connection", or a word of worker.py -> how many
    error_messages: dict[str, str] = {}  # the first message of each
    requests_per_second: float = 0.0  # with the response OK
    latency_us: Latency = Latency()
    service_us: Latency = Latency()  # from the real sending
    lateness_us: Latency = Latency()  # the sending behind the schedule: the generator's own fault
    client_cpu_us_per_request: float = 0.0
    client_bound: bool = False
    client_bound_reason: str = ""
    intervals: list[Interval] = []
    sent: int = 0  # in all, warm-up included
    unfinished: int = 0  # still without a response at the end
    held_back: int = 0  # waited in the generator until the server took another stream on their connection
    held_up_s: float = 0.0  # the longest time for which the generator itself stood still, or did not look at its connections
    connections_missing: float = 0.0  # of load.connections, on the average: lost, and not made again
    ended: str = ""  # why the measurement ended early; empty: it did not
    server: ServerSide | None = None
    verified: Verification | None = None
    histogram: Annotated[str, msgspec.Meta(description="of latencies, in ns: HdrHistogram V2, compressed, base64")] = ""

    @property
    def failed(self) -> int:
        return sum(self.errors.values())

    @property
    def lacked_connections(self) -> bool:
        """More than those that a server ends now and then, and that are made again at once."""
        return self.connections_missing > MISSING * self.load.connections
