"""Calls that fail, wait, move to another address and end, with real servers and both clients."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from inferd_client import AsyncClient, Client, InferenceError, Retry, balance, sender

from tests.echo_server import EchoServer, Rejection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.clients.python.conftest import AtEachPause, ManualClock
    from tests.echo_server import Awaited

X = {"x": np.ones(3)}
LIMIT_S = 30  # longer than anything here takes
FAR_S = 4 * LIMIT_S  # of what is to be ended by something else, within LIMIT_S
AWAY = Rejection(grpc.StatusCode.UNAVAILABLE)
FULL = Rejection(grpc.StatusCode.RESOURCE_EXHAUSTED)
FULL_FOR_A_WHILE = Rejection(grpc.StatusCode.RESOURCE_EXHAUSTED, 1.5)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[EchoServer]]:
    """Three of them."""
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    servers = [EchoServer(folder) for folder in folders]
    yield servers
    for server in servers:
        server.cancelled.set()
        server.stop()


@pytest.fixture
def long_absences(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that is left out stays out as long as the test."""
    monkeypatch.setattr(balance, "FIRST_ABSENCE_S", 1000.0)
    monkeypatch.setattr(balance, "LONGEST_ABSENCE_S", 1000.0)


async def reach(client: Awaited, *servers: EchoServer) -> None:
    """Calls until each of the servers has had one."""
    before = [server.infer_calls for server in servers]
    while any(server.infer_calls == count for server, count in zip(servers, before, strict=True)):
        await client.infer("echo", X)
        await asyncio.sleep(0)


# Retries


async def test_a_call_that_fails_is_sent_again(server: EchoServer, connect: Callable[..., Awaited], clock: ManualClock) -> None:
    server.rejections.extend([AWAY, AWAY])
    result = await connect(server.target).infer("echo", X)
    assert result["x"].sum() == 3
    assert server.infer_calls == 3
    assert len(clock.pauses) == 2
    assert 0 <= clock.pauses[0] <= 0.1
    assert 0 <= clock.pauses[1] <= 0.2


async def test_the_servers_wish_is_kept(server: EchoServer, connect: Callable[..., Awaited], clock: ManualClock) -> None:
    server.rejections.append(FULL_FOR_A_WHILE)
    await connect(server.target).infer("echo", X)
    [pause] = clock.pauses
    assert 1.5 <= pause <= 1.6


@pytest.mark.parametrize("rejection", [FULL, Rejection(grpc.StatusCode.INTERNAL)])
async def test_other_rejections_are_final(
    server: EchoServer, connect: Callable[..., Awaited], clock: ManualClock, rejection: Rejection
) -> None:
    server.rejections.append(rejection)
    with pytest.raises(InferenceError) as raised:
        await connect(server.target).infer("echo", X)
    assert raised.value.code is rejection.code
    assert isinstance(raised.value.__cause__, grpc.RpcError)
    assert not clock.pauses


async def test_without_retries(server: EchoServer, connect: Callable[..., Awaited]) -> None:
    server.rejections.append(AWAY)
    with pytest.raises(InferenceError, match="UNAVAILABLE: rejected for a test"):
        await connect(server.target, retry=None).infer("echo", X)
    assert server.infer_calls == 1


async def test_a_step_of_a_sequence_is_sent_once(server: EchoServer, connect: Callable[..., Awaited]) -> None:
    server.rejections.append(AWAY)
    with pytest.raises(InferenceError, match="UNAVAILABLE"):
        await connect(server.target).infer("echo", X, parameters={"sequence_id": 7})
    assert server.infer_calls == 1


async def test_no_wait_goes_past_the_timeout(server: EchoServer, connect: Callable[..., Awaited], clock: ManualClock) -> None:
    server.rejections.extend([FULL_FOR_A_WHILE] * 2)
    client = connect(server.target, timeout=1.5)
    with pytest.raises(InferenceError) as raised:
        await client.infer("echo", X)
    assert raised.value.retry_after == 1.5
    assert not clock.pauses
    await client.infer("echo", X, timeout=10)
    assert server.remaining is not None
    assert server.remaining < 9, "what the first attempt and the wait took is gone"


async def test_one_timeout_for_the_models_metadata_the_token_and_the_call(
    server: EchoServer, connect: Callable[..., Awaited], clock: ManualClock
) -> None:
    def token() -> str:
        clock.now += 1
        return "t"

    await connect(server.target, token=token).infer("echo", {"x": [1]}, timeout=10)
    assert server.metadata_calls == 1
    assert server.remaining is not None
    assert server.remaining < 9


