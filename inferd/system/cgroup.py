"""CPU quota, CPU time, memory limit and limit of threads of this process's control group (cgroup), version 1 and 2.

Only reads files below a root folder. Never in here: what the numbers mean for a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NO_LIMIT_BYTES = 1 << 60  # cgroup v1 writes "no memory limit" as a number near 2**63


def limits(root: Path) -> tuple[float | None, int | None]:
    """The tightest CPU quota (cores) and memory limit (bytes) of this process's cgroup and all above it."""
    limits: list[int] = []
    for folder in _groups(root):
        limits += _bytes(read(folder / "memory.max")) + _bytes(read(folder / "memory.limit_in_bytes"))
    return min((quota for _, quota in quotas(root)), default=None), min(limits, default=None)


def quotas(root: Path) -> list[tuple[Path, float]]:
    """Each group with a CPU quota, of this process's cgroup and all above it: its folder, and cores."""
    found: list[tuple[Path, float]] = []
    for folder in _groups(root):
        of_v1 = _quota_v1(read(folder / "cpu.cfs_quota_us"), read(folder / "cpu.cfs_period_us"))
        found += [(folder, quota) for quota in _quota_v2(read(folder / "cpu.max")) + of_v1]
    return found


def pids(root: Path) -> tuple[int, int] | None:
    """How many threads a cgroup has, and may have: the one with the least room of this process's and all above it. None: there is no
    limit."""
    found = []
    for folder in _groups(root):
        used, most = read(folder / "pids.current"), read(folder / "pids.max")  # "max": no limit
        if used.isdecimal() and most.isdecimal():
            found.append((int(used), int(most)))
    return min(found, key=lambda group: group[1] - group[0], default=None)


def used_s(folder: Path) -> float:
    """CPU time that a group has taken. 0: it does not say."""
    for line in read(folder / "cpu.stat").splitlines():
        name, _, count = line.partition(" ")
        if name == "usage_usec" and count.isdecimal():
            return int(count) / 1e6
    spent_ns = read(folder / "cpuacct.usage")  # version 1, where both controllers share a folder
    return int(spent_ns) / 1e9 if spent_ns.isdecimal() else 0.0


def _groups(root: Path) -> Iterator[Path]:
    """Folders of this process's group and all above it, in each tree that may hold a quota or a limit."""
    mount = root / "sys/fs/cgroup"
    for controllers, path in _memberships(root):
        if not controllers:  # version 2; beside version 1 its tree lies in unified/
            bases = [mount, mount / "unified"]
        elif {"memory", "cpu", "pids"} & set(controllers):
            bases = [mount / ",".join(controllers), *(mount / each for each in controllers if len(controllers) > 1)]
        else:
            continue
        for base in bases:
            yield from _upwards(base, path)


def _memberships(root: Path) -> Iterator[tuple[list[str], str]]:
    """(controllers, path) of each line of /proc/self/cgroup; version 2 has no controllers there."""
    for line in read(root / "proc/self/cgroup").splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            yield [word for word in parts[1].split(",") if word], parts[2].strip("/")


def _upwards(base: Path, path: str) -> Iterator[Path]:
    """The group's folder and all above it. In a container the path may be the host's: only `base` exists then, and holds our limits."""
    parts = [part for part in path.split("/") if part and part != ".."]
    for depth in range(len(parts), -1, -1):
        yield base.joinpath(*parts[:depth])


def read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""


def _quota_v2(text: str) -> list[float]:
    words = text.split()  # "150000 100000", or "max 100000"
    return _quota_v1(words[0], words[1]) if len(words) == 2 else []


def _quota_v1(quota: str, period: str) -> list[float]:
    if quota.isdecimal() and period.isdecimal() and int(quota) > 0 and int(period) > 0:  # -1: no quota
        return [int(quota) / int(period)]
    return []


def _bytes(text: str) -> list[int]:
    return [int(text)] if text.isdecimal() and 0 < int(text) < _NO_LIMIT_BYTES else []
