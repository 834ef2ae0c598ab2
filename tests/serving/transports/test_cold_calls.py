"""Calls that run as tasks: which begin, or go on, when, and what is left of those whose client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inferd.part.method import Method
from inferd.protocol import health
from inferd.serving.transports.cold_calls import PROBES, Turn, Turns
from inferd.serving.transports.native import NativeTransport
from tests.echo_server_fixtures import serving
from tests.http2_peer import Peer, framed
from tests.wire import LIMIT_S

COLD = "/test.T/Cold"
TYPES = health.HealthCheckRequest, health.HealthCheckResponse


def lines(transport: NativeTransport) -> tuple[Turns, Turns]:
    return transport._cold_calls._probes, transport._cold_calls._others


async def hold(transport: NativeTransport) -> None:
    """Nothing begins any more: the iteration that follows the last turn is over."""
    async with asyncio.timeout(LIMIT_S):
        while any(turns._is_scheduled for turns in lines(transport)):
            await asyncio.sleep(0)
    for turns in lines(transport):
        turns._is_scheduled, turns._left = True, 0


def go_on(transport: NativeTransport) -> None:
    for turns in lines(transport):
        turns._begin_iteration()


def waiting(transport: NativeTransport) -> int:
    return sum(len(turns._waiting) for turns in lines(transport))


def running(transport: NativeTransport) -> int:
    return len(transport._cold_calls._tasks)


def body(name: str) -> bytes:
    return framed(health.HealthCheckRequest(service=name).SerializeToString())


@pytest.mark.parametrize("quick", [False, True])
async def test_calls_that_run_as_tasks_begin_by_turns_of_their_connections(quick: bool) -> None:
    """One connection with many of them leaves the next place to another's."""
    seen: list[str] = []

    async def serve(request: Any) -> Any:
        seen.append(request.service)
        return health.HealthCheckResponse()

    methods = {COLD: Method("unary", serve, *TYPES, quick=quick)}
    async with serving(methods=methods) as (transport, [bound]):
        await hold(transport)
        with Peer(bound) as busy, Peer(bound) as other:

            def ask() -> None:
                for peer, name, count in ((busy, "busy", 40), (other, "other", 1)):
                    for _ in range(count):
                        peer.data(peer.open(COLD), body(name), end=True)
                    peer.ping()

            await asyncio.to_thread(ask)
            go_on(transport)
            async with asyncio.timeout(LIMIT_S):
                while len(seen) < 41:
                    await asyncio.sleep(0)
    assert seen == ["busy", "other"] + 39 * ["busy"]


@pytest.mark.parametrize(("quick", "begin"), [(False, 1), (True, PROBES)])
async def test_of_calls_that_run_as_tasks_few_begin_in_an_iteration(quick: bool, begin: int) -> None:
    async def serve(request: Any) -> Any:
        return health.HealthCheckResponse()

    methods = {COLD: Method("unary", serve, *TYPES, quick=quick)}
    async with serving(methods=methods) as (transport, [bound]):
        await hold(transport)
        with Peer(bound) as peer:

            def ask() -> list[int]:
                streams = [peer.open(COLD) for _ in range(2 * begin + 1)]
                for stream in streams:
                    peer.data(stream, framed(b""), end=True)
                peer.ping()
                return streams

            streams = await asyncio.to_thread(ask)
            go_on(transport)
            assert (running(transport), waiting(transport)) == (begin, begin + 1)
            assert [(await asyncio.to_thread(peer.wait, stream)).status for stream in streams] == [0] * len(streams)


async def test_a_call_whose_deadline_passes_while_it_waits_does_not_run() -> None:
    ran = []

    async def serve(request: Any) -> Any:
        ran.append(request)
        return health.HealthCheckResponse()

    async with serving(methods={COLD: Method("unary", serve, *TYPES)}) as (transport, [bound]):
        await hold(transport)
        with Peer(bound) as peer:

            def ask() -> int:
                stream = peer.open(COLD, extra=(("grpc-timeout", "1n"),))
                peer.data(stream, body("late"), end=True)
                peer.ping()
                return stream

            stream = await asyncio.to_thread(ask)
            go_on(transport)
            assert (await asyncio.to_thread(peer.wait, stream)).status == 4
    assert not ran


async def test_a_turn_that_raises_does_not_stop_those_behind_it() -> None:
    loop, seen = asyncio.get_running_loop(), []
    told: list[object] = []
    loop.set_exception_handler(lambda loop, context: told.append(context["exception"]))
    turns = Turns(loop, 1)
    turns.take(Turn(turns, 1, lambda: seen.append("first")))
    turns.take(Turn(turns, 1, lambda: seen.append(1 / 0)))
    turns.take(Turn(turns, 1, lambda: seen.append("last")))
    async with asyncio.timeout(LIMIT_S):
        while len(seen) < 2:
            await asyncio.sleep(0)
    assert (seen, len(told)) == (["first", "last"], 1)


