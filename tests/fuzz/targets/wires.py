"""What the targets of the transport share: HTTP/2 frames as bytes, and a mutator that knows where they begin.

Header blocks are HPACK that indexes nothing, so that a frame means the same wherever it stands.
"""

from __future__ import annotations

import gzip
import random
import struct
import zlib
from collections.abc import Callable, Iterable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED = 1, 4, 8

INFER, UNARY, STREAM = b"/inference.GRPCInferenceService/ModelInfer", b"/test.Service/Unary", b"/test.Service/Stream"
INFER_STREAM = b"/inference.GRPCInferenceService/ModelStreamInfer"

# Words for libFuzzer's own mutations.
WORDS = (
    b":path", b":method", b"POST", b":scheme", b"http", b":authority", b"content-type", b"application/grpc", b"te", b"trailers",
    b"grpc-timeout", b"100m", b"1n", b"99999999H", b"grpc-encoding", b"gzip", b"deflate", b"identity", b"grpc-accept-encoding",
    b"authorization", b"Bearer good", b"content-length", b":status", b"200", b"grpc-status", b"grpc-message", INFER, UNARY, STREAM,
    INFER_STREAM, b"triton_grpc_error", b"true", b"/v2/models/m/infer", b"/v2/models/m/versions/1/infer", b"GET", b"HEAD", b"OPTIONS",
    b"content-encoding", b"accept-encoding", b"expect", b"100-continue", b"inference-header-content-length", b"inferd-timeout-ms", b"host",
)  # fmt: skip


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def block(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A header block; names and values have fewer than 127 bytes."""
    return b"".join(b"\0%c%b%c%b" % (len(name), name, len(value), value) for name, value in fields)


def request(path: bytes = INFER, *extra: tuple[bytes, bytes]) -> bytes:
    """The header block of a call."""
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"test"), (b"te", b"trailers")]
    return block([*fields, (b"content-type", b"application/grpc"), *extra])


def rest(verb: bytes = b"POST", path: bytes = b"/v2/models/m/infer", *extra: tuple[bytes, bytes]) -> bytes:
    """The header block of a REST call."""
    return block([(b":method", verb), (b":scheme", b"http"), (b":authority", b"test"), (b":path", path), *extra])


def message(content: bytes, encoding: str = "") -> bytes:
    """A gRPC message, compressed where an encoding is named."""
    if encoding:
        content = gzip.compress(content, 1, mtime=0) if encoding == "gzip" else zlib.compress(content, 1)
    return struct.pack(">BI", bool(encoding), len(content)) + content


def frames(content: bytes) -> list[bytes]:
    """Cut where frames begin; the last may be cut short."""
    found = []
    while content:
        size = 9 + int.from_bytes(content[:3], "big")
        found.append(content[:size])
        content = content[size:]
    return found


def mutated(content: bytes, seed: int, made: Callable[[random.Random, int], bytes]) -> bytes:
    """One or a few changes of whole frames, or of fields of their heads. made(source, stream): a frame, or a few, from nothing."""
    source = random.Random(seed)
    parts = frames(content)
    for _ in range(source.choice((1, 1, 1, 2, 4))):
        at = source.randrange(len(parts) + 1)
        kind = source.randrange(9)
        if kind < 3 or at == len(parts):
            parts.insert(at, made(source, source.choice((1, 1, 3, 3, 5, 7, 0, 2, 0x7FFFFFFF))))
        elif kind == 3:
            del parts[at]
        elif kind == 4:
            parts.insert(source.randrange(len(parts) + 1), parts[at])
        elif kind == 5:
            other = source.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        elif kind == 6 and len(parts[at]) >= 9:
            parts[at] = changed_head(parts[at], source)
        elif kind == 7 and len(parts[at]) > 9:
            parts[at : at + 1] = split(parts[at], source)
        elif len(parts[at]) > 9:
            parts[at] = changed_payload(parts[at], source)
    return b"".join(parts)


def changed_head(part: bytes, source: random.Random) -> bytes:
    """Another kind, other flags, another stream; or a length that is not true."""
    length, kind, flags, stream = part[:3], part[3], part[4], part[5:9]
    match source.randrange(4):
        case 0:
            kind = source.randrange(12)
        case 1:
            flags ^= 1 << source.choice((0, 2, 3, 5))
        case 2:
            stream = struct.pack(">I", source.choice((0, 1, 2, 3, 5, 7, 9, 0x7FFFFFFF, 0x80000001)))
        case 3:
            length = (max(0, len(part) - 9 + source.randint(-3, 3))).to_bytes(3, "big")
    return length + bytes([kind, flags]) + stream + part[9:]


def changed_payload(part: bytes, source: random.Random) -> bytes:
    """Bytes of the payload are others, more or fewer, and the length says so."""
    payload = bytearray(part[9:])
    at = source.randrange(len(payload))
    match source.randrange(3):
        case 0:
            payload[at] = source.choice((0, 1, 0x7F, 0x80, 0xFF, payload[at] ^ 1 << source.randrange(8)))
        case 1:
            del payload[at : at + source.choice((1, 2, 8))]
        case 2:
            payload[at:at] = source.randbytes(source.choice((1, 2, 8)))
    return len(payload).to_bytes(3, "big") + part[3:9] + bytes(payload)


def split(part: bytes, source: random.Random) -> list[bytes]:
    """One frame as two: a header block goes on in CONTINUATION, DATA in DATA."""
    payload, kind, flags = part[9:], part[3], part[4]
    at = source.randrange(len(payload) + 1)
    stream = int.from_bytes(part[5:9], "big")
    if kind in (HEADERS, CONTINUATION):
        return [frame(kind, flags & ~END_HEADERS, stream, payload[:at]), frame(CONTINUATION, flags & END_HEADERS, stream, payload[at:])]
    return [frame(kind, flags & ~END_STREAM, stream, payload[:at]), frame(kind, flags, stream, payload[at:])]


def control(source: random.Random, stream: int) -> bytes:
    """A frame that both sides may send, with contents that make sense, or nearly."""
    match source.randrange(7):
        case 0:
            return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", source.choice((0, 1, 0xFFFF, 0x7FFFFFFF))))
        case 1:
            return frame(RST_STREAM, 0, stream, struct.pack(">I", source.choice((0, 1, 2, 7, 8, 11))))
        case 2:
            return frame(PING, source.choice((0, 1)), 0, source.randbytes(8))
        case 3:
            return frame(GOAWAY, 0, 0, struct.pack(">II", source.choice((0, 1, 3, 0x7FFFFFFF)), source.randrange(14)) + source.randbytes(2))
        case 4:
            return frame(PRIORITY, 0, stream, struct.pack(">IB", source.randrange(8), 15))
        case 5:
            entries = [(source.randrange(1, 9), source.choice((0, 1, 100, 16_384, 65_535, 1 << 24, 0x7FFFFFFF))) for _ in range(2)]
            return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *entry) for entry in entries))
        case _:
            return frame(SETTINGS, 1)
