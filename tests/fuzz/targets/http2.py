"""A server's Session, fed with any bytes: it answers or rejects, raises nothing, writes whole frames, and holds nothing in the end.

Input: 1 byte for the endpoint and what precedes the rest, 1 for how many bytes come at a time, 6 for what the server does in between, and
the client's bytes. The service is an echo of all four kinds, and of REST.
"""

from __future__ import annotations

import gzip
import random
import struct
import time
from typing import Any

from native_access import MemorySocket

from inferd._core.grpc.call import Call, StreamHandler
from inferd._core.grpc.message import Message
from inferd._core.http.head import Head
from inferd._core.http2.http2_state import Http2State
from inferd._core.http2.stream import Http2Call
from inferd.errors import Internal, InvalidArgument, RequestError, Unauthenticated, Unimplemented
from inferd.part.method import Method
from tests._core.http2_client import in_memory
from tests._core.server_limits import LIMITS
from tests.fuzz.targets import wires
from tests.fuzz.targets.framing import check_held, held
from tests.fuzz.targets.wires import INFER, INFER_STREAM, STREAM, UNARY, WORDS, frame

MODULES = (
    "http2.session",
    "http2.send_state",
    "http2.stream",
    "http2.requests",
    "http2.response_headers",
    "http2.call_stalls",
    "http2.streamed",
    "http2.http2_state",
    "http2.headers",
    "http2.exchange",
    "http.call",
    "net.server_state",
    "net.protocol",
    "net.stream_socket",
    "net.low_water",
    "grpc.call",
    "grpc.compression",
    "grpc.message",
)
DICTIONARY = WORDS
HEAD_NBYTES = 8
MAX_INPUT_NBYTES = 1024  # each costs time by its bytes, and what is reached is reached by few of them
MAX_READS = 32
LATER_NS = 1 << 62

# What limits there are is small in the second half: inputs are small, too.
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"compression": "gzip", "guarded": True},
    {
        "max_message_nbytes": 256,
        "max_header_nbytes": 512,
        "max_streams": 2,
        "stream_window_nbytes": 300,
        "connection_window_nbytes": 70_000,
    },
    {"compression": "deflate", "max_unread_nbytes": 2_000, "max_streams": 3, "max_stream_requests": 2, "rest": False},
)


class Streaming(StreamHandler):
    """The requests of streams wait with the others. One that begins with "!" is wrong."""

    def __init__(self, waiting: list[Any]) -> None:
        self.waiting = waiting

    def take(self, call: Call) -> None:
        if bytes(call.message).startswith(b"!"):
            raise InvalidArgument("wrong")
        self.waiting.append(call)

    def wrap(self, response: Message) -> Message:
        return response

    def rejection(self, request: Message, error: RequestError) -> Message:
        return Message(str(error).encode())


class Echo:
    """An endpoint whose calls are answered with what they sent."""

    def __init__(self, *, guarded: bool = False, rest: bool = True, **settings: Any) -> None:
        self.scheduled: list[Any] = []
        self.conversions: list[Any] = []
        self.waiting: list[Http2Call] = []
        self.moved: list[Http2Call] = []
        methods = {INFER.decode(): Method("infer", self.waiting.append), UNARY.decode(): Method("unary", None)}
        self.server = Http2State(
            methods | {STREAM.decode(): Method("stream", None), INFER_STREAM.decode(): Method("infer_stream", Streaming(self.waiting))},
            start=self.start,
            reject=self.reject,
            unserved=lambda path: Unimplemented(f"no method {path}"),
            schedule=self.scheduled.append,
            call_later=lambda seconds, callback: None,
            run_on_thread=lambda session, conversion: self.conversions.append(conversion),
            authenticator=self.let_through if guarded else None,
            http_handler=self.take if rest else None,
            infer_method=INFER.decode(),
            **LIMITS | settings,
        )

    @staticmethod
    def let_through(call: Http2Call, authorization: bytes | None) -> bool:
        if authorization != b"Bearer good":
            raise Unauthenticated("no token")
        return True

    def take(self, call: Http2Call, head: Head) -> None:
        if bytes(call.message or b"").startswith(b"!"):
            raise InvalidArgument("wrong")
        if head.is_infer:
            head.response_json_nbytes = max(0, head.json_nbytes)
            self.waiting.append(call)
        else:
            call.respond(204 if head.query else 200, ((b"content-type", b"text/plain"),), head.target * 100)

    @staticmethod
    def reject(call: Any, error: Exception) -> None:
        call.fail(error if isinstance(error, RequestError) else Internal("fault"))

    def start(self, call: Http2Call, method: Method) -> None:
        if method.kind == "unary":
            self.waiting.append(call)
        else:
            call.listener = lambda: self.moved.append(call)
            self.moved.append(call)

    def answer(self) -> None:
        if self.waiting:
            call = self.waiting.pop()
            if not call.settled:
                call.reply(bytes(call.message) * 2)

    def go_on(self) -> None:
        """What streaming calls would do in their tasks."""
        while self.moved:
            call = self.moved.pop()
            try:
                while not call.sending and (message := call.take_message()) is not None:
                    call.write(message)
                if call.request_over and not call.sending and call.message is None:
                    call.end()
            except RequestError as error:
                call.fail(error)

    def run(self, pending: list[Any]) -> None:
        while pending:
            pending.pop(0)()

    def convert(self) -> None:
        while self.conversions:
            conversion = self.conversions.pop(0)
            conversion.run()
            conversion.done()

    def let_go(self) -> None:
        for pending in (self.scheduled, self.conversions, self.waiting, self.moved):
            pending.clear()


