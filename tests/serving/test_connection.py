"""How a connection ends: its client gets the last bytes, whatever it still sends, and nobody waits for it for ever."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
from h2.settings import SettingCodes

from inferd._core.grpc.call import Call
from inferd.config import Address
from inferd.serving import connection as of_connections
from inferd.serving.connection import CLOSE_TIMEOUT_S, CLOSING_S, JUDGED_NBYTES, Connection
from inferd.serving.method import Method
from tests import http2_peer
from tests.certificates import Files
from tests.echo_server_fixtures import ECHO, serving
from tests.http2_peer import EMPTY_SETTINGS, NO_PING, PREFACE, Peer, connected, exchange, framed
from tests.wire import LIMIT_S

S = 10**9
UNKNOWN = 64 * (b"\0\x04\0\xff\0\0\0\0\0" + bytes(1024))  # frames of a kind that nobody knows, which are no error
RECEIVE_NBYTES = 64 << 10  # _core/http2/server_state.pxd


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


@pytest.mark.parametrize("kind", ["tcp", "unix", "tls"])
@pytest.mark.parametrize("why", ["drain", "age", "error"])
async def test_who_reads_slowly_and_opens_windows_gets_all(why: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it sends comes when HTTP/2 is done: a socket that is closed would answer with a reset, for which the client loses what waits."""
    monkeypatch.setattr(of_connections, "CLOSING_S", 3600.0)  # however slow this machine is
    monkeypatch.setattr(http2_peer, "connected", narrow_by_tls if kind == "tls" else narrow)
    address = Address("", 0, str(tmp_path / "s")) if kind == "unix" else Address("127.0.0.1", 0, tls=kind == "tls")
    settings = Files.made(tmp_path).settings() if kind == "tls" else {}
    methods = {ECHO: Method("infer", lambda call: call.reply(bytes(200_000)))}
    async with serving(address, methods=methods, max_connection_age_s=1000, **settings) as (transport, [bound]):

        def ask() -> Peer:
            peer = Peer(bound)
            peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
            peer.h2.increment_flow_control_window(1 << 20)
            peer.ping()
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
            if why == "drain":
                stopping = asyncio.create_task(transport.stop(LIMIT_S))
            elif why == "age":
                for now_s in (0, 1100, 1101):
                    transport._age(now_s * S)
            else:
                peer.socket.sendall(NO_PING)
            while connection._cut_off is None:
                await asyncio.sleep(0)
            await asyncio.to_thread(read_on, peer)
            assert len(peer.answers[1].body) == 5 + 200_000
            assert peer.answers[1].status == 0
            assert peer.goaways[-1].error_code == (6 if why == "error" else 0)
        if stopping is not None:
            await stopping
        while transport.connections:
            await asyncio.sleep(0)


async def test_who_reads_slowly_by_tls_is_not_cut_off_for_what_tls_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a megabyte, of which the loop's count and the kernel's know nothing while the kernel has as much as it takes."""
    monkeypatch.setattr(of_connections, "CLOSING_S", 3600.0)
    monkeypatch.setattr(http2_peer, "connected", narrow_by_tls)
    methods = {ECHO: Method("infer", lambda call: call.reply(bytes(1_500_000)))}
    async with serving(Address("127.0.0.1", 0, tls=True), methods=methods, **Files.made(tmp_path).settings()) as (transport, [bound]):

        def ask() -> Peer:
            peer = Peer(bound)
            peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 4 << 20})
            peer.h2.increment_flow_control_window(4 << 20)
            peer.data(peer.open(ECHO), framed(b""), end=True)
            peer.read()
            return peer

        with await asyncio.to_thread(ask) as peer:
            [connection] = transport.connections
            while connection.calls:
                await asyncio.to_thread(peer.read)
            connection.drain()
            while not connection.is_closing:  # GOAWAY waits until the transport has room
                await (asyncio.to_thread(peer.read) if connection.waiting_nbytes() else asyncio.sleep(0))
            connection._cut_off.cancel()  # the looks are this test's
            looks = 0
            async with asyncio.timeout(LIMIT_S):
                while not peer.answers[1].over:
                    before = connection.taken_nbytes()
                    await asyncio.to_thread(peer.read)
                    if connection.taken_nbytes() > before + 5120:
                        connection._cut_off_unless_moved()
                        connection._cut_off.cancel()
                        looks += 1
            assert len(peer.answers[1].body) == 5 + 1_500_000
            assert looks > 10


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
async def test_who_sends_for_ever_is_cut_off(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And little of it is read, others having their turns between. After an error not even a timeout is waited for."""
    monkeypatch.setattr(of_connections, "CLOSE_TIMEOUT_S", 3600.0 if why == "error" else 0.5)
    async with serving(connection_window_bytes=1 << 20) as (transport, [bound]):

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
        while not transport.connections:
            await asyncio.sleep(0)
        [connection] = transport.connections
        if why == "age":
            connection.drain()
        while not connection.closed:
            await asyncio.sleep(0)
        assert connection.judged == (why == "error")
        assert await asyncio.to_thread(another) == framed(b"me too")
        await sending
        while connection in transport.connections:
            await asyncio.sleep(0)
        assert 0 <= -connection._unwanted_nbytes < RECEIVE_NBYTES


