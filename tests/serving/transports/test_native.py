"""What only the native transport can be asked: sockets of every kind, its limits, clients that leave or do not read, and the drain."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import socket
import threading
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from h2.settings import SettingCodes

from inferd import errors
from inferd._core.grpc.call import NO_DEADLINE, Call
from inferd.config import Address, Settings
from inferd.part.method import Method
from inferd.protocol import health
from inferd.serving.listening.listeners import ACCEPTED_AT_ONCE
from inferd.serving.memory.budget import CONNECTION_BYTES, settled
from inferd.serving.processes.systemd import Inherited
from inferd.serving.transports import native
from inferd.serving.transports.native import NativeTransport, Wave
from inferd.system.descriptors import fitting
from tests import models
from tests.echo_server_fixtures import ECHO, WATCH, look, serving
from tests.http2_peer import EMPTY_SETTINGS, PREFACE, Peer, connected, exchange, framed, reset_streams
from tests.server_fixtures import ServerFixture
from tests.wire import LIMIT_S, Caller, Held, infer_request, rows, same

S = 10**9
NEVER_S = 1e6


async def echoed(address: str, message: bytes = b"abc") -> bool:
    async with grpc.aio.insecure_channel(address) as channel:
        return bool(await channel.unary_unary(ECHO)(message, timeout=LIMIT_S) == message)


# ---- sockets


@pytest.mark.parametrize("kind", ["tcp", "name", "ipv6", "unix", "abstract"])
async def test_every_kind_of_address(kind: str, tmp_path: Path) -> None:
    address = {
        "tcp": Address("127.0.0.1", 0),
        "name": Address("localhost", 0),
        "ipv6": Address("::1", 0),
        "unix": Address("", 0, str(tmp_path / "s.sock")),
        "abstract": Address("", 0, f"@{tmp_path.name}-{os.getpid()}"),
    }[kind]
    async with serving(address) as (_, [bound]):
        assert bound == f"unix:{address.path}" if address.path else int(bound.rpartition(":")[2]) > 0
        assert await echoed(bound.replace("unix:@", "unix-abstract:"))
    assert not (address.path and Path(address.path).exists())  # noqa: ASYNC240


async def test_several_addresses(tmp_path: Path) -> None:
    addresses = (Address("127.0.0.1", 0), Address("::1", 0), Address("", 0, str(tmp_path / "a.sock")), Address("127.0.0.1", 0))
    async with serving(*addresses) as (_, bound):
        assert len(set(bound)) == 4
        for address in bound:
            assert await echoed(address)


async def test_a_socket_file_that_a_dead_server_left_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "s.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    assert Path(path).exists()  # noqa: ASYNC240
    async with serving(Address("", 0, path)) as (_, [bound]):
        assert await echoed(bound)


async def test_a_server_that_starts_while_another_drains_keeps_its_socket_file(tmp_path: Path) -> None:
    held: list[Call] = []
    path = tmp_path / "s.sock"
    address = Address("", 0, str(path))
    async with (
        serving(address, methods={ECHO: Method("infer", held.append)}) as (old, [bound]),
        grpc.aio.insecure_channel(bound) as channel,
    ):
        call = channel.unary_unary(ECHO)(b"abc", timeout=LIMIT_S)
        while not held:
            await asyncio.sleep(0)
        drained = asyncio.create_task(old.stop(LIMIT_S))
        await asyncio.sleep(0)
        async with serving(address):
            held.pop().reply(b"abc")
            old.flush()
            assert await call == b"abc"
            await drained
            assert await echoed(bound)
    assert not path.exists()


@pytest.mark.parametrize(("umask", "mode", "found"), [(0o077, -1, 0o700), (0o022, 0o660, 0o660), (0o077, 0o666, 0o666)])
async def test_the_permissions_of_a_socket_file(umask: int, mode: int, found: int, tmp_path: Path) -> None:
    path, before = tmp_path / "s.sock", os.umask(umask)
    try:
        async with serving(Address("", 0, str(path)), socket_mode=mode) as (_, [bound]):
            assert path.stat().st_mode & 0o777 == found
            assert await echoed(bound)
    finally:
        os.umask(before)


async def test_an_abstract_name_that_is_in_use(tmp_path: Path) -> None:
    address = Address("", 0, f"@{tmp_path.name}-{os.getpid()}")
    async with serving(address, socket_mode=0o600) as (_, [bound]):
        with pytest.raises(errors.StartError, match="it is in use"):
            async with serving(address):
                pass
        assert await echoed(bound.replace("unix:@", "unix-abstract:"))


async def test_what_is_in_use_stays(tmp_path: Path) -> None:
    """A socket that somebody listens on, a file that is no socket, a port."""
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(path))
        taken.listen()
        with pytest.raises(errors.StartError, match=r"s\.sock.*in use"):
            async with serving(Address("", 0, str(path))):
                pass
        assert path.exists()
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(errors.StartError, match=r"notes\.txt"):
        async with serving(Address("", 0, str(path))):
            pass
    assert path.read_text() == "mine"
    async with serving() as (_, [bound]):
        port = int(bound.rpartition(":")[2])
        with pytest.raises(errors.StartError, match=f"127.0.0.1:{port}: it is in use; expected a free .*0 picks a free one"):
            async with serving(Address("127.0.0.1", port)):
                pass
        assert await echoed(bound)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (Address("192.0.2.1", 0), "192.0.2.1:0: it is no address of this machine; .*another host"),
        (Address("", 0, "/nowhere/at/all.sock"), "all.sock: its folder does not exist; .*make the folder"),
    ],
)
async def test_an_address_that_cannot_be(address: Address, words: str) -> None:
    with pytest.raises(errors.StartError, match=words):
        async with serving(address):
            pass


async def test_reuse_port_lets_two_servers_share_one() -> None:
    async with serving(reuse_port=True) as (_, [bound]):
        port = int(bound.rpartition(":")[2])
        async with serving(Address("127.0.0.1", port), reuse_port=True) as (_, [other]):
            assert other == bound
            assert await echoed(bound)


# ---- limits


async def test_a_connection_over_the_limit_is_closed_at_once() -> None:
    async with serving(max_connections=2) as (transport, [bound]):

        def clients() -> None:
            with Peer(bound) as first, Peer(bound) as second:
                assert first.call(framed(b"1"), ECHO).body == framed(b"1")
                assert second.call(framed(b"2"), ECHO).body == framed(b"2")
                assert exchange(bound, PREFACE + EMPTY_SETTINGS) == b""
                assert first.call(framed(b"3"), ECHO).body == framed(b"3")

        await asyncio.to_thread(clients)
        assert transport.counters()["connections_refused_total"] == 1
        while transport.counters()["connections"]:  # the loop learns that both have left
            await asyncio.to_thread(lambda: None)
        assert await echoed(bound)


async def test_a_client_that_the_kernel_has_no_memory_for_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no memory to poll it")

    monkeypatch.setattr(native, "StreamSocket", type("Unpolled", (native.StreamSocket,), {"start": fail}))
    async with serving() as (transport, _):
        near, far = socket.socketpair()
        with far:
            transport.take(near, tls=True)
            assert far.recv(1) == b""
        counters = transport.counters()
        assert (counters["connections_refused_total"], counters["connections"]) == (1, 0)


def test_a_wave_is_over_when_a_quarter_of_it_is_left() -> None:
    """Once for each; one that was smaller is none."""
    wave = Wave(10)
    looks = [(9, False), (0, False), (10, False), (12, False), (4, False), (3, True), (0, False), (40, False), (11, False), (10, True)]
    assert [(count, wave.update(count)) for count, _ in looks] == looks


async def test_limits_of_connections_that_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is cut off for there being fewer; what is open is held to the new terms."""
    room: list[int] = []
    monkeypatch.setattr(native, "make_room", room.append)
    async with serving(max_connections=2) as (transport, [bound]):

        def asked(peer: Peer) -> None:
            assert peer.call(framed(b"1"), ECHO).body == framed(b"1")

        with Peer(bound) as first, Peer(bound) as second:
            await asyncio.to_thread(asked, first)
            await asyncio.to_thread(asked, second)
            assert transport.counters()["connection_bytes"] == 2 * CONNECTION_BYTES
            transport.limit(Settings(max_connections=1, max_connection_idle_s=1, max_connection_age_s=1000))
            assert await asyncio.to_thread(exchange, bound, PREFACE + EMPTY_SETTINGS) == b""
            await asyncio.to_thread(asked, first)
            transport.limit(Settings(max_connections=3))
            with Peer(bound) as third:
                await asyncio.to_thread(asked, third)
            transport.limit(Settings(max_connection_idle_s=1))
            look(transport, 1)
            look(transport, 3)
            assert transport.counters()["connections_idle_total"] >= 2
            assert room == [2, 1, 3, fitting(settled(Settings()).max_connections)]
        while transport.connections:
            await asyncio.sleep(0)
        assert transport.counters()["connection_bytes"] == 0


