"""What a ServerState needs, for tests that are about something else."""

from __future__ import annotations

from typing import Any

LIMITS: dict[str, Any] = {  # of a server that does nothing by itself
    "max_message_nbytes": 64 << 20,
    "max_header_nbytes": 16 << 10,
    "max_unread_nbytes": 64 << 20,
    "max_streams": 1024,
    "stream_window_nbytes": 1 << 20,
    "connection_window_nbytes": 4 << 20,
    "max_stream_requests": 256,
    "max_calls": 100_000,
    "min_rate": 1 << 10,
    "min_message_rate": 256 << 10,
    "max_control_frame_rate": 1000,
    "max_reset_rate": 20_000,
    "max_continuations": 8,
    "memory_percent": 100,
    "fair": True,
}
