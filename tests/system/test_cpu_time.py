"""The processors' time, from files as Linux writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inferd.system.cpu_time import SpareCores, ticks, waited_s

HZ = os.sysconf("SC_CLK_TCK")
V2 = "0::/kubepods/pod1\n"
V1 = "3:cpu,cpuacct:/docker/abc\n"


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def spend(root: Path, *idle: float, seconds: float) -> None:
    """/proc/stat after so many seconds since boot, in which each processor was idle for so long; a third of that it waited for a disk."""
    lines = [
        [name, round((seconds - rest) * HZ), 0, 0, round(rest * HZ * 2 / 3), round(rest * HZ / 3), 0, 0, 0, 99, 99]
        for name, rest in enumerate(idle)
    ]
    rows = ["cpu ", *(sum(column) for column in list(zip(*lines, strict=True))[1:])], *([f"cpu{name}", *counts] for name, *counts in lines)
    write(root, "proc/stat", "".join(" ".join(map(str, row)) + "\n" for row in rows) + "intr 123 4\n")


def test_ticks_of_all_and_of_some(tmp_path: Path) -> None:
    spend(tmp_path, 3, 6, 9, 12, seconds=30)
    assert ticks(root=tmp_path) == (30 * HZ, 120 * HZ)
    assert ticks((1, 3), tmp_path) == (18 * HZ, 60 * HZ)


def test_what_is_left_of_the_processors(tmp_path: Path) -> None:
    """Only those that this process may run on count."""
    spend(tmp_path, 0, 0, 0, 0, seconds=0)
    spare = SpareCores(tmp_path, (0, 1))
    assert spare.cores == 2
    assert spare.left() == 0, "no time has passed"
    spend(tmp_path, 3, 9, 0, 0, seconds=12)
    assert spare.left() == pytest.approx(1)
    spend(tmp_path, 15, 9, 12, 12, seconds=24)
    assert spare.left() == pytest.approx(1)


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        (
            V2,
            {"kubepods/pod1/cpu.max": "150000 100000\n", "kubepods/cpu.max": "max 100000\n", "kubepods/pod1/cpu.stat": "usage_usec {us}\n"},
        ),
        (V2, {"cpu.max": "150000 100000\n", "cpu.stat": "nr_periods 7\nusage_usec {us}\nuser_usec 1\n"}),
        (
            V1,
            {
                "cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "150000\n",
                "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
                "cpu,cpuacct/docker/abc/cpuacct.usage": "{us}000\n",
            },
        ),
    ],
)
def test_what_is_left_of_a_quota(tmp_path: Path, membership: str, files: dict[str, str]) -> None:
    """All 4 cores of the machine are idle but for what the group takes: 1.1 of 1.5 cores."""
    spend(tmp_path, 0, 0, 0, 0, seconds=0)
    write(tmp_path, "proc/self/cgroup", membership)
    for used_us in (5_000_000, 16_000_000):
        for name, text in files.items():
            write(tmp_path, f"sys/fs/cgroup/{name}", text.format(us=used_us))
        if used_us == 5_000_000:
            spare = SpareCores(tmp_path, range(4))
    spend(tmp_path, 10, 10, 10, 10, seconds=10)
    assert spare.cores == 1.5
    assert spare.left() == pytest.approx(0.4)


def test_nothing_is_left_where_it_is_not_known(tmp_path: Path) -> None:
    assert SpareCores(tmp_path, (0, 1)).left() == 0


def test_how_long_threads_have_waited(tmp_path: Path) -> None:
    """A thread that has ended meanwhile, and a kernel that does not say, count as none."""
    assert waited_s(7, tmp_path) == 0
    write(tmp_path, "proc/7/task/7/schedstat", "5000 1500000000 3\n")
    write(tmp_path, "proc/7/task/8/schedstat", "5000 2000000000 3\n")
    write(tmp_path, "proc/7/task/9/schedstat", "")
    assert waited_s(7, tmp_path) == 3.5
