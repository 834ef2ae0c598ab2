"""The load generator over HTTP/1.1, against bytes over a socket pair: what is sent when, and what each kind of response counts as."""

from __future__ import annotations

import json
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from inferd._core.load.generator import Generator
from inferd._core.load.http1 import Http1
from tests._core.load.test_generator import counted
from tests.wire import LIMIT_S

REQUEST = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n{}"
OUTPUT = {"name": "y", "datatype": "FP32", "shape": [2, 3], "data": [0, 1, 2, 3.5, -4, 5e9]}


def said(output: dict[str, Any] | None = None, binary: bytes | None = None, **changed: Any) -> bytes:
    """A response: its head and JSON, and behind that what its output has in bytes."""
    document = {"model_name": "m", "model_version": "1", "outputs": [OUTPUT if output is None else output], **changed}
    text = json.dumps({name: value for name, value in document.items() if value is not ...}).encode()
    length = b"" if binary is None else b"Inference-Header-Content-Length: %d\r\n" % len(text)
    return headed(text + (binary or b""), length)


def headed(content: bytes, fields: bytes = b"", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, fields, len(content), content)


def in_bytes(nbytes: Any = 24, **changed: Any) -> dict[str, Any]:
    return {"name": "y", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": nbytes}, **changed}


def in_chunks(content: bytes, step: int) -> bytes:
    pieces = [content[at : at + step] for at in range(0, len(content), step)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


GOOD = said()
CONTENT = GOOD.partition(b"\r\n\r\n")[2]
BINARY = said(in_bytes(), bytes(24))
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Server:
    """One end of a socket pair, whose other one is a connection of a generator."""

    def __init__(self, generator: Generator, number: int = 0) -> None:
        self.socket, self.client = socket.socketpair()
        self.client.setblocking(False)
        self.socket.setblocking(False)
        self.received = b""
        generator.add(self.client.fileno(), number)

    def read(self) -> int:
        """How many whole requests have come."""
        with suppress(BlockingIOError):
            self.received += self.socket.recv(1 << 20)
        return self.received.count(REQUEST)

    def close(self) -> None:
        self.socket.close()
        self.client.close()


@pytest.fixture
def made() -> Iterator[Callable[..., tuple[Generator, list[Server]]]]:
    """Makes a generator with so many connections, and closes all at the end."""
    all_made: list[tuple[Generator, list[Server]]] = []

    def make(connections: int = 1, bodies: tuple[bytes, ...] = (REQUEST,), **options: Any) -> tuple[Generator, list[Server]]:
        generator = Generator(bodies, Http1(), **options)
        servers = [Server(generator, number) for number in range(connections)]
        all_made.append((generator, servers))
        return generator, servers

    yield make
    for generator, servers in all_made:
        generator.close()
        for server in servers:
            server.close()


def received(servers: list[Server]) -> bool:
    """Whether something has come to one of them; each is read."""
    return sum(server.read() for server in servers) > 0


def pump(generator: Generator, until: Callable[[], bool]) -> None:
    limit_s = time.monotonic() + LIMIT_S
    while not until():
        assert time.monotonic() < limit_s
        generator.run(time.monotonic_ns() + 500_000)


def one_request(made: Any, *pieces: bytes, closes: bool = False, **options: Any) -> tuple[dict[str, int], str, bool]:
    """How the only request ends, to which these bytes come: its code, with the text, and whether its connection goes on."""
    generator, (server,) = made(**options)
    generator.start(0, streams=1, requests=1)
    pump(generator, lambda: server.read() == 1)
    for piece in pieces:
        server.socket.sendall(piece)
        if generator.outstanding:
            generator.run(time.monotonic_ns() + 1_000_000)
    if closes:
        server.socket.close()
    limit_s = time.monotonic() + LIMIT_S
    dead: list[int] = []
    while generator.outstanding:
        assert time.monotonic() < limit_s
        generator.run(time.monotonic_ns() + 500_000)
        dead += generator.take_dead()
    codes = counted(generator)[0]
    (text,) = generator.messages().values() or [b""]
    return codes, text.decode(), not dead + generator.take_dead()


# ---- what is sent, and when ----------------------------------------------------------------------------------------------


def test_a_closed_loop_has_one_request_on_a_connection(made) -> None:
    generator, servers = made(3)
    generator.start(0, streams=1, requests=30)
    answered = 0
    while answered < 30:
        pump(generator, lambda: received(servers))
        for server in servers:
            assert server.received in (b"", REQUEST)
            if server.received:
                server.received = b""
                server.socket.sendall(GOOD if answered % 2 else BINARY)
                answered += 1
    pump(generator, lambda: not generator.outstanding)
    assert (counted(generator)[0], generator.held_back) == ({"OK": 30}, 0)


def test_an_open_loop_waits_for_a_free_connection_and_counts_from_the_intended_time(made) -> None:
    generator, servers = made(2, sample_room=10)
    now_ns = time.monotonic_ns()
    generator.start(0)
    generator.arrive(np.full(3, now_ns - 1_000_000_000, np.int64))
    pump(generator, lambda: all(server.read() == 1 for server in servers) and generator.blocked)
    assert (generator.outstanding, generator.arrivals_waiting) == (2, 1), "one that is free takes it, whichever that is"
    servers[1].socket.sendall(GOOD)
    pump(generator, lambda: servers[1].read() == 2)
    for server in servers:
        server.socket.sendall(GOOD)
    pump(generator, lambda: not generator.outstanding)
    codes, (latency, _, lateness) = counted(generator)
    assert (codes, generator.held_back) == ({"OK": 3}, 1)
    assert latency.min_ns >= 1_000_000_000
    assert lateness.count == 2, "of the third the generator was not late itself"


def test_what_waits_for_a_free_connection_in_vain_is_unanswered(made) -> None:
    generator, (server,) = made()
    now_ns = time.monotonic_ns()
    generator.start(0)
    generator.arrive(np.full(2, now_ns, np.int64))
    pump(generator, lambda: server.read() == 1 and generator.blocked)
    assert (generator.give_up_overdue(now_ns + 1), generator.give_up()) == (1, 1)
    assert counted(generator)[0] == {"unanswered": 2}


def test_a_deadline_ends_the_connection(made) -> None:
    """HTTP/1.1 cannot cancel a request: what came for it later would be taken for the next one's."""
    generator, (server,) = made(deadline_ns=1_000_000)
    generator.start(0, streams=1)
    pump(generator, lambda: generator.sent > 0 and not generator.outstanding)
    assert server.read() == 1
    assert (counted(generator)[0], generator.take_dead()) == ({"DEADLINE_EXCEEDED": 1}, [0])


def test_a_request_larger_than_all_buffers(made) -> None:
    body = b"POST / HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n" + bytes(3_000_000)
    generator, (server,) = made(bodies=(body,))
    generator.start(0, streams=1, requests=1)
    pump(generator, lambda: server.read() == 0 and server.received == body)
    server.socket.sendall(GOOD)
    pump(generator, lambda: not generator.outstanding)
    assert counted(generator)[0] == {"OK": 1}


def test_a_response_before_the_request_is_whole_is_its_own_and_ends_the_connection(made) -> None:
    """A server that rejects a body for its length does so."""
    body = b"POST / HTTP/1.1\r\nContent-Length: 30000000\r\n\r\n" + bytes(30_000_000)
    generator, (server,) = made(bodies=(body,))
    generator.start(0, streams=1)
    pump(generator, lambda: bool(server.received) or server.read() > 0)
    server.socket.sendall(headed(b'{"error": "too large"}', status=b"413 Too Large"))
    pump(generator, lambda: not generator.outstanding)
    assert (counted(generator)[0], generator.take_dead()) == ({"RESOURCE_EXHAUSTED": 1}, [0])


# ---- what a response counts as --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "response",
    [
        GOOD,
        BINARY,
        CHUNKED + in_chunks(CONTENT, 7),
        CHUNKED + in_chunks(CONTENT, 1000),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + GOOD,
        headed(CONTENT, b"content-encoding: identity\r\nConnection: keep-alive\r\n"),
        said({**OUTPUT, "data": [[0, 1, 2], [3, 4, 5]]}, model_name=..., model_version=None, id="7"),
        said({"name": "y", "datatype": "BYTES", "shape": [2], "data": ["a", "\u00e9"]}),
        said(in_bytes(11, datatype="BYTES", shape=[2]), struct.pack("<I3sI", 3, b"abc", 0)),
        said({"name": "y", "datatype": "BOOL", "shape": [2], "data": [True, False]}),
        said({"name": "y", "datatype": "FP32", "shape": [2, 0], "data": []}),
    ],
    ids=lambda response: response[:100].decode("latin-1"),
)
@pytest.mark.parametrize("step", [1, 1 << 20])
def test_a_good_response(made, response: bytes, step: int) -> None:
    pieces = [response[at : at + step] for at in range(0, len(response), step)]
    assert one_request(made, *pieces, models=[b"m"], outputs=[b"y"], versions=[b"1"]) == ({"OK": 1}, "", True)


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT,
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + CONTENT,
        headed(CONTENT, b"connection: close\r\n"),
    ],
)
def test_a_response_that_ends_its_connection(made, response: bytes) -> None:
    assert one_request(made, response, closes=True) == ({"OK": 1}, "", False)


