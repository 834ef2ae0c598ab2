"""One client of HTTP/1.1: calls one after the other, how its connection goes on, and how it ends."""

from __future__ import annotations

import gzip
import json
import select
import socket
import ssl
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any

import pytest
import trustme

from inferd._core.grpc import message as messages
from inferd._core.grpc.call import Call
from inferd._core.grpc.message import Message
from inferd._core.http.handler import HttpService
from inferd._core.http.head import Head
from inferd._core.http1.session import Http1Call, Http1Session
from inferd._core.net.tls import Tls
from inferd.errors import NotFound, ResourceExhausted, Unauthenticated
from tests._core.http1.served import CLOSING, DRAINING, INFER, OPEN, OPENING, Served, Sockets, Told, Wire, in_memory, infer, responses
from tests.wire import LIMIT_S

SECOND_NS = 10**9
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.fixture
def served() -> Iterator[Served]:
    with held(Served()) as made:
        yield made


@pytest.fixture
def wire(served: Served) -> Iterator[Wire]:
    made = Wire(served)
    yield made
    made.close()


@contextmanager
def held(served: Served) -> Iterator[Served]:
    """Nothing is left of calls and messages in the end."""
    before = messages.in_use()
    yield served
    served.calls.clear()
    assert (served.server.calls, served.server.connections, messages.in_use()) == (0, 0, before)


def answered(wire: Wire, *sent: bytes) -> list[Any]:
    """Sends, responds to each inference with its own body, and returns the responses."""
    wire.send(*sent)
    while wire.served.calls:
        call = wire.served.calls.pop(0)
        call.reply(bytes(call.message))
        wire.served.run()
    return wire.taken()


# ---- calls and responses


def test_inference(wire: Wire) -> None:
    [response] = answered(wire, infer(b'{"inputs": []}'))
    assert (response.status, response.body) == (200, b'{"inputs": []}')
    assert {"content-type": "application/json", "content-length": "14"}.items() <= response.headers.items()
    assert set(response.headers) == {"content-type", "content-length", "date"}


def test_call_of_an_inference(served: Served, wire: Wire) -> None:
    before_ns = time.monotonic_ns()
    wire.send(infer(b"hello", b"Inferd-Timeout-Ms: 60000"))
    [call] = served.calls
    assert isinstance(call, Http1Call)
    assert (call.method, bytes(call.message), call.head.model_name) == ("/inference.GRPCInferenceService/ModelInfer", b"hello", b"m")
    assert before_ns < call.deadline_ns - 60 * SECOND_NS <= time.monotonic_ns()
    assert call.connection_id > 0
    assert served.server.calls == 1
    wire.send(b"")
    call.reply(b"")


def test_binary_response_names_the_length_of_its_json(served: Served, wire: Wire) -> None:
    wire.send(infer())
    call = served.calls.pop()
    call.head.response_json_nbytes = 2
    call.reply(Message(b"{}" + bytes(8)))
    [response] = wire.taken()
    assert response.headers["inference-header-content-length"] == "2"
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.body == b"{}" + bytes(8)


def test_a_small_response_is_one_write(served: Served) -> None:
    writes: list[bytes] = []
    connection = in_memory(served.server, writes.append)
    connection.receive(infer())
    served.calls.pop().reply(bytes(16 << 10))
    served.run()
    assert len(writes) == 1
    connection.close()


def test_other_responses(served: Served, wire: Wire) -> None:
    wire.send(b"GET /page HTTP/1.1\r\nHost: a\r\nX-Request-Id: r 1\r\n\r\n")
    call = served.calls.pop()
    assert (call.method, bytes(call.message)) == ("/page", b"")
    call.head.response_headers = ((b"access-control-allow-origin", b"*"),)
    call.respond(405, ((b"content-type", b"text/html"), (b"allow", b"POST")), b"<p>")
    [response] = wire.taken()
    assert (response.status, response.body) == (405, b"<p>")
    wanted = {"content-type": "text/html", "allow": "POST", "access-control-allow-origin": "*", "x-request-id": "r 1"}
    assert wanted.items() <= response.headers.items()


