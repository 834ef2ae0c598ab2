"""HTTP/1.1 out of any bytes. The parser accepts no request that a plain reading of the same bytes rejects, and reads the same one however
the bytes are cut. A connection responds to each request once, in whole responses, and holds nothing in the end.

Input: 1 byte for the server, 1 for how many bytes come at a time, 6 for what the server does in between, and the client's bytes.
"""

from __future__ import annotations

import gzip
import random
import re
import time
from io import BytesIO
from typing import Any

from native_access import MemorySocket

from inferd._core.grpc.call import Call
from inferd._core.grpc.message import Message
from inferd._core.http.head import Head
from inferd._core.http1 import session as http1
from inferd._core.http1.parser import Parser
from inferd._core.net.server_state import ServerState
from inferd.errors import Internal, InvalidArgument, RequestError, Unauthenticated
from tests._core.http1.served import in_memory, responses
from tests._core.server_limits import LIMITS
from tests.fuzz.targets.framing import check_held, held

MODULES = (
    "http.head",
    "http.response",
    "http.handler",
    "http.call",
    "http1.parser",
    "http1.session",
    "http1.response_head",
    "grpc.compression",
    "grpc.message",
)
HEAD_NBYTES = 8
MAX_INPUT_NBYTES = 1024
MAX_READS = 32
LATER_NS = 1 << 62
MAX_HEADER_NBYTES, MAX_BODY_NBYTES = 512, 300

SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"compression": "gzip", "guarded": True},
    {"max_message_nbytes": MAX_BODY_NBYTES, "max_header_nbytes": MAX_HEADER_NBYTES},
    {"compression": "deflate", "memory_percent": 1},
)

TEXTS = (
    b"POST /v2/models/m/infer HTTP/1.1", b"GET /x?y HTTP/1.1", b"HEAD /x HTTP/1.0", b"OPTIONS * HTTP/1.1", b"GET http://a/x HTTP/1.1",
    b"PRI * HTTP/2.0", b"POST /v2/models/a%20b/versions/2/infer HTTP/1.1", b"Host: a", b"Content-Length: 5", b"Transfer-Encoding: chunked",
    b"Content-Length: 0", b"Connection: close", b"Connection: keep-alive, Upgrade", b"Upgrade: h2c", b"Expect: 100-continue",
    b"Content-Encoding: gzip", b"Content-Encoding: deflate", b"Accept-Encoding: gzip;q=0.5, deflate", b"Authorization: Bearer good",
    b"Inference-Header-Content-Length: 2", b"Inferd-Timeout-Ms: 1", b"X-Request-Id: r", b"Origin: https://a", b" folded", b"X: y",
    b"Content-Type: application/json; charset=x", b"5", b"hello", b"0", b"", b"5;a=b", b"Trailer: x", b"traceparent: 00-1",
)  # fmt: skip
PIECES = (b"\r\n", b"\r\n\r\n", b"HTTP/1.1", b"chunked", b"xchunked", b"identity", b"http://", b"%2F", b"\t", b"\0")
DICTIONARY = (*filter(None, TEXTS), *PIECES)

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
HEAD = re.compile(rb"(?:\r\n)?([A-Z_-]+) ([\x21\x22\x24-\x7e]+) HTTP/1\.([0-9])\r\n((?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*)\r\n")
FIELD = re.compile(rb"(" + TOKEN + rb"):[\t ]*([^\r]*?)[\t ]*\r\n")
CHUNK = re.compile(rb"([0-9A-Fa-f]+)(?:;[^\r\n]*)?\r\n")
TRAILERS = re.compile(rb"(?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n")


