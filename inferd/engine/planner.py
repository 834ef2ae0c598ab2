"""How many threads and instances a model gets, from what this machine really lets the process use.

A container that sees 64 cores may be allowed 2: a pool of 64 threads is then throttled by the kernel for most of each period,
and latency falls apart. So affinity and the cgroup's CPU quota (version 1 and 2) count, not the number of cores.

Never in here: onnxruntime, models, clocks. `Host.detect` only reads files below a root folder; `plan` computes from its arguments.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from inferd.system.cgroup import limits

__all__ = ["Host", "Plan", "plan", "preprocess_threads"]


@dataclass(frozen=True, slots=True)
class Host:
    """What the process may use: cores of the machine, cores it may run on, CPU quota in cores, memory limit; and how many processes like
    it share that, itself included."""

    cores: int
    affinity: int
    quota: float | None = None
    memory_bytes: int | None = None
    workers: int = 1

    @classmethod
    def detect(cls, root: Path | str = "/", *, cores: int | None = None, affinity: int | None = None, workers: int = 1) -> Host:
        """Reads this process's limits. `root` is where proc/ and sys/ lie; `cores` and `affinity` replace the system's answers."""
        quota, memory = limits(Path(root))
        cores = cores or os.cpu_count() or 1
        return cls(cores, affinity or _affinity(cores), quota, memory, max(1, workers))

    @property
    def usable(self) -> int:
        """Threads that can run at once: the affinity, or the quota rounded up where that is less; this process's part of it."""
        allowed = self.affinity if self.quota is None else min(self.affinity, math.ceil(self.quota))
        return max(1, allowed // self.workers)

    def describe(self) -> str:
        """One line for people: "2 of 8 cores (affinity 8, cgroup quota 1.5)"."""
        quota = "no cgroup quota" if self.quota is None else f"cgroup quota {self.quota:g}"
        shared = f", shared by {self.workers} workers" if self.workers > 1 else ""
        return f"{self.usable} of {self.cores} cores (affinity {self.affinity}, {quota}{shared})"


@dataclass(frozen=True, slots=True)
class Plan:
    """Threads inside one run, instances of the model, whether idle threads spin; and why, in one sentence.

    single_rows: runs of so many rows and fewer go to a session of one thread.
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
) -> Plan:
    """The plan for each of `models` models; 0 means "choose".

    One instance with all usable cores: a batch uses the cores better than several instances with fewer threads do,
    because weights are read once for all rows, and requests that arrive during a run make the next batch. More instances pay
    off where a model scales badly over threads: they then share the cores between them (usable / instances, at least 1).
    Several models each get all cores: a model that is idle leaves them to the others, as threads that wait do not spin.
    A model whose measured run is tiny (`tiny_run_ns`) gets one thread: waking a second one takes longer than the run, and makes
    one run in a hundred a hundred times slower (digits, 64 rows, 2 cores: median 19 us and p99 1.4 ms, against 13 us and 18 us).
    Where more threads gain too little for a few rows, those get one (`single_rows`, measured): threads that wait for each other burn
    the cores (mean over the pixels of one 602 KB image, 2 cores: 59 us and 201 us of CPU with two threads, 51 us and 52 us with one).
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
    return Plan(threads, chosen, spinning, "; ".join(parts), single_rows)


def preprocess_threads(host: Host) -> int:
    """Threads that prepare inputs, of all models together, at most: one for each usable core. They are started as there is work for them
    (preparer.py). As many may work for one model, unless its configuration says otherwise."""
    return host.usable


def _affinity(cores: int) -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return cores