def test_headers_beyond_the_limit_are_left_out(served: Served, wire: Wire) -> None:
    wire.send(b"GET /" + b"x" * 300 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    call = served.calls.pop()
    assert call.method == "/" + "x" * 255
    call.respond(200, ((b"x-long", b"y" * (32 << 10)), (b"x-short", b"1")), b"hello")
    [response] = wire.taken()
    assert ("x-long" in response.headers, response.headers["x-short"], response.body) == (False, "1", b"hello")


@pytest.mark.parametrize("verb", ["HEAD", "GET"])
def test_head_has_the_length_without_the_body(served: Served, wire: Wire, verb: str) -> None:
    wire.send(f"{verb} /page HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    served.calls.pop().respond(200, (), b"hello")
    [response] = wire.taken(verb)
    assert (response.headers["content-length"], response.body) == ("5", b"" if verb == "HEAD" else b"hello")


def test_no_content(served: Served, wire: Wire) -> None:
    wire.send(b"OPTIONS /page HTTP/1.1\r\nHost: a\r\n\r\n")
    served.calls.pop().respond(204, ((b"access-control-max-age", b"5"),))
    [response] = wire.taken()
    assert (response.status, response.headers["access-control-max-age"]) == (204, "5")
    assert "content-length" not in response.headers


def test_rejection(served: Served, wire: Wire) -> None:
    wire.send(infer(b"x", b"X-Request-Id: 7"))
    served.calls.pop().fail(ResourceExhausted("the queue is full", retry_after_ns=1))
    [response] = wire.taken()
    assert json.loads(response.body) == {"error": "the queue is full", "code": "RESOURCE_EXHAUSTED"}
    assert (response.status, response.headers["retry-after"], response.headers["x-request-id"]) == (429, "1", "7")
    assert [each.status for each in answered(wire, infer())] == [200]  # the connection goes on


def test_handler_that_raises() -> None:
    def take(call: Call, head: Head) -> None:
        raise NotFound("no such model") if bytes(call.message) == b"1" else KeyError("secret")

    with held(Served(take)) as served:
        wire = Wire(served)
        wire.send(infer(b"1"), infer(b"2"))
        first, second = wire.taken()
        assert (first.status, second.status) == (404, 500)
        assert b"secret" not in second.body
        wire.close()


def test_only_the_first_response_counts(served: Served, wire: Wire) -> None:
    wire.send(infer())
    call = served.calls.pop()
    for _ in range(2):
        call.reply(b"1")
        call.fail(NotFound("x"))
        call.respond(200)
    assert [each.body for each in wire.taken()] == [b"1"]
    call.reply(b"2")
    assert wire.taken() == []


# ---- one behind the other


def test_pipelined_requests_wait_unread(served: Served, wire: Wire) -> None:
    wire.send(b"".join(infer(b"%d" % number) for number in range(5)) + infer()[:20])
    for number in range(5):
        [call] = served.calls
        assert bytes(call.message) == b"%d" % number
        served.calls.clear()
        call.reply(b"%d" % number)
        served.run()
    assert [each.body for each in wire.taken()] == [b"0", b"1", b"2", b"3", b"4"]
    assert [each.body for each in answered(wire, infer()[20:])] == [b"hello"]


@pytest.mark.parametrize(
    ("source", "said", "ends"),
    [
        (infer(), None, False),
        (infer(b"", b"Connection: close"), "close", True),
        (INFER.replace(b"1.1", b"1.0") + b"\r\n", "close", True),
        (INFER.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\n\r\n", "keep-alive", False),
    ],
)
def test_connection_ends_as_the_client_wants(wire: Wire, source: bytes, said: str | None, ends: bool) -> None:
    [response] = answered(wire, source)
    assert response.headers.get("connection") == said
    assert wire.ended is ends


def test_request_behind_the_last_one_is_not_read(served: Served, wire: Wire) -> None:
    [response] = answered(wire, infer(b"1", b"Connection: close") + infer(b"2"))
    assert (response.body, served.server.totals["calls"]) == (b"1", 1)


def test_broken_request_is_the_last_one(served: Served, wire: Wire) -> None:
    first, second = answered(wire, infer(b"1") + b"GET /\n" + infer(b"2"))
    assert (first.status, second.status, second.headers["connection"]) == (200, 505, "close")
    assert wire.ended
    assert served.server.totals["protocol_errors"] == 1
    wire.send(infer())
    assert wire.taken() == []


def test_first_bytes_that_are_no_request(wire: Wire) -> None:
    """They might have become HTTP/2's preface."""
    [response] = answered(wire, b"P", b"R\x14")
    assert (response.status, wire.ended) == (400, True)


def test_body_that_breaks(served: Served, wire: Wire) -> None:
    [response] = answered(wire, INFER + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX")
    assert (response.status, response.headers["connection"], wire.ended) == (400, "close", True)
    assert served.calls == []


# ---- bodies that are announced first


def test_client_that_waits_before_its_body(served: Served, wire: Wire) -> None:
    source = infer(b"hello", b"Expect: 100-continue")
    wire.send(source[:-5])
    assert bytes(wire.written) == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.written.clear()
    assert [each.body for each in answered(wire, source[-5:])] == [b"hello"]
    assert [each.body for each in answered(wire, source)] == [b"hello"]  # the body came along: nothing is said
    wire.send(source.replace(b"1.1", b"1.0")[:-5])
    assert bytes(wire.written) == b""  # HTTP/1.0 knows no such response


def admits(call: Call, head: Head) -> None:
    raise NotFound("no such path")


def test_rejected_before_its_body() -> None:
    """A short body is thrown away, and the connection stays. A client that waits, or has much to send, is told to stop."""

    def others(call: Any, head: Head) -> None:
        call.respond(200)

    with held(Served(HttpService(others, others, admits=admits))) as served:
        long = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
        short = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
        chunked = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        waiting = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        for source, ends in ((long, True), (chunked, True), (waiting, True), (short + short, False), (short[:-3], False)):
            wire = Wire(served)
            wire.send(source)
            found = wire.taken()
            assert [each.status for each in found] == [404] * source.count(b"POST")
            assert [each.headers.get("connection") for each in found] == ["close" if ends else None] * len(found)
            assert wire.ended is ends
            if not ends and source == short[:-3]:
                wire.send(short[-3:], infer())
                assert [each.status for each in wire.taken()] == [200]
            wire.close()


def test_body_limit_of_a_path() -> None:
    def small(call: Call, head: Head) -> None:
        head.max_body_nbytes = 4

    def others(call: Any, head: Head) -> None:
        call.respond(200)

    with held(Served(HttpService(others, others, small))) as served:
        for source, status in ((b"Content-Length: 5\r\n\r\nhello", 413), (b"Content-Length: 4\r\n\r\nhell", 200)):
            wire = Wire(served)
            wire.send(b"POST /x HTTP/1.1\r\nHost: a\r\n" + source + infer())
            assert [each.status for each in wire.taken()] == [status] + [200] * (status == 200)  # inferences have their own limit
            wire.close()


def test_tokens() -> None:
    asked: list[bytes | None] = []

    def authenticate(call: Call, authorization: bytes | None) -> bool:
        asked.append(authorization)
        if authorization not in (b"Bearer good", b"Bearer fine"):
            raise Unauthenticated("no token")
        return True

    with held(Served(lambda call, head: call.respond(200), authenticator=authenticate)) as served:
        wire = Wire(served)
        good, fine, wrong = (infer(b"", b"Authorization: Bearer " + word) for word in (b"good", b"fine", b"gooe"))
        for source, status in ((infer(), 401), (good, 200), (good, 200), (wrong, 401), (good, 200), (fine, 200), (good, 200)):
            wire.send(source)
            [response] = wire.taken()
            assert (response.status, response.headers.get("www-authenticate")) == (status, "Bearer" if status == 401 else None)
        assert asked == [None, b"Bearer good", b"Bearer gooe", b"Bearer fine", b"Bearer good"]  # a known one is not asked about
        served.server.credentials_changed()
        wire.send(good)
        assert len(asked) == 6
        wire.close()


def test_browsers_ask_first_without_a_token() -> None:
    def authenticate(call: Call, authorization: bytes | None) -> bool:
        raise Unauthenticated("no token")

    with held(Served(lambda call, head: call.respond(204), authenticator=authenticate)) as served:
        wire = Wire(served)
        wire.send(b"OPTIONS /x HTTP/1.1\r\nHost: a\r\n\r\n", infer())
        assert [each.status for each in wire.taken()] == [204, 401]
        wire.close()


def test_no_memory_is_said(wire: Wire, before: int) -> None:
    """For a task, and for a body."""
    messages.set_budget(before + 1)
    wire.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [each.status for each in wire.taken()] == [429]
    wire.send(infer(bytes(100_000)))
    assert [each.status for each in wire.taken()] == [429]


def test_name_that_may_not_call(served: Served, wire: Wire) -> None:
    wire.connection.rejection = NotFound("the certificate names nobody")
    assert [each.status for each in answered(wire, infer() + infer())] == [404, 404]


# ---- compression


@pytest.mark.parametrize("nbytes", [5, 200_000])
def test_compressed_request(served: Served, wire: Wire, encoding: str, nbytes: int) -> None:
    plain = bytes(nbytes)
    packed = gzip.compress(plain) if encoding == "gzip" else zlib.compress(plain)
    wire.send(infer(packed, f"Content-Encoding: {encoding}".encode()))
    assert bool(served.work) is (nbytes > 32 << 10)  # a thread has it
    served.convert()
    [call] = served.calls
    assert bytes(call.message) == plain
    served.calls.clear()
    call.reply(b"")
    assert served.server.totals["decompressed"] == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"no gzip", 400), (gzip.compress(b"cut", mtime=0)[:-3], 400), (gzip.compress(bytes(100_001), mtime=0), 413), (b"", 200)],
)
def test_wrong_compression(body: bytes, status: int) -> None:
    with held(Served(lambda call, head: call.respond(200), max_message_nbytes=100_000)) as served:
        wire = Wire(served)
        wire.send(infer(body, b"Content-Encoding: gzip"))
        served.convert()
        [response] = wire.taken()
        assert response.status == status
        assert status != 400 or b"as Content-Encoding says" in response.body
        wire.close()


@pytest.mark.parametrize("nbytes", [100, 5_000, 100_000])
def test_compressed_response(encoding: str, nbytes: int) -> None:
    with held(Served(compression="gzip")) as served:
        wire = Wire(served)
        wire.send(infer(b"", f"Accept-Encoding: {encoding}".encode()))
        call = served.calls.pop()
        call.head.response_json_nbytes = 7
        call.reply(bytes(nbytes))
        served.convert()
        [response] = wire.taken()
        assert response.headers["inference-header-content-length"] == "7"
        packed = response.headers.get("content-encoding")
        assert packed == (encoding if nbytes > 100 else None)
        body = response.body if packed is None else zlib.decompress(response.body, 47)
        assert body == bytes(nbytes)
        wire.close()


def test_no_compression_where_nobody_asked(served: Served, wire: Wire) -> None:
    wire.send(infer(b"", b"Accept-Encoding: gzip"))
    served.calls.pop().reply(bytes(5_000))
    [response] = wire.taken()
    assert "content-encoding" not in response.headers


# ---- clients that leave


class Work:
    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_client_that_leaves_cancels_its_call(kind: str) -> None:
    with Sockets() as sockets:
        connection, client = sockets.connect(kind)
        connection.protocol.together_ns = 0
        client.sendall(infer())
        sockets.until(lambda: sockets.served.calls)
        call, work = sockets.served.calls.pop(), Work()
        call.work = work
        client.close()
        sockets.until(lambda: "released" in connection.client.told)
        assert work.cancelled
        assert (call.settled, call.connection, sockets.server.calls, sockets.server.totals["abandoned"]) == (True, None, 0, 1)
        call.reply(b"late")


def test_client_that_sends_no_more_gets_its_response() -> None:
    """Its request and its end came together, as of `nc`."""
    with Sockets() as sockets:
        _, client = sockets.connect()
        client.sendall(infer())
        client.shutdown(socket.SHUT_WR)
        sockets.until(lambda: sockets.served.calls)
        sockets.served.calls.pop().reply(b"response")
        assert [each.body for each in responses(sockets.ends(client))] == [b"response"]


@pytest.mark.parametrize("ends", ["shutdown", "reset"])
def test_end_that_comes_a_little_later_than_its_request(ends: str) -> None:
    """A thread reads a long body, or a batch runs, when the end is seen."""
    with Sockets() as sockets:
        connection, client = sockets.connect("tcp")
        connection.protocol.together_ns = 10**12
        client.sendall(infer() + infer(b"pipelined"))
        sockets.until(lambda: sockets.served.calls)
        if ends == "reset":  # its client reads no response
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            sockets.until(lambda: "released" in connection.client.told)
            assert sockets.server.totals["abandoned"] == 1
            return
        client.shutdown(socket.SHUT_WR)
        poller = select.poll()
        poller.register(connection.socket, select.POLLRDHUP)
        assert poller.poll(LIMIT_S * 1000)
        sockets.turn()
        sockets.served.calls.pop().reply(b"response")
        sockets.until(lambda: sockets.served.calls)
        sockets.turn()
        sockets.served.calls.pop().reply(b"second")
        assert [each.body for each in responses(sockets.ends(client))] == [b"response", b"second"]


@pytest.mark.parametrize("sent", [b"", b"P", INFER, infer()[:-1]])
def test_client_that_leaves_within_a_request(sent: bytes) -> None:
    with Sockets() as sockets:
        connection, client = sockets.connect()
        client.sendall(sent)
        sockets.turn()
        client.close()
        sockets.until(lambda: "released" in connection.client.told)
        assert (sockets.server.calls, sockets.served.calls) == (0, [])


# ---- large ones


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_large_bodies_both_ways(kind: str) -> None:
    body = bytes(range(256)) * 12_000
    with Sockets() as sockets:
        connection, client = sockets.connect(kind)
        client.setblocking(False)
        source = infer(body) + infer(b"next")
        while not sockets.served.calls:
            if source:
                with suppress(BlockingIOError):
                    source = source[client.send(source) :]
            sockets.turn()
        call = sockets.served.calls.pop()
        assert bytes(call.message) == body
        call.reply(call.message)
        assert connection.unsent_nbytes == 0
        while source:
            sockets.turn()
            try:
                source = source[client.send(source) :]
            except BlockingIOError:
                client.recv(0)
                break
        [response] = sockets.read(client)
        assert response.body == body
        client.setblocking(True)
        client.sendall(source)
        sockets.until(lambda: sockets.served.calls)
        sockets.served.calls.pop().reply(b"")


def test_memory_of_a_response_that_nobody_reads() -> None:
    """A connection holds one part of it beside the message, and ends when its client does not read for too long."""
    with Sockets() as sockets:
        connection, client = sockets.connect()
        client.sendall(infer())
        sockets.until(lambda: sockets.served.calls)
        sockets.served.calls.pop().reply(bytes(8 << 20))
        sockets.until(lambda: connection.unsent_nbytes)
        assert connection.unsent_nbytes <= 256 << 10
        now_ns = time.monotonic_ns()
        assert not connection.end_late_calls(now_ns, connection.acknowledged_nbytes(), SECOND_NS, SECOND_NS)
        assert connection.end_late_calls(now_ns + 2 * SECOND_NS, connection.acknowledged_nbytes(), SECOND_NS, SECOND_NS)


# ---- slow clients, idle ones, drains


def look(wire: Wire, now_ns: int) -> bool:
    return bool(wire.connection.end_late_calls(now_ns, -1, 5 * SECOND_NS, 5 * SECOND_NS))


@pytest.mark.parametrize("sent", [b"POST", INFER, infer(bytes(10))[:-1], INFER + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhe"])
def test_request_that_comes_too_slowly(served: Served, wire: Wire, sent: bytes) -> None:
    answered(wire, infer())
    wire.send(sent)
    for second in range(5):
        assert not look(wire, second * SECOND_NS)
        wire.send(b"")
    assert not look(wire, 5 * SECOND_NS)
    [response] = wire.taken()
    assert (response.status, response.headers["connection"], wire.ended) == (408, "close", True)
    assert b"stall_timeout_s" in response.body
    assert (served.server.totals["stalled"], served.server.totals["protocol_errors"]) == (1, 0)


def test_request_that_a_drain_waits_for_in_vain(served: Served, wire: Wire) -> None:
    """Another replica may answer: 408 would say that the client was too slow."""
    wire.send(INFER)
    served.server.stopping = True
    for second in range(6):
        look(wire, second * SECOND_NS)
    [response] = wire.taken()
    assert (response.status, json.loads(response.body)["code"]) == (503, "UNAVAILABLE")


def test_request_that_moves_is_not_late(wire: Wire) -> None:
    source = infer(bytes(50_000))
    wire.send(source[:2000])
    for second in range(1, 10):
        wire.send(source[second * 2000 : (second + 1) * 2000])
        assert not look(wire, second * SECOND_NS)
    assert wire.taken() == []


def test_deadline_before_the_request_is_whole(served: Served, wire: Wire) -> None:
    wire.send(infer(b"hello", b"Inferd-Timeout-Ms: 50")[:-1])
    assert not look(wire, 0)
    look(wire, time.monotonic_ns() + SECOND_NS)
    [response] = wire.taken()
    assert (response.status, wire.ended) == (504, True)


def test_deadline_while_a_thread_decompresses(served: Served, wire: Wire) -> None:
    wire.send(infer(gzip.compress(bytes(100_000)), b"Content-Encoding: gzip", b"Inferd-Timeout-Ms: 50"))
    look(wire, time.monotonic_ns() + SECOND_NS)
    [response] = wire.taken()
    assert (response.status, wire.ended) == (504, False)
    served.convert()
    assert served.calls == []


def test_rest_of_a_rejected_body_that_does_not_come() -> None:
    with held(Served(HttpService(print, print, admits=admits))) as served:
        wire = Wire(served)
        wire.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        assert [each.status for each in wire.taken()] == [404]
        for second in (0, 5):
            look(wire, second * SECOND_NS)
        assert (wire.taken(), wire.ended) == ([], True)
        wire.close()


@pytest.mark.parametrize(("max_idle_s", "limit_s"), [(0, 75), (10, 10)])
def test_idle_connection_ends(served: Served, wire: Wire, max_idle_s: int, limit_s: int) -> None:
    served.server.set_keepalive(0, 0, 0, max_idle_s * SECOND_NS, 0)
    connection, begin_ns = wire.connection, SECOND_NS
    connection.take_keepalive_step(begin_ns, 0)
    answered(wire, infer())
    begin_ns += 5 * SECOND_NS
    connection.take_keepalive_step(begin_ns, 0)  # it had a call since the last look
    connection.take_keepalive_step(begin_ns + limit_s * SECOND_NS - 1, 0)
    assert not wire.ended
    connection.take_keepalive_step(begin_ns + limit_s * SECOND_NS, 0)
    assert wire.ended
    assert served.server.totals["idle"] == 1


def test_old_connection_drains(served: Served) -> None:
    written = bytearray()
    connection = in_memory(served.server, written.extend, client=Told(max_age_ns=10 * SECOND_NS))
    connection.receive(infer())
    for now_ns in (1, 10 * SECOND_NS + 1):
        connection.take_keepalive_step(now_ns, 0)
    assert connection.state == DRAINING
    served.calls.pop().reply(b"last")
    served.run()
    [response] = responses(bytes(written))
    assert (response.headers["connection"], connection.state, served.server.totals["retired"]) == ("close", CLOSING, 1)
    connection.close()


def test_drain(served: Served) -> None:
    idle, fresh, calling, sending = (Wire(served) for _ in range(4))
    answered(idle, infer())
    calling.send(infer())
    sending.send(infer()[:-1])
    for each in (idle, fresh, calling, sending):
        for now_ns in (1, SECOND_NS):
            each.connection.take_keepalive_step(now_ns, 0)
        each.connection.drain()
        each.connection.take_keepalive_step(2 * SECOND_NS, 0)
        assert not each.ended
        if each is fresh:  # its request was on its way
            each.send(infer())
        each.connection.take_keepalive_step(3 * SECOND_NS, 0)
        assert each.ended is (each is idle)
    for each in (fresh, calling, sending):
        [response] = answered(each, *([infer()[-1:]] if each is sending else []))
        assert (response.headers["connection"], each.ended) == ("close", True)
    for each in (idle, fresh, calling, sending):
        each.close()


# ---- other protocols on the same port


@pytest.mark.parametrize("cuts", [(), (1,), (2, 3), (1, 2, 3, 4, 5)])
def test_preface_of_http2_is_handed_on(cuts: tuple[int, ...]) -> None:
    """To any protocol: here to HTTP/1.1 once more, which takes the preface for a wrong request."""
    with Sockets() as sockets:
        connection, client = sockets.connect()
        connection.client.goes_on = Http1Session(sockets.server)
        edges = [0, *cuts, len(PREFACE)]
        for begin, end in pairwise(edges):
            client.sendall(PREFACE[begin:end])
            sockets.turn()
        sockets.until(lambda: "released" in connection.client.told)
        assert connection.client.told == ["http2", "http2", "released"]
        [response] = responses(sockets.ends(client))
        assert response.status == 505
        assert sockets.server.totals["connections"] == 1, "it is the same client"
        assert sockets.server.totals["received_nbytes"] == len(PREFACE)


@pytest.mark.parametrize("source", [b"PRI * HTaaaa", PREFACE[:-1] + b"x"])
def test_broken_preface_is_answered_as_rest(wire: Wire, source: bytes) -> None:
    wire.send(source)
    [response] = wire.taken()
    assert (response.status, response.headers["content-type"], wire.connection.client.told) == (505, "application/json", [])


@pytest.mark.parametrize("source", [b"PUT /x HTTP/1.1\r\nHost: a\r\n\r\n", b"PROPFIND /x HTTP/1.1\r\nHost: a\r\n\r\n", infer()])
def test_other_requests_that_begin_like_the_preface(served: Served, wire: Wire, source: bytes) -> None:
    assert wire.connection.state == OPENING
    wire.send(*(source[at : at + 1] for at in range(len(source))))
    assert wire.connection.state == OPEN
    assert len(served.calls) == 1
    assert wire.connection.client.told == []
    answered(wire)


def test_tls() -> None:
    authority = trustme.CA()
    here, there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("localhost").configure_cert(here)
    authority.configure_trust(there)
    with Sockets() as sockets:
        _, client = sockets.connect(
            tls=Tls(lambda incoming, outgoing: here.wrap_bio(incoming, outgoing, server_side=True)),
        )
        client.setblocking(False)
        secure = there.wrap_socket(client, server_hostname="localhost", do_handshake_on_connect=False)
        sockets.opened.callback(secure.close)

        def shaken() -> bool:
            try:
                secure.do_handshake()
            except ssl.SSLWantReadError:
                return False
            return True

        sockets.until(shaken)
        body = bytes(range(256)) * 1000
        for _ in range(2):
            sent = 0
            source = infer(body)
            while not sockets.served.calls:
                if sent < len(source):
                    with suppress(ssl.SSLWantWriteError):
                        sent += secure.send(source[sent : sent + 16_000])
                sockets.turn()
            call = sockets.served.calls.pop()
            assert bytes(call.message) == body
            call.reply(call.message)
            [response] = sockets.read(secure)
            assert response.body == body