def plain_requests(source: bytes) -> list[tuple[bytes, bytes]]:
    """The target and body of each whole request, as a plain and strict reading finds them, until one is wrong or cut short."""
    found: list[tuple[bytes, bytes]] = []
    while head := HEAD.match(source):
        fields: dict[bytes, list[bytes]] = {}
        for name, value in FIELD.findall(head[4]):
            fields.setdefault(name.lower(), []).append(value)
        lengths, codings, hosts = (fields.get(name, []) for name in (b"content-length", b"transfer-encoding", b"host"))
        if (len(hosts) != 1 and (head[3] != b"0" or hosts)) or (lengths and codings) or len(lengths) > 1:
            break
        target = head[2]
        if absolute := re.match(rb"(?i)https?://([^/?]*)", target):
            if absolute[1].lower() != b"".join(hosts).lower():
                break
            target = target[absolute.end() :] or b"/"
        source = source[head.end() :]
        body: bytes | None = b""
        if codings:
            if [coding.lower() for coding in codings] != [b"chunked"] or head[3] == b"0":
                break
            body, source = plain_chunks(source)
        elif lengths:
            if not re.fullmatch(rb"[0-9]+", lengths[0]):
                break
            body = source[: int(lengths[0])]
            source = source[int(lengths[0]) :]
            if len(body) < int(lengths[0]):
                break
        if body is None:
            break
        found.append((target, body))
    return found


def plain_chunks(source: bytes) -> tuple[bytes | None, bytes]:
    """The body in chunks, None for a wrong one, and the rest."""
    body = b""
    while size := CHUNK.match(source):
        nbytes = int(size[1], 16)
        source = source[size.end() :]
        if nbytes == 0:
            trailers = TRAILERS.match(source)
            return (body, source[trailers.end() :]) if trailers else (None, b"")
        if source[nbytes : nbytes + 2] != b"\r\n":
            break
        body += source[:nbytes]
        source = source[nbytes + 2 :]
    return None, b""


def parsed(source: bytes, step: int) -> tuple[list[tuple[bytes, bytes]], str]:
    """The same by the parser, and the error that ended it."""
    parser = Parser(MAX_HEADER_NBYTES, MAX_BODY_NBYTES)
    found: list[tuple[Head, bytes]] = []
    said = ""
    try:
        for at in range(0, len(source), step):
            parser.receive(source[at : at + step], found)
    except RequestError as error:
        said = str(error)
    return [(head.target, body) for head, body in found], said


class Echo:
    """A server whose calls are answered with what they sent."""

    def __init__(self, *, guarded: bool = False, **settings: Any) -> None:
        self.scheduled: list[Any] = []
        self.work: list[Any] = []
        self.waiting: list[Any] = []
        self.server = ServerState(
            reject=self.reject,
            schedule=self.scheduled.append,
            call_later=lambda seconds, callback: None,
            run_on_thread=lambda connection, work: self.work.append(work),
            authenticator=self.let_through if guarded else None,
            http_handler=self.take,
            **LIMITS | settings,
        )

    def take(self, call: Call, head: Head) -> None:
        if bytes(call.message).startswith(b"!"):
            raise InvalidArgument("wrong")
        self.waiting.append(call)

    @staticmethod
    def let_through(call: Call, authorization: bytes | None) -> bool:
        if authorization != b"Bearer good":
            raise Unauthenticated("no token")
        return True

    @staticmethod
    def reject(call: Any, error: Exception) -> None:
        call.fail(error if isinstance(error, RequestError) else Internal("fault"))

    def answer(self) -> None:
        if self.waiting:
            call = self.waiting.pop()
            if call.settled:
                return
            body = bytes(call.message)
            if call.head.is_infer:
                call.head.response_json_nbytes = len(body) // 2
                call.reply(Message(body * 5))
            else:
                call.respond(204 if call.head.query else 200, ((b"content-type", b"text/plain"),), body)

    def convert(self) -> None:
        while self.work:
            work = self.work.pop(0)
            work.run()
            work.done()

    def run(self) -> None:
        pending, self.scheduled[:] = list(self.scheduled), []
        for callback in pending:
            callback()

    def let_go(self) -> None:
        for pending in (self.scheduled, self.work, self.waiting):
            pending.clear()


ECHOES = [Echo(**settings) for settings in SETTINGS]


