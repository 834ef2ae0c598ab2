"""How a connection ends: its client gets the last bytes, whatever it still sends, and nobody waits for it for ever."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import numpy as np
import pytest
from h2.settings import SettingCodes

from inferd._core.grpc.call import Call
from inferd.config import Address
from inferd.part.method import Method
from inferd.serving.transports.native import NativeTransport
from tests import http2_peer, models
from tests.certificates import Files
from tests.echo_server_fixtures import ECHO, look, serving
from tests.http2_peer import EMPTY_SETTINGS, NO_PING, PREFACE, Peer, connected, exchange, framed
from tests.rest import Asker, infer_body
from tests.server_fixtures import ServerFixture
from tests.wire import INFER, LIMIT_S, Caller, infer_request, rows, same

S = 10**9
UNKNOWN = 64 * (b"\0\x04\0\xff\0\0\0\0\0" + bytes(1024))  # frames of a kind that nobody knows, which are no error


def narrow(address: str) -> socket.socket:
    """A socket of whose response little is in the client's kernel at a time, in packets that fit."""
    client = socket.socket(socket.AF_UNIX if address.startswith("unix:") else socket.AF_INET)
    client.settimeout(LIMIT_S)
    if client.family == socket.AF_UNIX:
        client.connect(address.removeprefix("unix:"))
        return client
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
    host, _, port = address.rpartition(":")
    client.connect((host, int(port)))
    return client


def narrow_by_tls(address: str) -> socket.socket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(narrow(address))


def narrow_at_the_server(transport: NativeTransport) -> None:
    """Its kernel takes little of a response; the rest waits in `unsent`."""
    [connection] = transport.connections
    assert connection.socket is not None
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)