async def test_a_drain_does_not_wait_for_who_keeps_a_socket_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_connections, "CLOSE_TIMEOUT_S", 3600.0)
    async with serving() as (transport, [bound]):

        def greeted() -> Peer:
            peer = Peer(bound)
            peer.ping()
            return peer

        with ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(await asyncio.to_thread(greeted))
            async with asyncio.timeout(LIMIT_S):
                await transport.stop(3600)
        assert not transport.connections


async def test_who_has_not_taken_its_answer_when_a_drain_ends_is_spoken_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2_peer, "connected", narrow)
    methods = {ECHO: Method("infer", lambda call: call.reply(bytes(200_000)))}
    async with serving(methods=methods) as (transport, [bound]):

        def ask(opened: ExitStack) -> None:
            peer = opened.enter_context(Peer(bound))
            peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
            peer.h2.increment_flow_control_window(1 << 20)
            peer.data(peer.open(ECHO), framed(b""), end=True)

        with ExitStack() as opened:
            await asyncio.to_thread(ask, opened)
            while transport.server.totals["sent_nbytes"] < 200_000:
                await asyncio.sleep(0)
            async with asyncio.timeout(LIMIT_S):
                await transport.stop(2)
    assert "1 connections were cut off whose clients had not taken all that was sent to them: drain_timeout_s, 2 s" in caplog.text


@pytest.mark.parametrize("kind", ["tcp", "tls"])
async def test_who_is_waited_for_counts_and_has_no_call_any_more(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Files.made(tmp_path).settings() if kind == "tls" else {}
    address = Address("127.0.0.1", 0, tls=kind == "tls")
    held: list[Call] = []
    async with serving(address, methods={ECHO: Method("infer", held.append)}, max_connections=1, **settings) as (transport, [bound]):

        def err() -> Peer:
            peer = Peer(bound)
            peer.data(peer.open(ECHO), framed(b"1"), end=True)
            peer.socket.sendall(NO_PING)
            peer.wait_for_end()
            return peer

        monkeypatch.setattr(of_connections, "CLOSING_S", 3600.0)  # however slow this machine is
        with monkeypatch.context() as narrowed:
            narrowed.setattr(http2_peer, "connected", narrow_by_tls if kind == "tls" else narrow)
            peer = await asyncio.to_thread(err)
        with peer:
            while not held or not held[0].closed:
                await asyncio.sleep(0)
            assert transport.counters()["connections"] == 1
            assert await asyncio.to_thread(exchange, bound, PREFACE + EMPTY_SETTINGS) == b""
        while transport.counters()["connections"]:
            await asyncio.sleep(0)
        held.clear()


async def test_who_says_by_tls_that_it_leaves_has_no_call_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it has not read what was written to it, which it may still do."""
    monkeypatch.setattr(http2_peer, "connected", narrow_by_tls)
    held: list[Call] = []

    def answer(call: Call) -> None:
        held.append(call)
        if len(held) == 1:
            call.reply(bytes(3_000_000))

    settings = Files.made(tmp_path).settings()
    async with serving(Address("127.0.0.1", 0, tls=True), methods={ECHO: Method("infer", answer)}, **settings) as (transport, [bound]):

        def ask() -> Peer:
            peer = Peer(bound)
            peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 4 << 20})
            peer.h2.increment_flow_control_window(4 << 20)
            for _ in range(2):
                peer.data(peer.open(ECHO), framed(b""), end=True)
            return peer

        with await asyncio.to_thread(ask) as peer:
            [connection] = transport.connections
            while len(held) < 2 or not connection.waiting_nbytes():
                await asyncio.sleep(0)
            with suppress(ssl.SSLError):  # of the response that comes first
                await asyncio.to_thread(peer.socket.unwrap)  # type: ignore[attr-defined]
            while not held[1].closed:
                await asyncio.sleep(0)
            assert connection.is_closing
            assert connection in transport.connections
        while transport.connections:
            await asyncio.sleep(0)
        held.clear()


async def test_nothing_is_written_by_tls_to_a_socket_that_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the iteration of the loop in which it goes, before its connection hears of that."""
    held: list[Call] = []
    settings = Files.made(tmp_path).settings()
    methods = {ECHO: Method("infer", held.append)}
    async with serving(Address("127.0.0.1", 0, tls=True), methods=methods, **settings) as (transport, [bound]):

        def ask(address: str) -> Peer:
            peer = Peer(address)
            peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 4 << 20})
            peer.h2.increment_flow_control_window(4 << 20)
            peer.data(peer.open(ECHO), framed(b""), end=True)
            return peer

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(http2_peer, "connected", narrow_by_tls)
            peer = await asyncio.to_thread(ask, bound)
        with peer:
            while not held:
                await asyncio.sleep(0)
            [connection] = transport.connections
            connection.abort()
            held.pop().reply(bytes(3_000_000))
            transport.flush()
            while transport.connections:
                await asyncio.sleep(0)
        assert "SSL connection is closed" not in caplog.text


