"""A server's life: start -> ready -> drain -> stop. Never in here: what a request does on its way (service.py).

Everything runs on one event loop; models are loaded on a thread of their own before the first address is opened, and
run on executor threads, or inline, after that.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

import inferd
from inferd._core import message as messages
from inferd.config import Address, Settings, parse_address
from inferd.engine.repository import Repository
from inferd.errors import StartError
from inferd.observe.metrics import Metrics
from inferd.serving.service import InferenceService

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd._core.batcher import Batch

__all__ = ["Server", "serve"]

log = logging.getLogger(__name__)

EXPIRE_S = 0.02  # how often deadlines of waiting and running requests are looked at


class Transport(Protocol):
    """What both transports, native.py and grpcio.py, do for the server."""

    async def start(self, addresses: list[Address]) -> list[Address]: ...
    async def stop(self, timeout_s: float) -> None: ...
    def flush(self) -> None: ...
    def counters(self) -> dict[str, float]: ...


class Server:
    """Serves models over gRPC, with metrics. Made, started and stopped on one running event loop.

    start() loads and warms the models, opens the addresses and returns them; stop() takes no new work, answers what is
    queued within settings.drain_timeout_s, says GOAWAY and frees everything.
    Raises ConfigError and StartError from start().
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.ready = False
        self.loading = False
        messages.set_budget(settings.message_memory_bytes)
        self.repository = Repository(settings, schedule=self.loop.call_soon, deliver=self._deliver)
        self.service = InferenceService(self.repository, inferd.__version__, lambda: self.ready)
        self.transport_name, self._transport = self._make_transport()
        self._flush = self._transport.flush
        self._close_metrics: Callable[[], None] | None = None
        self._expire_timer: asyncio.TimerHandle | None = None

    async def start(self) -> dict[str, object]:
        """Everything until the server is ready. The real addresses: {"grpc": "127.0.0.1:8001", "metrics": ..., "listen": [...]}."""
        settings = self.settings
        started = time.monotonic()
        log.info("loading %s", ", ".join(settings.models))
        try:
            self.loading = True
            await asyncio.to_thread(self.repository.load, settings.models)
            self.loading = False
            loaded = time.monotonic()
            addresses = [Address(settings.host, settings.grpc_port), *map(parse_address, settings.listen)]
            bound = [str(address) for address in await self._transport.start(addresses)]
            real: dict[str, object] = {"grpc": bound[0]}
            if settings.metrics_port >= 0:
                metrics = Metrics(self.repository, self._counters, {"version": inferd.__version__, "transport": self.transport_name})
                port, self._close_metrics = metrics.serve(settings.host, settings.metrics_port)
                real["metrics"] = str(Address(settings.host, port))
            if bound[1:]:
                real["listen"] = bound[1:]
        except BaseException:
            self.loading = False
            await self.stop()
            raise
        self._expire()
        self.ready = True
        self.service.health.changed()
        gc.collect()
        gc.freeze()  # what lives as long as the process is looked at no more
        log.info("ready on %s (%s transport): %.2f s to load models, %.2f s in all", bound[0], self.transport_name, loaded - started,
                 time.monotonic() - started)  # fmt: skip
        return real

    async def stop(self) -> None:
        """Not ready any more, nothing new, answers for what is queued, GOAWAY, end. Idempotent."""
        self.ready = False
        self.service.health.changed()
        self.service.health.close()
        await self._transport.stop(self.settings.drain_timeout_s)
        await asyncio.to_thread(self.repository.close)
        if self._expire_timer is not None:
            self._expire_timer.cancel()
            self._expire_timer = None
        if self._close_metrics is not None:
            self._close_metrics()
            self._close_metrics = None
        gc.unfreeze()

    def _make_transport(self) -> tuple[str, Transport]:
        settings = self.settings
        native = find_spec("inferd._core.http2") is not None
        if settings.transport == "native" and not native:
            raise StartError(
                "transport: native is asked for and not built; install libnghttp2-dev (1.61 or newer) and pkg-config, build inferd "
                "again, or serve with --transport grpcio"
            )
        if settings.transport != "grpcio" and native:
            from inferd.serving.native import NativeTransport

            return "native", NativeTransport(self.service.methods, settings, self.service.refuse)
        if settings.transport == "auto":
            log.warning("the native transport is not built (libnghttp2 was not found): serving on grpcio, which is many times slower")
        from inferd.serving.grpcio import GrpcioTransport

        return "grpcio", GrpcioTransport(self.service.methods, settings, self.service.refuse)

    def _deliver(self, batch: Batch) -> None:
        """From an executor's thread: the batch's answers go out on the loop, with one wake-up for all of them."""
        self.loop.call_soon_threadsafe(self._deliver_on_loop, batch)

    def _deliver_on_loop(self, batch: Batch) -> None:
        batch.deliver()
        self._flush()

    def _expire(self) -> None:
        """Answers requests whose deadline passed while they waited, and ends runs that nobody waits for any longer."""
        self.repository.expire(time.monotonic_ns())
        self._expire_timer = self.loop.call_later(EXPIRE_S, self._expire)

    def _counters(self) -> dict[str, float]:
        refusals = {f"refusals_{reason}_total": count for reason, count in self.service.refusals.copy().items()}
        return self._transport.counters() | {"message_bytes": messages.in_use()} | refusals


def serve(settings: Settings, ready: Callable[[dict[str, object]], None]) -> int:
    """Serves until SIGTERM or SIGINT. ready(addresses) is called once, when requests are answered. The exit code: 0.

    A signal while models are still being loaded ends the process at once: loading cannot be interrupted, and nobody waits.
    """

    async def run() -> None:
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        server = Server(settings)
        start = asyncio.create_task(server.start())
        signalled = asyncio.create_task(stopped.wait())
        await asyncio.wait((start, signalled), return_when=asyncio.FIRST_COMPLETED)
        if server.loading:
            log.info("stopped before the models were loaded")
            logging.shutdown()
            os._exit(0)
        try:
            addresses = await start
            if not stopped.is_set():
                ready(addresses)
            await signalled
            log.info("stopping: answering what is queued, for %s s at most", settings.drain_timeout_s)
        finally:  # also when `ready` raised: a loop that still has connections does not close
            await server.stop()

    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if settings.uvloop and find_spec("uvloop") is not None:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run())
    return 0
