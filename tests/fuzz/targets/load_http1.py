"""A connection of the load generator over HTTP/1.1, whose server says any bytes: every request ends, once, nothing is left of it, and no
response counts as good that a plain reading of the same bytes does not find.

Input: 1 byte for in how many pieces they come, and the server's bytes.
"""

from __future__ import annotations

import json
import random
import re
import socket
import time

import numpy as np

from inferd._core.load.generator import Generator
from inferd._core.load.http1 import Http1

MODULES = ("load.connection", "load.generator", "load.http1", "load.rest_response")
MAX_INPUT_NBYTES = 4096
REQUESTS = 4
TURN_NS, LIMIT_NS = 10_000, 1_000_000_000
REQUEST = b"POST /v2/models/m/infer HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
GENERATOR = Generator([REQUEST], Http1(), max_response_nbytes=1000, verify_every=1, sample_room=8, models=[b"m"], outputs=[b"y", b"other"])
COUNTS = [np.zeros(33 << 10, np.uint64) for _ in range(3)]
STATUS = re.compile(rb"HTTP/1\.[01] 200(?: [^\r\n]*)?\r\n")

JSON = b'{"model_name":"m","model_version":"1","outputs":[{"name":"y","datatype":"FP32","shape":[2],"data":[1,-2.5e3]}]}'
RAW = JSON.replace(b'"data":[1,-2.5e3]', b'"parameters":{"binary_data_size":8}')
HEAD = b'{"outputs":[{"name":"y","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":5}}]}'
ERROR = b'{"error":"50% of a queue \xc3\xa9","code":"RESOURCE_EXHAUSTED"}'


def headed(content: bytes, fields: bytes = b"", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, fields, len(content), content)


RESPONSES = (
    headed(JSON),
    headed(HEAD + b"\1\0\0\0a", b"Inference-Header-Content-Length: %d\r\n" % len(HEAD)),
    headed(RAW + bytes(8), b"Inference-Header-Content-Length: %d\r\n" % len(RAW)),
    headed(ERROR, b"Retry-After: 1\r\n", b"429 Too Many Requests"),
    headed(b"", b"Connection: close\r\n", b"503 X"),
    b"HTTP/1.1 100 Continue\r\n\r\n" + headed(JSON),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x;a=b\r\n%b\r\n0\r\nX: y\r\n\r\n" % (len(JSON), JSON),
    b"HTTP/1.0 200 OK\r\n\r\n" + JSON,
    headed(JSON, b"Content-Encoding: gzip\r\n"),
)
WORDS = (
    *RESPONSES, b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Connection: close", b"Connection: keep-alive", b"Upgrade: h2c",
    b"Content-Encoding: gzip", b"Inference-Header-Content-Length: 2", b"Retry-After: 1", b" folded", b"X: y", b"5;a=b", b"0", b"HTTP/1.1 ",
    b"200", b"429", b"101", b"\r\n", b"\r\n\r\n", b"outputs", b"binary_data_size", b"datatype", b"shape", b"FP32", b"BYTES", b"BOOL",
    b"null", b"[", b"]", b"{}", b"\\u0000", b"18446744073709551615", b"detail", b"message",
)  # fmt: skip
DICTIONARY = tuple(word for word in WORDS if len(word) < 60)


def check(data: bytes) -> None:
    if not data:
        return
    content, step = data[1:MAX_INPUT_NBYTES], -(-len(data) // (1 + (data[0] & 3)))
    server, client = socket.socketpair()
    try:
        server.setblocking(False)
        client.setblocking(False)
        before = GENERATOR.finished
        GENERATOR.add(client.fileno(), 1)
        GENERATOR.start(0, 1, REQUESTS)
        for at in range(0, len(content), step):
            GENERATOR.run(time.monotonic_ns() + TURN_NS)
            server.send(content[at : at + step])
        server.close()
        GENERATOR.run(time.monotonic_ns() + LIMIT_NS)  # until it has seen the end
        assert GENERATOR.take_dead() == [1]
    except (BrokenPipeError, ConnectionResetError):
        assert GENERATOR.take_dead() == [1]
    finally:
        GENERATOR.close()
        server.close()
        client.close()
    assert GENERATOR.outstanding == 0
    assert GENERATOR.finished - before <= REQUESTS
    codes, _, answered = GENERATOR.collect(*COUNTS)
    assert sum(codes) == GENERATOR.finished - before
    assert codes[0] <= answered <= len(STATUS.findall(content))
    kept, _ = GENERATOR.take_responses()
    assert codes[0] <= sum(map(is_good, (response for _, response in kept)))
    GENERATOR.take_samples()


def is_good(kept: bytes) -> bool:
    """Whether a response, its JSON's length in front, holds what its outputs say."""
    json_nbytes, body = int.from_bytes(kept[:8], "little", signed=True), kept[8:]
    text = body if json_nbytes < 0 else body[:json_nbytes]
    try:
        outputs = json.loads(text)["outputs"]
        nbytes = [(output.get("parameters") or {}).get("binary_data_size") for output in outputs]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    return len(outputs) > 0 and sum(filter(None, nbytes)) == len(body) - len(text)


def mutate(data: bytes, seed: int) -> bytes:
    """Bytes that others replace, and whole words that come in between."""
    source = random.Random(seed)
    made = bytearray(data or b"\0")
    for _ in range(source.randrange(1, 4)):
        at = source.randrange(1, len(made) + 1)
        match source.randrange(3):
            case 0:
                made[at : at + 1] = bytes([source.randrange(256)])
            case 1:
                made[at:at] = source.choice(WORDS)
            case _:
                del made[at : at + source.randrange(1, 20)]
    return bytes(made[:MAX_INPUT_NBYTES])


def seeds() -> list[bytes]:
    return [bytes([pieces]) + response * count for pieces in range(3) for response in RESPONSES for count in (1, 2)]