async def test_messages_up_to_the_limit() -> None:
    async with serving(max_message_bytes=100_000) as (_, [bound]):
        assert await echoed(bound, bytes(100_000))
        with pytest.raises(grpc.aio.AioRpcError, match="100001") as caught:
            await echoed(bound, bytes(100_001))
        assert caught.value.code().name == "RESOURCE_EXHAUSTED"


async def test_messages_together_have_a_limit() -> None:
    """message_memory_bytes: rejected with the words that say so, and served again when there is room."""
    from inferd._core.grpc import message as messages

    async with serving() as (_, [bound]):
        messages.set_budget(messages.in_use() + (1 << 20))
        try:
            with pytest.raises(grpc.aio.AioRpcError, match="message_memory_bytes") as caught:
                await echoed(bound, bytes(2 << 20))
            assert caught.value.code().name == "RESOURCE_EXHAUSTED"
            assert await echoed(bound, bytes(100_000))
        finally:
            messages.set_budget(1 << 30)
        assert await echoed(bound, bytes(2 << 20))


async def test_a_client_that_does_not_read_stops_nobody() -> None:
    """Its answers wait in its windows; beyond `max_unread_bytes` it is told so, and others go on."""
    async with serving(max_unread_bytes=1 << 20) as (_, [bound]):

        def deaf() -> list[int]:
            with Peer(bound) as peer, Peer(bound) as other:
                peer.ping()  # the server's windows are known
                peer.h2.acknowledge_received_data = lambda nbytes, stream: None  # type: ignore[method-assign]
                streams = [peer.open(ECHO) for _ in range(150)]
                for stream in streams:
                    peer.data(stream, framed(bytes(16_000)), end=True)
                rejected = [peer.wait(stream) for stream in streams[-10:]]
                assert {answer.status for answer in rejected} == {8}
                assert all("max_unread_bytes" in answer.message for answer in rejected)
                assert other.call(framed(b"me too"), ECHO).body == framed(b"me too")
                return [len(peer.answers[stream].body) for stream in streams]

        got = await asyncio.to_thread(deaf)
        assert sum(got) < 1 << 17  # no more than one window
        assert await echoed(bound)


