from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from inferd._core.grpc.call import Call
from inferd._core.grpc.compression import Conversion
from inferd._core.http2.low_water import Gathering
from inferd._core.http2.stream import Http2Call
from inferd.errors import RequestError

_Method: TypeAlias = Any  # a row of the service table, see inferd/serving/method.py: the core reads its attributes

class Endpoint:
    def __init__(
        self,
        methods: Mapping[str, _Method],
        *,
        start: Callable[[Http2Call, _Method], None],
        reject: Callable[[Call, Exception], None],
        unserved: Callable[[str], RequestError],
        schedule: Callable[[Callable[[], None]], Any],
        call_later: Callable[[float, Callable[[], None]], Any],
        in_thread: Callable[[Output, Conversion], Any],
        guard: Callable[[Http2Call, bytes | None], bool] | None = None,
        compression: str = "none",
        max_message_nbytes: int = ...,
        max_header_nbytes: int = ...,
        max_unread_nbytes: int = ...,
        max_streams: int = ...,
        stream_window_nbytes: int = ...,
        connection_window_nbytes: int = ...,
        max_control_frame_rate: int = ...,
        min_ping_interval_ns: int = ...,
        keepalive_ns: int = ...,
        keepalive_timeout_ns: int = ...,
        max_idle_ns: int = ...,
        age_grace_ns: int = ...,
        memory_percent: int = ...,
        fair: bool = ...,
        max_calls: int = ...,
        max_reset_rate: int = ...,
        max_continuations: int = ...,
        min_rate: int = ...,
        min_message_rate: int = ...,
    ) -> None: ...
    gathering: Gathering
    connections: int
    calls: int
    turn_ns: int
    flush_ns: int
    flush_iteration_ns: int
    max_held_nbytes: int
    held_nbytes: int
    iteration_ns: int
    light_iteration_ns: int
    light_ns: int
    received_nbytes: int
    sent_nbytes: int
    connections_total: int
    calls_total: int
    abandoned_total: int
    protocol_errors_total: int
    stalled_total: int
    flooding_total: int
    pinging_total: int
    resetting_total: int
    refused_total: int
    max_calls: int
    connection_window_nbytes: int
    min_rate: int
    min_message_rate: int
    dead_total: int
    retired_total: int
    idle_total: int
    overdue_total: int
    decompressed_total: int
    decompressed_nbytes: int
    compressed_total: int
    saved_nbytes: int
    def flush(self) -> None: ...
    def next_flush(self) -> None: ...
    def set_terms(
        self, min_ping_interval_ns: int, keepalive_ns: int, keepalive_timeout_ns: int, max_idle_ns: int, age_grace_ns: int
    ) -> None: ...
    def guard_changed(self) -> None: ...
    def __len__(self) -> int: ...
    def __getitem__(self, piece: slice, /) -> memoryview: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class Output:
    endpoint: Endpoint
    judged: bool
    written_nbytes: int
    write_nbytes: int
    closed: bool
    def flush(self) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
