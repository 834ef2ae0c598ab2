"""How much memory this process may use: the tightest limit of its control groups, or the memory of the machine where that is less.
And how much it holds.

Never in here: what the memory is used for.
"""

from __future__ import annotations

import os
from pathlib import Path

from inferd.system.cgroup import limits, read

KiB, GiB = 1 << 10, 1 << 30
UNKNOWN_BYTES = 2 * GiB  # taken where the system says nothing


def memory_limit_bytes(root: Path | str = "/") -> int:
    """Bytes that the process may use, together with all others of its control group. `root` is where proc/ and sys/ lie."""
    _, group_bytes = limits(Path(root))
    return min(filter(None, (group_bytes, meminfo(Path(root)).get("MemTotal"))), default=UNKNOWN_BYTES)


def resident_bytes() -> int:
    """Memory that the process holds now; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def meminfo(root: Path = Path("/")) -> dict[str, int]:
    """The machine's memory in bytes, by the names of /proc/meminfo, which counts KiB; nothing where it does not say."""
    rows = (line.partition(":") for line in read(root / "proc/meminfo").splitlines())
    counts = ((name, amount.removesuffix("kB").strip()) for name, _, amount in rows)
    return {name: int(count) * KiB for name, count in counts if count.isdecimal()}
