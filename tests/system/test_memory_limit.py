"""The memory limit is the tightest of what cgroup files and /proc/meminfo say, below a folder made for the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferd.system.memory_limit import UNKNOWN_BYTES, memory_limit_bytes

GiB = 1 << 30
MACHINE = "MemTotal:        8388608 kB\nMemFree:         1234 kB\n"


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"proc/meminfo": MACHINE}, 8 * GiB),
        ({"proc/meminfo": MACHINE, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{2 * GiB}\n"}, 2 * GiB),
        ({"proc/meminfo": MACHINE, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{64 * GiB}\n"}, 8 * GiB),
        ({"proc/meminfo": MACHINE, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 8 * GiB),
        ({"proc/meminfo": MACHINE, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": f"{GiB}\n"}, GiB),
        ({"proc/meminfo": MACHINE, "proc/self/cgroup": "4:memory:/c\n", "sys/fs/cgroup/memory/c/memory.limit_in_bytes": f"{GiB}\n"}, GiB),
        (
            {
                "proc/meminfo": MACHINE,
                "proc/self/cgroup": "4:memory:/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2**63 - 4096}\n",
            },
            8 * GiB,
        ),
        ({"proc/meminfo": "MemTotal: lots kB\n"}, UNKNOWN_BYTES),
        ({}, UNKNOWN_BYTES),
    ],
    ids=["machine", "v2", "v2 above the machine", "v2 max", "v2 parent", "v1", "v1 no limit", "nonsense", "nothing"],
)
def test_the_tightest_limit_counts(tmp_path: Path, files: dict[str, str], limit: int) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert memory_limit_bytes(tmp_path) == limit


def test_this_machine_has_a_limit() -> None:
    assert 64 << 20 < memory_limit_bytes() < 1 << 50