async def test_a_restart_is_waited_out(tmp_path: Path, connect: Callable[..., Awaited], at_each_pause: AtEachPause) -> None:
    """The server comes up, on its socket, while the call waits to be sent again."""
    started: list[EchoServer] = []
    at_each_pause(lambda: None if started else started.append(EchoServer(tmp_path)))
    client = connect(f"unix:{tmp_path / 'echo.sock'}", retry=Retry(attempts=10))
    assert await client.server_live(timeout=LIMIT_S)
    started[0].stop()


async def test_an_outage_ends_the_repetitions(server: EchoServer, connect: Callable[..., Awaited], clock: ManualClock) -> None:
    server.rejections.extend([AWAY] * 40)
    client = connect(server.target, retry=Retry(attempts=3, tokens=20))
    for _ in range(10):
        with pytest.raises(InferenceError):
            await client.infer("echo", X)
    assert server.infer_calls == 3 * 3 + 7, "the tenth failure closed the budget"


# Several addresses


@pytest.mark.parametrize("balance", ["round_robin", "least_in_flight"])
async def test_addresses_take_the_calls_in_turn(servers: list[EchoServer], connect: Callable[..., Awaited], balance: str) -> None:
    client = connect([server.target for server in servers], balance=balance, timeout=LIMIT_S)
    await reach(client, *servers)
    before = [server.infer_calls for server in servers]
    for _ in range(9):
        await client.infer("echo", X)
    assert [server.infer_calls - count for server, count in zip(servers, before, strict=True)] == [3, 3, 3]


async def test_the_least_busy_address_gets_the_call(servers: list[EchoServer], connect: Callable[..., Awaited]) -> None:
    pair = servers[:2]
    client = connect([server.unix_target for server in pair], balance="least_in_flight", timeout=LIMIT_S)
    await reach(client, *pair)
    for server in pair:
        server.gate.clear()
    waiting = client.begin("infer", "echo", X)
    while not any(server.arrived.is_set() for server in pair):
        await asyncio.sleep(0)
    busy, idle = sorted(pair, key=lambda server: not server.arrived.is_set())
    idle.gate.set()
    before = busy.infer_calls
    for _ in range(6):
        await client.infer("echo", X)
    assert busy.infer_calls == before
    busy.gate.set()
    await waiting


async def test_calls_go_on_when_one_dies_and_it_is_used_again_when_it_is_back(
    servers: list[EchoServer], connect: Callable[..., Awaited], tmp_path: Path
) -> None:
    client = connect([server.unix_target for server in servers], timeout=LIMIT_S)
    await reach(client, *servers)
    servers[0].stop()
    for _ in range(30):
        await client.infer("echo", X)
    servers[0] = EchoServer(tmp_path / "a")  # on the same socket
    await reach(client, servers[0])


async def test_with_every_address_gone_the_error_says_so(servers: list[EchoServer], connect: Callable[..., Awaited]) -> None:
    client = connect([server.unix_target for server in servers], timeout=LIMIT_S, retry=Retry(initial_delay=0.001))
    await reach(client, *servers)
    for server in servers:
        server.stop()
    with pytest.raises(InferenceError) as raised:
        await client.infer("echo", X)
    assert raised.value.code is grpc.StatusCode.UNAVAILABLE


async def test_one_that_was_never_there_does_no_harm(servers: list[EchoServer], connect: Callable[..., Awaited], tmp_path: Path) -> None:
    client = connect([f"unix:{tmp_path / 'nobody.sock'}", servers[0].target], timeout=LIMIT_S)
    for _ in range(20):
        await client.infer("echo", X)


async def test_where_one_is_full_the_others_answer(servers: list[EchoServer], connect: Callable[..., Awaited]) -> None:
    full, idle = servers[:2]
    full.rejections.extend([Rejection(grpc.StatusCode.RESOURCE_EXHAUSTED, 59)] * 30)
    client = connect([full.target, idle.target], timeout=LIMIT_S)
    for _ in range(12):
        await client.infer("echo", X)
    assert full.infer_calls <= 1
    assert idle.infer_calls == 12