@pytest.mark.parametrize("kind", ["tcp", "unix", "tls"])
@pytest.mark.parametrize("why", ["drain", "age", "error"])
async def test_a_client_that_reads_slowly_and_opens_windows_gets_all(
    why: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its WINDOW_UPDATEs come when HTTP/2 is over: a kernel answers them with a reset where the socket is closed, and the rest is lost."""
    monkeypatch.setattr(http2_peer, "connected", narrow_by_tls if kind == "tls" else narrow)
    address = Address("", 0, str(tmp_path / "s")) if kind == "unix" else Address("127.0.0.1", 0, tls=kind == "tls")
    settings = Files.made(tmp_path).settings() if kind == "tls" else {}
    methods = {ECHO: Method("infer", lambda call: call.reply(bytes(200_000)))}
    async with serving(address, methods=methods, max_connection_age_s=1000, stall_timeout_s=3600, **settings) as (transport, [bound]):

        def ask() -> Peer:
            peer = Peer(bound)
            peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
            peer.h2.increment_flow_control_window(1 << 20)
            peer.ping()
            narrow_at_the_server(transport)
            peer.data(peer.open(ECHO), framed(b""), end=True)
            return peer

        def read_on(peer: Peer) -> None:
            while not peer.closed:
                for _ in range(4):  # by TLS a record each
                    peer.h2.increment_flow_control_window(1)
                    peer.send()
                peer.read()

        peer = await asyncio.to_thread(ask)
        stopping = None
        with peer:
            [connection] = transport.connections
            while transport.server.totals["sent_nbytes"] < 200_000 or connection.calls:
                await asyncio.sleep(0)
            assert connection.unsent_nbytes > 0
            if why == "drain":
                stopping = asyncio.create_task(transport.stop(LIMIT_S))
            elif why == "age":
                for now_s in (1, 1200, 1201):
                    look(transport, now_s)
            else:
                peer.socket.sendall(NO_PING)
            await asyncio.to_thread(read_on, peer)
            assert len(peer.answers[1].body) == 5 + 200_000
            assert peer.answers[1].status == 0
            assert peer.goaways[-1].error_code == (6 if why == "error" else 0)
        if stopping is not None:
            await stopping
        while transport.open_connections:
            await asyncio.sleep(0)


async def test_http_1_is_told_so_whatever_it_uploads() -> None:
    async with serving() as (_, [bound]):

        def post() -> bytes:
            with connected(bound) as client:
                client.sendall(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n")
                for _ in range(100):
                    client.sendall(bytes(10_000))
                return b"".join(iter(lambda: client.recv(1 << 16), b""))

        assert (await asyncio.to_thread(post)).startswith(b"HTTP/1.1 505 ")


@pytest.mark.parametrize("why", ["age", "error"])
async def test_a_client_that_sends_for_ever_is_cut_off(why: str) -> None:
    """No time has to pass: it has a limit of bytes. Others are served meanwhile."""
    async with serving(connection_window_bytes=1 << 20, max_connection_age_s=1000) as (transport, [bound]):

        def send() -> None:
            with connected(bound) as client:
                client.sendall(PREFACE + EMPTY_SETTINGS + (NO_PING if why == "error" else b""))
                with suppress(ConnectionError):
                    while True:
                        client.sendall(UNKNOWN)

        def another() -> bytes:
            with Peer(bound) as peer:
                return peer.call(framed(b"me too"), ECHO).body

        sending = asyncio.create_task(asyncio.to_thread(send))
        while not transport.server.connections:
            await asyncio.sleep(0)
        if why == "age":
            for now_s in (1, 1200, 1201):
                look(transport, now_s)
        assert await asyncio.to_thread(another) == framed(b"me too")
        await sending
        while transport.open_connections:
            await asyncio.sleep(0)


async def test_a_drain_does_not_wait_for_clients_that_keep_a_socket_open() -> None:
    """No longer than a lingering close does."""
    async with serving() as (transport, [bound]):

        def greeted() -> Peer:
            peer = Peer(bound)
            peer.ping()
            return peer

        with ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(await asyncio.to_thread(greeted))
            stopping = asyncio.create_task(transport.stop(3600))
            async with asyncio.timeout(LIMIT_S):
                while len(transport.server.lingering) < 20:
                    await asyncio.sleep(0)
                for later_s in (100, 102):
                    for closing in list(transport.server.lingering):
                        closing.look(time.monotonic_ns() + later_s * S)
                await stopping
        assert not transport.open_connections


async def test_a_client_that_has_not_taken_its_response_when_a_drain_ends_is_spoken_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2_peer, "connected", narrow)
    methods = {ECHO: Method("infer", lambda call: call.reply(bytes(200_000)))}
    async with serving(methods=methods) as (transport, [bound]):

        def ask(opened: ExitStack) -> None:
            peer = opened.enter_context(Peer(bound))
            peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
            peer.h2.increment_flow_control_window(1 << 20)
            peer.ping()
            narrow_at_the_server(transport)
            peer.data(peer.open(ECHO), framed(b""), end=True)

        with ExitStack() as opened:
            await asyncio.to_thread(ask, opened)
            while transport.server.totals["sent_nbytes"] < 200_000:
                await asyncio.sleep(0)
            async with asyncio.timeout(LIMIT_S):
                await transport.stop(0.2)
    assert "1 connections were cut off whose clients had not taken all that was sent to them: drain_timeout_s, 0.2 s" in caplog.text


@pytest.mark.parametrize("kind", ["tcp", "tls"])
async def test_a_lingering_close_counts_as_a_connection_and_has_no_call(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Files.made(tmp_path).settings() if kind == "tls" else {}
    address = Address("127.0.0.1", 0, tls=kind == "tls")
    held: list[Call] = []
    async with serving(address, methods={ECHO: Method("infer", held.append)}, max_connections=1, **settings) as (transport, [bound]):
        transport._look_timer.cancel()  # however slow this machine is

        def err() -> Peer:
            peer = Peer(bound)
            peer.data(peer.open(ECHO), framed(b"1"), end=True)
            peer.socket.sendall(NO_PING)
            peer.wait_for_end()
            return peer

        with monkeypatch.context() as narrowed:
            narrowed.setattr(http2_peer, "connected", narrow_by_tls if kind == "tls" else narrow)
            peer = await asyncio.to_thread(err)
        with peer:
            while not held or not held[0].settled:
                await asyncio.sleep(0)
            assert (transport.counters()["connections"], len(transport.connections)) == (1, 0)
            assert await asyncio.to_thread(exchange, bound, PREFACE + EMPTY_SETTINGS) == b""
        while transport.counters()["connections"]:
            await asyncio.sleep(0)
        held.clear()


async def test_a_handshake_that_takes_too_long_counts_once(tmp_path: Path) -> None:
    """However often the connection is looked at before its next turn frees it."""
    async with serving(Address("127.0.0.1", 0, tls=True), **Files.made(tmp_path).settings()) as (transport, [bound]):
        with await asyncio.to_thread(connected, bound):
            async with asyncio.timeout(LIMIT_S):
                while not transport.connections:
                    await asyncio.sleep(0)
            [connection] = transport.connections
            connection.client.made_s = float("-inf")
            for _ in range(3):
                transport._look_at(connection, 0)
        assert transport.counters()["handshakes_failed_total"] == 1


# ---- HTTP/2 on a port of REST, whichever way the client asks for it: gRPC works there


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.repository(tmp_path_factory.mktemp("models"), {"identity": models.identity()})


@pytest.fixture(scope="module")
def served(model: Path) -> Iterator[ServerFixture]:
    with ServerFixture(model, http_port=0) as server:
        yield server


def test_http2_with_prior_knowledge(served: ServerFixture) -> None:
    with Caller(served.http) as caller, Asker(served.http) as asker:
        same(caller.answers("identity", {"x": rows(2)}), {"y": rows(2)})
        assert asker.post("/v2/models/identity/infer", infer_body("x", "FP32", [1, 16], [1] * 16)).status == 200
    assert served.on_loop(lambda: served.server.edge._grpc.counters()["connections_opened_total"]) >= 2


def test_http2_by_tls_keeps_who_the_client_is(model: Path, tmp_path: Path) -> None:
    files = Files.made(tmp_path / "tls")
    rules = {"tls_client_ca": str(files.ca), "tls_allow": ("dns:good.test",)}
    request = infer_request("identity", {"x": np.ones((1, 16), np.float32)}).SerializeToString()
    with ServerFixture(model, http_port=0, **files.settings(**rules)) as served:
        with files.channel(served.http, files.authority.issue_cert("good.test")) as channel:
            assert channel.unary_unary(INFER)(request, timeout=LIMIT_S)
        with files.channel(served.http, files.authority.issue_cert("bad.test")) as channel, pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(INFER)(request, timeout=LIMIT_S)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED  # type: ignore[attr-defined]