# ---- how long connections last


async def greeted(transport: NativeTransport, address: str) -> Peer:
    """A client whose settings the server has seen, its newest."""
    peer = await asyncio.to_thread(Peer, address)
    assert (await asyncio.to_thread(peer.call, framed(b"1"), ECHO)).body == framed(b"1")
    look(transport, 0)
    return peer


async def test_a_client_that_is_gone_without_a_word_loses_its_connection() -> None:
    """Its socket is open and nobody reads: as half-open sockets are."""
    async with serving(keepalive_s=60, keepalive_timeout_s=20) as (transport, [bound]):
        with await greeted(transport, bound), await greeted(transport, bound) as good:
            look(transport, 59)
            look(transport, 60)
            good.h2.ping(b"12345678")  # any frame is a response
            good.send()
            before = transport.server.totals["received_nbytes"]
            while transport.server.totals["received_nbytes"] < before + 17:
                await asyncio.sleep(0)
            look(transport, 79)
            assert len(transport.connections) == 2
            look(transport, 80)
            while len(transport.connections) > 1:
                await asyncio.sleep(0)
            assert transport.counters()["connections_dead_total"] == 1
            assert (await asyncio.to_thread(good.call, framed(b"me too"), ECHO)).body == framed(b"me too")


async def test_connections_grow_old_one_by_one() -> None:
    """10 % earlier or later than max_connection_age_s."""
    async with serving(max_connection_age_s=1000, keepalive_s=0) as (transport, [bound]):
        ages = {transport.age_ns() for _ in range(1000)}
        assert 900 * S <= min(ages) < 910 * S
        assert 1090 * S < max(ages) <= 1100 * S
        with await greeted(transport, bound) as peer:
            look(transport, 899)
            assert transport.counters()["connections_retired_total"] == 0
            look(transport, 1100)
            look(transport, 1101)
            await asyncio.to_thread(peer.wait_for_end)
            assert [goaway.error_code for goaway in peer.goaways] == [0, 0]
            assert transport.counters()["connections_retired_total"] == 1


async def test_a_silent_connection_grows_old_in_two_looks() -> None:
    """A PING that is due at the same time waits."""
    async with serving(max_connection_age_s=100, keepalive_s=60) as (transport, [bound]):
        with await greeted(transport, bound) as peer:
            for now_s in (10, 120, 121):
                look(transport, now_s)
            await asyncio.to_thread(peer.wait_for_end)
            assert [goaway.error_code for goaway in peer.goaways] == [0, 0]


async def test_calls_of_an_old_connection_end_within_the_grace() -> None:
    held: list[Call] = []
    methods = {ECHO: Method("infer", held.append)}
    async with serving(methods=methods, max_connection_age_s=100, keepalive_s=0) as (transport, [bound]):
        with await asyncio.to_thread(Peer, bound) as peer:
            stream = peer.open(ECHO)
            peer.data(stream, framed(b"x"), end=True)
            while not held:
                await asyncio.sleep(0)
            for now_s in (0, 110, 111, 139):
                look(transport, now_s)
            assert transport.connections
            look(transport, 140)
            while transport.connections:
                await asyncio.sleep(0)
            assert transport.counters()["connections_overdue_total"] == 1
        held.clear()


