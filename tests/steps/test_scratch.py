"""Memory that threads keep for pixels: whose it is, how much, and when it goes back."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

from inferd.steps import scratch as module
from inferd.steps.scratch import Scratch, scratch


def test_each_thread_keeps_memory_for_the_next_picture() -> None:
    first = scratch.pixels("test", (10, 10, 3))
    again = scratch.pixels("test", (5, 5, 3))
    assert np.shares_memory(first, again)
    assert not np.shares_memory(first, scratch.pixels("other", (5, 5, 3)))
    others = []
    thread = threading.Thread(target=lambda: others.append(scratch.pixels("test", (10, 10, 3))))
    thread.start()
    thread.join()
    assert not np.shares_memory(first, others[0])


def test_a_thread_keeps_so_much_memory_for_all_uses_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", 300)
    own = Scratch()
    first, second = own.pixels("first", (1, 50, 3)), own.pixels("second", (1, 50, 3))
    assert np.shares_memory(first, own.pixels("first", (1, 50, 3)))
    assert np.shares_memory(second, own.pixels("second", (1, 50, 3)))
    first[:] = 7
    second = own.pixels("second", (1, 100, 3))
    second[:] = 9
    assert (first == 7).all(), "it is its caller's still"
    assert sum(map(len, own._kept.values())) == 300
    assert not np.shares_memory(first, own.pixels("first", (1, 50, 3)))


MEMORY_OF_THREADS = """
import sys, threading
from inferd.steps.scratch import scratch

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20

def work():
    for _ in range(3):
        for use in ("decoded", "upright"):
            scratch.pixels(use, (1, 5 << 20, 3))[:] = 1
    worked.release()
    over.wait()

worked, over = threading.Semaphore(0), threading.Event()
threads = [threading.Thread(target=work) for _ in range(8)]
before = resident_mb()
for thread in threads:
    thread.start()
for thread in threads:
    worked.acquire()
print(resident_mb() - before)
over.set()
for thread in threads:
    thread.join()
print(resident_mb() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_memory_that_threads_keep_has_a_limit_and_goes_with_them() -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY_OF_THREADS], capture_output=True, text=True, check=True, timeout=120)
    kept, left = map(int, done.stdout.split())
    assert kept < 8 * 18, "each thread 15 MB for one of two uses"
    assert left < 32


def test_memory_that_the_system_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_, **__) -> None:
        raise OSError("no memory")

    monkeypatch.setattr(module.mmap, "mmap", none)
    with pytest.raises(MemoryError):
        Scratch().pixels("test", (10, 10, 3))


def test_large_pictures_get_memory_of_their_own() -> None:
    shape = (1, module.KEPT_BYTES // 3 + 1, 3)
    assert not np.shares_memory(scratch.pixels("test", shape), scratch.pixels("test", shape))
