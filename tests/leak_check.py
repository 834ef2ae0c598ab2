"""What a debug build counts of the objects of which none may be left behind.

Never in here: what a test holds on purpose.
"""

from __future__ import annotations

import gc
import importlib
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

LIMIT_S = 20

# What is counted: of which module, and how it is asked. Buffers are the bytes under the budget of messages, whoever holds them.
KINDS = {
    "calls": ("grpc.call", "live"),
    "sessions": ("http2.session", "live"),
    "http1 sessions": ("http1.session", "live"),
    "messages": ("grpc.message", "live"),
    "buffer_bytes": ("grpc.message", "in_use"),
}


def counted() -> bool:
    """Whether this build counts."""
    from inferd._core.grpc import call as grpc

    return grpc.live() is not None


def left(before: Mapping[str, int] = {}) -> dict[str, int]:
    """What there is more than before; what a thread or a transport lets go a moment late is waited for."""
    gc.unfreeze()  # a server froze the objects that were there when it started
    limit = time.monotonic() + LIMIT_S
    while (found := {kind: number for kind, number in counts().items() if number > before.get(kind, 0)}) and time.monotonic() < limit:
        time.sleep(0.01)
    return found


def end_by_hand() -> None:
    """What a transport and an instance do in the end, for every session and batch that there is: a call, its request, its batch and its
    session refer to each other, some of it unseen by the collector, until the session is closed and the batch delivered."""
    ends = endings()
    gc.collect()
    logging.disable()  # what is said of batches that nobody ran is kept, and with it the frames that it was said in
    for each in gc.get_objects():
        if end := ends.get(type(each)):
            end(each)
    logging.disable(logging.NOTSET)


def endings() -> dict[type, Callable[[Any], None]]:
    from inferd._core.batching.batch import Batch

    found: dict[type, Callable[[Any], None]] = {Batch: Batch.deliver}
    with suppress(ImportError):  # the build for the sanitizer of threads
        from native_access import MemorySocket

        from tests._core.http2_client import Served

        found |= {MemorySocket: MemorySocket.close, Served: Served.let_go}
    return found


def counts() -> dict[str, int]:
    """How many objects there are of each kind that has any. The build for the sanitizer of threads lacks some modules: they have none."""
    gc.collect()
    found = {}
    for kind, (name, asked) in KINDS.items():
        try:
            module = importlib.import_module(f"inferd._core.{name}")
        except ImportError:
            continue
        if number := getattr(module, asked)():
            found[kind] = number
    return found