async def test_a_connection_without_calls_leaves() -> None:
    async with serving(max_connection_idle_s=60) as (transport, [bound]):
        with await greeted(transport, bound) as peer:
            for now_s in (59, 60, 61):
                look(transport, now_s)
            await asyncio.to_thread(peer.wait_for_end)
            assert transport.counters()["connections_idle_total"] == 1


@pytest.mark.parametrize(("look_ns", "expected"), [(10**12, [3]), (0, [1, 1, 1])])
async def test_all_connections_are_looked_at_some_in_each_iteration_of_the_loop(
    monkeypatch: pytest.MonkeyPatch, look_ns: int, expected: list[int]
) -> None:
    """As many as LOOK_NS lasts for."""
    monkeypatch.setattr(native, "LOOK_NS", look_ns)
    looked = [0]

    def one(connection: Any, now_ns: int) -> None:
        looked[-1] += 1

    async with serving() as (transport, [bound]):
        with await greeted(transport, bound), await greeted(transport, bound), await greeted(transport, bound):
            monkeypatch.setattr(transport, "_look_at", one)
            transport._look()
            while transport._unlooked:
                looked.append(0)
                await asyncio.sleep(0)
        assert looked == expected


async def test_late_calls_of_all_connections_are_ended_some_in_each_iteration_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once they held the loop up, for everybody else, as often as a client made them so."""
    monkeypatch.setattr(native, "LOOK_NS", 0)
    async with serving() as (transport, [bound]):

        def ask(peer: Peer) -> None:
            for _ in range(150):
                peer.open(ECHO, extra=(("grpc-timeout", "1n"),))
            peer.ping()

        with await greeted(transport, bound) as one, await greeted(transport, bound) as other:
            for peer in (one, other):
                await asyncio.to_thread(ask, peer)
            assert transport.server.calls == 300
            transport._look()
            assert len(transport._unlooked) == 1, "the other connection's turn is in the next iteration"
            while transport.server.calls:
                await asyncio.sleep(0)


async def test_by_default_connections_stay() -> None:
    async with serving(keepalive_s=0) as (transport, [bound]):
        assert transport.age_ns() == 0
        with await greeted(transport, bound) as peer:
            for now_s in (3600, 10**6, 10**8):
                look(transport, now_s)
            assert (await asyncio.to_thread(peer.call, framed(b"2"), ECHO)).body == framed(b"2")


async def test_clients_of_grpc_that_ping_are_told_when_it_is_too_often() -> None:
    """What grpc's own client does on GOAWAY too_many_pings: it connects again."""
    async with serving(min_ping_interval_s=3600) as (transport, [bound]):

        def ping() -> tuple[int, bytes]:
            with Peer(bound) as peer:
                while not peer.closed:
                    peer.ping()
                return peer.goaways[0].error_code, peer.goaways[0].additional_data

        assert await asyncio.to_thread(ping) == (11, b"too_many_pings")
        assert transport.counters()["connections_pinging_total"] == 1
        assert await echoed(bound)


async def test_a_client_of_grpc_with_keepalive_stays() -> None:
    """PINGs each 10 ms, and a response between them: no GOAWAY."""
    options = [("grpc.keepalive_time_ms", 10), ("grpc.http2.max_pings_without_data", 0), ("grpc.keepalive_permit_without_calls", 1)]
    async with serving() as (transport, [bound]), grpc.aio.insecure_channel(bound, options) as channel:
        for _ in range(300):
            assert await channel.unary_unary(ECHO)(b"abc", timeout=LIMIT_S) == b"abc"
        assert transport.counters()["connections_opened_total"] == 1
        assert transport.counters()["connections_pinging_total"] == 0


async def test_a_request_that_does_not_come_whole_ends_its_call_and_nothing_else() -> None:
    """Half a message, headers alone, and a message without the stream's end: each is told, and the connection goes on."""
    async with serving(stall_timeout_s=5) as (transport, [bound]):

        def stop_halfway(peer: Peer) -> list[int]:
            halves = [peer.open(ECHO), peer.open(ECHO), peer.open(ECHO)]
            peer.data(halves[0], framed(bytes(1000))[:500], end=False)
            peer.data(halves[1], framed(bytes(1000)), end=False)
            peer.ping()
            return halves

        peer = await asyncio.to_thread(Peer, bound)
        with peer:
            halves = await asyncio.to_thread(stop_halfway, peer)
            for now_s in (0, 4.9, 5):
                assert transport.server.calls == 3
                look(transport, now_s)
            for stream in halves:
                answer = await asyncio.to_thread(peer.wait, stream)
                assert answer.status == 4
                assert "expected the whole request" in answer.message
                assert "for 5 s (stall_timeout_s)" in answer.message
            assert (await asyncio.to_thread(peer.call, framed(b"me too"), ECHO)).body == framed(b"me too")
        counters = transport.counters()
        assert (counters["streams_stalled_total"], counters["connections_stalled_total"]) == (3, 0)