# ---- how long that lasts, by hand


class Closing:
    """A transport of a loop whose client does not close. The kernel has nothing for it."""

    def __init__(self, opened: socket.socket) -> None:
        self.opened, self.left, self.aborted = opened, 0, False
        self.said: list[str] = []

    def get_extra_info(self, name: str) -> socket.socket:
        return self.opened

    def get_write_buffer_size(self) -> int:
        return self.left

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.said.append("pause_reading")

    def write_eof(self) -> None:
        self.said.append("write_eof")

    def set_read_buffer_limits(self) -> None:
        self.said.append("set_read_buffer_limits")

    def close(self) -> None:
        self.said.append("close")

    def abort(self) -> None:
        self.aborted = True


@asynccontextmanager
async def closing(left: int, kind: type[Connection] = Connection) -> AsyncIterator[tuple[Connection, Closing]]:
    """A connection with which HTTP/2 is done, while so many bytes are left to its client."""
    near, far = socket.socketpair()
    async with serving() as (transport, _):
        connection, made = kind(transport, lambda: None), Closing(near)
        connection._socket = made  # type: ignore[assignment]
        connection._is_local = True
        made.left = left
        connection.look_at_closing(True, 1e9)  # of one that is open
        connection._close_socket()
        with near, far:
            yield connection, made
        if connection._cut_off is not None:
            connection._cut_off.cancel()


@pytest.mark.parametrize("draining", [False, True])
async def test_who_has_all_and_is_silent_need_not_close(draining: bool) -> None:
    async with closing(1) as (connection, made):
        assert made.said == ["pause_reading", "write_eof"]
        begun_s = connection._silent_since_s
        connection.look_at_closing(draining, begun_s + 9)
        made.left = 0
        connection.look_at_closing(draining, begun_s + 9 + 0.9 * CLOSING_S)
        assert not made.aborted
        connection._was_heard = True
        connection.look_at_closing(draining, begun_s + 20)
        connection.look_at_closing(draining, begun_s + 20 + 0.9 * CLOSING_S)
        assert not made.aborted
        connection.look_at_closing(draining, begun_s + 20 + CLOSING_S)
        assert made.aborted


async def test_who_slept_by_tls_is_read_to_its_end() -> None:
    """With the limits of sleep uvloop reads, and reads not, by turns."""

    class Asleep(Connection):
        def _close_socket(self) -> None:
            self._tls, self._asleep = Reader(), True  # type: ignore[assignment]
            super()._close_socket()

    class Reader:
        def close(self) -> None: ...

        def take_turns(self, *nobody: None) -> None: ...

    async with closing(0, Asleep) as (_, made):
        assert made.said == ["set_read_buffer_limits", "close"]


async def test_of_who_has_said_more_than_is_read_silence_says_nothing() -> None:
    async with closing(0) as (connection, made):
        connection._unwanted_nbytes = 0
        connection.look_at_closing(True, connection._silent_since_s + 9)
        assert not made.aborted
        connection._cut_off_unless_moved()
        assert made.aborted


@pytest.mark.parametrize("gone", ["the transport's", "closed"])
async def test_a_socket_that_is_gone_has_nothing_to_say(gone: str) -> None:
    """By TLS the loop closes it before its connection hears of that."""
    async with closing(0) as (connection, made):
        if gone == "closed":
            made.opened.close()
        else:
            made.opened = None  # type: ignore[assignment]
        assert connection.unsent_nbytes() == 0
        connection.look_at_closing(True, connection._silent_since_s + CLOSING_S)
        assert made.aborted


async def test_who_takes_last_bytes_as_fast_as_it_must_is_not_cut_off() -> None:
    least = int(CLOSE_TIMEOUT_S * 1024)
    async with closing(10 * least) as (connection, made):
        for left in (9, 8, 7):
            made.left = left * least
            connection._cut_off_unless_moved()
            assert not made.aborted
        made.left -= least - 1
        connection._cut_off_unless_moved()
        assert made.aborted


async def test_who_has_taken_all_has_as_long_again_to_close() -> None:
    async with closing(100) as (connection, made):
        made.left = 0
        connection._cut_off_unless_moved()
        assert not made.aborted
        connection._cut_off_unless_moved()
        assert made.aborted


async def test_who_ended_for_an_error_is_cut_off_however_it_reads() -> None:
    class Judged(Connection):
        judged = True

    async with closing(1 << 20, Judged) as (connection, made):
        assert connection._unwanted_nbytes == JUDGED_NBYTES < connection.server.limits["connection_window_nbytes"]
        made.left = 1 << 10
        connection._cut_off_unless_moved()
        assert made.aborted
