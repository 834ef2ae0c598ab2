"""Peers that keep no rule: HTTP/2 in frames made by hand, and connections that send them, plain and by TLS. Never in here: what is sent
for which purpose (attacks.py).
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import hpack
import workloads

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
CODES = (
    *("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR"),
    *("REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"),
)
LARGEST_WINDOW, FIRST_WINDOW = 2**31 - 1, 65_535
INITIAL_WINDOW_SIZE = 4  # of SETTINGS
PIECE_NBYTES = 64 << 10
PATIENCE_S = 10.0
Words = Counter[str]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def u32(number: int) -> bytes:
    return struct.pack(">I", number)


def literal(name: bytes, value: bytes) -> bytes:
    """One field of HPACK, neither indexed nor compressed."""
    return b"\0" + length(len(name)) + name + length(len(value)) + value


def length(nbytes: int, prefix: int = 0) -> bytes:
    """A string's length as HPACK has it."""
    if nbytes < 127:
        return bytes((prefix | nbytes,))
    found, rest = bytes((prefix | 127,)), nbytes - 127
    while rest >= 128:
        found, rest = found + bytes((rest % 128 | 128,)), rest // 128
    return found + bytes((rest,))


def block(*more: tuple[bytes, bytes], path: bytes = workloads.INFER_PATH.encode()) -> bytes:
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"test"), (b"te", b"trailers")]
    return b"".join(literal(*one) for one in (*fields, (b"content-type", b"application/grpc"), *more))


BLOCK = block()


def data(stream: int, body: bytes, *, end: bool = True) -> bytes:
    """DATA frames of the size that every server takes."""
    pieces = [body[at : at + 16_384] for at in range(0, len(body), 16_384)] or [b""]
    return b"".join(frame(DATA, END_STREAM if end and piece is pieces[-1] else 0, stream, piece) for piece in pieces)


def numbers(first: int = 1) -> Iterator[int]:
    """Of streams, until there are no more."""
    return iter(range(first, 2**31, 2))


def ready(descriptor: int, events: int, seconds: float = 0.0) -> int:
    """Which of the events are there, within so long. select() knows no descriptor beyond 1023."""
    poll = select.poll()
    poll.register(descriptor, events)
    found = poll.poll(seconds * 1000)
    return found[0][1] if found else 0


def stopped() -> bool:
    """hostile.py has closed our stdin."""
    return ready(sys.stdin.fileno(), select.POLLIN) != 0


def going() -> None:
    """The attack is under way: the load may begin."""
    print("going", flush=True)