async def test_where_all_are_full_the_refusal_comes_at_once(servers: list[EchoServer], connect: Callable[..., Awaited]) -> None:
    for server in servers:
        server.rejections.append(Rejection(grpc.StatusCode.RESOURCE_EXHAUSTED, 59))
    with pytest.raises(InferenceError) as raised:
        await connect([server.target for server in servers[:2]], timeout=LIMIT_S).infer("echo", X)
    assert raised.value.retry_after == 59
    assert [server.infer_calls for server in servers] == [1, 1, 0]


@pytest.mark.usefixtures("long_absences")
async def test_a_server_that_refuses_is_left_out(servers: list[EchoServer], connect: Callable[..., Awaited]) -> None:
    client = connect([server.target for server in servers], timeout=LIMIT_S, retry=Retry(initial_delay=0.001))
    await reach(client, *servers)
    rejecting = servers[1]
    before = rejecting.infer_calls
    rejecting.rejections.append(AWAY)
    for _ in range(12):
        await client.infer("echo", X)
    assert rejecting.infer_calls == before + 1


# Hedging


@pytest.mark.parametrize("stuck", [0, 1])
async def test_the_first_answer_counts_and_the_other_request_is_cancelled(
    servers: list[EchoServer], connect: Callable[..., Awaited], stuck: int
) -> None:
    pair = servers[:2]
    client = connect([server.target for server in pair], timeout=FAR_S, hedge_after=0.02)
    await reach(client, *pair)
    pair[stuck].gate.clear()
    while not pair[stuck].arrived.is_set():
        assert (await client.infer("echo", X))["x"].sum() == 3
    assert await asyncio.to_thread(pair[stuck].cancelled.wait, LIMIT_S)


@pytest.mark.usefixtures("long_absences")
async def test_a_server_that_stopped_answering_is_left_out(servers: list[EchoServer], connect: Callable[..., Awaited]) -> None:
    """However slow the machine is: the other server can only be overtaken by the one that answers nothing."""
    stopped, other = servers[:2]
    stopped.gate.clear()
    client = connect([stopped.target, other.target], timeout=FAR_S, hedge_after=0.02)
    place, _ = client.client._sender._policy.balancer._addresses
    while not place.is_out(monotonic()):
        await client.infer("echo", X)
    assert place.silences == balance.SILENCES
    before = stopped.infer_calls
    for _ in range(12):
        await client.infer("echo", X)
    assert stopped.infer_calls == before


async def test_errors_of_a_hedged_call(servers: list[EchoServer], connect: Callable[..., Awaited]) -> None:
    client = connect([server.target for server in servers], timeout=LIMIT_S, hedge_after=5.0)
    with pytest.raises(InferenceError, match="NOT_FOUND") as raised:
        await client.infer("nothing", X)
    assert isinstance(raised.value.__cause__, grpc.RpcError)


# Threads, tasks and ends


def test_many_threads_share_a_client(servers: list[EchoServer]) -> None:
    targets = [server.target for server in servers]
    with Client(targets, timeout=LIMIT_S, hedge_after=5.0) as client, ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda number: client.infer("echo", {"x": np.full(4, number)})["x"][0], range(64))
        assert list(answers) == list(range(64))
        assert [address.in_flight for address in client._sender._policy.balancer._addresses] == [0, 0, 0]


async def test_many_tasks_share_a_client(servers: list[EchoServer]) -> None:
    targets = [server.target for server in servers]
    async with AsyncClient(targets, timeout=LIMIT_S, hedge_after=5.0) as client:
        results = await asyncio.gather(*(client.infer("echo", {"x": np.full(4, number)}) for number in range(64)))
        assert [address.in_flight for address in client._sender._policy.balancer._addresses] == [0, 0, 0]
    assert [int(result["x"][0]) for result in results] == list(range(64))


@pytest.mark.parametrize("hedge_after", [None, 0.001])
async def test_cancelling_the_task_cancels_all_of_its_requests(servers: list[EchoServer], hedge_after: float | None) -> None:
    pair = servers[:2]
    async with AsyncClient([server.target for server in pair], hedge_after=hedge_after) as client:
        while not all(server.infer_calls for server in pair):
            await client.infer("echo", X)
        for server in pair:
            server.gate.clear()
        task = asyncio.ensure_future(client.infer("echo", X))
        while sum(server.arrived.is_set() for server in pair) < (2 if hedge_after else 1):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for server in pair:
            if server.arrived.is_set():
                assert await asyncio.to_thread(server.cancelled.wait, LIMIT_S)
        assert [address.in_flight for address in client._sender._policy.balancer._addresses] == [0, 0]


CLOSED = "CANCELLED: the client was closed$"


