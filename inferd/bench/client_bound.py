"""Whether the figures of a measurement are the generator's rather than the server's, and why.

They are the generator's if its thread had no pause or no core, or if it sent later than the schedule said, or never. A request that was
late for want of a connection, or because too many were in flight, is the server's. Never in here: measuring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from inferd.bench.findings import due_rate, duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd.bench.measurement import Latency, Measurement

BUSY = 0.9  # a generator that is busy for more than this share of its time is at its limit
STARVED = 0.7  # of that time, if it ran for less, it was kept from running
DELAYED = 0.5  # one that waited for a core for more than this share of the time in which it had work has too little of the machine,
DELAY = 0.2  # if each wait was more than this share of the median latency: less hardly shows in it.
DELAY_REQUEST = 0.25  # Or if its waits are that share of the median latency, by the requests
LATE = 0.1  # sent too late: the median lateness is more than this share of the median latency
LATE_P99 = 0.5  # sent too late: the lateness at p99 is more than this share of the latency there
BEHIND = 10  # cannot send so fast: half of the requests leave when so many are due in a process
HELD_UP = 0.1  # measured another time: it stood still for more than this share of the time, or its processes began so far apart
HELD_BACK = 0.5  # the server does not see the rate: more than this share of requests waits for a stream or a connection


class Effort(NamedTuple):
    """The generator's own effort, all of its processes together."""

    busiest: float = 0.0  # the largest share of an interval in which one had something to do,
    ran: float = 0.0  # and the share of it in which that one really ran
    cpu_ns: int = 0
    delayed_ns: int = 0  # in which it could have run and had no core
    turns: int = 0  # how often it was given one
    unsent: int = 0  # arrivals whose time had come, and that it did not get to
    apart_ns: int = 0  # from when its first process began to measure until its last one did


def reason(measured: Measurement, effort: Effort) -> str:
    """Empty: the figures are the server's."""
    return next(_reasons(measured, effort), "")


def _reasons(measured: Measurement, effort: Effort) -> Iterator[str]:
    load = measured.load
    if effort.busiest > BUSY and not load.rate:
        if effort.ran < STARVED * effort.busiest:
            yield f"the generator had work all the time and ran for {effort.ran:.0%} of it: too much else runs on this machine"
        yield f"the generator was busy for {effort.busiest:.0%} of the time: give it more --processes"
    if measured.held_up_s > HELD_UP * measured.duration_s:
        yield f"the generator stood still for {duration(1e6 * measured.held_up_s)}: it was stopped, or had too much to do at once"
    if effort.apart_ns > HELD_UP * 1e9 * measured.duration_s:
        yield f"the generator's processes began {duration(effort.apart_ns / 1e3)} apart: one of them was held up"
    if measured.latency_us.max:
        yield from _without_core(measured, effort)
    if not load.rate:
        return
    if late := sent_late(measured.lateness_us, measured.latency_us):
        yield f"{late}: give it --spin, or more --processes"
    if effort.unsent:
        yield f"{effort.unsent} requests whose time had come were never sent: give it more --processes"
    if 0 < measured.requests_per_second < due_rate(measured):  # a server without any response was not limited by the generator
        yield from _overloaded(measured)


def _without_core(measured: Measurement, effort: Effort) -> Iterator[str]:
    """The server's own threads take cores, too, where it is on the same machine: for about as long as the generator runs, at most."""
    median_us, delayed_us = measured.latency_us.p50, effort.delayed_ns / 1e3
    each_us, a_request_us = delayed_us / max(effort.turns, 1), delayed_us / max(measured.requests, 1)
    cure = f"the median latency is {duration(median_us)}: too much else runs on this machine"
    share = effort.delayed_ns / max(effort.cpu_ns + effort.delayed_ns, 1)
    if share > DELAYED and each_us > DELAY * median_us:
        yield f"the generator had no core for {share:.0%} of the time in which it had work, {duration(each_us)} each time, and {cure}"
    if a_request_us > DELAY_REQUEST * median_us:
        yield f"the generator waited {duration(a_request_us)} a request for a core, and {cure}"


def _overloaded(measured: Measurement) -> Iterator[str]:
    """Reasons why the generator may be the limit where responses fell behind the rate.

    Where nearly every request misses its deadline, all latencies are about the deadline. Lateness is small beside that, even if the
    generator is overloaded, too."""
    load, held_back = measured.load, measured.held_back
    if load.deadline_ms and held_back > HELD_BACK * measured.requests:
        yield (
            f"{held_back:,} of {measured.requests:,} requests waited in the generator for a stream or a free connection, so the "
            "server never saw this rate: use more --connections"
        )
    burst = int(load.arrivals.removeprefix("burst:")) if load.arrivals.startswith("burst:") else 1
    due = measured.lateness_us.p50 / 1e6 * load.rate / load.processes
    if due > BEHIND + burst:
        yield f"half of the requests left when {due:.0f} or more were due: give it more --processes"


def sent_late(lateness_us: Latency, latency_us: Latency) -> str:
    """Why latencies are too much those of the sender; empty: they are not, or there are none."""
    if not latency_us.max:
        return ""
    if lateness_us.p50 > LATE * latency_us.p50:
        return f"requests were sent {duration(lateness_us.p50)} late (median), the latency is {duration(latency_us.p50)}"
    if lateness_us.p99 > LATE_P99 * latency_us.p99:
        return f"one request in a hundred left {duration(lateness_us.p99)} late, p99 is {duration(latency_us.p99)}"
    return ""