@dataclass
class Peer:
    """One connection, which reads what comes while it sends, unless it is deaf; and looks at it, unless it is blind."""

    address: str
    words: Words
    greeting: bytes = PREFACE + frame(SETTINGS, 0, 0)
    deaf: bool = False
    blind: bool = False
    cut: bool = False
    acknowledged: int = -1  # our SETTINGS, the greeting's aside
    ended: set[int] = field(default_factory=set)  # streams, by the server
    window: int = FIRST_WINDOW  # of a stream that begins, as the server has it
    opened: Counter[int] = field(default_factory=Counter)  # windows of streams, and of the connection as 0, by so many bytes
    uploaded: int = 0  # bytes of DATA
    _torn: bool = False  # less than a frame was sent
    _said: str = ""  # GOAWAY
    _unread: bytes = b""
    _decoder: hpack.Decoder = field(default_factory=hpack.Decoder)

    def __post_init__(self) -> None:
        host, _, port = self.address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), 10)
        self.socket.setblocking(False)
        if self.greeting:
            self.send(self.greeting)

    def send(self, content: bytes, patience_s: float = PATIENCE_S) -> bool:
        """Whether all of it went; else nothing more goes. A server that takes nothing for so long has stopped reading: an answer, too."""
        unsent = memoryview(content)
        while unsent and not self.cut and not self._torn:
            events = ready(self.socket.fileno(), select.POLLOUT if self.deaf else select.POLLOUT | select.POLLIN, patience_s)
            if events & select.POLLIN:
                self.read()
            if events & (select.POLLOUT | select.POLLERR | select.POLLHUP) and not self.cut:
                try:
                    unsent = unsent[self.socket.send(unsent[:PIECE_NBYTES]) :]
                except BlockingIOError:
                    pass
                except OSError:
                    self._read_rest()
            if not events:
                self.words["not read"] += 1
            self._torn = not events or stopped()
        return not self.cut and not self._torn

    def wait(self, seconds: float) -> None:
        """Reads what comes for so long, or until the connection is cut."""
        until = time.monotonic() + seconds
        while not self.cut and (left := until - time.monotonic()) > 0:
            self.read_soon(min(left, 0.1))
            if stopped():
                return

    def read_soon(self, seconds: float) -> None:
        if ready(self.socket.fileno(), select.POLLIN, seconds):
            self.read()

    def read(self) -> None:
        try:
            came = self.socket.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            came = b""
        if not came:
            self._end()
            return
        if self.blind:
            return
        self._unread += came
        if self._unread.startswith(b"HTTP/1.1 "):
            self._said = self._unread[:12].decode()
            return
        while len(self._unread) >= 9 and len(self._unread) >= (size := 9 + int.from_bytes(self._unread[:3], "big")):
            self._take(self._unread[3], self._unread[4], int.from_bytes(self._unread[5:9], "big"), self._unread[9:size])
            self._unread = self._unread[size:]

    def upload(self, stream: int, body: bytes) -> bool:
        """DATA that does not end its stream, as windows allow, unless the server ends it. Whether more can be sent."""
        sent = 0
        while sent < len(body) and stream not in self.ended and not self.cut and not self._torn:
            room = self.room(stream, sent)
            if room > 0:
                piece = body[sent : sent + min(room, PIECE_NBYTES)]
                self.send(data(stream, piece, end=False))
                sent, self.uploaded = sent + len(piece), self.uploaded + len(piece)
            else:
                self.read_soon(0.1)
                self._torn = stopped()
        return not self.cut and not self._torn

    def room(self, stream: int, sent: int) -> int:
        """Bytes of DATA that the windows of a stream, of which so many were sent, and of the connection allow."""
        return min(self.window + self.opened[stream] - sent, FIRST_WINDOW + self.opened[0] - self.uploaded)

    def wait_for(self, ended: int, seconds: float = PATIENCE_S) -> bool:
        """Whether the server has ended so many streams of this connection, within so long."""
        until = time.monotonic() + seconds
        while len(self.ended) < ended and not self.cut and not stopped() and time.monotonic() < until:
            self.read_soon(0.1)
        return len(self.ended) >= ended

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == RST_STREAM or (kind in (HEADERS, DATA) and flags & END_STREAM):
            self.ended.add(stream)
        if kind == GOAWAY:
            self._said = f"GOAWAY {CODES[int.from_bytes(payload[4:8], 'big')]}"
        elif kind == WINDOW_UPDATE:
            self.opened[stream] += int.from_bytes(payload, "big")
        elif kind == SETTINGS:
            self.acknowledged += flags & ACK
            self.window = dict(struct.iter_unpack(">HI", payload)).get(INITIAL_WINDOW_SIZE, self.window)
        elif kind == RST_STREAM:
            self.words[f"RST {CODES[int.from_bytes(payload, 'big')]}"] += 1
        elif kind == HEADERS:
            for name, value in self._decoder.decode(payload, raw=True):
                if name == b"grpc-status":
                    self.words[f"grpc-status {int(value)}"] += 1

    def _read_rest(self) -> None:
        """What the server said before it cut the connection."""
        while not self.cut:
            self.read()

    def _end(self) -> None:
        if not self.cut:
            self.cut = True
            self.words[self._said or "cut off"] += 1
        self.socket.close()

    def close(self) -> None:
        """Leaves, as a program does that ends."""
        if not self.cut:
            self.words["left open"] += 1
        self.socket.close()


class TlsPeer:
    """A TLS connection whose handshake is made and that has greeted; what comes is not read."""

    def __init__(self, address: str) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), 10)
        incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(incoming, self.outgoing)
        self.sent = 0  # of what it has to send
        while True:
            try:
                self.session.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.flush()
                incoming.write(self.socket.recv(1 << 16))
        self.session.write(PREFACE + frame(SETTINGS, 0, 0))
        self.flush()

    def flush(self) -> int:
        encrypted = self.outgoing.read()
        self.socket.sendall(encrypted)
        return len(encrypted)


def client_hello() -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()
