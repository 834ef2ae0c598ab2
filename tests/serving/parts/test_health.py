"""grpc.health.v1 on both transports: who is told what, and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from inferd.config import Settings
from inferd.errors import RequestError
from inferd.protocol import SERVICES, health
from inferd.serving.parts.health.part import ECHOED_CHARS, MAX_NAME_CHARS, SERVICE, Health
from inferd.serving.server import Server
from tests.fake_repository import FakeModel, FakeRepository
from tests.server_fixtures import ServerFixture
from tests.transport_fixtures import LIMIT_S, ask, channel_to, serving

CHECK, WATCH = f"/{SERVICE}/Check", f"/{SERVICE}/Watch"
UNKNOWN, SERVING, NOT_SERVING, SERVICE_UNKNOWN = (
    health.HealthCheckResponse.ServingStatus.Value(word) for word in ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
)


class World:
    """Health over a fake repository. `set_state` does what the repository does."""

    def __init__(self, max_watchers: int = 100) -> None:
        self.repository = FakeRepository(FakeModel("m", 1), FakeModel("m", 2, state="LOADING"), FakeModel("bad", 1, state="UNAVAILABLE"))
        self.ready = True
        self.health = Health(self.repository, lambda: self.ready, max_watchers)  # type: ignore[arg-type]
        self.channel: Any = None
        self.address = ""

    def set_state(self, name: str, version: int, state: str) -> None:
        for model in self.repository.contents:
            if (model.name, model.version) == (name, version):
                model.state = state
        self.health.changed()

    async def check(self, service: str) -> int:
        response = await ask(self.channel, self.health.methods(), CHECK, health.HealthCheckRequest(service=service))
        return int(response.status)

    def watch(self, service: str) -> Watch:
        return Watch(self.channel.unary_stream(WATCH)(health.HealthCheckRequest(service=service).SerializeToString()))


class Watch:
    """A client's open Watch."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    async def next(self) -> int | None:
        """The next status; None when the server has ended the stream."""
        message = await asyncio.wait_for(self.stream.read(), LIMIT_S)
        return None if message is grpc.aio.EOF else int(health.HealthCheckResponse.FromString(message).status)