async def test_streams_go_on_by_turns_of_their_connections() -> None:
    """Many messages on many open streams are as much work as many calls."""
    seen: list[str] = []

    async def serve(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            seen.append(request.service)
            yield health.HealthCheckResponse()

    methods = {COLD: Method("stream", serve, *TYPES)}

    async with serving(methods=methods) as (transport, [bound]):
        with Peer(bound) as busy, Peer(bound) as other:
            streams = {peer: [peer.open(COLD) for _ in range(count)] for peer, count in ((busy, 10), (other, 1))}
            await asyncio.to_thread(lambda: [peer.ping() for peer in streams])
            async with asyncio.timeout(LIMIT_S):
                while running(transport) < 11:
                    await asyncio.sleep(0)
            await hold(transport)

            def ask() -> None:
                for peer, name in ((busy, "busy"), (other, "other")):
                    for stream in streams[peer]:
                        peer.data(stream, 3 * body(name))
                    peer.ping()

            await asyncio.to_thread(ask)
            async with asyncio.timeout(LIMIT_S):
                while waiting(transport) < 11:
                    await asyncio.sleep(0)
            assert seen == []
            go_on(transport)
            async with asyncio.timeout(LIMIT_S):
                while len(seen) < 33:
                    await asyncio.sleep(0)
    assert seen[:2] == ["busy", "other"]
    assert not waiting(transport)


async def test_who_leaves_a_stream_that_waits_for_its_turn_leaves_nothing() -> None:
    async def serve(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for _ in requests:
            yield health.HealthCheckResponse()

    methods = {COLD: Method("stream", serve, *TYPES)}
    async with serving(methods=methods) as (transport, [bound]):
        with Peer(bound) as peer:
            stream = peer.open(COLD)
            await asyncio.to_thread(peer.ping)
            async with asyncio.timeout(LIMIT_S):
                while not running(transport):
                    await asyncio.sleep(0)
            await hold(transport)
            await asyncio.to_thread(lambda: (peer.data(stream, framed(b"")), peer.ping()))
            assert waiting(transport) == 1
        async with asyncio.timeout(LIMIT_S):
            while transport.connections or running(transport):
                await asyncio.sleep(0)
        go_on(transport)
        assert not waiting(transport)
        assert not any(turns._is_scheduled for turns in lines(transport))


async def test_probes_wait_for_no_others() -> None:
    async def serve(request: Any) -> Any:
        return health.HealthCheckResponse()

    methods = {COLD: Method("unary", serve, *TYPES), "/test.T/Probe": Method("unary", serve, *TYPES, quick=True)}
    async with serving(methods=methods) as (transport, [bound]):
        others = transport._cold_calls._others
        others._is_scheduled, others._left = True, 0  # as long as the loop is at others
        with Peer(bound) as peer:
            waiting = await asyncio.to_thread(peer.open, COLD)
            await asyncio.to_thread(peer.data, waiting, framed(b""), end=True)
            assert (await asyncio.to_thread(peer.call, framed(b""), "/test.T/Probe")).status == 0
            assert not peer.answers[waiting].over
            others._begin_iteration()
            assert (await asyncio.to_thread(peer.wait, waiting)).status == 0


@pytest.mark.parametrize("kind", ["unary", "stream"])
async def test_who_takes_a_call_back_before_its_task_begins_leaves_nothing(kind: Any) -> None:
    """On a connection that stays: else resets would fill the line beyond every limit of calls."""

    async def serve(request: Any) -> Any:
        raise AssertionError("nobody waits for this")

    method = Method(kind, serve, *TYPES, max_open=5 if kind == "stream" else 0)
    async with serving(methods={COLD: method}, min_ping_interval_s=0) as (transport, [bound]):
        await hold(transport)
        with Peer(bound) as peer:

            def ask() -> list[int]:
                streams = [peer.open(COLD) for _ in range(5)]
                for stream in streams:
                    peer.data(stream, framed(b""), end=True)
                peer.ping()
                return streams

            def take_back(streams: list[int]) -> None:
                for stream in streams:
                    peer.h2.reset_stream(stream)
                peer.ping()

            for _ in range(2):
                streams = await asyncio.to_thread(ask)
                assert waiting(transport) == 5
                await asyncio.to_thread(take_back, streams)
                assert not waiting(transport)
            [connection] = transport.connections
            assert connection.client.open_by_method[method] == 0
            assert not running(transport)


async def test_who_leaves_before_its_task_begins_leaves_nothing() -> None:
    async def serve(request: Any) -> Any:
        raise AssertionError("nobody waits for this")

    async with serving(methods={COLD: Method("unary", serve, *TYPES)}) as (
        transport,
        [bound],
    ):
        await hold(transport)
        with Peer(bound) as peer:

            def ask() -> None:
                for _ in range(5):
                    peer.data(peer.open(COLD), framed(b""), end=True)
                peer.ping()

            await asyncio.to_thread(ask)
            assert waiting(transport) == 5
        async with asyncio.timeout(LIMIT_S):
            while transport.connections or running(transport):
                await asyncio.sleep(0)
        go_on(transport)
        assert not waiting(transport)
        assert not any(turns._is_scheduled for turns in lines(transport))


async def test_who_asks_a_method_of_one_message_twice_leaves_nothing() -> None:
    """Neither what waits for its turn nor what has begun."""
    begun = asyncio.Event()

    async def serve(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        begun.set()
        await asyncio.Event().wait()
        yield health.HealthCheckResponse()

    methods = {COLD: Method("stream", serve, *TYPES, single=True, max_open=2)}
    async with serving(methods=methods) as (transport, [bound]):
        with Peer(bound) as peer:
            first = peer.open(COLD)
            async with asyncio.timeout(LIMIT_S):
                await begun.wait()
            await hold(transport)
            second = peer.open(COLD)
            await asyncio.to_thread(peer.ping)
            assert (running(transport), waiting(transport)) == (1, 1)
            for stream in (first, second):
                peer.data(stream, 2 * body("x"))
            answers = [await asyncio.to_thread(peer.wait, stream) for stream in (first, second)]
            assert [answer.status for answer in answers] == [12, 12]
            go_on(transport)
            async with asyncio.timeout(LIMIT_S):
                while running(transport) or waiting(transport):
                    await asyncio.sleep(0)
            [connection] = transport.connections
            assert not +connection.client.open_by_method