def check(data: bytes) -> None:
    if len(data) < HEAD_NBYTES:
        return
    before = (*held(), http1.live() or 0)
    content = data[HEAD_NBYTES:]
    step = max(data[1] * 8, len(content) // MAX_READS) or len(content) + 1
    found, said = parsed(content, len(content) + 1)
    assert plain_requests(content)[: len(found)] == found
    assert parsed(content, step) == (found, said)
    check_connection(ECHOES[data[0] & 3], data, [content[at : at + step] for at in range(0, len(content), step)])
    check_held(before[:-1])
    assert (http1.live() or 0) <= before[-1]


def check_connection(echo: Echo, data: bytes, pieces: list[bytes]) -> None:
    written = BytesIO()
    calls = echo.server.totals["calls"]
    connection = in_memory(echo.server, written.write)
    for number, piece in enumerate(pieces):
        connection.receive(piece)
        act(echo, connection, data[2 + number % 6])
    for _ in range(len(pieces) + 40):  # requests that wait go on one by one
        echo.convert()
        while echo.waiting:
            echo.answer()
        connection.resume_writing()
        echo.run()
    connection.close()
    echo.let_go()
    calls = echo.server.totals["calls"] - calls
    source = re.sub(rb"(^|\r\n\r\n)HTTP/1.1 100 Continue\r\n\r\n", rb"\1", written.getvalue())
    if b"HEAD" not in data and b"OPTIONS" not in data:  # whose responses cannot be read without their requests
        assert len(responses(source)) <= calls + 1, "there are more responses than requests"
    assert (echo.server.connections, echo.server.calls) == (0, 0)


def act(echo: Echo, connection: MemorySocket, what: int) -> None:
    """Between two reads the server does something."""
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
            for now_ns in (1, LATER_NS):
                connection.take_keepalive_step(now_ns, 0)
        case 5:
            connection.end_late_calls(time.monotonic_ns(), -1, 1 << 40, 1 << 40)
            connection.end_late_calls(LATER_NS, -1, 1, 1)
        case 6:
            echo.server.credentials_changed()
        case 7:
            for call in echo.waiting:
                call.fail(Internal("no"))
        case 8:
            return  # nothing is flushed
    echo.run()


def mutate(data: bytes, seed: int) -> bytes:
    """Lines are others, twice, gone, or end in another way."""
    source = random.Random(seed)
    lines = data[HEAD_NBYTES:].split(b"\r\n")
    for _ in range(source.randint(1, 3)):
        at = source.randrange(len(lines))
        match source.randrange(6):
            case 0 | 1:
                lines.insert(at, source.choice(TEXTS))
            case 2:
                lines.insert(at, source.choice(lines))
            case 3:
                lines[at] = source.choice(TEXTS)
            case 4 if len(lines) > 1:
                del lines[at]
            case _:
                lines[at] += source.choice((b"\r", b"\n", b" ", b"\0", b",", b"x"))
    made = b"\r\n".join(lines)[:MAX_INPUT_NBYTES]
    return data[:HEAD_NBYTES].ljust(HEAD_NBYTES, b"\0") + made


def request(*fields: bytes, line: bytes = TEXTS[0], body: bytes = b"") -> bytes:
    return b"\r\n".join([line, b"Host: a", *fields, b"", body])


def seeds() -> list[bytes]:
    length, chunked = b"Content-Length: 5", b"Transfer-Encoding: chunked"
    packed = gzip.compress(bytes(2_000), mtime=0)
    contents = [
        request(length, body=b"hello") + request(chunked, body=b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"),
        request(length, b"Expect: 100-continue", body=b"hello") + request(line=TEXTS[1]) + request(line=TEXTS[2]),
        request(b"Content-Encoding: gzip", b"Accept-Encoding: gzip", b"Content-Length: %d" % len(packed), body=packed),
        request(b"Authorization: Bearer good", b"X-Request-Id: r", length, body=b"hello") + request(length, body=b"!"),
        request(b"Connection: Upgrade", b"Upgrade: h2c", length, body=b"hello") + request(b"Connection: close"),
        request(length, chunked, body=b"hello"),
        request(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
        request(b"Inferd-Timeout-Ms: 1", b"Inference-Header-Content-Length: 2", length, body=b"hel"),
        request(line=TEXTS[4]) + b"\r\n" + request(line=TEXTS[6]),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /x\r\n",
    ]
    heads = [bytes(8), b"\1\4\0\1\0\1\0\1", b"\2\2\1\1\1\1\1\1", b"\3\1\1\3\5\7\11\13"]
    return [head + content for head in heads for content in contents]
