"""REST calls on HTTP/2 streams: what is no method of gRPC goes to the server's HttpHandler. h2's client in memory; curl, nghttp and h2load
on a socket."""

from __future__ import annotations

import gzip
import json
import shutil
import socket
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import h2.connection
import h2.events
import pytest

from inferd._core.grpc import message as pool
from inferd._core.http.handler import HttpService
from inferd._core.http.head import Head
from inferd._core.http2.stream import Http2Call
from inferd.errors import NotFound, ResourceExhausted, Unauthenticated
from tests._core.http2_client import INFER, Client, Served, drain, frame, headers
from tests._core.http2_sockets import Sockets
from tests.wire import LIMIT_S

S = 10**9
PATH = "/v2/models/identity/infer"
NOISY = bytes(range(256)) * 64


class Rest(Served):
    """A server whose REST calls are kept for the test, or answered by `take`."""

    def __init__(self, take: Callable[[Any, Head], None] | None = None, **settings: Any) -> None:
        self.taken: list[tuple[Http2Call, Head]] = []
        super().__init__(http_handler=take or (lambda call, head: self.taken.append((call, head))), infer_method=INFER, **settings)

    def let_go(self) -> None:
        super().let_go()
        self.taken.clear()


def ask(client: Client, path: str = PATH, body: bytes | None = b"{}", *extra: tuple[str, str], verb: str = "POST", end: bool = True) -> int:
    stream_id = client.h2.get_next_available_stream_id()
    fields = [(":method", verb), (":scheme", "http"), (":path", path), (":authority", "test"), *extra]
    client.h2.send_headers(stream_id, fields, end_stream=body is None)
    if body is None:
        client.exchange()
    else:
        client.send(stream_id, body, end=end)
    return stream_id


def echo(call: Http2Call, head: Head) -> None:
    call.reply(call.message)


def length(nbytes: int) -> tuple[str, str]:
    return "content-length", str(nbytes)


def fields(client: Client, stream: int) -> dict[str, str]:
    """The headers of a response, but for the date, which all have."""
    found = dict(client.headers[stream])
    assert parsedate_to_datetime(found.pop("date"))
    return found


def error(client: Client, stream: int) -> tuple[str, str, str]:
    """Status, code and words of a rejection."""
    found = json.loads(client.bodies[stream])
    return client.headers[stream][":status"], found["code"], found["error"]


@pytest.mark.parametrize("size", [0, 2, 300, 300_000], ids=str)
@pytest.mark.parametrize("announced", [True, False], ids=["length", "no length"])
def test_a_body_comes_and_goes_whole(size: int, announced: bool, before: int) -> None:
    served = Rest(echo)
    client = Client(served)
    body = (NOISY * (size // len(NOISY) + 1))[:size]
    stream = ask(client, PATH, body or None, *([length(size)] if announced else []))
    assert client.bodies[stream] == body
    assert stream in client.ended
    assert stream not in client.trailers, "HTTP has no trailers"
    assert fields(client, stream) == {":status": "200", "content-type": "application/json", "content-length": str(size)}
    assert not client.resets
    assert (served.server.calls, served.server.totals["calls"]) == (0, 1)
    client.connection.close()


def test_the_handler_gets_the_head_and_the_call() -> None:
    served = Rest()
    client = Client(served)
    ask(client, "/v2/models/a%20b/versions/3/infer?x=1", b"{}", ("content-type", "application/json"), ("inferd-timeout-ms", "5000"))
    ask(client, "/v2/health/live", None, verb="GET")
    ask(client, "/other", b"", verb="DELETE")
    (infer, head), (live, live_head), (_, other_head) = served.taken
    assert (head.is_infer, head.model_name, head.model_version, head.host) == (True, b"a b", b"3", b"test")
    assert (head.content_type, head.query) == (b"application/json", b"x=1")
    assert (infer.method, bytes(infer.message or b""), infer.head) == (INFER, b"{}", head)
    assert time.monotonic_ns() < infer.deadline_ns <= time.monotonic_ns() + 5 * S
    assert (live.method, live_head.verb_name, live_head.path) == ("/v2/health/live", b"GET", b"/v2/health/live")
    assert other_head.verb_name == b"DELETE"
    client.connection.close()
    served.let_go()


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 3, 0, 1), (3, 2, 1, 0)], ids=str)
def test_pseudo_headers_come_in_any_order(order: tuple[int, ...]) -> None:
    served = Rest()
    client = Client(served)
    fields = [(":method", "PUT"), (":scheme", "http"), (":path", "/x"), (":authority", "here:8000")]
    for _ in range(2):  # the second time, :authority is known
        stream = client.h2.get_next_available_stream_id()
        client.h2.send_headers(stream, [fields[i] for i in order], end_stream=True)
    client.exchange()
    assert [(head.verb_name, head.target, head.host) for _, head in served.taken] == [(b"PUT", b"/x", b"here:8000")] * 2
    client.connection.close()
    served.let_go()


