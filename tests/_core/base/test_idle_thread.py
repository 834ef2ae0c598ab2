"""The thread of idle priority: which bytes a file has afterwards, and what fails."""

from __future__ import annotations

import errno
import os
import random
import signal
import time
from pathlib import Path

import pytest

from inferd._core.base.idle_thread import IdleThread

PIECE = 512 << 10
BOTH = os.O_RDWR | os.O_CLOEXEC


def sizes() -> list[list[int]]:
    """Of the parts of each write: around blocks and pieces, and by chance."""
    chance = random.Random(1)
    edges = [[4096], [1], [4095], [4096, 4096, 1], [PIECE - 4097], [PIECE], [2 * PIECE + 5], [0], [], [1] * 300]
    return edges + [[chance.choice((3, 700, 5000, 300_000)) for _ in range(chance.randrange(6))] for _ in range(20)]


@pytest.mark.parametrize("hurried", [False, True])
@pytest.mark.parametrize("way", ["direct", "usual", "refused"])
def test_all_bytes_are_in_the_file_after_each_write(tmp_path: Path, way: str, hurried: bool) -> None:
    idle, chance = IdleThread(), random.Random(2)
    if hurried:
        idle.hurry()
    for name in ("one", "another"):
        path = tmp_path / name
        descriptor = os.open(path, BOTH | os.O_CREAT)
        direct = {"direct": lambda path=path: os.open(path, BOTH | os.O_DIRECT), "usual": lambda: -1, "refused": refusing}[way]()
        expected = b""
        for parts in sizes():
            made = [chance.randbytes(nbytes) for nbytes in parts]
            idle.write(descriptor, direct, len(expected), list(made))
            expected += b"".join(made)
            assert path.stat().st_size == len(expected)
        assert path.read_bytes() == expected
        os.close(descriptor)
        if direct >= 0:
            os.close(direct)
    idle.close()


def refusing() -> int:
    """A descriptor that takes numbers alone: EINVAL, as of a device whose blocks are larger."""
    return os.open("/proc/self/oom_score_adj", os.O_WRONLY)


def test_its_priority_is_idle() -> None:
    before = set(os.listdir("/proc/self/task"))
    idle = IdleThread()
    idle.write(os.memfd_create("file"), -1, 0, [b"it has begun"])
    (thread,) = (each for each in set(os.listdir("/proc/self/task")) - before if os.sched_getscheduler(int(each)) == os.SCHED_IDLE)
    (blocked,) = (line for line in Path(f"/proc/self/task/{thread}/status").read_text().splitlines() if line.startswith("SigBlk"))
    assert 0 < idle.used_s < time.process_time()
    assert int(blocked.split()[1], 16) & 1 << (signal.SIGTERM - 1), "a signal would wait for an idle core"
    idle.close()


def test_what_fails() -> None:
    idle = IdleThread()
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match="No space") as raised:
        idle.write(full, -1, 0, [b"x"])
    assert raised.value.errno == errno.ENOSPC
    with pytest.raises(TypeError, match="bytes-like"):
        idle.write(full, -1, 0, [b"x", 1])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="expected the file of 0 bytes that was written last, got one of 7"):
        idle.write(os.memfd_create("other"), -1, 7, [b"x"])
    idle.close()
    idle.close()
    with pytest.raises(RuntimeError, match="closed"):
        idle.write(full, -1, 0, [b"x"])
    os.close(full)