@pytest.mark.parametrize(
    ("response", "code", "text"),
    [
        (headed(b'{"error": "queue is full", "code": "RESOURCE_EXHAUSTED"}', status=b"429 X"), "RESOURCE_EXHAUSTED", "429: queue is full"),
        (headed(b'{"error": "no"}', b"Retry-After: 1\r\n", b"503 X"), "RESOURCE_EXHAUSTED", "503: no"),
        (headed(b'{"error": "no"}', status=b"503 X"), "UNAVAILABLE", "503: no"),
        (headed(b'{"error": "no", "code": "ABORTED"}', status=b"503 X"), "ABORTED", "503: no"),
        (headed(b'{"detail": "late"}', status=b"504 X"), "DEADLINE_EXCEEDED", "504: late"),
        (headed(b'{"error": "50 %\xc3\xa9"}', status=b"400 X"), "INVALID_ARGUMENT", "400: 50 %25%C3%A9"),
        (headed(b"<html>\n", status=b"502 X"), "UNAVAILABLE", "502: <html>%0A"),
        (headed(b"", status=b"401 X"), "UNAUTHENTICATED", "HTTP status 401"),
        (headed(b"", status=b"302 X"), "UNKNOWN", "HTTP status 302"),
        (headed(b"", status=b"404 X"), "NOT_FOUND", "HTTP status 404"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "UNKNOWN", "HTTP status 204"),
        (headed(gzipped := b"\x1f\x8b", b"Content-Encoding: gzip\r\n", b"500 X"), "INTERNAL", "HTTP status 500"),
        (headed(b"x" * 1000, status=b"500 X"), "INTERNAL", "500: xxx"),
        (CHUNKED.replace(b"200 OK", b"500 X") + in_chunks(b'{"error": "parts"}', 3), "INTERNAL", "500: parts"),
    ],
)
def test_an_error(made, response: bytes, code: str, text: str) -> None:
    codes, message, goes_on = one_request(made, response)
    assert (codes, goes_on) == ({code: 1}, True)
    assert text in message