@pytest.mark.parametrize(("host", "status"), [("test", "200"), ("elsewhere", "400")])
def test_host_says_the_same_as_authority(host: str, status: str) -> None:
    client = Client(Rest(echo))
    client.h2.config.validate_outbound_headers = False
    stream = ask(client, PATH, b"{}", ("host", host))
    assert client.headers[stream][":status"] == status
    client.connection.close()


def test_grpc_stays_what_it_is() -> None:
    """Its methods, also for clients that do not say so, and unknown ones by its content type."""
    served = Rest(infer=lambda call: call.reply(call.message))
    client = Client(served)
    good = client.call(b"hello")
    assert client.status(good) == (0, "")
    unknown = client.call(b"", "/no.Service/Method")
    assert client.status(unknown)[0] == 12
    untyped = client.open(INFER, content_type="application/json")
    client.send(untyped, frame(b""))
    assert client.headers[untyped][":status"] == "415"
    assert client.bodies[untyped] == b"gRPC calls have the content-type application/grpc; paths of REST begin with /v2.\n"
    got = client.open(INFER, method="GET", end=True)
    client.exchange()
    assert client.headers[got][":status"] == "405"
    assert not served.taken
    client.connection.close()


def test_without_a_handler_there_is_no_rest() -> None:
    client = Client(Served())
    stream = ask(client)
    assert client.headers[stream][":status"] == "415"
    client.connection.close()


def test_a_response_with_tensors_in_binary() -> None:
    def answer(call: Http2Call, head: Head) -> None:
        head.response_json_nbytes = 2
        call.reply(b"{}\x01\x02")

    client = Client(Rest(answer))
    stream = ask(client, PATH, b"{}", ("x-request-id", "me-1"))
    assert fields(client, stream) == {
        ":status": "200",
        "content-type": "application/octet-stream",
        "inference-header-content-length": "2",
        "content-length": "4",
        "x-request-id": "me-1",
    }
    client.connection.close()


def test_any_other_response() -> None:
    def answer(call: Http2Call, head: Head) -> None:
        head.response_headers = ((b"vary", b"origin"),)
        call.respond(*responses[head.target])

    page = ((b"content-type", b"text/html"),)
    responses = {b"/docs": (200, page, b"<p>"), b"/gone": (204, (), b""), b"/moved": (302, ((b"location", b"/docs"),), b"")}
    client = Client(Rest(answer))
    docs, gone, moved = (ask(client, path.decode(), None, verb="GET") for path in responses)
    head = ask(client, "/docs", None, verb="HEAD")
    told = {"vary": "origin"}
    assert fields(client, docs) == {":status": "200", "content-type": "text/html", "content-length": "3", **told}
    assert fields(client, head) == fields(client, docs)
    assert (client.bodies[docs], client.bodies[head]) == (b"<p>", b"")
    assert fields(client, gone) == {":status": "204", **told}
    assert fields(client, moved) == {":status": "302", "location": "/docs", "content-length": "0", **told}
    assert client.ended == {docs, gone, moved, head}
    client.connection.close()