async def test_a_client_that_reads_nothing_loses_its_connection_and_nobody_else() -> None:
    async with serving(stall_timeout_s=5) as (transport, [bound]):

        def fill() -> tuple[Peer, Peer]:
            deaf, good = Peer(bound), Peer(bound)
            deaf.ping()
            deaf.h2.acknowledge_received_data = lambda nbytes, stream: None  # type: ignore[method-assign]
            for _ in range(10):
                deaf.data(deaf.open(ECHO), framed(bytes(16_000)), end=True)
            deaf.ping()
            return deaf, good

        deaf, good = await asyncio.to_thread(fill)
        with deaf, good:
            for now_s in (0, 4.9, 5):
                assert transport.stalled_connections == 0
                look(transport, now_s)
            assert transport.stalled_connections == 1
            await asyncio.to_thread(deaf.wait_for_end)
            assert (await asyncio.to_thread(good.call, framed(b"me too"), ECHO)).body == framed(b"me too")


async def test_what_the_socket_does_not_take_costs_the_connection() -> None:
    """Windows of 1 GiB, and nothing is read from the socket: a response waits in the transport."""
    methods = {ECHO: Method("infer", lambda call: call.reply(bytes(32 << 20)))}
    async with serving(methods=methods, stall_timeout_s=5) as (transport, [bound]):

        def ask() -> Peer:
            peer = Peer(bound)
            peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 30})
            peer.h2.increment_flow_control_window(1 << 30)
            peer.ping()
            peer.data(peer.open(ECHO), framed(b""), end=True)
            return peer

        with await asyncio.to_thread(ask):
            while transport.server.calls == 0:
                await asyncio.sleep(0)
            [connection] = transport.connections
            while not connection.unsent_nbytes:
                await asyncio.sleep(0)
            for _ in range(100):
                await asyncio.sleep(0)
            assert connection.unsent_nbytes < 1 << 20  # the rest stays with HTTP/2
            look(transport, 0)
            assert transport.stalled_connections == 0
            look(transport, 5)
            assert transport.stalled_connections == 1
            while transport.connections:
                await asyncio.sleep(0)


async def test_a_watch_may_be_silent_but_keeps_no_messages_that_nobody_takes() -> None:
    ended = asyncio.Event()

    async def first_only(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        try:
            await anext(requests)
            yield health.HealthCheckResponse(status=1)
            await asyncio.Event().wait()
        finally:
            ended.set()

    methods = {WATCH: Method("stream", first_only, health.HealthCheckRequest, health.HealthCheckResponse)}
    async with serving(methods=methods, stall_timeout_s=5) as (transport, [bound]):

        def watch(peer: Peer) -> int:
            stream = peer.open(WATCH)
            peer.data(stream, framed(b""))
            while not peer.answers[stream].body:
                peer.read()
            return stream

        def send_more(peer: Peer, stream: int) -> None:
            peer.data(stream, framed(b"") + framed(bytes(40_000)))
            peer.ping()

        peer = await asyncio.to_thread(Peer, bound)
        with peer:
            stream = await asyncio.to_thread(watch, peer)
            for now_s in (0, 10, 20):
                look(transport, now_s)
            assert transport.server.totals["stalled"] == 0
            await asyncio.to_thread(send_more, peer, stream)
            for now_s in (30, 35):
                look(transport, now_s)
            assert (await asyncio.to_thread(peer.wait, stream)).status == 4
            await asyncio.wait_for(ended.wait(), LIMIT_S)


async def test_the_look_comes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "LOOK_S", 0.001)  # instead of waiting
    async with serving() as (transport, [bound]):
        peer = await asyncio.to_thread(Peer, bound)
        with peer:
            stream = await asyncio.to_thread(peer.open, ECHO)
            while not transport.server.calls:
                await asyncio.sleep(0)
            transport._stall_timeout_ns = 1
            assert (await asyncio.to_thread(peer.wait, stream)).status == 4
        assert transport.server.totals["stalled"] == 1


# ---- what arrives


async def test_a_request_a_byte_at_a_time() -> None:
    async with serving() as (_, [bound]):

        def client() -> bytes:
            with Peer(bound) as peer:
                peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                stream = peer.open(ECHO)
                for byte in framed(b"slow"):
                    peer.data(stream, bytes((byte,)))
                peer.data(stream, b"", end=True)
                return peer.wait(stream).body

        assert await asyncio.to_thread(client) == framed(b"slow")


