"""Memory goes back to the system, and when the server gives it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from inferd.serving.memory import trimming
from inferd.serving.transports import native
from tests import models
from tests.command import environment
from tests.http2_peer import Peer
from tests.server_fixtures import LIMIT_S, ServerFixture

BLOCK_NBYTES, BLOCKS = 60_000, 1000  # small enough for the heap


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(trimming._trim is None, reason="not glibc")
@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="the address sanitizer's allocator, not glibc's")
def test_pages_that_hold_nothing_go_back() -> None:
    blocks: list[Any] = [bytearray(b"x") * BLOCK_NBYTES for _ in range(BLOCKS)]
    keep = blocks[99::100]  # the heap does not shrink by itself
    full = rss_bytes()
    blocks.clear()
    trimming.give_back()
    assert rss_bytes() < full - BLOCK_NBYTES * BLOCKS / 2
    assert keep


# In a process of its own: in one that has had many threads, a new thread gets a heap with holes.
A_THREAD_S_HEAP = f"""
import os, threading
from pathlib import Path
from inferd.serving.memory import trimming

def rss_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

blocks, used, done = [], threading.Event(), threading.Event()

def use():
    trimming.watch_heap()
    blocks.extend(bytearray(b"x") * {BLOCK_NBYTES} for _ in range({BLOCKS // 2}))
    used.set()
    done.wait({LIMIT_S})

large = bytearray(30 << 20)
del large  # from now on heaps keep twice as much at their ends
thread = threading.Thread(target=use)
thread.start()
assert used.wait({LIMIT_S})
full = rss_bytes()
with trimming.giving_back():
    blocks.clear()
    assert rss_bytes() > full - {BLOCK_NBYTES * BLOCKS // 8}  # a thread that frees has Python's lock
assert rss_bytes() < full - {BLOCK_NBYTES * BLOCKS // 4}
done.set()
thread.join()
"""


@pytest.mark.skipif(trimming._trim is None, reason="not glibc")
@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="the address sanitizer's allocator, not glibc's")
def test_the_end_of_a_thread_s_heap_goes_back() -> None:
    """malloc_trim alone leaves it: what a loader's thread has used. It goes once all is free, without Python's lock."""
    done = subprocess.run([sys.executable, "-c", A_THREAD_S_HEAP], env=environment(), check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(trimming._set is None, reason="not glibc")
def test_servers_that_come_and_go_watch_few_heaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimming, "_probes", probes := [])
    for _ in range(2 * trimming.MAX_PROBES):
        trimming.watch_heap()
    assert len(probes) == trimming.MAX_PROBES


@pytest.mark.parametrize("of", ["connections", "calls"])
def test_after_a_wave(of: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was smaller is none."""
    given: list[int] = []
    monkeypatch.setattr(native, "give_back", lambda: given.append(getattr(transport.server, of)))
    monkeypatch.setattr(native, "LOOK_S", 0.01)
    monkeypatch.setattr(native, "GIVE_BACK_WAVES", (8, 1000) if of == "connections" else (1000, 8))
    model = models.repository(tmp_path / "models", {"identity": models.identity()})
    with ServerFixture(model) as served:
        transport: Any = served.server.edge._grpc
        wave = transport._call_wave if of == "calls" else transport._connection_wave
        until = time.monotonic() + LIMIT_S
        for count, times in ((7, 0), (8, 1), (7, 1), (8, 2)):
            with ExitStack() as opened:
                peers = [opened.enter_context(Peer(served.address)) for _ in range(count if of == "connections" else 1)]
                for _ in range(count if of == "calls" else 0):
                    peers[0].open()
                while wave._most < count or getattr(transport.server, of) < count:
                    assert time.monotonic() < until
            while getattr(transport.server, of) or len(given) < times:
                assert time.monotonic() < until
            assert len(given) == times
            assert all(left <= 8 // 4 for left in given)
