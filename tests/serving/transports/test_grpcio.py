"""The grpcio transport on its own: a hand-made service table, real grpc clients. What the service answers is tested elsewhere."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
import uvloop

from inferd import errors
from inferd._core.grpc.call import NO_DEADLINE, Call
from inferd.config import Address, Settings
from inferd.part.method import Method
from inferd.protocol import health, rpc
from inferd.serving.transports import grpcio
from inferd.serving.transports.grpcio import GrpcioTransport

LIMIT_S = 20  # longer than anything here takes; a test that reaches it has failed
NEVER_S = 1e6  # a drain that waits for it hangs


class Waiting:
    """A request that a call waits for; knows when it was cancelled."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    def cancel(self) -> None:
        self.cancelled.set()


class Service:
    """A service table that responses as the test says, and keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[Call] = asyncio.Queue()
        self.error: Exception | None = None
        self.rejected: list[tuple[str, Exception]] = []
        self.stream_closed = asyncio.Event()

    def methods(self) -> dict[str, Method]:
        request, response = health.HealthCheckRequest, health.HealthCheckResponse
        return {
            "/test.T/Infer": Method("infer", self.infer),
            "/test.T/Late": Method("infer", self.late),
            "/test.T/Check": Method("unary", self.check, request, response),
            "/test.T/Watch": Method("stream", self.watch, request, response),
        }

    def reject(self, call: Call, error: Exception) -> None:
        self.rejected.append((call.method, error))
        call.fail(error if isinstance(error, errors.RequestError) else errors.Internal("see the log"))

    def infer(self, call: Call) -> None:
        """Replies with the request's bytes reversed, or raises `error`."""
        self.calls.put_nowait(call)
        if self.error is not None:
            raise self.error
        call.reply(bytes(call.message)[::-1])

    def late(self, call: Call) -> None:
        call.work = Waiting()
        self.calls.put_nowait(call)

    async def check(self, request: Any) -> Any:
        if self.error is not None:
            raise self.error
        return health.HealthCheckResponse(status=len(request.service))

    async def watch(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        try:
            async for request in requests:
                if self.error is not None:
                    raise self.error
                yield health.HealthCheckResponse(status=len(request.service))
        finally:
            self.stream_closed.set()


@asynccontextmanager
async def serving(service: Service, addresses: list[Address] | None = None, **settings: Any) -> AsyncIterator[tuple[grpc.aio.Channel, Any]]:
    transport = GrpcioTransport(service.methods(), Settings(**settings), service.reject)
    bound = await transport.start(addresses or [Address("127.0.0.1", 0)])
    try:
        async with grpc.aio.insecure_channel(bound[0].for_grpc) as channel:
            yield channel, transport
    finally:
        await transport.stop(0)


async def infer(channel: grpc.aio.Channel, message: bytes, method: str = "Infer", **options: Any) -> bytes:
    answer: bytes = await channel.unary_unary(f"/test.T/{method}")(message, timeout=options.pop("timeout", LIMIT_S), **options)
    return answer


async def rejected(awaitable: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value


@pytest.mark.parametrize("place", ["tcp", "ipv6", "unix", "abstract"])
async def test_serves_on_every_kind_of_address(place: str, tmp_path: Any) -> None:
    address = {
        "tcp": Address("127.0.0.1", 0),
        "ipv6": Address("::1", 0),
        "unix": Address("", 0, str(tmp_path / "s.sock")),
        "abstract": Address("", 0, f"@{tmp_path}"),
    }[place]
    service = Service()
    transport = GrpcioTransport(service.methods(), Settings(), service.reject)
    [bound] = await transport.start([address])
    try:
        assert bound.path == address.path
        assert bound.path or bound.port > 0
        async with grpc.aio.insecure_channel(bound.for_grpc) as channel:
            assert await infer(channel, b"abc") == b"cba"
    finally:
        await transport.stop(0)


async def test_serves_on_several_addresses_at_once() -> None:
    service = Service()
    transport = GrpcioTransport(service.methods(), Settings(), service.reject)
    bound = await transport.start([Address("127.0.0.1", 0), Address("127.0.0.1", 0)])
    try:
        assert bound[0].port != bound[1].port
        for address in bound:
            async with grpc.aio.insecure_channel(str(address)) as channel:
                assert await infer(channel, b"xy") == b"yx"
    finally:
        await transport.stop(0)


async def test_a_port_in_use_is_a_start_error_that_names_it() -> None:
    async with serving(Service()) as (_, transport):
        assert transport is not None
        other = GrpcioTransport({}, Settings(), Service().reject)
        [bound] = await other.start([Address("127.0.0.1", 0)])
        try:
            with pytest.raises(errors.StartError, match=f"127.0.0.1:{bound.port}: it is in use; .*another port") as caught:
                await GrpcioTransport({}, Settings(), Service().reject).start([bound])
            assert "UNKNOWN" not in str(caught.value)
        finally:
            await other.stop(0)


async def test_what_is_no_address_here_says_so() -> None:
    with pytest.raises(errors.StartError, match=r"203.0.113.1:0: it is no address of this machine; .*: choose another host, or 0.0.0.0"):
        await GrpcioTransport({}, Settings(), Service().reject).start([Address("203.0.113.1", 0)])


async def test_the_permissions_of_a_socket_file(tmp_path: Any) -> None:
    path = tmp_path / "s.sock"
    async with serving(Service(), [Address("", 0, str(path))], socket_mode=0o660):
        assert path.stat().st_mode & 0o777 == 0o660


async def test_a_socket_file_that_was_left_behind_is_replaced_and_a_live_one_is_not(tmp_path: Any) -> None:
    address = Address("", 0, str(tmp_path / "s.sock"))
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(address.path)
    async with serving(Service(), [address]) as (channel, _):
        with pytest.raises(errors.StartError, match="it is in use"):
            await GrpcioTransport({}, Settings(), Service().reject).start([address])
        assert await infer(channel, b"abc") == b"cba"


async def test_an_abstract_name_that_is_in_use(tmp_path: Any) -> None:
    address = Address("", 0, f"@{tmp_path}")
    async with serving(Service(), [address]) as (channel, _):
        with pytest.raises(errors.StartError, match=f"cannot listen on unix:@{tmp_path}: it is in use; .* choose another one, or stop"):
            await GrpcioTransport({}, Settings(), Service().reject).start([address])
        assert await infer(channel, b"abc") == b"cba"


async def test_a_path_that_cannot_be_had_is_a_start_error(tmp_path: Any) -> None:
    (tmp_path / "file").write_text("mine")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(str(tmp_path / "datagrams"))
        for path, says in (
            ("file", "the file there is no socket"),
            ("no/such/folder", "its folder does not exist"),
            ("datagrams", "a socket of another kind is there"),
        ):
            with pytest.raises(errors.StartError, match=says):
                await GrpcioTransport({}, Settings(), Service().reject).start([Address("", 0, str(tmp_path / path))])
    assert (tmp_path / "file").read_text() == "mine"
    assert (tmp_path / "datagrams").exists()


async def test_infer_hands_the_bytes_over_and_back() -> None:
    service = Service()
    async with serving(service) as (channel, _):
        for message in (b"", b"x", bytes(range(256)) * 1000):
            assert await infer(channel, message) == message[::-1]
            call = service.calls.get_nowait()
            assert call.method == "/test.T/Infer"
            assert bytes(call.message) == message
            assert call.settled


@pytest.mark.parametrize("timeout_s", [None, 7.0])
async def test_the_deadline_is_absolute_and_monotonic(timeout_s: float | None) -> None:
    service = Service()
    async with serving(service) as (channel, _):
        before_ns = time.monotonic_ns()
        await infer(channel, b"", timeout=timeout_s)
        deadline_ns = service.calls.get_nowait().deadline_ns
    if timeout_s is None:
        assert deadline_ns == NO_DEADLINE
    else:
        assert 0 < deadline_ns - before_ns < 7.1e9


REJECTIONS = [
    errors.InvalidArgument('input "x": expected 16, got 15 (50 %) \N{SNOWMAN}'),
    errors.DeadlineExceeded("too late"),
    errors.NotFound("no model"),
    errors.ResourceExhausted("full"),
    errors.FailedPrecondition("not now"),
    errors.Unimplemented("not built"),
    errors.Internal("see the log"),
    errors.Unavailable("another replica"),
    errors.Cancelled("gone"),
]


@pytest.mark.parametrize("error", REJECTIONS, ids=lambda error: error.status)
async def test_a_rejection_keeps_its_code_and_its_words(error: errors.RequestError) -> None:
    service = Service()
    service.error = error
    async with serving(service) as (channel, _):
        check = channel.unary_unary("/test.T/Check")
        for answer in (infer(channel, b""), check(b"", timeout=LIMIT_S)):
            status = await rejected(answer)
            assert status.code().value[0] == error.code
            assert status.details() == str(error)
    error.__traceback__ = None  # it outlives the test, and holds what is in the frames


async def test_a_call_can_fail_later() -> None:
    service = Service()
    async with serving(service) as (channel, _):
        answer = asyncio.ensure_future(infer(channel, b"", "Late"))
        call = await asyncio.wait_for(service.calls.get(), LIMIT_S)
        call.fail(errors.NotFound("gone"))
        call.reply(b"too late")
        assert (await rejected(answer)).code() is grpc.StatusCode.NOT_FOUND


async def test_a_full_queue_says_when_to_come_back() -> None:
    service = Service()
    service.error = errors.ResourceExhausted("the queue is full", retry_after_ns=1_250_000_000)
    async with serving(service) as (channel, _):
        status = await rejected(infer(channel, b""))
    trailers = dict(status.trailing_metadata() or ())
    details = rpc.Status.FromString(trailers["grpc-status-details-bin"])
    assert (details.code, details.message) == (8, "the queue is full")
    [detail] = details.details
    assert detail.type_url == "type.googleapis.com/google.rpc.RetryInfo"
    retry_delay = rpc.RetryInfo.FromString(detail.value).retry_delay
    assert (retry_delay.seconds, retry_delay.nanos) == (1, 250_000_000)


@pytest.mark.parametrize("method", ["Infer", "Check", "Watch"])
async def test_an_unexpected_exception_is_for_the_service_to_answer(method: str) -> None:
    service = Service()
    service.error = ValueError("secret")
    async with serving(service) as (channel, _):
        status = await rejected(infer(channel, b"", method))
    assert (status.code(), status.details()) == (grpc.StatusCode.INTERNAL, "see the log")
    assert service.rejected == [(f"/test.T/{method}", service.error)]


async def test_a_client_that_goes_away_cancels_its_request() -> None:
    service = Service()
    async with serving(service) as (channel, transport):
        answer = channel.unary_unary("/test.T/Late")(b"")
        call = await asyncio.wait_for(service.calls.get(), LIMIT_S)
        waiting = call.work
        answer.cancel()
        await asyncio.wait_for(waiting.cancelled.wait(), LIMIT_S)
        assert call.settled
        call.reply(b"nobody hears this")
        call.fail(errors.Internal("nor this"))
        assert await infer(channel, b"ab") == b"ba"
        assert transport.counters() == {"streams": 0, "streams_opened_total": 2, "request_bytes": 0}
        assert service.rejected == []


async def test_a_deadline_that_passes_cancels_the_request() -> None:
    service = Service()
    async with serving(service) as (channel, _):
        answer = asyncio.ensure_future(infer(channel, b"", "Late", timeout=1))  # long enough to be served first, whatever else runs
        call = await asyncio.wait_for(service.calls.get(), LIMIT_S)
        waiting = call.work
        assert (await rejected(answer)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(waiting.cancelled.wait(), LIMIT_S)


async def test_bytes_that_are_no_message_are_rejected() -> None:
    async with serving(Service()) as (channel, _):
        for method in ("Check", "Watch"):
            status = await rejected(infer(channel, b"\xff\xff\xff", method))
            assert status.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "grpc.health.v1.HealthCheckRequest" in (status.details() or "")


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("/inference.GRPCInferenceService/CudaSharedMemoryStatus", "CudaSharedMemoryStatus.*raw_input_contents"),
        ("/no.Such/Method", "/no.Such/Method.*reflection"),
    ],
)
async def test_an_unknown_method_is_named_whatever_its_kind(kind: str, method: str, words: str) -> None:
    service = Service()
    async with serving(service) as (channel, _):
        call = getattr(channel, kind)(method)
        answer = call(b"", timeout=LIMIT_S) if kind.startswith("unary") else call(timeout=LIMIT_S)  # a stream that never sends anything
        with pytest.raises(grpc.aio.AioRpcError, match=words) as caught:
            await (answer if kind.endswith("unary") else answer.read())
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert [name for name, _ in service.rejected] == [method]


async def test_an_oversize_message_is_rejected_and_the_connection_lives() -> None:
    async with serving(Service(), max_message_bytes=10_000) as (channel, _):
        assert len(await infer(channel, bytes(10_000))) == 10_000
        assert (await rejected(infer(channel, bytes(10_001)))).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await infer(channel, b"ab") == b"ba"


async def test_requests_in_memory_are_bounded_together() -> None:
    service = Service()
    async with serving(service, message_memory_bytes=1 << 20, max_message_bytes=1 << 20) as (channel, transport):
        first = asyncio.ensure_future(infer(channel, bytes(1_000_000), "Late"))
        call = await asyncio.wait_for(service.calls.get(), LIMIT_S)
        status = await rejected(infer(channel, bytes(100_000)))
        assert status.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "message_memory_bytes" in (status.details() or "")
        call.reply(b"done")
        assert await first == b"done"
        assert await infer(channel, bytes(100_000)) == bytes(100_000)
        assert transport.counters()["request_bytes"] == 0


async def test_a_stream_answers_each_message_in_turn() -> None:
    service = Service()
    async with serving(service) as (channel, _):
        stream = channel.stream_stream("/test.T/Watch")(timeout=LIMIT_S)
        for name in ("", "a", "ab"):
            await stream.write(health.HealthCheckRequest(service=name).SerializeToString())
            assert health.HealthCheckResponse.FromString(await stream.read()).status == len(name)
        service.error = errors.NotFound("no more")
        await stream.write(b"")
        status = await rejected(stream.read())
        assert (status.code(), status.details()) == (grpc.StatusCode.NOT_FOUND, "no more")
        assert service.stream_closed.is_set()


async def test_a_cancelled_stream_closes_its_generator() -> None:
    service = Service()
    async with serving(service) as (channel, transport):
        stream = channel.stream_stream("/test.T/Watch")(timeout=LIMIT_S)
        await stream.write(b"")
        await stream.read()
        assert transport.counters()["streams"] == 1
        stream.cancel()
        await asyncio.wait_for(service.stream_closed.wait(), LIMIT_S)


async def test_stop_answers_what_is_running_and_takes_nothing_new(caplog: pytest.LogCaptureFixture) -> None:
    service = Service()
    transport = GrpcioTransport(service.methods(), Settings(), service.reject)
    [bound] = await transport.start([Address("127.0.0.1", 0)])
    async with grpc.aio.insecure_channel(str(bound)) as channel:
        answer = asyncio.ensure_future(infer(channel, b"", "Late"))
        call = await asyncio.wait_for(service.calls.get(), LIMIT_S)
        stopping = asyncio.ensure_future(transport.stop(LIMIT_S))
        await asyncio.sleep(0)
        call.reply(b"in time")
        assert await answer == b"in time"
        await asyncio.wait_for(stopping, LIMIT_S)
        assert "cut off" not in caplog.text
        assert (await rejected(infer(channel, b""))).code() is grpc.StatusCode.UNAVAILABLE


async def test_stop_cancels_what_runs_too_long(caplog: pytest.LogCaptureFixture) -> None:
    service = Service()
    transport = GrpcioTransport(service.methods(), Settings(), service.reject)
    [bound] = await transport.start([Address("127.0.0.1", 0)])
    async with grpc.aio.insecure_channel(str(bound)) as channel:
        answer = asyncio.ensure_future(infer(channel, b"", "Late"))
        call = await asyncio.wait_for(service.calls.get(), LIMIT_S)
        waiting = call.work
        await asyncio.wait_for(transport.stop(0), LIMIT_S)
        await asyncio.wait_for(waiting.cancelled.wait(), LIMIT_S)
        await rejected_or_cancelled(answer)
    assert "1 calls were cut off: drain_timeout_s, 0 s, is over; raise it" in caplog.text


@pytest.mark.parametrize("asked", [0, 1])
async def test_stop_does_not_wait_for_a_message_that_does_not_come(asked: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpcio, "DRAIN_STALL_S", 0.001)  # instead of waiting
    service = Service()
    transport = GrpcioTransport(service.methods(), Settings(), service.reject)
    [bound] = await transport.start([Address("127.0.0.1", 0)])
    async with grpc.aio.insecure_channel(str(bound)) as channel:
        stream = channel.stream_stream("/test.T/Watch")(timeout=LIMIT_S)
        for _ in range(asked):
            await stream.write(health.HealthCheckRequest(service="abc").SerializeToString())
            assert await stream.read() == health.HealthCheckResponse(status=3).SerializeToString()
        while not transport._awaiting:
            await asyncio.sleep(0)
        await transport.stop(NEVER_S)
        error = await rejected(stream.read())
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "another replica" in str(error.details())
    assert service.stream_closed.is_set()


async def test_stop_answers_a_stream_whose_message_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpcio, "DRAIN_STALL_S", LIMIT_S)
    service = Service()
    transport = GrpcioTransport(service.methods(), Settings(), service.reject)
    [bound] = await transport.start([Address("127.0.0.1", 0)])
    async with grpc.aio.insecure_channel(str(bound)) as channel:
        stream = channel.stream_stream("/test.T/Watch")(timeout=LIMIT_S)
        await stream.wait_for_connection()
        while not transport._awaiting:
            await asyncio.sleep(0)
        stopping = asyncio.ensure_future(transport.stop(LIMIT_S))
        while not transport._draining:
            await asyncio.sleep(0)
        await stream.write(health.HealthCheckRequest(service="abc").SerializeToString())
        assert await stream.read() == health.HealthCheckResponse(status=3).SerializeToString()
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        await asyncio.wait_for(stopping, LIMIT_S)


async def rejected_or_cancelled(answer: asyncio.Future[bytes]) -> None:
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        await answer


def test_runs_on_uvloop() -> None:
    async def main() -> bytes:
        async with serving(Service()) as (channel, _):
            return await infer(channel, b"uv")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == b"vu"


def test_settings_that_a_running_grpc_server_does_not_take() -> None:
    assert GrpcioTransport.fixed == {
        "max_connections",
        "keepalive_s",
        "keepalive_timeout_s",
        "min_ping_interval_s",
        "max_connection_idle_s",
        "max_connection_age_s",
        "max_connection_age_grace_s",
    }