async def test_a_stream_that_fails_under_way_leaves_nothing() -> None:
    """Its error holds the frames that it came through, and they the call."""
    seen: list[weakref.ref[errors.RequestError]] = []

    async def failing(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for _ in requests:
            yield health.HealthCheckResponse()
            error = errors.InvalidArgument("no more")
            seen.append(weakref.ref(error))
            raise error

    methods = {WATCH: Method("stream", failing, health.HealthCheckRequest, health.HealthCheckResponse)}
    async with serving(methods=methods) as (_, [bound]), grpc.aio.insecure_channel(bound) as channel:
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError, match="no more"):
                async for _ in channel.stream_stream(WATCH)(iter([b""]), timeout=LIMIT_S):
                    pass
    gc.collect()
    assert [error() for error in seen] == [None] * 3


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_a_client_that_pauses_within_a_fast_upload_is_heard_meanwhile(kind: str, tmp_path: Path) -> None:
    """The socket was told to wait for a good piece of the message, which does not come: other calls must not wait for it."""

    def attempt(address: str) -> None:
        with Peer(address) as peer:
            while peer.h2.remote_settings.initial_window_size < 1 << 20:
                peer.read()
            for _ in range(20):
                stream = peer.open(ECHO)
                body = framed(bytes(600_000))
                for at in range(0, 500_000, 10_000):  # all in one write
                    peer.h2.send_data(stream, body[at : at + 10_000])
                peer.send()
                answer = peer.call(framed(b"small"), ECHO)
                assert answer.body == framed(b"small")
                peer.ping()
                peer.h2.reset_stream(stream)
                peer.send()

    address = Address("127.0.0.1", 0) if kind == "tcp" else Address("", 0, str(tmp_path / "socket"))
    async with serving(address, stream_window_bytes=1 << 20) as (_, [bound]):
        await asyncio.to_thread(attempt, bound)


async def test_a_client_is_answered_without_delay() -> None:
    """Nagle's algorithm is off: a response of two writes would wait for an acknowledgement."""
    async with serving() as (transport, [bound]):
        with await greeted(transport, bound):
            [connection] = transport.connections
            assert connection.socket is not None
            assert connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_many_connections() -> None:
    async with serving() as (transport, [bound]):

        def clients() -> None:
            peers = [Peer(bound) for _ in range(100)]
            streams = [peer.open(ECHO) for peer in peers]
            for number, (peer, stream) in enumerate(zip(peers, streams, strict=True)):
                peer.data(stream, framed(b"%d" % number), end=True)
            for number, (peer, stream) in enumerate(zip(peers, streams, strict=True)):
                assert peer.wait(stream).body == framed(b"%d" % number)
                peer.socket.close()

        await asyncio.to_thread(clients)
        counters = transport.counters()
        assert counters["connections_opened_total"] == 100
        assert counters["streams_opened_total"] == 100
        assert counters["streams"] == 0
        while transport.counters()["connections"]:
            await asyncio.to_thread(lambda: None)


async def test_streams_are_answered_as_they_come_and_stop_when_nobody_reads() -> None:
    async with serving() as (_, [bound]), grpc.aio.insecure_channel(bound) as channel:
        call = channel.stream_stream(WATCH)(timeout=LIMIT_S)
        for count in (3, 0, 2):
            await call.write(health.HealthCheckRequest(service="x" * count).SerializeToString())
            for status in range(count):
                assert health.HealthCheckResponse.FromString(await call.read()).status == status
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert (await call.code()).name == "OK"


@pytest.mark.parametrize("content", [b"GET / HTTP/1.1\r\nHost: test\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n", b"OPTIONS * HTTP/1.1\r\n\r\n"])
async def test_http_1_is_told_what_this_port_is(content: bytes) -> None:
    async with serving() as (transport, [bound]):
        found = await asyncio.to_thread(lambda: exchange(bound, content))
        head, _, body = found.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 505 HTTP Version Not Supported\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        assert b"gRPC over HTTP/2" in body
        assert b"use a gRPC client" in body
        assert transport.counters()["protocol_errors_total"] == 1
        assert await echoed(bound)


async def test_a_connection_that_is_read_in_turns_loses_nothing() -> None:
    """An iteration of the loop has one turn."""
    async with serving() as (transport, [bound]):
        transport.poller.budget_ns = 0

        def ask() -> None:
            with Peer(bound) as peer:
                body = framed(bytes(range(256)) * 4000)
                assert peer.call(body, ECHO).body == body
                streams = [peer.open(ECHO) for _ in range(200)]
                for number, stream in enumerate(streams):
                    peer.h2.send_data(stream, framed(b"%d" % number), end_stream=True)
                peer.send()
                assert [peer.wait(stream).body for stream in streams] == [framed(b"%d" % number) for number in range(200)]

        await asyncio.to_thread(ask)