@pytest.fixture(params=["native", "grpcio"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    world = World()
    async with serving(request.param, world.health.methods()) as world.address, grpc.aio.insecure_channel(world.address) as world.channel:
        yield world


def watchers(world: World) -> int:
    (table,) = world.health.metrics()
    (((), (count,)),) = table.rows
    return int(count)


def test_the_table_names_methods_that_the_protocol_has() -> None:
    declared = SERVICES[SERVICE].methods_by_name
    methods = World().health.methods()
    assert {name.rpartition("/")[2] for name in methods} == {"Check", "Watch"} <= set(declared)
    for name, method in methods.items():
        descriptor = declared[name.rpartition("/")[2]]
        assert (method.kind == "stream") is descriptor.server_streaming
        assert method.request_type.DESCRIPTOR is descriptor.input_type
        assert method.response_type.DESCRIPTOR is descriptor.output_type


@pytest.mark.parametrize(
    ("service", "status"),
    [
        ("", SERVING),
        ("inference.GRPCInferenceService", SERVING),
        ("m", SERVING),
        ("m/1", SERVING),
        ("m/2", NOT_SERVING),
        ("bad", NOT_SERVING),
        ("bad/1", NOT_SERVING),
    ],
)
async def test_check(world: World, service: str, status: int) -> None:
    assert await world.check(service) == status


@pytest.mark.parametrize("service", ["none", "m/3", "m/x", "m/", "/", "/1", "x" * 4000])
async def test_check_of_what_there_is_not(world: World, service: str) -> None:
    if service == "m/":  # no version: the newest
        assert await world.check(service) == SERVING
        return
    with pytest.raises(grpc.aio.AioRpcError, match=r'"<model>/<version>"') as caught:
        await world.check(service)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert len(caught.value.details() or "") < ECHOED_CHARS + 100


async def test_nothing_serves_while_the_server_drains(world: World) -> None:
    world.ready = False
    for service in ("", "inference.GRPCInferenceService", "m", "m/1"):
        assert await world.check(service) == NOT_SERVING


async def test_watch_tells_the_status_and_every_change(world: World) -> None:
    watch = world.watch("m")
    assert await watch.next() == SERVING
    world.set_state("m", 1, "UNLOADING")
    assert await watch.next() == NOT_SERVING
    world.set_state("m", 2, "READY")
    assert await watch.next() == SERVING


async def test_watch_of_one_version_hears_nothing_of_others(world: World) -> None:
    one, two = world.watch("m/1"), world.watch("m/2")
    assert (await one.next(), await two.next()) == (SERVING, NOT_SERVING)
    world.set_state("m", 2, "READY")
    assert await two.next() == SERVING
    world.set_state("m", 1, "UNAVAILABLE")
    assert await one.next() == NOT_SERVING  # and not SERVING again, at the change before


async def test_watch_waits_for_a_model_that_is_not_there_yet(world: World) -> None:
    watch = world.watch("later")
    assert await watch.next() == SERVICE_UNKNOWN
    world.repository.contents.append(FakeModel("later", 1, state="LOADING"))
    world.health.changed()
    assert await watch.next() == NOT_SERVING
    world.set_state("later", 1, "READY")
    assert await watch.next() == SERVING
    world.repository.contents.pop()
    world.health.changed()
    assert await watch.next() == SERVICE_UNKNOWN


async def test_watch_of_the_server_ends_with_it(world: World) -> None:
    server, model = world.watch(""), world.watch("m")
    assert (await server.next(), await model.next()) == (SERVING, SERVING)
    world.health.leave()
    for watch in (server, model):
        assert await watch.next() == NOT_SERVING
        assert await watch.next() is None
    late = world.watch("")
    assert await late.next() == NOT_SERVING
    assert await late.next() is None


async def test_a_watcher_that_goes_away_is_forgotten(world: World) -> None:
    watch = world.watch("")
    await watch.next()
    assert watchers(world) == 1
    watch.stream.cancel()
    async with asyncio.timeout(LIMIT_S):
        while watchers(world):
            await asyncio.sleep(0)


@asynccontextmanager
async def following(world: World, service: str) -> AsyncIterator[Any]:
    """A Watch without a transport: the generator itself, read when the test says."""

    async def requests() -> AsyncIterator[Any]:
        yield health.HealthCheckRequest(service=service)

    responses: Any = world.health.watch(requests())
    try:
        yield responses
    finally:
        await responses.aclose()


async def test_a_slow_watcher_gets_only_the_newest() -> None:
    world = World()
    async with following(world, "m/1") as responses:
        assert (await anext(responses)).status == SERVING
        for state in ("UNLOADING", "READY", "UNAVAILABLE", "READY", "UNAVAILABLE"):
            world.set_state("m", 1, state)
        assert (await anext(responses)).status == NOT_SERVING
        pending = asyncio.ensure_future(anext(responses))
        for state in ("READY", "UNAVAILABLE"):  # there and back before the watcher runs: nothing to tell
            world.set_state("m", 1, state)
            await asyncio.sleep(0)
        world.set_state("m", 1, "READY")
        assert (await pending).status == SERVING


@pytest.mark.parametrize("path", [CHECK, WATCH])
@pytest.mark.parametrize(("nbytes", "code"), [(4093, None), (4094, grpc.StatusCode.RESOURCE_EXHAUSTED)])
async def test_requests_are_small(world: World, path: str, nbytes: int, code: grpc.StatusCode | None) -> None:
    """4 KiB with the field's tag and length."""
    request = health.HealthCheckRequest(service="x" * nbytes).SerializeToString()
    if path == CHECK:
        answer = world.channel.unary_unary(path)(request, timeout=LIMIT_S)
    else:
        answer = world.channel.unary_stream(path)(request, timeout=LIMIT_S).read()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answer
    expected = code or (grpc.StatusCode.NOT_FOUND if path == CHECK else grpc.StatusCode.INVALID_ARGUMENT)
    assert (caught.value.code(), "at most 4096 bytes" in (caught.value.details() or "")) == (expected, code is not None)


async def test_watchers_of_one_connection_are_bounded(world: World) -> None:
    """16 of the 100 that all may have; others find room, and so does it again when one has gone."""
    watches = [world.watch("") for _ in range(16)]
    for watch in watches:
        assert await watch.next() == SERVING
    with pytest.raises(grpc.aio.AioRpcError, match="max_connection_watchers") as caught:
        await world.watch("").next()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    async with grpc.aio.insecure_channel(world.address, options=[("grpc.use_local_subchannel_pool", 1)]) as other:
        assert await Watch(other.unary_stream(WATCH)(b"")).next() == SERVING
    watches.pop().stream.cancel()
    limit = time.monotonic() + LIMIT_S
    while True:
        try:
            assert await world.watch("").next() == SERVING
            return
        except grpc.aio.AioRpcError:  # the server has not heard yet that the stream has gone
            assert time.monotonic() < limit


async def test_watchers_are_bounded() -> None:
    world = World(max_watchers=2)
    async with following(world, "") as one, following(world, "") as two, following(world, "") as three:
        for responses in (one, two):
            await anext(responses)
        with pytest.raises(RequestError, match="2 health watchers") as caught:
            await anext(three)
        assert caught.value.code == 8
        assert getattr(caught.value, "retry_after_ns", 0) > 0
        await one.aclose()
        async with following(world, "") as four:
            assert (await anext(four)).status == SERVING


async def test_a_watch_keeps_no_long_name() -> None:
    world = World()
    async with following(world, "x" * (MAX_NAME_CHARS + 1)) as responses:
        with pytest.raises(RequestError, match=f"at most {MAX_NAME_CHARS}") as caught:
            await anext(responses)
    assert caught.value.code == 3
    assert watchers(world) == 0


async def test_a_watch_without_a_request_is_rejected(world: World) -> None:
    stream = world.channel.stream_stream(WATCH)(timeout=LIMIT_S)
    await stream.done_writing()
    with pytest.raises(grpc.aio.AioRpcError, match="one HealthCheckRequest") as caught:
        await stream.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_watch_is_asked_once() -> None:
    """Messages that nobody will read would only fill memory. Who sends more watches nothing any more."""
    world = World()
    async with channel_to("native", world.health.methods()) as channel:
        stream = channel.stream_stream(WATCH)()  # no deadline ends it
        await stream.write(b"")
        assert await Watch(stream).next() == SERVING
        await stream.write(b"")
        with pytest.raises(grpc.aio.AioRpcError, match="expected one request message, got more") as caught:
            await stream.read()
        async with asyncio.timeout(LIMIT_S):
            while watchers(world):
                await asyncio.sleep(0)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


# Over real models.


async def test_real_models_are_serving(served: ServerFixture) -> None:
    methods = World().health.methods()
    async with grpc.aio.insecure_channel(served.address) as channel:
        for service in ("", "inference.GRPCInferenceService", "identity", "identity/1", "versions", "versions/3"):
            assert (await ask(channel, methods, CHECK, health.HealthCheckRequest(service=service))).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel, methods, CHECK, health.HealthCheckRequest(service="versions/2"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("transport", ["native", "grpcio"])
async def test_a_stopping_server_tells_its_watchers(transport: str, model_files: Path) -> None:
    server = Server(Settings(models=(str(model_files / "identity"),), transport=transport, grpc_port=0, http_port=-1, metrics_port=-1))
    addresses = await server.start()
    try:
        async with grpc.aio.insecure_channel(str(addresses["grpc"])) as channel:
            watch = Watch(channel.unary_stream(WATCH)(b""))
            assert await watch.next() == SERVING
            stopping = asyncio.ensure_future(server.stop())
            assert await watch.next() == NOT_SERVING
            assert await watch.next() is None
            await asyncio.wait_for(stopping, LIMIT_S)
    finally:
        await server.stop()