def test_too_many_headers_end_the_stream() -> None:
    client = Client(Rest(lambda call, head: call.respond(200, ((b"x", b"y"),) * 65, b"")))
    stream = ask(client)
    assert client.resets == {stream: 2}
    client.connection.close()


def test_a_rejection_is_json() -> None:
    def refuse(call: Http2Call, head: Head) -> None:
        if head.is_infer:
            raise ResourceExhausted("the queue is full", reason="queue_full", retry_after_ns=1_500_000_000)
        call.fail(NotFound("no model m"))

    served = Rest(refuse)
    client = Client(served)
    full, missing = ask(client), ask(client, "/v2/models/m", None, verb="GET")
    assert error(client, full) == ("429", "RESOURCE_EXHAUSTED", "the queue is full")
    assert client.headers[full]["retry-after"] == "2"
    assert error(client, missing) == ("404", "NOT_FOUND", "no model m")
    assert client.headers[missing]["content-type"] == "application/json"
    assert len(served.errors) == 1, "the service counts what was raised"
    client.connection.close()


def test_a_handler_may_ask_for_smaller_bodies() -> None:
    def admits(call: Http2Call, head: Head) -> None:
        head.max_body_nbytes = 10

    client = Client(Rest(HttpService(echo, echo, admits=admits)))
    known = ask(client, "/v2/repository/index", bytes(11), length(11))
    unknown = ask(client, "/v2/repository/index", bytes(11))
    assert [client.headers[stream][":status"] for stream in (known, unknown)] == ["413"] * 2
    client.connection.close()


def test_a_head_is_rejected_before_the_body_comes() -> None:
    served = Rest(max_message_nbytes=1000)
    client = Client(served)
    for extra, status, words in (
        (("content-length", "1001"), "413", "max_message_bytes"),
        (("content-encoding", "br"), "415", "Content-Encoding"),
        (("inferd-timeout-ms", "soon"), "400", "Inferd-Timeout-Ms"),
        (("x-long", "y" * 17_000), "431", "max_header_bytes"),
    ):
        stream = ask(client, PATH, b"{", extra, end=False)
        assert error(client, stream)[0] == status
        assert words in error(client, stream)[2]
        assert client.resets[stream] == 0, "the client is to stop"
    assert not served.taken
    client.connection.close()


@pytest.mark.parametrize("nbytes", [999, 1001])
def test_a_body_without_a_length_has_a_limit(nbytes: int, before: int) -> None:
    client = Client(Rest(echo, max_message_nbytes=1000))
    stream = ask(client, PATH, bytes(nbytes))
    assert client.headers[stream][":status"] == ("200" if nbytes < 1000 else "413")
    client.connection.close()