async def test_rapid_resets_end_the_connection_that_sends_them() -> None:
    async with serving(max_reset_rate=1000) as (_, [bound]):  # however slow this machine is

        def attack() -> None:
            with Peer(bound) as peer, pytest.raises(OSError, match=r"reset|pipe"):
                peer.socket.sendall(reset_streams(1, 500_000, ECHO))

        await asyncio.to_thread(attack)
        assert await echoed(bound)


# ---- leaving


@asynccontextmanager
async def one_open_call() -> AsyncIterator[tuple[NativeTransport, str, Call, Any]]:
    """A transport, its address, a call that the service holds, and the client's side of it."""
    calls: list[Call] = []
    async with serving(methods={ECHO: Method("infer", calls.append)}) as (transport, [bound]), grpc.aio.insecure_channel(bound) as channel:
        answer = channel.unary_unary(ECHO)(b"x", timeout=LIMIT_S)
        while not calls:
            await asyncio.sleep(0)
        yield transport, bound, calls[0], answer
    calls.clear()  # each refers to its method, and so to this list, unseen by the collector


async def stopped(transport: NativeTransport, *peers: Peer) -> None:
    """A drain whose clients close when the server has, so that no lingering close lasts. One that waits for its time to be over hangs."""
    stopping = asyncio.create_task(transport.stop(NEVER_S))
    for peer in peers:
        await asyncio.to_thread(peer.wait_for_end)
        peer.socket.close()
    await stopping


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_the_drain_serves_who_has_connected(kind: str, tmp_path: Path) -> None:
    """More than are accepted at once, who have sent a call. The loop has no turn before the drain begins: they wait in the kernel."""
    address = Address("127.0.0.1", 0) if kind == "tcp" else Address("", 0, str(tmp_path / "s"))
    async with serving(address) as (transport, [bound]):
        with ExitStack() as stack:
            peers = [stack.enter_context(Peer(bound)) for _ in range(ACCEPTED_AT_ONCE + 10)]
            for peer in peers:
                peer.data(peer.open(ECHO), framed(b"x"), end=True)
            await stopped(transport, *peers)
            for peer in peers:
                assert (peer.answers[1].status, peer.answers[1].body) == (0, framed(b"x"))
                assert [goaway.error_code for goaway in peer.goaways] == [0, 0]


async def test_the_drain_takes_no_more_than_may_be_open() -> None:
    async with serving(max_connections=5) as (transport, [bound]):
        with ExitStack() as stack:
            peers = [stack.enter_context(Peer(bound)) for _ in range(20)]
            await stopped(transport, *peers)
        assert (transport.counters()["connections_opened_total"], transport.counters()["connections_refused_total"]) == (5, 15)


async def test_who_waits_at_a_socket_that_others_gave_is_left_to_the_next_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        async with serving() as (transport, _):
            address = await transport.adopt(Inherited(theirs.dup(), False), tls=False)
            with Peer(str(address)) as peer:
                await transport.stop(LIMIT_S)
                async with serving() as (successor, _):
                    await successor.adopt(Inherited(theirs.dup(), False), tls=False)
                    assert (await asyncio.to_thread(peer.call, framed(b"x"), ECHO)).body == framed(b"x")


async def test_the_drain_waits_for_an_answer_and_takes_no_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with one_open_call() as (transport, bound, call, answer):
        stopping = asyncio.create_task(transport.stop(LIMIT_S))
        await asyncio.sleep(0)  # it has begun
        with pytest.raises(OSError):
            await asyncio.to_thread(lambda: connected(bound).close())
        assert not stopping.done()
        call.reply(b"y")
        transport.flush()
        assert await answer == b"y"
        await stopping
    assert "cut off" not in caplog.text


async def test_the_drain_ends_when_its_time_is_over(caplog: pytest.LogCaptureFixture) -> None:
    async with one_open_call() as (transport, _, call, answer):
        await transport.stop(0)
        assert "1 calls of 1 connections were cut off: drain_timeout_s, 0 s, is over; raise it" in caplog.text
        while not call.settled:  # the loop tells it that its connection is gone
            await asyncio.sleep(0)
        call.reply(b"too late")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await answer
        assert caught.value.code().name == "UNAVAILABLE"