@pytest.mark.parametrize("addresses", [1, 2])
@pytest.mark.parametrize("used", [True, False])
async def test_a_closed_client_says_so(servers: list[EchoServer], connect: Callable[..., Awaited], addresses: int, used: bool) -> None:
    client = connect([server.target for server in servers[:addresses]], timeout=LIMIT_S)
    if used:
        await client.infer("echo", X)
    await client.close()
    for call in (client.server_live(), client.infer("echo", X), client.infer("echo", {"x": [1]})):
        with pytest.raises(InferenceError, match=CLOSED):
            await call


@pytest.mark.parametrize("hedge_after", [None, LIMIT_S])
async def test_closing_ends_calls_that_are_under_way(
    servers: list[EchoServer], connect: Callable[..., Awaited], hedge_after: float | None
) -> None:
    pair = servers[:2]
    for server in pair:
        server.gate.clear()
    client = connect([server.target for server in pair], hedge_after=hedge_after)
    call = client.begin("infer", "echo", X)
    while not any(server.arrived.is_set() for server in pair):
        await asyncio.sleep(0)
    await client.close()
    with pytest.raises(InferenceError, match="CANCELLED"):
        await asyncio.wait_for(call, LIMIT_S)


async def test_a_task_that_is_cancelled_when_its_client_is_closed(server: EchoServer) -> None:
    server.gate.clear()
    client = AsyncClient(server.target)
    call = asyncio.ensure_future(client.infer("echo", X))
    assert await asyncio.to_thread(server.arrived.wait, LIMIT_S)
    call.cancel()
    await client.close()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(call, LIMIT_S)


@pytest.mark.parametrize("addresses", [1, 2])
@pytest.mark.parametrize("hedge_after", [None, LIMIT_S])
async def test_a_client_that_is_closed_before_a_call_is_sent(
    servers: list[EchoServer],
    connect: Callable[..., Awaited],
    monkeypatch: pytest.MonkeyPatch,
    addresses: int,
    hedge_after: float | None,
) -> None:
    """By another thread, or while the call waited for something else."""
    client = connect([server.target for server in servers[:addresses]], hedge_after=hedge_after if addresses > 1 else None)
    await client.infer("echo", X)
    await client.close()
    answers = iter([False])
    closed = client.client._sender._closed
    is_set = closed.is_set
    monkeypatch.setattr(closed, "is_set", lambda: next(answers, True) and is_set())
    with pytest.raises(InferenceError, match=CLOSED):
        await client.infer("echo", X)


def test_closing_ends_the_wait_of_other_threads(server: EchoServer, at_each_pause: AtEachPause) -> None:
    waiting = threading.Event()
    at_each_pause(waiting.set)
    server.rejections.append(Rejection(grpc.StatusCode.RESOURCE_EXHAUSTED, FAR_S))
    client = Client(server.target, retry=Retry(max_retry_after=FAR_S))
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(client.infer, "echo", X)
        assert waiting.wait(LIMIT_S)
        client.close()
        with pytest.raises(InferenceError, match=CLOSED):
            call.result(LIMIT_S)


async def test_closing_ends_the_wait_of_other_tasks(server: EchoServer, at_each_pause: AtEachPause) -> None:
    waiting = asyncio.Event()
    at_each_pause(waiting.set)
    server.rejections.append(Rejection(grpc.StatusCode.RESOURCE_EXHAUSTED, FAR_S))
    client = AsyncClient(server.target, retry=Retry(max_retry_after=FAR_S))
    call = asyncio.ensure_future(client.infer("echo", X))
    await asyncio.wait_for(waiting.wait(), LIMIT_S)
    await client.close()
    with pytest.raises(InferenceError, match=CLOSED):
        await asyncio.wait_for(call, LIMIT_S)


def test_the_state_of_a_blocking_channel_can_be_asked_for(server: EchoServer) -> None:
    """It is no public part of grpcio; should it move, addresses without a connection are noticed by failed calls only."""
    with grpc.insecure_channel(server.target) as channel:
        assert sender._connectivity(channel) is grpc.ChannelConnectivity.IDLE
        grpc.channel_ready_future(channel).result(LIMIT_S)
        assert sender._connectivity(channel) is grpc.ChannelConnectivity.READY


def test_a_channel_that_tells_nothing_passes_for_ready() -> None:
    unknown: Any = object()
    assert sender._connectivity(unknown) is grpc.ChannelConnectivity.READY