ECHOES = [Echo(**settings) for settings in SETTINGS]


def check(data: bytes) -> None:
    if len(data) < HEAD_NBYTES:
        return
    before = held()
    echo = ECHOES[data[0] & 3]
    content = data[HEAD_NBYTES:]
    if not data[0] & 4:
        content = wires.PREFACE + frame(wires.SETTINGS) + content
    step = max(data[1] * 8, len(content) // MAX_READS) or len(content) + 1
    written: list[bytes] = []
    connection = in_memory(echo.server, written.append)
    for number, at in enumerate(range(0, len(content), step)):
        connection.receive(content[at : at + step])
        act(echo, connection, data[2 + number % 6])
    for _ in range(2):
        echo.convert()
        echo.go_on()
        while echo.waiting:
            echo.answer()
        connection.resume_writing()
        echo.run(echo.scheduled)
    connection.close()
    echo.let_go()
    check_written(b"".join(written))
    assert (echo.server.connections, echo.server.calls) == (0, 0)
    del connection
    check_held(before)


def act(echo: Echo, connection: MemorySocket, what: int) -> None:
    """What the server does between two reads."""
    echo.go_on()
    if what & 1:
        echo.answer()
    match what >> 1 & 15:
        case 0:
            echo.convert()
        case 1:
            connection.pause_writing()
        case 2:
            connection.resume_writing()
        case 3:
            connection.drain()
        case 4:
            for now_ns in (1, LATER_NS):  # the last GOAWAY of a drain
                connection.take_keepalive_step(now_ns, 0)
        case 5:
            connection.end_late_calls(time.monotonic_ns(), -1, 1 << 40, 1 << 40)
            connection.end_late_calls(LATER_NS, what, 1, 1)
        case 6:
            echo.server.credentials_changed()
        case 7:
            for call in echo.waiting:
                call.fail(Internal("no"))
        case 8:
            return  # nothing is flushed
    echo.run(echo.scheduled)


def check_written(written: bytes) -> None:
    """It is whole frames, or the response to HTTP/1.1."""
    if written.startswith(b"HTTP/1.1"):
        return
    at = 0
    while at < len(written):
        assert written[at + 3] <= wires.CONTINUATION, "no frame"
        at += 9 + int.from_bytes(written[at : at + 3], "big")
    assert at == len(written), "half a frame"


def made(source: random.Random, stream: int) -> bytes:
    """Something that a client sends."""
    match source.randrange(8):
        case 0 | 1:
            extra = source.sample(EXTRAS, source.randrange(3))
            flags = wires.END_HEADERS | source.choice((0, 0, 0, 1))
            return frame(wires.HEADERS, flags, stream, wires.request(source.choice((INFER, INFER_STREAM, UNARY, STREAM, b"/no")), *extra))
        case 2 | 3:
            content = source.choice((b"", b"x", b"!", b"ab" * 50, bytes(2_000)))
            body = wires.message(content, source.choice(("", "", "", "gzip", "deflate"))) * source.choice((1, 1, 2, 100))
            return frame(wires.DATA, source.choice((0, 1, 1)), stream, body)
        case 4:
            return frame(wires.HEADERS, 5, stream, wires.block([(b"trailer", b"x")]))
        case 5:
            return wires.control(source, stream)
        case 6:
            verb = source.choice((b"POST", b"POST", b"GET", b"HEAD", b"OPTIONS", b"PUT"))
            path = source.choice((b"/v2/models/m/infer", b"/v2/models/%41/versions/1/infer?a", b"/v2", b"*", b"/x?y"))
            flags = wires.END_HEADERS | source.choice((0, 0, 0, 1))
            return frame(wires.HEADERS, flags, stream, wires.rest(verb, path, *source.sample(REST_EXTRAS, source.randrange(4))))
        case _:
            content = source.choice((b"{}", b"!", bytes(2_000), gzip.compress(bytes(3_000), 1, mtime=0)))
            return frame(wires.DATA, source.choice((0, 1, 1)), stream, content)


REST_EXTRAS = (
    (b"content-type", b"application/json"), (b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"2"),
    (b"content-length", b"2000"), (b"content-length", b"999999999"), (b"content-encoding", b"gzip"), (b"content-encoding", b"br"),
    (b"accept-encoding", b"gzip;q=0.5, deflate"), (b"accept-encoding", b"gzip"), (b"expect", b"100-continue"), (b"host", b"test"),
    (b"host", b"other"), (b"inference-header-content-length", b"2"), (b"inferd-timeout-ms", b"1"), (b"authorization", b"Bearer good"),
    (b"x-request-id", b"1"), (b"grpc-encoding", b"gzip"), (b"x", b"y" * 120), (b"content-type", b"application/grpc"),
)  # fmt: skip
EXTRAS = (
    (b"grpc-timeout", b"1S"), (b"grpc-timeout", b"1n"), (b"grpc-encoding", b"gzip"), (b"grpc-encoding", b"deflate"),
    (b"grpc-accept-encoding", b"identity, gzip,deflate"), (b"authorization", b"Bearer good"), (b"x-meta", b"value"),
    (b"triton_grpc_error", b"true"), (b"data-bin", b"AAEC"), (b"content-length", b"10"), (b"grpc-encoding", b"br"), (b"x", b"y" * 120),
)  # fmt: skip


def mutate(data: bytes, seed: int) -> bytes:
    return data[:HEAD_NBYTES].ljust(HEAD_NBYTES, b"\0") + wires.mutated(data[HEAD_NBYTES:], seed, made)


def call(path: bytes, *bodies: bytes, stream: int = 1, extra: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    head = frame(wires.HEADERS, wires.END_HEADERS, stream, wires.request(path, *extra))
    return head + b"".join(frame(wires.DATA, body is bodies[-1], stream, body) for body in bodies)


def rest(body: bytes, *extra: tuple[bytes, bytes], stream: int = 1, verb: bytes = b"POST", path: bytes = b"/v2/models/m/infer") -> bytes:
    head = frame(wires.HEADERS, wires.END_HEADERS | (not body), stream, wires.rest(verb, path, *extra))
    return head + (frame(wires.DATA, 1, stream, body) if body else b"")


def seeds() -> list[bytes]:
    message = wires.message(b"hello")
    packed = wires.message(bytes(3_000), "gzip")
    gzipped = ((b"grpc-encoding", b"gzip"), (b"grpc-accept-encoding", b"gzip"))
    contents = [
        call(INFER, message),
        call(UNARY, message[:3], message[3:], extra=((b"grpc-timeout", b"5S"), (b"x-meta", b"y"))),
        call(STREAM, message, message + message[:7], message[7:]),
        call(INFER_STREAM, message * 5, message + wires.message(b"!")[:2], wires.message(b"!")[2:], message),
        call(INFER_STREAM, packed, message, extra=gzipped) + call(INFER_STREAM, message * 300, stream=3),
        call(INFER, packed, extra=gzipped) + call(STREAM, packed, packed, stream=3, extra=gzipped),
        call(INFER, message, extra=((b"authorization", b"Bearer good"),)) + call(INFER, message, stream=3),
        call(INFER, message)[:-20] + frame(wires.RST_STREAM, 0, 1, struct.pack(">I", 8)) + frame(wires.PING, 0, 0, bytes(8)),
        frame(wires.WINDOW_UPDATE, 0, 0, struct.pack(">I", 1000)) + frame(wires.GOAWAY, 0, 0, bytes(8)),
    ]
    packed_body = gzip.compress(bytes(3_000), 1, mtime=0)
    both_ways = ((b"content-encoding", b"gzip"), (b"accept-encoding", b"deflate"))
    contents += [
        rest(b"{}", (b"content-length", b"2"), (b"inference-header-content-length", b"2")) + rest(b"{}", stream=3, verb=b"PUT"),
        rest(packed_body, *both_ways) + rest(packed_body[:-1], *both_ways, stream=3),
        rest(b"!", (b"expect", b"100-continue"), (b"authorization", b"Bearer good")) + rest(b"", path=b"/v2", verb=b"HEAD", stream=3),
    ]
    heads = [bytes(8), b"\1\4\0\1\0\1\0\1", b"\2\2\1\1\1\1\1\1", b"\3\1\1\3\5\7\11\13"]
    return [head + content for head in heads for content in contents] + [b"\4" + bytes(7) + b"GET / HTTP/1.1\r\n\r\n"]