@pytest.mark.parametrize("nbytes", [1, 3])
def test_a_body_of_another_length_is_an_error(nbytes: int) -> None:
    served = Rest()
    client = Client(served)
    stream = client.h2.get_next_available_stream_id()
    client.h2.config.validate_outbound_headers = False
    client.h2.send_headers(stream, [*headers(PATH, content_type="application/json"), length(2)])
    client.send(stream, bytes(nbytes))
    assert client.resets == {stream: 1}
    assert not served.taken
    client.connection.close()


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("size", [3_000, 300_000])
def test_bodies_are_compressed_both_ways(coding: str, size: int, before: int) -> None:
    """A small one on the loop, a large one by a thread."""
    served = Rest(echo, compression="gzip")
    client = Client(served)
    body = (b"one line of text\n" * (size // 17 + 1))[:size]
    packed = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    stream = ask(client, PATH, packed, ("content-encoding", coding), ("accept-encoding", f"br, {coding}"))
    served.run_conversions()
    client.exchange()
    found = client.bodies[stream]
    assert (client.headers[stream]["content-encoding"], client.headers[stream]["vary"]) == (coding, "accept-encoding")
    assert client.headers[stream]["content-length"] == str(len(found))
    assert (gzip.decompress if coding == "gzip" else zlib.decompress)(found) == body
    assert served.server.totals["compressed"] == served.server.totals["decompressed"] == 1
    client.connection.close()


def test_a_body_that_is_not_compressed_as_it_says() -> None:
    served = Rest(max_message_nbytes=10_000)
    client = Client(served)
    wrong = ask(client, PATH, b"no gzip", ("content-encoding", "gzip"))
    bomb = ask(client, PATH, gzip.compress(bytes(1 << 20)), ("content-encoding", "gzip"))
    served.run_conversions()
    client.exchange()
    assert [client.headers[stream][":status"] for stream in (wrong, bomb)] == ["400", "413"]
    assert not served.taken
    client.connection.close()


def test_only_a_server_that_compresses_does() -> None:
    client = Client(Rest(echo))
    stream = ask(client, PATH, bytes(3000), ("accept-encoding", "gzip"))
    assert "content-encoding" not in client.headers[stream]
    client.connection.close()


def test_100_continue() -> None:
    class Told(Client):
        continued = False

        def take(self, event: h2.events.Event) -> None:
            self.continued |= isinstance(event, h2.events.InformationalResponseReceived)
            super().take(event)

    client = Told(Rest(echo))
    stream = ask(client, PATH, b"", ("expect", "100-continue"), end=False)
    assert client.continued
    client.send(stream, b"{}")
    assert client.bodies[stream] == b"{}"
    client.connection.close()


def test_tokens_are_asked_for() -> None:
    asked: list[tuple[str, bytes | None]] = []

    def authenticator(call: Any, authorization: bytes | None) -> bool:
        asked.append((call.method, authorization))
        if authorization != b"Bearer good":
            raise Unauthenticated("no token")
        return True

    client = Client(Rest(echo, authenticator=authenticator))
    bad = ask(client)
    assert error(client, bad)[:2] == ("401", "UNAUTHENTICATED")
    assert client.headers[bad]["www-authenticate"] == "Bearer"
    good = [ask(client, PATH, b"{}", ("authorization", "Bearer good")) for _ in range(2)]
    assert [client.headers[stream][":status"] for stream in good] == ["200"] * 2
    assert asked == [(INFER, None), (INFER, b"Bearer good")], "a good header counts for the connection"
    client.connection.close()


def test_browsers_ask_first_without_a_token() -> None:
    def authenticator(call: Any, authorization: bytes | None) -> bool:
        raise Unauthenticated("no token")

    client = Client(Rest(echo, authenticator=authenticator))
    first, then = ask(client, PATH, None, verb="OPTIONS"), ask(client)
    assert [client.headers[stream][":status"] for stream in (first, then)] == ["200", "401"]
    client.connection.close()


def test_a_body_that_does_not_come_is_late() -> None:
    served = Rest()
    client = Client(served)
    stalled = ask(client, PATH, b"{", length(100), end=False)
    late = ask(client, PATH, b"{", ("inferd-timeout-ms", "1000"), end=False)
    now_ns = time.monotonic_ns()
    client.connection.end_late_calls(now_ns, -1, 30 * S, 30 * S)
    client.connection.end_late_calls(now_ns + 2 * S, -1, 30 * S, 30 * S)
    client.exchange()
    assert error(client, late)[:2] == ("504", "DEADLINE_EXCEEDED")
    client.connection.end_late_calls(now_ns + 31 * S, -1, 30 * S, 30 * S)
    client.exchange()
    assert error(client, stalled)[0] == "408"
    assert served.server.totals["stalled"] == 1
    served.server.stopping = True  # then another replica may answer
    unfinished = ask(client, PATH, b"{", length(100), end=False)
    client.connection.end_late_calls(now_ns + 31 * S, -1, 30 * S, 30 * S)
    client.connection.end_late_calls(now_ns + 62 * S, -1, 30 * S, 30 * S)
    client.exchange()
    assert error(client, unfinished)[:2] == ("503", "UNAVAILABLE")
    client.connection.close()


def test_a_client_that_leaves_cancels_its_call() -> None:
    class Work:
        cancelled = False

        def cancel(self) -> None:
            self.cancelled = True

    served = Rest()
    client = Client(served)
    stream = ask(client)
    ((call, _),) = served.taken
    call.work = work = Work()
    client.h2.reset_stream(stream)
    client.exchange()
    assert (work.cancelled, call.settled, served.server.totals["abandoned"]) == (True, True, 1)
    call.reply(b"late")
    call.respond(200, (), b"late")
    client.connection.close()
    served.let_go()


def test_a_drain_waits_for_the_response() -> None:
    served = Rest()
    client = Client(served)
    stream = ask(client)
    drain(client.connection)
    client.exchange()
    assert client.goaways
    assert not client.closed_by_server
    # h2 takes GOAWAY for the end of everything; open streams go on (RFC 9113, 6.8).
    client.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
    served.taken.pop()[0].reply(b"{}")
    client.exchange()
    assert client.bodies[stream] == b"{}"
    assert client.closed_by_server


def test_no_memory_for_a_body_is_said(before: int) -> None:
    client = Client(Rest(echo))
    pool.set_budget(before + 200_000)
    stream = ask(client, PATH, bytes(400_000), length(400_000))
    assert client.headers[stream][":status"] == "429"
    client.connection.close()


def test_no_memory_for_the_words_of_a_rejection(before: int) -> None:
    def refuse(call: Http2Call, head: Head) -> None:
        pool.set_budget(1)
        raise NotFound("no model m")

    client = Client(Rest(refuse))
    stream = ask(client)
    assert (client.headers[stream][":status"], client.bodies[stream]) == ("404", b"")
    client.connection.close()


class Port:
    """A server without a loop on a TCP port. It echoes inferences, and names the HTTP method of all else."""

    def __init__(self, sockets: Sockets, listener: socket.socket) -> None:
        self.sockets, self.listener = sockets, listener
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def serve(self, *words: str) -> bytes:
        """Until this client's process has ended. Its output."""
        if shutil.which(words[0]) is None:
            pytest.skip(f"{words[0]} is not installed")
        limit_s = time.monotonic() + LIMIT_S
        with TemporaryFile() as output, subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT) as client:
            while client.poll() is None:
                assert time.monotonic() < limit_s
                self.sockets.turn()
                with suppress(BlockingIOError):
                    self.accept()
            output.seek(0)
            said = output.read()
        assert client.returncode == 0, said
        return said

    def accept(self) -> None:
        near, _ = self.listener.accept()
        near.setblocking(False)
        self.sockets.serve(near)


@pytest.fixture
def port() -> Iterator[Port]:
    def answer(call: Http2Call, head: Head) -> None:
        if head.is_infer:
            call.reply(call.message)
        else:
            call.respond(200, ((b"content-type", b"text/plain"),), head.verb_name)

    with Sockets(http_handler=answer, infer_method=INFER) as sockets, socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield Port(sockets, listener)


def test_curl(port: Port, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(NOISY * 50)
    curl = "curl", "-sS", "--http2-prior-knowledge"
    assert port.serve(*curl, "--data-binary", f"@{body}", port.url + PATH) == NOISY * 50
    assert port.serve(*curl, "-w", "%{http_version} %{http_code} %{content_type}", port.url + "/v2") == b"GET2 200 text/plain"


def test_nghttp(port: Port) -> None:
    assert port.serve("nghttp", port.url + "/v2/health/live") == b"GET"


def test_h2load(port: Port, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"{}" * 100)
    said = port.serve("h2load", "-n", "200", "-c", "2", "-m", "10", "-d", str(body), port.url + PATH)
    assert b"200 succeeded, 0 failed" in said
    assert port.sockets.server.totals["calls"] == 200
