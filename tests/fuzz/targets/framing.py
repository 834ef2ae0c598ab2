"""gRPC's messages in DATA frames, held against a plain reading of the same bytes: what is handed over, and what is rejected.

Input: 1 byte for the kind of the call and its grpc-encoding, 1 for the size of the DATA frames, and the stream's bytes.
"""

from __future__ import annotations

import gc
import zlib
from typing import Any

from inferd._core.grpc import call as grpc
from inferd._core.grpc import message as messages
from inferd._core.grpc.call import percent_encode
from inferd._core.grpc.compression import Conversion
from inferd._core.http2 import session as http2
from inferd._core.http2.http2_state import Http2State
from inferd._core.http2.stream import Http2Call
from inferd.errors import RequestError, Unimplemented
from inferd.part.method import Method
from tests._core.http2_client import in_memory
from tests._core.server_limits import LIMITS
from tests.fuzz.targets import wires
from tests.fuzz.targets.wires import INFER, STREAM, frame

MODULES = (
    "grpc.call",
    "grpc.compression",
    "http2.session",
    "http2.stream",
    "http2.requests",
    "net.server_state",
    "http2.headers",
    "grpc.message",
)
DICTIONARY = (b"\0\0\0\0\5hello", b"\1\0\0\0\2", wires.message(b"hello", "gzip"), wires.message(b"hello", "deflate"), b"100m", b"1H")
LIMIT_NBYTES = 5_000
MAX_INPUT_NBYTES = 1024  # each costs time by its bytes, and what is reached is reached by few of them
MAX_FRAMES = 32
FRAME_HEAD_NBYTES = 9
ENCODINGS = ("", "gzip", "deflate", "")
WINDOW_BITS = {"gzip": 31, "deflate": 15}


class Served:
    """What the calls of an endpoint were given, and what they were rejected for."""

    def __init__(self) -> None:
        self.given: list[bytes] = []
        self.rejected: list[Exception] = []
        self.streams: list[Http2Call] = []
        self.conversions: list[Conversion] = []
        self.server = Http2State(
            {INFER.decode(): Method("infer", self.take), STREAM.decode(): Method("stream", None)},
            start=lambda call, method: self.streams.append(call),
            reject=self.reject,
            unserved=Unimplemented,
            schedule=lambda callback: None,
            call_later=lambda seconds, callback: None,
            run_on_thread=lambda session, conversion: self.conversions.append(conversion),
            **LIMITS | {"max_message_nbytes": LIMIT_NBYTES},
        )

    def take(self, call: Any) -> None:
        self.given.append(bytes(call.message))
        call.reply(b"")

    def reject(self, call: Any, error: Exception) -> None:
        assert isinstance(error, RequestError), error
        self.rejected.append(error)
        call.fail(error)

    def convert(self) -> None:
        """What a thread does, and what follows on the loop."""
        while self.conversions:
            conversion = self.conversions.pop()
            conversion.run()
            conversion.done()

    def read(self, call: Http2Call) -> None:
        """What a streaming method does, until the stream is over."""
        try:
            while not call.settled:
                message = call.take_message()
                if message is not None:
                    self.given.append(bytes(message))
                elif call.request_over:
                    call.end()
                else:
                    assert self.conversions, "nothing is under way, and the request is not over"
                    self.convert()
        except RequestError as error:
            self.reject(call, error)


SERVED = Served()
BEGINNING = wires.PREFACE + frame(wires.SETTINGS)


def held() -> tuple[int, ...]:
    """What must not grow: bytes and counts of messages, and of calls and sessions where the build counts them."""
    return messages.in_use(), messages.live(), grpc.live() or 0, http2.live() or 0


def check_held(before: tuple[int, ...]) -> None:
    """Nothing more is held than before; where the suite runs, what others left behind may be gone."""
    if any(now > then for now, then in zip(held(), before, strict=True)):
        gc.collect()  # an exception that is kept holds the frames that it was raised in
    assert all(now <= then for now, then in zip(held(), before, strict=True)), (before, held())


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    before = held()
    kind, encoding, body = data[0] & 1, ENCODINGS[data[0] >> 1 & 3], data[2:]
    step = max(data[1], len(body) // MAX_FRAMES) or len(data)
    extra = ((b"grpc-encoding", encoding.encode()),) if encoding else ()
    head = frame(wires.HEADERS, wires.END_HEADERS, 1, wires.request(STREAM if kind else INFER, *extra))
    whole_nbytes = len(body) // step * step
    before_each = frame(wires.DATA, 0, 1, bytes(step))[:FRAME_HEAD_NBYTES]
    sent = b"".join([before_each + body[at : at + step] for at in range(0, whole_nbytes, step)])
    sent += frame(wires.DATA, wires.END_STREAM, 1, body[whole_nbytes:])
    SERVED.given, SERVED.rejected, SERVED.streams = [], [], []
    connection = in_memory(SERVED.server, lambda piece: None)
    connection.receive(BEGINNING + head + sent)
    SERVED.convert()
    while SERVED.streams:
        SERVED.read(SERVED.streams.pop())
    given, rejected = SERVED.given, bool(SERVED.rejected)
    connection.close()
    SERVED.server.flush()  # forgets it
    expected, whole = plain_messages(body, encoding)
    if kind:
        assert given == expected[: len(given)]  # one that waits is not handed over any more when those behind it are none
        assert rejected is not whole
        assert rejected or given == expected
    else:
        fits = whole and len(expected) == 1
        assert given == (expected if fits else [])
        assert rejected is not fits
    SERVED.rejected = []
    del connection
    check_held(before)
    check_words(body)


def plain_messages(body: bytes, encoding: str) -> tuple[list[bytes], bool]:
    """The messages before the first fault, and whether there was none."""
    found = []
    while body:
        flag, size = body[0], int.from_bytes(body[1:5], "big")
        if len(body) < 5 or flag > 1 or (flag and not encoding) or size > LIMIT_NBYTES or len(body) < 5 + size:
            return found, False
        content: bytes | None = body[5 : 5 + size]
        if flag:
            content = plain_decompressed(body[5 : 5 + size], encoding)
        if content is None:
            return found, False
        found.append(content)
        body = body[5 + size :]
    return found, True


def plain_decompressed(content: bytes, encoding: str) -> bytes | None:
    if not content:
        return content  # as grpc's own servers have it
    reader = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        result = reader.decompress(content, LIMIT_NBYTES + 1)
    except zlib.error:
        return None
    return result if reader.eof and not reader.unused_data and len(result) <= LIMIT_NBYTES else None


def check_words(body: bytes) -> None:
    """The header values that gRPC has a grammar for."""
    assert percent_encode(body.decode("utf-8", "replace")).isascii()


def seeds() -> list[bytes]:
    plain, packed, flat = wires.message(b"hello"), wires.message(bytes(3_000), "gzip"), wires.message(b"ab" * 99, "deflate")
    bodies = [plain, plain + plain, plain + packed, packed, flat, plain[:7], b"", b"\0\0\xff\xff\xff", wires.message(bytes(9_000), "gzip")]
    return [bytes([kind, step]) + body for kind in range(6) for step in (0, 3) for body in bodies]
