"""How many workers the settings ask for, and what each of them gets: its share of the limits. Never in here: processes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from inferd.config import RELOADED, Settings, most_workers
from inferd.serving.memory.budget import settled

if TYPE_CHECKING:
    from inferd.engine.loading.planner import Host

CORES_EACH = 4  # cores per worker, if neither their number nor the threads of a run are set


def count(settings: Settings, host: Host) -> int:
    """How many processes the settings ask for."""
    if settings.workers:
        return settings.workers
    if settings.transport == "grpcio" or settings.model_control == "explicit":  # an order to load a model reaches only one process
        return 1
    most = most_workers(settled(settings).message_memory_bytes, settings.max_message_bytes)
    return max(1, min(host.usable // (settings.intra_op_threads or CORES_EACH), most))


def share(settings: Settings, workers: int) -> Settings:
    """The settings of one worker: its share of the limits, without those of the supervisor. It opens no port; http_port only tells whether
    connections of REST come."""
    http_port = 0 if settings.serves_http else -1
    settings = settled(msgspec.structs.replace(settings, workers=workers))
    return msgspec.structs.replace(
        settings,
        workers=workers,
        transport="native",
        max_connections=math.ceil(settings.max_connections / workers),
        message_memory_bytes=settings.message_memory_bytes // workers,
        picture_memory_bytes=max(1, settings.picture_memory_bytes // workers),
        model_memory=settings.model_memory // workers,
        listen=(),
        http_port=http_port,
        metrics_port=-1,
        pid_file=None,
        lame_duck_s=0,
    )


def reloaded(settings: Settings, workers: int) -> dict[str, object]:
    """The settings that a running worker can change."""
    shared = share(settings, workers)
    return {name: getattr(shared, name) for name in RELOADED}
