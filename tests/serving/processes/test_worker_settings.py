"""How many workers there are, and what each gets."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from inferd.config import Settings, load_settings
from inferd.engine.loading.planner import Host
from inferd.errors import ConfigError
from inferd.serving.processes.worker_settings import count, share

MiB = 1 << 20


def test_how_many() -> None:
    eight = Host(8, 8)
    assert count(Settings(workers=3), eight) == 3
    assert count(Settings(), eight) == 1
    assert count(Settings(workers=0), eight) == 2
    assert count(Settings(workers=0), Host(2, 2)) == 1
    assert count(Settings(workers=0, intra_op_threads=1), eight) == 8
    assert count(Settings(workers=0, intra_op_threads=1, message_memory_bytes=256 * MiB), eight) == 4
    assert count(Settings(workers=0, transport="grpcio"), eight) == 1
    assert count(Settings(workers=0, model_control="explicit"), eight) == 1
    with pytest.raises(ConfigError, match=r"model_control .*: expected auto, none or poll with 2 workers"):
        Settings(workers=2, model_control="explicit")


def test_what_is_divided() -> None:
    whole = Settings(
        workers=3,
        max_connections=100,
        listen=("[::1]:0",),
        pid_file="x",
        lame_duck_s=5,
        message_memory_bytes=300 * MiB,
        picture_memory_bytes=6 * MiB,
        model_memory=9 * MiB,
    )
    part = share(whole, 3)
    assert (part.max_connections, part.message_memory_bytes) == (34, 100 * MiB)
    assert (part.picture_memory_bytes, part.model_memory) == (2 * MiB, 3 * MiB)
    assert (part.listen, part.metrics_port, part.pid_file, part.lame_duck_s) == ((), -1, None, 0)
    assert part.max_queue_requests == whole.max_queue_requests


def test_as_many_as_fit_can_be_told_their_settings() -> None:
    """Each worker checks its part again; what all of them share is the whole server's matter."""
    whole, _origins = load_settings({"workers": 16, "message_memory_bytes": "1GiB"}, {}, Path("/"))
    part = share(whole, 16)
    assert msgspec.convert(msgspec.structs.asdict(part), Settings) == part
    assert part.message_memory_bytes == whole.max_message_bytes == 64 * MiB
