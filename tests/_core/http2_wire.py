"""A session fed with frames made by hand, for what no HTTP/2 library would send, and what it did, in a word:

-       taken, or ignored: nothing is said, and the connection goes on
ack     answered with the frame's ACK
s:CODE  stream error: RST_STREAM, and the connection goes on
c:CODE  connection error: GOAWAY, and the connection ends
end     the connection ends without an error
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from inferd._core.http2.stream import Http2Call
from tests._core.http2.test_session import raw_frame
from tests._core.http2_client import EMPTY_SETTINGS, INFER, PREFACE, STREAM, Served, frame, in_memory

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
CODES = ("NO", "PROTO", "INTERNAL", "FLOW", "TIMEOUT", "CLOSED", "SIZE", "REJECTED", "CANCEL", "HPACK", "CONNECT", "CALM")  # by number
RESERVED = 1 << 31  # the bit in front of a stream's number; it means nothing (4.1)
LAST_ID = 2**31 - 1
STREAM_ID = 5
MAX_FRAME_NBYTES = 1 << 20  # what our SETTINGS allow


def u32(number: int) -> bytes:
    return struct.pack(">I", number)


def setting(number: int, value: int) -> bytes:
    return struct.pack(">HI", number, value)


def literal(*fields: tuple[bytes, bytes]) -> bytes:
    """An HPACK block that indexes nothing."""
    return b"".join(b"\0%c%b%c%b" % (len(name), name, len(value), value) for name, value in fields)


def fields(path: str = STREAM) -> list[tuple[bytes, bytes]]:
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"test"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    ]


BLOCK, HOT_BLOCK, TRAILERS = literal(*fields()), literal(*fields(INFER)), literal((b"a", b"b"))


class Frame(NamedTuple):
    kind: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def code(self) -> str:
        """The error code of RST_STREAM or GOAWAY."""
        return CODES[int.from_bytes(self.payload[:4] if self.kind == RST_STREAM else self.payload[4:8], "big")]


def echo(call: Http2Call) -> None:
    call.reply(call.message)


class Wire:
    """A session, fed with frames made by hand; what it writes is taken apart again."""

    def __init__(self, *, greet: bool = True, **settings: int) -> None:
        self.served = Served(echo, **settings)
        self.ended = False
        self._written: list[bytes] = []
        self.connection = in_memory(self.served.server, self._written.append, self._end)
        if greet:
            self.send(PREFACE, EMPTY_SETTINGS, raw_frame(SETTINGS, ACK, 0, b""))

    def _end(self) -> None:
        self.ended = True

    def send(self, *pieces: bytes | bytearray) -> list[Frame]:
        """What comes back."""
        self.connection.receive(b"".join(pieces))
        self.served.run_scheduled()
        written = b"".join(self._written)
        self._written.clear()
        found = []
        while written and not written.startswith(b"HTTP/1.1 "):
            nbytes = 9 + int.from_bytes(written[:3], "big")
            found.append(Frame(written[3], written[4], int.from_bytes(written[5:9], "big"), written[9:nbytes]))
            written = written[nbytes:]
        return found

    def outcome(self, came: list[Frame], stream_id: int) -> str:
        """What the session did, in the tables' words."""
        for one in came:
            if one.kind == GOAWAY:
                assert self.ended, "GOAWAY with an error ends the connection"
                return f"c:{one.code}"
            if one.kind == RST_STREAM and one.stream_id == stream_id and one.code != "NO":
                return f"s:{one.code}"
            if one.kind in (SETTINGS, PING) and one.flags & ACK:
                return "ack"
        return "end" if self.ended else "-"

    def close(self, *, calls: bool = True) -> None:
        """An open session is still of use: PINGs are answered, and calls where it takes any. Of one that is gone nothing is held."""
        if not self.ended:
            assert [one.payload for one in self.send(raw_frame(PING, 0, 0, b"12345678"))] == [b"12345678"]
            call = raw_frame(HEADERS, END_HEADERS, 101, HOT_BLOCK), raw_frame(DATA, END_STREAM, 101, frame(b"hello"))
            assert calls == ([one.kind for one in self.send(*call) if one.stream_id == 101] == [HEADERS, DATA, HEADERS])
        self.connection.close()
        assert (self.served.server.calls, self.served.server.connections) == (0, 0)


def check(expected: str, sent: Callable[[Wire], list[Frame]], stream_id: int = STREAM_ID, *, greet: bool = True) -> None:
    wire = Wire(greet=greet)
    assert wire.outcome(sent(wire), stream_id) == expected.rstrip("*+")
    wire.close()
