"""Compressed messages, and long typed contents: the threads that take what is large, and grpc's own clients and bare HTTP/2 against both
transports.

Threads are held by gates: what a test calls "waiting" waits until its gate is opened.
"""

from __future__ import annotations

import asyncio
import gc
import gzip
import os
import random
import struct
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from inferd import errors
from inferd._core.codec.infer import InferRequest
from inferd._core.grpc import message as messages
from inferd._core.grpc.call import Call
from inferd.config import Address, Settings
from inferd.part.method import Method
from inferd.protocol import health, inference
from inferd.serving.messages import message_threads, unpacking
from inferd.serving.messages.message_threads import MAX_THREADS, NICE, MessageThreads
from inferd.serving.messages.unpacking import Unpacker
from inferd.serving.transports.native import NativeTransport
from tests import models
from tests.echo_server_fixtures import look
from tests.http2_peer import Answer, Peer, framed
from tests.server_fixtures import TRANSPORTS, ServerFixture
from tests.wire import LIMIT_S, Caller, Held, infer_request, outputs_of, rows, same, status_of

ECHO = "/test.T/Echo"
LONG = message_threads.LONG_NBYTES + 1
LARGE = random.Random(1).randbytes(100_000)
ACCEPTS = ("grpc-accept-encoding", "identity, deflate, gzip")
GRPC = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}


def compressed(content: bytes, encoding: str = "gzip") -> bytes:
    return framed(gzip.compress(content) if encoding == "gzip" else zlib.compress(content), compressed=1)


def bomb(nbytes: int, wbits: int) -> bytes:
    """So many zeros without an end, in whole MiB: the first is compressed, and all others are like the second."""
    squeeze = zlib.compressobj(wbits=wbits)
    first, second = (squeeze.compress(bytes(1 << 20)) + squeeze.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + second * ((nbytes >> 20) - 1)


def plain(answer: Answer) -> list[tuple[int, bytes]]:
    """Each message of a response with its flag, decompressed."""
    body, found = answer.body, []
    while body:
        flag, nbytes = struct.unpack(">BI", body[:5])
        content = body[5 : 5 + nbytes]
        if flag:
            content = gzip.decompress(content) if answer.headers["grpc-encoding"] == "gzip" else zlib.decompress(content)
        found.append((flag, content))
        body = body[5 + nbytes :]
    return found


# ---- threads


class Piece:
    """Stands for a conversion that is over in one turn, or in none: says where it ran, waits for its gate there, and notes its name when it
    is done."""

    def __init__(
        self, name: str = "", notes: list[str] | None = None, gate: threading.Event | None = None, *, nbytes: int = 0, is_slow: bool = False
    ) -> None:
        self.name, self.notes, self.gate, self.nbytes, self.is_slow = name, notes, gate, nbytes, is_slow
        self.ran = 0
        self.cancelled = False
        self.when_cancelled: Callable[[Any], None] | None = None
        self.begun, self.over = threading.Event(), asyncio.Event()
        self.ran_on: threading.Thread | None = None
        self.done_on: threading.Thread | None = None

    def run(self, until_ns: int | None = None) -> bool:
        self.ran_on = threading.current_thread()
        self.ran_nice = os.getpriority(os.PRIO_PROCESS, 0)
        self.ran += 1
        if self.is_slow and until_ns is not None:
            return False
        self.begun.set()
        if self.gate is not None:
            assert self.gate.wait(LIMIT_S)
        return True

    def cancel(self) -> None:
        self.cancelled = True
        assert self.when_cancelled is not None
        self.when_cancelled(self)

    def done(self) -> None:
        self.done_on = threading.current_thread()
        if self.notes is not None:
            self.notes.append(self.name)
        self.over.set()

    async def wait(self) -> None:
        await asyncio.wait_for(self.over.wait(), LIMIT_S)


async def comes_true(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0)


def fill(threads: MessageThreads) -> threading.Event:
    """Keeps all threads busy, and their next piece taken, until the gate is opened."""
    gate = threading.Event()
    for _ in range(2 * threads._count):
        threads.run_on_thread(object(), Piece(gate=gate))  # type: ignore[arg-type]
    return gate


async def test_the_loop_goes_before_it() -> None:
    """Where there are few cores: a large message is no matter of life and death."""
    threads = MessageThreads(1)
    piece = Piece()
    threads.run_on_thread(object(), piece)  # type: ignore[arg-type]
    await piece.wait()
    assert piece.ran_nice == min(os.getpriority(os.PRIO_PROCESS, 0) + NICE, 19)
    await threads.close()


async def test_it_runs_on_a_thread_and_ends_on_the_loops() -> None:
    threads = MessageThreads(1)
    assert threads._threads == []
    piece = Piece()
    threads.run_on_thread(object(), piece)  # type: ignore[arg-type]
    assert threads.unfinished == 1
    await piece.wait()
    assert threads.unfinished == 0
    assert piece.ran_on in threads._threads
    assert piece.done_on is threading.current_thread()
    await threads.close()
    assert not [thread for thread in threads._threads if thread.is_alive()]
    with pytest.raises(RuntimeError):
        threads.run_on_thread(object(), Piece())  # type: ignore[arg-type]


@pytest.mark.parametrize(("usable", "count"), [(1, 2), (2, 2), (4, 3), (5, 4), (100, MAX_THREADS)])
async def test_a_few_threads_and_no_more(usable: int, count: int) -> None:
    threads = MessageThreads(usable)
    gate = threading.Event()
    pieces = [Piece(gate=gate) for _ in range(50)]
    for piece in pieces:
        threads.run_on_thread(object(), piece)  # type: ignore[arg-type]
    assert len(threads._threads) == count
    gate.set()
    for piece in pieces:
        await piece.wait()
    assert {piece.ran_on for piece in pieces} <= set(threads._threads)
    assert threads.unfinished == 0
    await threads.close()


async def test_connections_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_threads, "MIN_THREADS", 1)  # of two, one may be held up while the other does all the rest
    threads = MessageThreads(1)
    gate = fill(threads)
    notes: list[str] = []
    busy, modest, other = object(), object(), object()
    pieces = [Piece(f"busy {number}", notes) for number in range(6)]
    for piece in pieces:
        threads.run_on_thread(busy, piece)  # type: ignore[arg-type]
    for session, name in ((modest, "modest"), (other, "other")):
        pieces.append(Piece(name, notes))
        threads.run_on_thread(session, pieces[-1])  # type: ignore[arg-type]
    gate.set()
    for piece in pieces:
        await piece.wait()
    assert notes == ["busy 0", "modest", "other", *(f"busy {number}" for number in range(1, 6))]
    await threads.close()


