"""How many threads and instances a model gets, by the cores that the process may really use.

A container that sees 64 cores may be allowed 2. The kernel then throttles a pool of 64 threads for most of each period, and latency falls
apart. So affinity and the cgroup's CPU quota (version 1 and 2) count, not the number of cores.

Never in here: onnxruntime, models, clocks. `Host.detect` only reads files below a root folder; `plan` computes from its arguments.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from inferd.system.cgroup import limits


@dataclass(frozen=True, slots=True)
class Host:
    """The limits of the process: cores of the machine, cores it may run on, CPU quota in cores, memory limit. workers: processes that
    share these limits, itself included."""

    cores: int
    affinity: int
    quota: float | None = None
    memory_bytes: int | None = None
    workers: int = 1

    @classmethod
    def detect(cls, root: Path | str = "/", *, cores: int | None = None, affinity: int | None = None, workers: int = 1) -> Host:
        """Reads this process's limits. `root` has proc/ and sys/; `cores` and `affinity` replace the system's values."""
        quota, memory = limits(Path(root))
        cores = cores or os.cpu_count() or 1
        return cls(cores, affinity or _affinity(cores), quota, memory, max(1, workers))

    @property
    def usable(self) -> int:
        """Threads of this process that can run at once: its part of the affinity, or of the quota rounded up where that is less."""
        allowed = self.affinity if self.quota is None else min(self.affinity, math.ceil(self.quota))
        return max(1, allowed // self.workers)

    def describe(self) -> str:
        """One line for people: "2 of 8 cores (affinity 8, cgroup quota 1.5)"."""
        quota = "no cgroup quota" if self.quota is None else f"cgroup quota {self.quota:g}"
        shared = f", shared by {self.workers} workers" if self.workers > 1 else ""
        return f"{self.usable} of {self.cores} cores (affinity {self.affinity}, {quota}{shared})"


@dataclass(frozen=True, slots=True)
class ThreadPlan:
    """Threads of one run, instances of the model, whether idle threads spin, and why, for people.

    single_rows: runs of at most so many rows use a session of one thread.
    """

    intra_op_threads: int
    instances: int
    spinning: bool
    reason: str
    single_rows: int = 0


def plan(
    host: Host,
    models: int = 1,
    *,
    instances: int = 0,
    intra_op_threads: int = 0,
    spinning: bool = False,
    gpu: bool = False,
    tiny_run_ns: int = 0,
    single_rows: int = 0,
) -> ThreadPlan:
    """The plan for each of `models` models; 0 means "choose".

    A model gets one instance with all usable cores: a batch uses them better than several instances with fewer threads. Its weights are
    read once for all rows, and requests that arrive during a run form the next batch. More instances pay off where a model scales badly
    over threads: they divide the cores (usable / instances, at least 1).
    Each of several models gets all cores: an idle model leaves them to the others, as waiting threads do not spin.
    A model whose measured run is tiny (`tiny_run_ns`) gets one thread. Waking a second one takes longer than the run, and makes one run in
    a hundred a hundred times slower. For digits, 64 rows, 2 cores: median 19 us and p99 1.4 ms, with one thread 13 us and 18 us.
    Runs of few rows get one thread where more gain too little (`single_rows`, measured): threads that wait for each other burn the cores.
    A mean over one 602 KB image: 59 us and 201 us of CPU with two threads, 51 us and 52 us with one.
    Spinning gains some microseconds a run, and burns the cores that the event loop and the other models need.
    A GPU model needs few host threads: its operators run elsewhere.
    """
    usable = host.usable
    chosen = instances or 1
    if intra_op_threads:
        threads, why = intra_op_threads, "as configured"
    elif gpu:
        threads, why = min(2, usable), "few, because the model runs on a GPU"
    elif tiny_run_ns:
        threads, why = 1, f"a run takes {tiny_run_ns / 1e3:.0f} us, too little to share"
    elif chosen > 1:
        threads, why = max(1, usable // chosen), f"{usable} usable cores shared by {chosen} instances"
    else:
        threads, why = usable, "all usable cores" if usable > 1 else "the only usable core"
    parts = [
        f"{chosen} instance{'s' if chosen > 1 else ''}{' as configured' if instances else ''}",
        f"{threads} thread{'s' if threads > 1 else ''} a run ({why})",
        f"idle threads {'spin as configured' if spinning else 'do not spin'}",
        f"host: {host.describe()}",
    ]
    single_rows = single_rows if threads > 1 else 0
    if single_rows:
        parts.insert(2, f"one thread up to {single_rows} row{'s' if single_rows > 1 else ''}, for which more gain little")
    if models > 1:
        parts.append(f"{models} models share the cores as they are busy")
    return ThreadPlan(threads, chosen, spinning, "; ".join(parts), single_rows)


def preprocess_threads(host: Host) -> int:
    """The most threads for short requests, and as many for long ones, for all models together: one for each usable core. They start as
    work comes, two at least (running/preparer.py). All may work for one model, unless its preprocess_threads says otherwise."""
    return host.usable


def _affinity(cores: int) -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return cores
