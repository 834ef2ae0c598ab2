"""Drives a server with h2load and reads what that cost the server. Nothing here knows what is being served.

h2load counts every HTTP 200 as a success, also where grpc-status says otherwise: whoever measures checks the answers apart.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6}
ONE_CIPHER = ("--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519")  # whatever a server prefers: figures can be compared
WARM_UP = 0.2  # of the requests that are measured


@dataclass(frozen=True)
class Load:
    """A shape of traffic: connections, streams on each, and whether server and client share one core."""

    connections: int
    streams: int
    pinned: bool = False

    def __str__(self) -> str:
        return f"{self.connections}x{self.streams}" + (" pinned" if self.pinned else "")


@dataclass(frozen=True)
class Target:
    """Where to send what. Without a body it is a GET. headers: more of them, as "name: value"."""

    url: str
    body: Path | None = None
    headers: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        headers = ("content-type: application/grpc", "te: trailers", *self.headers) if self.body else self.headers
        body = ["-d", str(self.body)] if self.body else []
        tls = ONE_CIPHER if self.url.startswith("https:") else ()
        return [*body, *(part for header in headers for part in ("-H", header)), *tls, self.url]


@dataclass(frozen=True)
class Run:
    """What one h2load run showed."""

    requests: int
    cpu_us: float  # of the server process, user + system, a request
    requests_s: float
    mean_us: float
    minor_faults: float  # of the server process, a request
    latencies_us: tuple[int, ...] = ()  # each request, sorted, where asked for
    switches: float = 0.0  # how often a thread of the server went to sleep, a request

    def quantile_us(self, q: float) -> int:
        return self.latencies_us[min(len(self.latencies_us) - 1, int(q * len(self.latencies_us)))]


def cpu_ns(pid: int) -> int:
    """User and system time of a process, its finished threads included, from the kernel's own clock for it."""
    return time.clock_gettime_ns((~pid << 3) | 2)  # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)


def minor_faults(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])


def switches(pid: int) -> int:
    """How often a thread of the process, one that is alive, gave its core up by itself."""
    statuses = (Path(entry.path, "status").read_text() for entry in os.scandir(f"/proc/{pid}/task"))
    return sum(int(status.rpartition("\nvoluntary_ctxt_switches:")[2].split()[0]) for status in statuses)


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def pinned_to(core: int, pid: int) -> Iterator[None]:
    """Every thread of the process runs on one core only."""
    threads = [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]
    before = {thread: os.sched_getaffinity(thread) for thread in threads}
    for thread in threads:
        os.sched_setaffinity(thread, {core})
    try:
        yield
    finally:
        for thread, cores in before.items():
            os.sched_setaffinity(thread, cores)


def command(target: Target, load: Load, requests: int, log: Path | None = None) -> list[str]:
    words = ["h2load", "-n", str(requests), "-c", str(load.connections), "-m", str(load.streams)]
    if log is not None:
        words += ["--log-file", str(log)]
    if load.pinned:
        words = ["taskset", "-c", str(pin_core()), *words]
    return words + target.arguments()


def pin_core() -> int:
    return min(os.sched_getaffinity(0))


def parse(output: str) -> tuple[int, float, float]:
    """The requests that h2load saw succeed, their rate, and their mean latency in us."""
    rate = re.search(r"^finished in .*?, ([\d.]+) req/s", output, re.MULTILINE)
    done = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
    times = re.search(r"^time for request: +\S+ +\S+ +([\d.]+)(us|ms|s)\b", output, re.MULTILINE)
    if not (rate and done and times):
        raise RuntimeError(f"h2load's report is not as expected:\n{output}")
    if int(done[2]) or int(done[3]) or int(done[4]):
        raise RuntimeError(f"h2load saw requests fail:\n{output}")
    return int(done[1]), float(rate[1]), float(times[1]) * UNITS_US[times[2]]


def drive(pid: int, target: Target, load: Load, requests: int, log: Path | None = None) -> Run:
    """One measured run of `requests` requests; `pid` is the server's. With `log` every latency is kept."""
    requests = max(requests // load.connections, 1) * load.connections
    with pinned_to(pin_core(), pid) if load.pinned else _as_it_is():
        cpu, faults, slept = cpu_ns(pid), minor_faults(pid), switches(pid)
        output = subprocess.run(command(target, load, requests, log), capture_output=True, text=True, check=True).stdout
        cpu, faults, slept = cpu_ns(pid) - cpu, minor_faults(pid) - faults, switches(pid) - slept
    done, rate, mean_us = parse(output)
    latencies: tuple[int, ...] = ()
    if log is not None:  # one line a request: start in us since the epoch, HTTP status, duration in us
        latencies = tuple(sorted(int(line.split()[2]) for line in log.read_text().splitlines()))
        log.unlink()
    return Run(done, cpu / done / 1e3, rate, mean_us, faults / done, latencies, slept / done)


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


def requests_for(pid: int, target: Target, load: Load, seconds: float) -> int:
    """How many requests take about `seconds`; warms the server up on the way."""
    probe = max(load.connections * load.streams * 4, 64)
    rate = drive(pid, target, load, probe).requests_s
    rate = drive(pid, target, load, max(probe, int(rate * seconds * WARM_UP))).requests_s
    return max(probe, int(rate * seconds))


def missing_programs(programs: Sequence[str]) -> list[str]:
    return [program for program in programs if shutil.which(program) is None]
