"""A connection of the load generator, whose server says any bytes: every request ends, once, and nothing is left of it.

Input: 1 byte for in how many pieces they come and whether SETTINGS precede them, and the server's bytes.
"""

from __future__ import annotations

import random
import socket
import struct
import time

import numpy as np

from inferd._core.load.generator import Generator
from inferd._core.load.http2 import Http2
from tests._core.load.test_response import samples
from tests.fuzz.targets import wires
from tests.fuzz.targets.wires import WORDS, frame

MODULES = ("load.connection", "load.generator", "load.http2")
DICTIONARY = WORDS
REQUESTS = 6
TURN_NS, LIMIT_NS = 10_000, 1_000_000_000
BODY = b"\n\1m" + bytes(40)
FIELDS = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", wires.INFER), (b":authority", b"test")]
GENERATOR = Generator(
    [BODY], Http2(FIELDS), max_response_nbytes=10_000, verify_every=3, sample_room=8, models=[b"m"], outputs=[b"y", b"other"]
)
COUNTS = [np.zeros(33 << 10, np.uint64) for _ in range(3)]


def check(data: bytes) -> None:
    if not data:
        return
    content, step = data[1:], -(-len(data) // (1 + (data[0] >> 1 & 3)))
    if not data[0] & 1:
        content = frame(wires.SETTINGS) + content
    server, client = socket.socketpair()
    try:
        server.setblocking(False)
        client.setblocking(False)
        before = GENERATOR.finished
        GENERATOR.add(client.fileno(), 1)
        GENERATOR.start(0, 2, REQUESTS)
        for at in range(0, len(content), step):
            server.send(content[at : at + step])
            GENERATOR.run(time.monotonic_ns() + TURN_NS)
        server.close()
        GENERATOR.run(time.monotonic_ns() + LIMIT_NS)  # until it has seen the end
        assert GENERATOR.take_dead() == [1]
    finally:
        GENERATOR.close()
        server.close()
        client.close()
    assert GENERATOR.outstanding == 0
    assert GENERATOR.finished - before <= REQUESTS
    codes, _, answered = GENERATOR.collect(*COUNTS)
    assert sum(codes) == GENERATOR.finished - before
    assert codes[0] <= answered <= REQUESTS
    GENERATOR.take_responses()
    GENERATOR.take_samples()


def made(source: random.Random, stream: int) -> bytes:
    """Something that a server sends."""
    match source.randrange(6):
        case 0:
            status = (b":status", source.choice((b"200", b"200", b"503")))
            return frame(wires.HEADERS, 4, stream, wires.block([status, (b"content-type", b"application/grpc")]))
        case 1:
            return frame(wires.HEADERS, 5, stream, wires.block(source.choice(TRAILERS)))
        case 2 | 3:
            return frame(wires.DATA, source.choice((0, 0, 1)), stream, wires.message(source.choice(RESPONSES)))
        case 4:
            return answered(stream, source.choice(RESPONSES))
        case _:
            return wires.control(source, stream)


def answered(stream: int, content: bytes) -> bytes:
    head = wires.block([(b":status", b"200"), (b"content-type", b"application/grpc")])
    body = frame(wires.DATA, 0, stream, wires.message(content))
    return frame(wires.HEADERS, 4, stream, head) + body + frame(wires.HEADERS, 5, stream, wires.block(TRAILERS[0]))


RESPONSES = (*samples(), b"", b"x")
TRAILERS = (
    [(b"grpc-status", b"0")],
    [(b"grpc-status", b"8"), (b"grpc-message", b"too%20much")],
    [(b"grpc-status", b"x"), (b"grpc-message", b"y" * 120)],
    [(b":status", b"200"), (b"grpc-status", b"14")],
)


def mutate(data: bytes, seed: int) -> bytes:
    return (data[:1] or b"\0") + wires.mutated(data[1:], seed, made)


def seeds() -> list[bytes]:
    whole = b"".join(answered(stream, content) for stream, content in zip(range(1, 9, 2), RESPONSES, strict=False))
    rejected = frame(wires.HEADERS, 5, 1, wires.block([(b":status", b"200"), *TRAILERS[1]]))
    leaving = frame(wires.GOAWAY, 0, 0, struct.pack(">II", 1, 0) + b"bye") + answered(1, RESPONSES[0])
    few = frame(wires.SETTINGS, 0, 0, struct.pack(">HI", 3, 1)) + whole
    reset = frame(wires.RST_STREAM, 0, 1, struct.pack(">I", 7)) + answered(3, RESPONSES[1])
    return [bytes([head]) + content for head in (0, 2, 4) for content in (whole, rejected, leaving, few, reset)]
