from collections.abc import Callable, Mapping
from typing import Any

from typing_extensions import Buffer

from inferd._core.compression import Conversion
from inferd._core.grpc import Call
from inferd._core.message import Message
from inferd.errors import RequestError
from inferd.serving.method import Method

def nghttp2_version_text() -> str: ...

class Http2Call(Call):
    @property
    def method_row(self) -> Method | None: ...
    @property
    def metadata(self) -> list[tuple[bytes, bytes]]: ...
    @property
    def half_closed(self) -> bool: ...
    @property
    def request_over(self) -> bool: ...
    @property
    def sending(self) -> bool: ...
    listener: Callable[[], None] | None
    def write(self, message: Message | bytes) -> None: ...
    def end(self) -> None: ...
    def take_message(self) -> Message | None: ...
    def go_on(self) -> None: ...
    def send_compressed(self) -> None: ...

class Endpoint:
    def __init__(
        self,
        methods: Mapping[str, Method],
        *,
        start: Callable[[Http2Call, Method], None],
        refuse: Callable[[Call, Exception], None],
        unserved: Callable[[str], RequestError],
        schedule: Callable[[Callable[[], None]], Any],
        call_later: Callable[[float, Callable[[], None]], Any],
        in_thread: Callable[[Session, Conversion], Any],
        guard: Callable[[str, bytes | None], bool] | None = None,
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
    ) -> None: ...
    connections: int
    calls: int
    received_nbytes: int
    sent_nbytes: int
    connections_total: int
    calls_total: int
    abandoned_total: int
    protocol_errors_total: int
    stalled_total: int
    flooding_total: int
    pinging_total: int
    dead_total: int
    retired_total: int
    idle_total: int
    overdue_total: int
    decompressed_total: int
    decompressed_nbytes: int
    compressed_total: int
    saved_nbytes: int
    def flush(self) -> None: ...
    def guard_changed(self) -> None: ...
    def end_gathering(self, now_ns: int = 0) -> None: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class Session:
    endpoint: Endpoint
    refusal: RequestError | None
    calls: int
    closed: bool
    def __init__(self, endpoint: Endpoint) -> None: ...
    def open(
        self, write: Callable[[bytes], Any], close_transport: Callable[[], None], descriptor: int = -1, max_age_ns: int = 0
    ) -> None: ...
    def get_buffer(self, sizehint: int) -> Buffer: ...
    def buffer_updated(self, nbytes: int) -> None: ...
    def receive(self, source: Buffer) -> None: ...
    def flush(self) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def end_stalled(self, now_ns: int, waiting_nbytes: int, request_limit_ns: int, answer_limit_ns: int) -> bool: ...
    def age(self, now_ns: int, waiting_nbytes: int) -> bool: ...
    def announce_drain(self) -> None: ...
    def drain(self) -> None: ...
    def close(self) -> None: ...
