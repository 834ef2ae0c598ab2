"""What a debug build counts of the objects of which none may be left behind.

Never in here: what a test holds on purpose.
"""

from __future__ import annotations

import gc
import importlib
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

LIMIT_S = 20

KINDS = {"calls": "grpc", "sessions": "http2", "messages": "message"}


def counted() -> bool:
    """Whether this build counts."""
    from inferd._core import grpc

    return grpc.live() is not None


def left(*kinds: str) -> dict[str, int]:
    """What exists still of these kinds, of all by default; what a thread or a transport lets go a moment late is waited for."""
    limit = time.monotonic() + LIMIT_S
    while (found := {kind: number for kind, number in counts().items() if kind in (kinds or KINDS)}) and time.monotonic() < limit:
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
    from inferd._core.batcher import Batch

    found: dict[type, Callable[[Any], None]] = {Batch: Batch.deliver}
    with suppress(ImportError):  # a build without the transport
        from inferd._core.http2 import Session
        from tests._core.http2_client import Served

        found |= {Session: Session.close, Served: Served.let_go}
    return found


def counts() -> dict[str, int]:
    """Of the kinds of which there are any, how many; none of a module that was not built."""
    gc.collect()
    found = {}
    for kind, name in KINDS.items():
        try:
            module = importlib.import_module(f"inferd._core.{name}")
        except ImportError:
            continue
        if number := module.live():
            found[kind] = number
    return found
