"""How the processors have spent their time, by the machine's account and by that of this process's control group.

Only reads files below a root folder. Never in here: what it is measured for.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from inferd.system import cgroup

if TYPE_CHECKING:
    from collections.abc import Collection


def ticks(cpus: Collection[int] = (), root: Path = Path("/")) -> tuple[int, int]:
    """Idle ticks and all ticks since boot, of these processors; of all where none is named. 0, 0: /proc does not say."""
    names = {f"cpu{number}" for number in cpus} or {"cpu"}
    idle = total = 0
    for line in cgroup.read(root / "proc/stat").splitlines():
        name, *counts = line.split()
        if name in names:
            # user, nice, system, idle, iowait, irq, softirq, steal; what follows is in these already.
            spent = [int(count) for count in counts[:8]]
            idle, total = idle + spent[3] + spent[4], total + sum(spent)
    return idle, total


def waited_s(pid: int, root: Path = Path("/")) -> float:
    """How long the threads of a process have waited for a processor since they began. 0: the kernel does not say."""
    waits = (cgroup.read(file).split() for file in (root / f"proc/{pid}/task").glob("*/schedstat"))
    return sum(int(words[1]) for words in waits if len(words) == 3) / 1e9


class SpareCores:
    """The processors that this process may run on, and its control group's quota. cores: all that it may use."""

    def __init__(self, root: Path = Path("/"), cpus: Collection[int] | None = None) -> None:
        self._root, self._cpus = root, os.sched_getaffinity(0) if cpus is None else cpus
        self._groups = cgroup.quotas(root)
        self.cores = min([float(len(self._cpus)), *(quota for _, quota in self._groups)])
        self._seen = self._read()

    def left(self) -> float:
        """Cores that nobody has used, on average since the last call. 0: it is not known."""
        (idle, total, *used), self._seen = self._seen, self._read()
        idle, total = self._seen[0] - idle, self._seen[1] - total
        if total <= 0:
            return 0.0
        seconds = total / len(self._cpus) / os.sysconf("SC_CLK_TCK")
        left = idle / total * len(self._cpus)
        for (_, quota), now_s, then_s in zip(self._groups, self._seen[2:], used, strict=True):
            left = min(left, quota - (now_s - then_s) / seconds)
        return max(0.0, left)

    def _read(self) -> tuple[float, ...]:
        """Ticks, and seconds of each group with a quota."""
        return (*ticks(self._cpus, self._root), *(cgroup.used_s(folder) for folder, _ in self._groups))


def process_age_s() -> float:
    """How long ago the kernel started this process, to a hundredth of a second; 0 where it does not tell."""
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])  # starttime, since boot
    except OSError:
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