async def test_what_is_cancelled_leaves_at_once() -> None:
    """Who asks and leaves, again and again, has no line grow while the threads are busy."""
    threads = MessageThreads(1)
    gate = fill(threads)
    busy, modest = object(), object()
    notes: list[str] = []
    stays = [Piece(name, notes) for name in ("first", "second")]
    for number in range(1000):
        leaves = Piece(nbytes=LONG if number % 2 else 0)
        threads.run_on_thread(busy, leaves)  # type: ignore[arg-type]
        if number in (0, 500):
            threads.run_on_thread(busy if number == 0 else modest, stays[number // 500])  # type: ignore[arg-type]
        leaves.cancel()
        assert not leaves.begun.is_set()
    assert threads.unfinished == 2 * threads._count + 2
    gate.set()
    for piece in stays:
        await piece.wait()
    await comes_true(lambda: threads.unfinished == 0)
    await threads.close()


@pytest.mark.parametrize("long", [{"nbytes": LONG}, {"is_slow": True}], ids=["large", "not over in time"])
async def test_short_work_waits_for_no_long_work(long: dict[str, Any]) -> None:
    """However much of it there is, and however long it takes."""
    threads, gate = MessageThreads(3), threading.Event()
    bombs = [Piece(gate=gate, **long) for _ in range(20)]
    for bomb in bombs:
        threads.run_on_thread(object(), bomb)  # type: ignore[arg-type]
    await comes_true(lambda: sum(bomb.begun.is_set() for bomb in bombs) == threads._count - 1)
    busy = object()
    short = [Piece() for _ in range(10)]
    for piece in short:
        threads.run_on_thread(busy, piece)  # type: ignore[arg-type]
    for piece in short:
        await piece.wait()
    assert sum(bomb.begun.is_set() for bomb in bombs) == threads._count - 1
    gate.set()
    for bomb in bombs:
        await bomb.wait()
    await comes_true(lambda: threads.unfinished == 0)
    assert {bomb.ran for bomb in bombs} == {1 + bool(long.get("is_slow"))}, "what a turn made is lost once at most"
    await threads.close()


async def test_long_work_goes_on_beside_short_work() -> None:
    """Whatever new work comes meanwhile."""
    threads = MessageThreads(1)
    gate = fill(threads)
    long = Piece(nbytes=LONG)
    pieces = [*(Piece(gate=long.begun) for _ in range(9)), long]  # short work that is not over before the long one begins
    for piece in pieces:
        threads.run_on_thread(object(), piece)  # type: ignore[arg-type]
    gate.set()
    for piece in pieces:
        await piece.wait()
    await threads.close()


async def test_closing_waits_for_what_runs_and_drops_what_waits() -> None:
    threads = MessageThreads(1)
    gate = fill(threads)
    waiting = Piece()
    threads.run_on_thread(object(), waiting)  # type: ignore[arg-type]
    closing = asyncio.create_task(threads.close())
    await asyncio.sleep(0)
    assert not closing.done()
    gate.set()
    await closing
    assert not waiting.begun.is_set()


async def test_without_a_thread_nothing_is_taken_and_with_one_all_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system has none left for a while."""
    threads, start = MessageThreads(4), threading.Thread.start

    def reject(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", reject)
    with pytest.raises(RuntimeError, match="can't start"):
        threads.run_on_thread(object(), Piece())  # type: ignore[arg-type]
    assert threads.unfinished == 0
    monkeypatch.setattr(threading.Thread, "start", start)
    gate = threading.Event()
    first = Piece(gate=gate)
    threads.run_on_thread(object(), first)  # type: ignore[arg-type]
    monkeypatch.setattr(threading.Thread, "start", reject)
    others = [Piece() for _ in range(20)]
    for piece in others:
        threads.run_on_thread(object(), piece)  # type: ignore[arg-type]
    gate.set()
    for piece in (first, *others):
        await piece.wait()
    assert {piece.ran_on for piece in others} == {first.ran_on}
    monkeypatch.setattr(threading.Thread, "start", start)
    await threads.close()


async def test_closing_tells_nobody_of_what_is_not_over() -> None:
    """Else its call would begin without a message."""

    class Half(Piece):
        def run(self, until_ns: int | None = None) -> bool:
            return not super().run()

    threads, notes, gate = MessageThreads(1), list[str](), threading.Event()
    piece = Half("half", notes, gate)
    threads.run_on_thread(object(), piece)  # type: ignore[arg-type]
    await asyncio.to_thread(piece.begun.wait, LIMIT_S)
    closing = asyncio.create_task(threads.close())
    await asyncio.sleep(0)
    gate.set()
    await closing
    await asyncio.sleep(0)
    assert (piece.ran, notes) == (1, [])


# ---- the native transport, whose threads are held


class Service:
    """Echoes, and keeps the calls that it was asked."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def echo(self, call: Call) -> None:
        self.calls.append(call)
        call.reply(call.message)

    def reject(self, call: Call, error: Exception) -> None:
        call.fail(error if isinstance(error, errors.RequestError) else errors.Internal("see the log"))


@asynccontextmanager
async def serving(
    methods: Callable[[Service], dict[str, Method]] = lambda service: {ECHO: Method("infer", service.echo)}, **settings: Any
) -> AsyncIterator[tuple[NativeTransport, str, Service]]:
    service = Service()
    transport = NativeTransport(methods(service), Settings(**settings), service.reject)
    [bound] = await transport.start([Address("127.0.0.1", 0)])
    try:
        yield transport, str(bound), service
    finally:
        await transport.stop(0)
        service.calls.clear()  # each refers to its method, and so to the service, unseen by the collector


async def until(transport: NativeTransport, **counters: int) -> None:
    """Until the transport's counters say so."""
    async with asyncio.timeout(LIMIT_S):
        while {name: transport.counters()[name] for name in counters} != counters:
            await asyncio.sleep(0)


async def asked(address: str, content: bytes, **options: Any) -> bytes:
    async with grpc.aio.insecure_channel(address) as channel:
        return bytes(await channel.unary_unary(ECHO)(content, timeout=LIMIT_S, **options))


async def test_small_messages_need_no_thread() -> None:
    async with serving(compression="gzip") as (transport, address, _):
        gate = fill(transport._threads)
        assert await asked(address, b"small", compression=grpc.Compression.Gzip) == b"small"
        assert await asked(address, bytes(5000), compression=grpc.Compression.Gzip) == bytes(5000)
        gate.set()
        counters = transport.counters()
        # grpc's client sends what does not become smaller as it is.
        assert (counters["decompressed_messages_total"], counters["decompressed_bytes_total"]) == (1, 5000)
        assert counters["compressed_messages_total"] == 1
        assert counters["compression_saved_bytes_total"] > 4000


async def test_other_requests_pass_one_that_waits_for_a_thread() -> None:
    async with serving() as (transport, address, service):
        gate = fill(transport._threads)
        large = asyncio.create_task(asked(address, bytes(10**6), compression=grpc.Compression.Gzip))
        await until(transport, message_threads_waiting=2 * transport._threads._count + 1)
        assert await asked(address, b"passes") == b"passes"
        assert not large.done()
        assert len(service.calls) == 1
        gate.set()
        assert await large == bytes(10**6)


@pytest.mark.parametrize("how", ["cancel", "vanish"])
async def test_a_client_that_leaves_while_its_request_waits_for_a_thread(how: str) -> None:
    """Its memory is free although no thread has come to it."""
    async with serving() as (transport, address, service):
        before = messages.in_use()
        gate = fill(transport._threads)
        peer = await asyncio.to_thread(Peer, address)
        with peer:
            stream = await asyncio.to_thread(peer.open, ECHO, extra=(("grpc-encoding", "gzip"),))
            await asyncio.to_thread(peer.data, stream, compressed(LARGE), end=True)
            await until(transport, message_threads_waiting=2 * transport._threads._count + 1)
            assert messages.in_use() - before >= len(LARGE)
            if how == "cancel":
                peer.h2.reset_stream(stream, 8)
                peer.send()
            else:
                peer.vanish()
            await until(transport, streams=0)
            assert messages.in_use() == before
            assert transport.counters()["message_threads_waiting"] == 2 * transport._threads._count
        gate.set()
        await until(transport, message_threads_waiting=0)
        assert service.calls == []


async def test_a_grpc_client_that_cancels_while_its_request_waits_for_a_thread() -> None:
    async with serving() as (transport, address, service):
        gate = fill(transport._threads)
        asking = asyncio.create_task(asked(address, bytes(10**6), compression=grpc.Compression.Deflate))
        await until(transport, message_threads_waiting=2 * transport._threads._count + 1)
        asking.cancel()
        await until(transport, streams=0, streams_abandoned_total=1)
        gate.set()
        await until(transport, message_threads_waiting=0)
        assert service.calls == []
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_a_client_that_cancels_while_a_thread_has_its_request() -> None:
    """The thread sees it between two pieces, and what is there by then is given back."""
    async with serving() as (transport, address, service):
        before = messages.in_use()
        content = compressed(bytes(60 << 20))

        def give_up() -> None:
            with Peer(address) as peer:
                for _ in range(5):
                    stream = peer.open(ECHO, extra=(("grpc-encoding", "gzip"),))
                    peer.data(stream, content, end=True)
                    peer.h2.reset_stream(stream, 8)
                    peer.send()
                peer.ping()

        await asyncio.to_thread(give_up)
        await until(transport, message_threads_waiting=0, streams=0)
        assert service.calls == []
        assert messages.in_use() == before


async def test_the_deadline_passes_while_the_request_waits_for_a_thread() -> None:
    async with serving() as (transport, address, service):
        gate = fill(transport._threads)
        with Peer(address) as peer:
            stream = await asyncio.to_thread(peer.open, ECHO, extra=(("grpc-encoding", "gzip"), ("grpc-timeout", "1m")))
            await asyncio.to_thread(peer.data, stream, compressed(LARGE), end=True)
            await until(transport, message_threads_waiting=2 * transport._threads._count + 1)
            look(transport, 10**9)  # an hour, if not years, from now
            answer = await asyncio.to_thread(peer.wait, stream)
            assert answer.status == 4
        gate.set()
        await until(transport, message_threads_waiting=0)
        assert service.calls == []


def typed_request(elements: int) -> bytes:
    request = inference.ModelInferRequest(inputs=[{"name": "x", "datatype": "INT32", "shape": [elements]}])
    request.inputs[0].contents.int_contents.extend([1] * elements)
    return request.SerializeToString()


def unpacking_methods(service: Service) -> dict[str, Method]:
    """Each request is unpacked by a thread and answered with the number of its bytes."""

    def go_on(call: Call, request: InferRequest) -> None:
        service.calls.append(call)
        call.reply(b"%d" % len(request.sent()[0][3]))

    return {ECHO: Method("infer", Unpacker(go_on, service.reject).take)}


async def test_a_request_waits_for_a_thread_that_unpacks_it() -> None:
    async with serving(methods=unpacking_methods) as (transport, address, service):
        gate = fill(transport._threads)
        asking = asyncio.create_task(asked(address, typed_request(50_000)))
        await until(transport, message_threads_waiting=2 * transport._threads._count + 1)
        assert service.calls == []
        gate.set()
        assert await asking == b"200000"
        with pytest.raises(grpc.aio.AioRpcError, match="INVALID_ARGUMENT"):
            await asked(address, typed_request(50_000)[:-1])


class Kept(Call):
    """Whose work the test does, as a thread would."""

    def run_on_thread(self, work: Any) -> None:
        WORKS.append(work)


WORKS: list[Any] = []


@pytest.fixture
def clock_ns(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    clock = [10**9]
    monkeypatch.setattr(unpacking, "monotonic_ns", lambda: clock[0])
    yield clock
    while WORKS:
        WORKS.pop().cancel()  # as transports do: it holds its call


def test_a_request_whose_deadline_passes_before_it_is_unpacked(clock_ns: list[int]) -> None:
    rejected: list[Exception] = []
    unpacker = Unpacker(lambda call, request: None, lambda call, error: rejected.append(error))
    unpacker.take(Kept("", messages.Message(typed_request(50_000)), deadline_ns=clock_ns[0] + 1))
    clock_ns[0] += 1
    WORKS[0].run()
    WORKS[0].done()
    assert isinstance(rejected[0], errors.DeadlineExceeded)
    assert "before the request's contents were unpacked" in str(rejected[0])


def test_a_call_that_no_thread_takes_waits_for_nothing() -> None:
    class Threadless(Call):
        def run_on_thread(self, work: Any) -> None:
            raise RuntimeError("can't start new thread")

    call = Threadless("", messages.Message(typed_request(50_000)))
    with pytest.raises(RuntimeError):
        Unpacker(lambda call, request: None, lambda call, error: None).take(call)
    assert call.work is None


async def test_a_client_that_leaves_while_its_request_waits_to_be_unpacked() -> None:
    """Its memory is free although no thread has come to it, and nobody is asked."""
    gc.collect()  # what the tests before have left
    async with serving(methods=unpacking_methods) as (transport, address, service):
        before = messages.in_use()
        gate = fill(transport._threads)
        asking = asyncio.create_task(asked(address, typed_request(500_000)))
        await until(transport, message_threads_waiting=2 * transport._threads._count + 1)
        assert messages.in_use() > before
        asking.cancel()
        await until(transport, streams=0)
        assert messages.in_use() == before
        assert transport.counters()["message_threads_waiting"] == 2 * transport._threads._count
        gate.set()
        await until(transport, message_threads_waiting=0)
        assert service.calls == []


async def test_the_drain_waits_for_what_a_thread_has() -> None:
    async with serving(compression="gzip") as (transport, address, _):
        gate = fill(transport._threads)
        asking = asyncio.create_task(asked(address, bytes(10**6), compression=grpc.Compression.Gzip))
        await until(transport, message_threads_waiting=2 * transport._threads._count + 1)
        stopping = asyncio.create_task(transport.stop(LIMIT_S))
        while not transport.server.stopping:
            await asyncio.sleep(0)
        assert not stopping.done()
        gate.set()
        assert await asking == bytes(10**6)
        await stopping


async def test_the_drain_ends_when_its_time_is_over_although_requests_wait() -> None:
    async with serving() as (transport, address, service):
        gate = fill(transport._threads)
        asking = asyncio.create_task(asked(address, bytes(10**6), compression=grpc.Compression.Gzip))
        await until(transport, message_threads_waiting=2 * transport._threads._count + 1)
        stopping = asyncio.create_task(transport.stop(0))
        with pytest.raises(grpc.aio.AioRpcError):
            await asking
        gate.set()
        await stopping
        assert service.calls == []


# ---- both transports, over real models


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.repository(
        tmp_path_factory.mktemp("compression"),
        {"identity": models.identity(), "large": models.doubled("FP32", (150_000,))},
        {"large": "max_batch_size: 4"},
    )


@pytest.fixture(scope="module", params=TRANSPORTS)
def server(request: pytest.FixtureRequest, files: Path) -> Iterator[ServerFixture]:
    with ServerFixture(files, transport=request.param, compression="gzip", max_message_bytes=4 << 20) as running:
        yield running


@pytest.fixture(scope="module", params=[(transport, encoding) for transport in TRANSPORTS for encoding in ("none", "gzip", "deflate")])
def each(request: pytest.FixtureRequest, files: Path) -> Iterator[ServerFixture]:
    """With every setting of compression."""
    transport, encoding = request.param
    with ServerFixture(files, transport=transport, compression=encoding) as running:
        yield running


@pytest.fixture
def caller(server: ServerFixture) -> Iterator[Caller]:
    with Caller(server.address) as one:
        yield one


def answers(
    caller: Caller, model: str, x: np.ndarray[Any, Any], compression: grpc.Compression | None = None
) -> dict[str, np.ndarray[Any, Any]]:
    return outputs_of(caller.infer(infer_request(model, {"x": x}), compression=compression))


def numbers(seed: int = 0) -> np.ndarray[Any, Any]:
    """600 kB of which half can be saved."""
    return np.random.default_rng(seed).integers(0, 1000, (1, 150_000)).astype(np.float32)


@pytest.mark.parametrize("encoding", GRPC)
def test_requests(caller: Caller, encoding: str) -> None:
    """Small and large, beside others that are not compressed."""
    for seed in range(2):
        same(answers(caller, "identity", rows(64, first=seed), GRPC[encoding]), {"y": rows(64, first=seed)})
        same(caller.answers("identity", {"x": rows(64, first=seed)}), {"y": rows(64, first=seed)})
        same(answers(caller, "large", numbers(seed), GRPC[encoding]), {"y": numbers(seed) * 2})


@pytest.mark.parametrize("encoding", GRPC)
def test_many_at_once(server: ServerFixture, caller: Caller, encoding: str) -> None:
    held = Held(server)
    sent = [rows(1 + number % 64, first=number) for number in range(100)]
    calls = [caller.start(infer_request("identity", {"x": x}).SerializeToString(), compression=GRPC[encoding]) for x in sent]
    large = [
        caller.start(infer_request("large", {"x": numbers(seed)}).SerializeToString(), compression=GRPC[encoding]) for seed in range(3)
    ]
    for x, call in zip(sent, calls, strict=True):
        same(outputs_of(inference.ModelInferResponse.FromString(call.result(LIMIT_S))), {"y": x})
    for seed, call in enumerate(large):
        same(outputs_of(inference.ModelInferResponse.FromString(call.result(LIMIT_S))), {"y": numbers(seed) * 2})
    held.check()


def test_answers(each: ServerFixture) -> None:
    """Compressed as the setting says, for a client that takes it."""
    encoding = each.settings.compression
    request = infer_request("large", {"x": numbers()}).SerializeToString()
    with Peer(each.address) as peer:
        answer = peer.call(framed(request), extra=(ACCEPTS,))
        assert answer.status == 0
        assert answer.headers.get("grpc-encoding") == (None if encoding == "none" else encoding)
        ((flag, content),) = plain(answer)
        assert flag == (encoding != "none")
        same(outputs_of(inference.ModelInferResponse.FromString(content)), {"y": numbers() * 2})
        assert (len(answer.body) < len(content)) == (encoding != "none")


def test_answers_for_clients_that_take_no_compression(each: ServerFixture) -> None:
    """grpc's own server does not look: it compresses for everyone."""
    request = infer_request("identity", {"x": rows(64)}).SerializeToString()
    with Peer(each.address) as peer:
        for extra in ((), (("grpc-accept-encoding", "identity"),)):
            ((flag, content),) = plain(peer.call(framed(request), extra=extra))
            assert flag == (each.transport == "grpcio" and each.settings.compression != "none")
            same(outputs_of(inference.ModelInferResponse.FromString(content)), {"y": rows(64)})


def test_small_answers_are_not_compressed(each: ServerFixture) -> None:
    with Peer(each.address) as peer:
        ((flag, _),) = plain(peer.call(framed(infer_request("identity", {"x": rows(1)}).SerializeToString()), extra=(ACCEPTS,)))
        assert flag == 0 or each.transport == "grpcio"


@pytest.mark.parametrize("encoding", GRPC)
def test_methods_that_are_not_the_hot_one(server: ServerFixture, encoding: str) -> None:
    with Peer(server.address) as peer:
        path = "/inference.GRPCInferenceService/ModelConfig"
        request = inference.ModelConfigRequest(name="identity" + "x" * 5000).SerializeToString()
        answer = peer.call(compressed(request, encoding), path, extra=(("grpc-encoding", encoding),))
        assert answer.status == 5
        request = inference.ModelConfigRequest(name="large").SerializeToString()
        answer = peer.call(compressed(request, encoding), path, extra=(("grpc-encoding", encoding), ACCEPTS))
        ((_, content),) = plain(answer)
        assert inference.ModelConfigResponse.FromString(content).config.name == "large"


@pytest.mark.parametrize("encoding", GRPC)
def test_streams(each: ServerFixture, encoding: str) -> None:
    """Reflection: small questions, and a response that is worth compressing; one question is large, and a thread's."""
    questions = [bytes((0x22, len(name))) + name for name in (b"inference.GRPCInferenceService", b"no.such")]
    questions.append(b"\x22\xe0\xd4\x03" + b"x" * 60_000)
    with Peer(each.address) as peer:
        path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        stream = peer.open(path, extra=(("grpc-encoding", encoding), ACCEPTS))
        for question in questions:
            peer.data(stream, compressed(question, encoding))
        peer.data(stream, framed(questions[1]), end=True)
        answer = peer.wait(stream)
        assert answer.status == 0
        found = plain(answer)
        assert len(found) == 4
        assert b"GRPCInferenceService" in found[0][1]
        assert found[0][0] == (each.settings.compression != "none")
        assert found[1][1] == found[3][1]


def test_health(server: ServerFixture) -> None:
    with grpc.insecure_channel(server.address) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        request = health.HealthCheckRequest(service="identity").SerializeToString()
        found = check(request, timeout=LIMIT_S, compression=grpc.Compression.Gzip)
        assert health.HealthCheckResponse.FromString(found).status == 1


# ---- what is wrong, and what it costs


WHOLE = gzip.compress(infer_request("large", {"x": numbers()}).SerializeToString(), 1)
SMALL = gzip.compress(infer_request("identity", {"x": rows(60)}).SerializeToString())
WRONG = {
    "cut": (SMALL[:-20], 13),
    "cut in the checksum": (SMALL[:-1], 13),
    "large and cut": (WHOLE[:-20], 13),
    "other bytes": (b"no gzip at all", 13),
    "bytes behind": (SMALL + b"x", 13),
    "a second member": (SMALL + SMALL, 13),
    "bytes behind the large one": (WHOLE + b"x", 13),
    "zlib's format": (zlib.compress(b"x" * 100), 13),
    "a bomb": (bomb(40 << 20, zlib.MAX_WBITS | 16), 8),
    "one byte too many": (gzip.compress(bytes((4 << 20) + 1), 1), 8),
    "nothing": (b"", 5),
    "no request": (gzip.compress(b"\xff" * 100), 3),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_rejected_with_the_same_status_by_both(server: ServerFixture, caller: Caller, name: str) -> None:
    content, status = WRONG[name]
    with Peer(server.address) as peer:
        answer = peer.call(framed(content, compressed=1), extra=(("grpc-encoding", "gzip"),))
        assert answer.status == status, answer
        if server.transport == "native" and status == 13:
            assert f"request message: expected {len(content)} bytes of gzip" in answer.message
        if server.transport == "native" and status == 8:
            assert "at most 4194304 bytes (max_message_bytes; less where a method needs less) once it is decompressed" in answer.message
        follows = peer.call(compressed(infer_request("identity", {"x": rows(1)}).SerializeToString()), extra=(("grpc-encoding", "gzip"),))
        assert follows.status == 0
    same(caller.answers("identity", {"x": rows(1)}), {"y": rows(1)})


@pytest.mark.parametrize("encoding", [(), (("grpc-encoding", "identity"),)], ids=["none", "identity"])
def test_a_flag_without_an_encoding(server: ServerFixture, encoding: Any) -> None:
    with Peer(server.address) as peer:
        assert peer.call(framed(SMALL, compressed=1), extra=encoding).status == 13


def test_an_encoding_that_nobody_has(server: ServerFixture) -> None:
    with Peer(server.address) as peer:
        answer = peer.call(framed(SMALL, compressed=1), extra=(("grpc-encoding", "snappy"),))
        if server.transport == "native":  # grpc's own server says INTERNAL
            assert answer.status == 12
            assert answer.headers["grpc-accept-encoding"] == "identity, deflate, gzip"
        assert answer.status != 0


def test_bombs_beside_a_client_that_is_served(server: ServerFixture, caller: Caller) -> None:
    """Each becomes 64 times the limit of a message. They take their turns, and hold what one message may."""
    held, content = Held(server), framed(bomb(256 << 20, zlib.MAX_WBITS), compressed=1)
    with Peer(server.address) as peer:
        streams = [peer.open(extra=(("grpc-encoding", "deflate"),)) for _ in range(10)]
        for stream in streams:
            peer.data(stream, content, end=True)
        for seed in range(3):
            same(answers(caller, "large", numbers(seed), grpc.Compression.Gzip), {"y": numbers(seed) * 2})
            if server.transport == "native":
                assert messages.in_use() < 20 * (4 << 20)
        assert {peer.wait(stream).status for stream in streams} == {8}
    held.check()


def test_clients_that_vanish(server: ServerFixture, caller: Caller) -> None:
    held = Held(server)
    request = compressed(infer_request("large", {"x": numbers()}).SerializeToString())
    for number in range(15):
        peer = Peer(server.address)
        stream = peer.open(extra=(("grpc-encoding", "gzip"), ACCEPTS))
        cut = number * len(request) // 14
        peer.data(stream, request[:cut], end=cut == len(request))
        peer.vanish()
    same(answers(caller, "large", numbers(7), grpc.Compression.Gzip), {"y": numbers(7) * 2})
    held.check()


def test_cancelled_calls(server: ServerFixture, caller: Caller) -> None:
    held = Held(server)
    message = infer_request("large", {"x": numbers()}).SerializeToString()
    for _ in range(5):
        call = caller.start(message, compression=grpc.Compression.Deflate)
        call.cancel()
    assert status_of(caller.start(b"", timeout=LIMIT_S).exception(LIMIT_S))[0] == "NOT_FOUND"
    held.check()


def test_every_byte_is_copied_at_most_twice(files: Path) -> None:
    """What comes is copied into the message; what becomes of it into its place, and into its rows of the batch."""
    message = infer_request("large", {"x": numbers()}).SerializeToString()
    with ServerFixture(files) as native, Caller(native.address) as caller:
        before = messages.copied_nbytes()
        caller.start(message, compression=grpc.Compression.Gzip).result(LIMIT_S)
        assert messages.copied_nbytes() - before <= 2 * len(message) + len(WHOLE) * 1.1