@pytest.mark.parametrize(
    ("response", "fault"),
    [
        (headed(b""), "OK without a response"),
        (headed(b"{"), "no JSON"),
        (headed(CONTENT, b"Content-Encoding: gzip\r\n"), "compressed"),
        (said(outputs=[]), "no output"),
        (said(outputs=None), "no output"),
        (said(outputs=[1]), "no name"),
        (said(model_name="other"), "another model's"),
        (said(model_version="2"), "another version's"),
        (said(model_name=1), "is no text"),
        (said({**OUTPUT, "name": "z"}), "none that the model has"),
        (said({**OUTPUT, "datatype": "FP33"}), "no datatype"),
        (said({**OUTPUT, "shape": [2, -3]}), "no shape"),
        (said({**OUTPUT, "shape": [2**40, 2**40]}), "no shape"),
        (said({**OUTPUT, "shape": [2, 2]}), "more or fewer elements"),
        (said({**OUTPUT, "data": [0, 1, 2, 3, 4, None]}), "none of its datatype"),
        (said({**OUTPUT, "data": [0, 1, 2, 3, 4, "5"]}), "none of its datatype"),
        (said({**OUTPUT, "data": [0, 1, 2, 3, 4, True]}), "none of its datatype"),
        (said({**OUTPUT, "data": [0, 1, 2, 3, 4, {}]}), "none of its datatype"),
        (said({"name": "y", "datatype": "FP32", "shape": [2, 3]}), "no contents"),
        (said(in_bytes(data=[1]), bytes(24)), "twice"),
        (said(in_bytes(), bytes(23)), "fewer bytes"),
        (said(in_bytes(), bytes(25)), "more bytes"),
        (said(in_bytes(20), bytes(20)), "not as many bytes"),
        (said(in_bytes(-1), bytes(24)), "fewer bytes"),
        (said(in_bytes(11, datatype="BYTES", shape=[2]), struct.pack("<I3sI", 4, b"abc", 0)), "inside an element"),
        (headed(CONTENT, b"Inference-Header-Content-Length: 100000\r\n"), "ends inside its JSON"),
    ],
)
def test_a_response_that_is_none(made, response: bytes, fault: str) -> None:
    """Its framing is right: the connection goes on."""
    codes, text, goes_on = one_request(made, response, models=[b"m"], outputs=[b"y"], versions=[b"1"])
    assert (codes, goes_on) == ({"malformed": 1}, True)
    assert fault in text


