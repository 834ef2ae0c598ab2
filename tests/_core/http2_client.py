"""A gRPC client in memory: h2, an HTTP/2 stack that nobody here wrote, against inferd's sessions, byte by byte.

No sockets and no loop: what one side writes is fed to the other by hand.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import h2.config
import h2.connection
import h2.events
from native_access import MemorySocket

from inferd._core.http2.http2_state import Http2State
from inferd._core.http2.session import Session
from inferd._core.http2.stream import Http2Call
from inferd.errors import Internal, RequestError, Unimplemented
from inferd.part.method import Method
from tests._core.server_limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd._core.grpc.call import StreamHandler
    from inferd._core.grpc.compression import Conversion
    from inferd._core.net.stream_socket import StreamSocket

INFER = "/inference.GRPCInferenceService/ModelInfer"
INFER_STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
UNARY = "/test.Service/Unary"
STREAM = "/test.Service/Stream"
TASK_NBYTES = 4096  # what a call that runs as a task counts for beside its messages
KEEPALIVE = "min_ping_interval_ns", "keepalive_ns", "keepalive_timeout_ns", "max_idle_ns", "age_grace_ns"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
EMPTY_SETTINGS = b"\0\0\0\x04\0\0\0\0\0"


def frame(message: bytes, compressed: int = 0) -> bytes:
    return struct.pack(">BI", compressed, len(message)) + message


def messages(body: bytes) -> list[bytes]:
    """The messages of a whole response."""
    found = []
    while body:
        compressed, nbytes = struct.unpack(">BI", body[:5])
        assert compressed == 0
        assert len(body) >= 5 + nbytes
        found.append(body[5 : 5 + nbytes])
        body = body[5 + nbytes :]
    return found


def headers(
    path: str = INFER, *extra: tuple[str, str], method: str = "POST", content_type: str = "application/grpc"
) -> list[tuple[str, str]]:
    return [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
        ("content-type", content_type),
        ("te", "trailers"),
        *extra,
    ]


def in_memory(
    server: Http2State, write: Callable[[bytes], Any], close_transport: Callable[[], Any] = lambda: None, client: Any = None
) -> MemorySocket:
    """A connection of HTTP/2 without a socket."""
    return MemorySocket(server, Session(server), write, close_transport, client)


class Aged:
    """A client whose connection drains at an age; 0: never."""

    def __init__(self, max_age_ns: int) -> None:
        self.max_age_ns = max_age_ns

    def age_ns(self) -> int:
        return self.max_age_ns


def drain(connection: StreamSocket) -> None:
    """Both GOAWAYs, and so the end after the calls that there are."""
    connection.drain()
    for now_ns in (0, 10**9):
        connection.take_keepalive_step(now_ns, 0)


def cold(kind: Any, max_request_nbytes: int = 64 << 20) -> Method:
    """A method other than ModelInfer, whose messages may be large."""
    return Method(kind, None, max_request_nbytes=max_request_nbytes)  # type: ignore[arg-type]


class Served:
    """An endpoint whose calls are kept for the test to answer, and what was scheduled, run by hand."""

    def __init__(
        self, infer: Callable[[Http2Call], None] | None = None, infer_stream: StreamHandler | None = None, **settings: Any
    ) -> None:
        self.calls: list[Http2Call] = []
        self.started: list[tuple[Http2Call, Method]] = []
        self.scheduled: list[Callable[[], None]] = []
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.errors: list[Exception] = []
        self.conversions: list[Conversion] = []
        methods = {INFER: Method("infer", infer or self.take), UNARY: cold("unary"), STREAM: cold("stream")}
        if infer_stream is not None:
            methods[INFER_STREAM] = Method("infer_stream", infer_stream)  # type: ignore[arg-type]
        own: dict[str, Any] = {
            "start": lambda call, method: self.started.append((call, method)),
            "reject": self.reject,
            "unserved": lambda path: Unimplemented(f"no method {path}"),
            "schedule": self.scheduled.append,
            "call_later": lambda seconds, callback: self.later.append((seconds, callback)),
            "run_on_thread": lambda session, conversion: self.conversions.append(conversion),
        }
        keepalive = {name: settings.pop(name, 0) for name in KEEPALIVE}
        self.server = Http2State(methods, **(own | LIMITS | settings))
        self.server.set_keepalive(**keepalive)

    def reject(self, call: Any, error: Exception) -> None:
        self.errors.append(error)
        call.fail(error if isinstance(error, RequestError) else Internal("fault"))

    def take(self, call: Http2Call) -> None:
        self.calls.append(call)

    def let_go(self) -> None:
        """Each call refers to its method, and so to what is kept here, unseen by the collector."""
        for kept in (self.calls, self.started, self.errors, self.conversions):
            kept.clear()

    def run_scheduled(self) -> None:
        while self.scheduled:
            self.scheduled.pop(0)()

    def run_next(self) -> None:
        self.scheduled.pop(0)()

    def run_conversions(self) -> None:
        """What a thread does, and what follows on the loop."""
        while self.conversions:
            conversion = self.conversions.pop(0)
            conversion.run()
            conversion.done()

    def run_later(self) -> None:
        while self.later:
            self.later.pop(0)[1]()


class Client:
    """One connection to a Served: h2's client, the server's side, and what the client was told, by stream."""

    def __init__(self, served: Served, *, greet: bool = True, max_age_ns: int = 0) -> None:
        self.served = served
        self.written: list[bytes] = []
        self.closed_by_server = False
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.headers: dict[int, dict[str, str]] = {}
        self.trailers: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytes] = defaultdict(bytes)
        self.resets: dict[int, int] = {}
        self.ended: set[int] = set()
        self.goaways: list[h2.events.ConnectionTerminated] = []
        self.reads = True  # whether received data opens the windows again
        self.connection = in_memory(served.server, self.written.append, self.close_transport, Aged(max_age_ns))
        self.greeted = False
        self.h2.initiate_connection()
        if greet:
            self.greet()

    def greet(self) -> None:
        """From now on each side hears the other; before it, the client has not seen the server's settings."""
        self.greeted = True
        self.exchange()

    def close_transport(self) -> None:
        self.closed_by_server = True

    def exchange(self) -> None:
        """Everything that waits on either side reaches the other, until nothing moves."""
        while self.greeted:
            out = self.h2.data_to_send()
            if out:
                self.connection.receive(out)
            self.served.run_scheduled()
            if not out and not self.written:
                return
            arrived, self.written[:] = b"".join(self.written), []
            for event in self.h2.receive_data(arrived) if arrived else ():
                self.take(event)

    def take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived():
                self.headers[event.stream_id] = dict(event.headers)
            case h2.events.TrailersReceived():
                self.trailers[event.stream_id] = dict(event.headers)
            case h2.events.DataReceived():
                self.bodies[event.stream_id] += event.data
                if self.reads:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                self.ended.add(event.stream_id)
            case h2.events.StreamReset():
                self.resets[event.stream_id] = event.error_code
            case h2.events.ConnectionTerminated():
                self.goaways.append(event)

    def open(self, *arguments: Any, end: bool = False, **keywords: Any) -> int:
        stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, headers(*arguments, **keywords), end_stream=end)
        return stream_id

    def send(self, stream_id: int, body: bytes, *, end: bool = True, step: int = 16_000) -> None:
        """Sends bytes as the windows allow, in frames of at most `step` bytes."""
        at = 0
        while at < len(body):
            room = min(self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size, step)
            if room <= 0:
                self.exchange()
                room = self.h2.local_flow_control_window(stream_id)
                assert room > 0, "the server does not open its window"
                continue
            self.h2.send_data(stream_id, body[at : at + room])
            at += room
        if end:
            self.h2.end_stream(stream_id)
        self.exchange()

    def call(self, message: bytes, *arguments: Any, **keywords: Any) -> int:
        stream_id = self.open(*arguments, **keywords)
        self.send(stream_id, frame(message))
        return stream_id

    def status(self, stream_id: int) -> tuple[int, str]:
        """grpc-status and grpc-message, from trailers or from a trailers-only answer."""
        fields = self.trailers.get(stream_id) or self.headers[stream_id]
        return int(fields["grpc-status"]), fields.get("grpc-message", "")
