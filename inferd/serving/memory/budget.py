"""Divides the memory that the process may use: numbers for settings that are `auto`, and the worst case of all together.

Constants are measured maxima (tests/serving/memory/test_budget.py). Never in here: memory of models, which gets the rest.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from inferd.config import OF_PARTS
from inferd.config.share import GiB, KiB, MiB, Share, spelled
from inferd.system.memory_limit import memory_limit_bytes

if TYPE_CHECKING:
    from inferd.config import Settings

# One connection, beside its messages and streams: its session, objects and buffered output. It includes 16 KiB of messages that it may hold
# beyond message_memory_bytes (OWN_NBYTES of message.pxd).
CONNECTION_BYTES = 384 * KiB
TLS_CONNECTION_BYTES = 640 * KiB  # with OpenSSL's state, and up to MAX_UNSENT_NBYTES of limits.pxd
STREAM_BYTES = 1536  # one stream, beside its messages
OWN_STREAMS = 16  # each connection may have this many beyond max_total_streams (OWN_CALLS of limits.pxd)
PROCESS_BYTES = 128 * MiB  # Python, its libraries and ONNX Runtime without a model
KEPT_BYTES = 64 * MiB  # blocks of messages that are kept for reuse (KEPT_NBYTES of message.pyx)
LEAVING_BLOCKS = 2  # blocks of large messages that threads return to the system at one time (ASIDE_THREADS of message.pyx)

MOST_CONNECTIONS, LEAST_CONNECTIONS = 10_000, 64
MOST_STREAMS, LEAST_STREAMS = 100_000, 1024
MOST_MESSAGE_BYTES = MOST_PICTURE_BYTES = 1 * GiB
LEAST_RUN_BYTES = 64 * MiB
# Each `auto` may take one part of the limit in this many.
CONNECTIONS_PART, MESSAGES_PART, STREAMS_PART, PICTURES_PART = 4, 5, 16, 16


def settled(settings: Settings, limit_bytes: int | None = None) -> Settings:
    """The settings with a number for each `auto` that depends on memory. limit_bytes: the memory that the process may use; None: the
    system's limit. Numbers that the operator has chosen stay."""
    limit = memory_limit_bytes() if limit_bytes is None else limit_bytes
    least_message_bytes = settings.max_message_bytes * max(1, settings.workers)
    derived = {
        "max_connections": _between(LEAST_CONNECTIONS, limit // CONNECTIONS_PART // connection_bytes(settings), MOST_CONNECTIONS),
        "max_total_streams": _between(LEAST_STREAMS, limit // STREAMS_PART // STREAM_BYTES // max(1, settings.workers), MOST_STREAMS),
        "message_memory_bytes": max(least_message_bytes, min(_whole(limit // MESSAGES_PART), MOST_MESSAGE_BYTES)),
        "picture_memory_bytes": _between(MiB, _whole(limit // PICTURES_PART), MOST_PICTURE_BYTES),
    }
    whole = msgspec.structs.replace(settings, **{name: value for name, value in derived.items() if not getattr(settings, name)})
    if whole.max_run_bytes:
        return whole
    left_bytes = limit - _sum(_shares(whole))  # for the models
    return msgspec.structs.replace(whole, max_run_bytes=max(LEAST_RUN_BYTES, _whole(left_bytes // max(1, whole.workers))))


def connection_bytes(settings: Settings) -> int:
    """The most that one connection holds. If the server speaks TLS, all its connections count as TLS connections."""
    return TLS_CONNECTION_BYTES if settings.tls_cert else CONNECTION_BYTES


def worst_case(settings: Settings, limit_bytes: int) -> list[Share]:
    """The most that a server with these settings holds beside its models. limit_bytes: the memory that its processes may use together."""
    return _shares(settled(settings, limit_bytes))


def most_bytes(settings: Settings, limit_bytes: int) -> int:
    """All of the worst case together."""
    return _sum(worst_case(settings, limit_bytes))


def _sum(shares: list[Share]) -> int:
    return sum(share.nbytes for share in shares)


def _shares(whole: Settings) -> list[Share]:
    """whole: settings with numbers in place of `auto`."""
    workers = max(1, whole.workers)
    each = connection_bytes(whole)
    streams = min(whole.max_total_streams * workers + OWN_STREAMS * whole.max_connections,
                  whole.max_concurrent_streams * whole.max_connections)  # fmt: skip
    leaving_bytes = min(LEAVING_BLOCKS * whole.max_message_bytes * workers, whole.message_memory_bytes)
    return [
        Share(
            "connections", whole.max_connections * each, f"{whole.max_connections} x {spelled(each)}{' by TLS' if whole.tls_cert else ''}"
        ),
        Share("streams", streams * STREAM_BYTES, f"{streams} x {STREAM_BYTES / KiB:g} KiB"),
        Share("messages", whole.message_memory_bytes, "message_memory_bytes"),
        Share("messages given back", leaving_bytes, "blocks on their way back to the system"),
        Share("messages kept", min(KEPT_BYTES * workers, whole.message_memory_bytes // 2), "blocks of the message pool, kept for reuse"),
        Share("pictures", whole.picture_memory_bytes, "picture_memory_bytes, of models that take images"),
        Share("processes", PROCESS_BYTES * workers, f"{workers} x {spelled(PROCESS_BYTES)}, without models"),
        *chain.from_iterable(part.shares(whole, workers) for part in OF_PARTS),
    ]


def _whole(nbytes: int) -> int:
    """Rounded down to whole MiB, for people."""
    return nbytes // MiB * MiB


def _between(least: int, value: int, most: int) -> int:
    return max(least, min(value, most))