@pytest.mark.parametrize(
    ("response", "code", "text"),
    [
        (GOOD + b"x", "malformed", "more than one response"),
        (GOOD + GOOD, "malformed", "more than one response"),
        (headed(CONTENT, b"Inference-Header-Content-Length: 1\r\nInference-Header-Content-Length: 1\r\n"), "malformed", "no length"),
        (headed(CONTENT, b"Inference-Header-Content-Length: -1\r\n"), "malformed", "no length"),
        (headed(CONTENT, b"Inference-Header-Content-Length: 99999999999999999999\r\n"), "malformed", "no length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "malformed", "larger than the limit"),
        (CHUNKED + in_chunks(bytes(20_000), 5000), "malformed", "larger than the limit"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", "malformed", "changes the protocol"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 20, "malformed", "1xx"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000, "malformed", "head"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000, "malformed", "head"),
        (CHUNKED + b"1;" + b"x" * 100_000, "malformed", "frames its chunks"),
        (b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "malformed", "version"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "connection", "no HTTP/1.1"),
        (b"\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x7f", "connection", "no HTTP/1.1"),
        (b"\x15\3\1\0\2\2\x46", "connection", "no HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "connection", "no HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "connection", "no HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n", "connection", "no HTTP/1.1"),
        (b"HTTP/1.1 200 OK\nContent-Length: 1\n\n", "connection", "no HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\n folded: 1\r\n\r\n", "connection", "no HTTP/1.1"),
        (CHUNKED + b"zz\r\n", "connection", "no HTTP/1.1"),
        (CHUNKED + b"ffffffffffffffffff\r\n", "connection", "no HTTP/1.1"),
    ],
    ids=range(23),
)
def test_a_server_that_is_none(made, response: bytes, code: str, text: str) -> None:
    """The connection ends with it: what comes next cannot be told from the next response."""
    codes, message, goes_on = one_request(made, response, max_response_nbytes=10_000)
    assert (codes, goes_on) == ({code: 1}, False)
    assert text in message


@pytest.mark.parametrize("response", [b"", b"HTTP/1.1 200", GOOD[:-1], BINARY[:-1], CHUNKED + in_chunks(CONTENT, 9)[:-2], CHUNKED])
def test_a_response_that_is_cut_off(made, response: bytes) -> None:
    assert one_request(made, response, closes=True) == ({"connection": 1}, "the server closed the connection", False)


def test_bytes_that_nobody_asked_for_end_a_connection(made) -> None:
    generator, servers = made(2)
    generator.start(0)
    generator.arrive(np.array([time.monotonic_ns()], np.int64))
    pump(generator, lambda: received(servers))
    (idle,) = (number for number, server in enumerate(servers) if not server.received)
    servers[idle].socket.sendall(GOOD)
    dead: list[int] = []
    pump(generator, lambda: bool(dead.extend(generator.take_dead()) or dead))
    assert (dead, generator.outstanding) == ([idle], 1)


def test_a_response_as_it_is_kept(made) -> None:
    generator, (server,) = made(verify_every=1)
    generator.start(0, streams=1, requests=2)
    for response in (GOOD, BINARY):
        pump(generator, lambda: server.read() == 1)
        server.received = b""
        server.socket.sendall(response)
    pump(generator, lambda: not generator.outstanding)
    taken, lost = generator.take_responses()
    content = BINARY.partition(b"\r\n\r\n")[2]
    assert taken == [(0, struct.pack("=q", -1) + CONTENT), (0, struct.pack("=q", len(content) - 24) + content)]
    assert lost == 0


@pytest.mark.parametrize("seed", range(20))
def test_whatever_a_server_says_every_request_ends_once(made, seed: int) -> None:
    """Good responses, and bytes of them that others replace, in pieces of any size."""
    source = random.Random(seed)
    generator, (server,) = made(sample_room=100)
    generator.start(0, streams=1, requests=5)
    content = bytearray(source.choice((GOOD, BINARY, CHUNKED + in_chunks(CONTENT, 5))) * 5)
    for _ in range(source.randrange(4)):
        content[source.randrange(len(content))] = source.randrange(256)
    while content and generator.outstanding + generator.finished < 6:
        piece, content = content[: (step := source.randrange(1, 400))], content[step:]
        server.socket.send(piece)
        generator.run(time.monotonic_ns() + 200_000)
        if generator.take_dead():
            break
    generator.close()
    codes = counted(generator)[0]
    assert sum(codes.values()) == generator.finished == generator.sent <= 5
    assert len(generator.take_samples()[0]) == 32 * generator.sent