@pytest.mark.parametrize("path", [ECHO, WATCH])
async def test_the_drain_does_not_wait_for_a_request_that_does_not_come(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "DRAIN_STALL_NS", 1)  # instead of waiting
    async with serving() as (transport, [bound]):

        def stop_halfway(peer: Peer) -> int:
            stream = peer.open(path)
            peer.ping()
            return stream

        peer = await asyncio.to_thread(Peer, bound)
        with peer:
            stream = await asyncio.to_thread(stop_halfway, peer)
            await stopped(transport, peer)
            answer = peer.answers[stream]
            assert answer.status == 14
            assert "another replica" in answer.message


@pytest.mark.parametrize("windows", ["of the stream", "of the connection"])
async def test_the_drain_does_not_wait_for_a_client_that_does_not_read(windows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "DRAIN_UNREAD_NS", 1)  # instead of waiting
    async with serving() as (transport, [bound]):

        def ask(peer: Peer) -> None:
            size = 70_000 if windows == "of the connection" else 1
            if size == 1:
                peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
            peer.ping()
            peer.h2.acknowledge_received_data = lambda nbytes, stream: None  # type: ignore[method-assign]
            peer.data(peer.open(ECHO), framed(bytes(size)), end=True)
            peer.ping()

        peer = await asyncio.to_thread(Peer, bound)
        with peer:
            await asyncio.to_thread(ask, peer)
            await stopped(transport, peer)


async def test_the_drain_waits_for_a_request_that_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "DRAIN_STALL_NS", 60 * S)
    async with serving() as (transport, [bound]):
        peer = await asyncio.to_thread(Peer, bound)
        with peer:
            stream = await asyncio.to_thread(peer.open, ECHO)
            await asyncio.to_thread(peer.ping)
            stopping = asyncio.create_task(transport.stop(LIMIT_S))
            while not transport.server.stopping:
                await asyncio.sleep(0)
            await asyncio.to_thread(peer.data, stream, framed(b"late"), end=True)
            assert (await asyncio.to_thread(peer.wait, stream)).body == framed(b"late")
            await asyncio.to_thread(peer.wait_for_end)
        await stopping


async def test_the_deadline_reaches_the_service_as_monotonic_time() -> None:
    deadlines: list[int] = []

    def look(call: Call) -> None:
        deadlines.append(call.deadline_ns)
        call.reply(b"")

    async with serving(methods={ECHO: Method("infer", look)}) as (_, [bound]), grpc.aio.insecure_channel(bound) as channel:
        before = time.monotonic_ns()
        await channel.unary_unary(ECHO)(b"", timeout=50)
        await channel.unary_unary(ECHO)(b"")
    assert before + 49e9 < deadlines[0] < time.monotonic_ns() + 51e9
    assert deadlines[1] == NO_DEADLINE


# ---- over real models


def test_clients_that_vanish_leave_nothing(tmp_path: Path) -> None:
    """200 of them, at every point of a request, beside one that is served all the time."""
    files = models.repository(tmp_path, {"identity": models.identity(), "slow": models.slow(20)})
    message = framed(infer_request("slow", {"x": rows(1, 64)}).SerializeToString())
    with ServerFixture(files) as served, Caller(served.address) as caller:
        caller.answers("identity", {"x": rows(1)})
        held = Held(served)
        stop, served_on = threading.Event(), threading.Event()
        turns: list[int] = []

        def somebody_else() -> None:
            while not stop.is_set():
                same(caller.answers("identity", {"x": rows(2, first=len(turns))}), {"y": rows(2, first=len(turns))})
                turns.append(1)
                if len(turns) > 10:
                    served_on.set()

        other = threading.Thread(target=somebody_else)
        other.start()
        number = 0
        while number < 200 or not served_on.is_set():
            assert number < 5000, "nobody else was served meanwhile"
            peer = Peer(served.address)
            cut = number % 200 * len(message) // 199
            peer.data(peer.open(), message[:cut], end=cut == len(message))
            peer.vanish()
            number += 1
        stop.set()
        other.join(LIMIT_S)
        held.check()
        same(caller.answers("identity", {"x": rows(1)}), {"y": rows(1)})


async def test_a_connection_that_was_closed_is_not_kept() -> None:
    """Nobody waits any longer to cut it off: thousands a second that come back after each rejection would pile up."""
    async with serving() as (transport, [bound]):
        host, port = bound.rsplit(":", 1)
        with socket.create_connection((host, int(port)), LIMIT_S) as client:
            client.sendall(PREFACE + EMPTY_SETTINGS)
            while not transport.connections:
                await asyncio.sleep(0)
            [connection] = transport.connections
            kept = weakref.ref(connection.client)
            del connection
            client.sendall(b"\0\0\0\x06\0\0\0\0\0")  # a PING without its bytes
            await asyncio.to_thread(lambda: list(iter(lambda: client.recv(1 << 16), b"")))
        while transport.open_connections:
            await asyncio.sleep(0)
        assert kept() is None
