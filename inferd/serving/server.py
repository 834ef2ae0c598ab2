"""A server's life: start -> ready -> drain -> stop. Never in here: what a request does on its way (service.py).

Everything runs on one event loop. The server binds its addresses first, so that one in use is known at once. It then loads the models on a
thread of their own, and listens once they are warm. Models run on executor threads, or inline, after that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import inferd
from inferd import log as logs
from inferd._core.batching.delivery import Delivery
from inferd._core.grpc import message as messages
from inferd.config import Settings, without_secrets
from inferd.engine.loading.planner import Host
from inferd.engine.models.changes import Change, Event
from inferd.engine.models.repository import Repository
from inferd.errors import ConfigError
from inferd.serving.listening.edge import Edge
from inferd.serving.memory.budget import settled
from inferd.serving.memory.garbage import Garbage
from inferd.serving.memory.trimming import give_back
from inferd.serving.models import Models
from inferd.serving.parts.registry import Parts
from inferd.serving.service import InferenceService
from inferd.serving.summary import ModelSummary, summaries
from inferd.system.cpu_time import process_age_s

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inferd.serving.processes.systemd import Inherited

log = logging.getLogger(__name__)

EXPIRE_S = 0.02  # between two checks of the deadlines of waiting and running requests
CLOSE_S = 1.0  # for terminated runs, when the drain is over


class Server:
    """Serves models over gRPC and REST, with metrics. Made, started and stopped on one running event loop.

    start() binds the addresses, loads and warms the models, serves and returns the addresses. stop() makes it not ready for
    settings.lame_duck_s, then sends GOAWAY and drains for up to settings.drain_timeout_s. It still serves queued requests, and those that
    clients send before they heed GOAWAY. Then it frees everything.
    sockets: inherited ones that listen already, in place of grpc_port and http_port. opens: whether it has addresses; else it serves
    connections that its edge is told to `take`. hung(): called repeatedly while a terminated run does not end. start() raises ConfigError
    and StartError.
    """

    def __init__(
        self, settings: Settings, sockets: Sequence[Inherited] = (), *, opens: bool = True, hung: Callable[[], None] | None = None
    ) -> None:
        if opens and settings.workers > 1:
            raise ConfigError(f"workers: expected 1 for a Server of one process, got {settings.workers}; `inferd serve` starts several")
        self.settings = self._taken = settings
        self._opens = opens
        self._hung = hung
        self.runs_left = False  # a run did not end in time, and must not hold up the end of the process
        self.loop = asyncio.get_running_loop()
        self.ready = False
        self.loading = False
        self._leaving = False
        fitted = settled(settings)
        messages.set_budget(fitted.message_memory_bytes)
        host = Host.detect(workers=settings.workers)
        self._delivery = Delivery()
        self.loop.add_reader(self._delivery, self._deliver)
        self.repository = Repository(
            fitted, schedule=self.loop.call_soon, deliver=self._delivery.put, host=host, on_model_error=settings.on_model_error
        )
        self.models = Models(settings, self.repository, self.loop)
        self.service = InferenceService(self.repository, self.models.on_demand)
        build = {"version": inferd.__version__, "transport": settings.transport}
        self.parts = Parts(fitted, self.repository, self.models, self.service, ready=lambda: self.ready, build=build, has_metrics=opens)
        self.edge = Edge(settings, sockets, self.parts, self.service)
        self.fixed = self.edge.fixed
        self.repository.changes.subscribe(self._heard)
        self._garbage = Garbage()
        self._expire_timer: asyncio.TimerHandle | None = None

    async def start(self) -> dict[str, object]:
        """Starts until the server is ready. Returns the real addresses: {"grpc": "127.0.0.1:8001", "http": ..., "metrics": ...,
        "listen": [...]}."""
        settings = self.settings
        started, age_s = time.monotonic(), process_age_s()
        models = list(map(without_secrets, settings.models))
        log.info("loading %s", ", ".join(models), extra=logs.event("server_loading", paths=models))
        self._expire()  # also ends runs of loads that take too long
        try:
            self.loading = True
            bound = self.edge.bind() if self._opens else []
            for part in self.parts:
                await part.start()
            await asyncio.to_thread(self.models.load)
            await asyncio.to_thread(give_back)  # memory of reading and optimizing graphs
            self.loading = False
            for part in self.parts:
                await part.ready()
            loaded = time.monotonic()
            real = await self.edge.open(bound) if self._opens else {}
        except BaseException:
            self.loading = False
            await self.stop()
            raise
        if self.settings is not self._taken:  # SIGHUP has brought others meanwhile
            self.reload()
        self.models.start()
        self.ready = not self._leaving
        self._changed()
        self._garbage.begin(time.monotonic())
        where = f" on {real['grpc']}" if real else ""
        opened = time.monotonic()
        log.info(
            "ready%s (%s transport): %.2f s to start Python, %.2f s to load models, %.2f s to open ports",
            *(where, settings.transport, age_s, loaded - started, opened - loaded),
            extra=logs.event("server_ready", **real, transport=settings.transport, duration_ms=round(1000 * (opened - started))),
        )
        return real

    def summaries(self) -> list[ModelSummary]:
        """The models, for people."""
        return summaries(self.repository)

    def set_not_ready(self) -> None:
        """From now on health reports that it is not ready, even once a load ends. Requests are served as before."""
        self.ready, self._leaving = False, True
        self._changed()

    def _heard(self, change: Change) -> None:
        if change.event is Event.STARTING and change.model is not None:
            version = change.model
            self.parts.tell(lambda part: part.starting(version))
        else:
            self._changed()

    def _changed(self) -> None:
        self.parts.tell(lambda part: part.changed())

    async def stop(self) -> None:
        """Drains and ends (see the class). Idempotent."""
        was_ready = self.ready
        self.set_not_ready()
        if was_ready and self.settings.lame_duck_s:
            log.info(
                "not ready: requests are served for %s s more, so that balancers turn away first",
                self.settings.lame_duck_s,
                extra=logs.event("server_not_ready"),
            )
            await asyncio.sleep(self.settings.lame_duck_s)
        self.parts.tell(lambda part: part.leave())
        self.models.leave()
        self.repository.upkeep.hurry()
        await self.edge.stop(self.settings.drain_timeout_s)
        idle = await asyncio.to_thread(self.models.stop, CLOSE_S)
        self.runs_left = not (await asyncio.to_thread(self.repository.close, CLOSE_S) and idle)
        await self.parts.tell_in_turn(lambda part: part.stop())
        if not self._delivery.closed:
            self.loop.remove_reader(self._delivery)
            self._delivery.close()
        if self._expire_timer is not None:
            self._expire_timer.cancel()
            self._expire_timer = None
        self.edge.close()
        self._garbage.end()

    def _deliver(self) -> None:
        """Called when batches have come from executor threads: sends their responses together."""
        self._delivery.deliver()
        for flush in self.edge.flushes:
            flush()

    def _expire(self) -> None:
        """Fails waiting requests that are too late, and ends runs that nobody waits for or that take too long."""
        self.repository.expire(time.monotonic_ns())
        if self._hung is not None and self.repository.upkeep.hung:
            self._hung()
        self._garbage.collect_if_due(time.monotonic())
        self._expire_timer = self.loop.call_later(EXPIRE_S, self._expire)

    def reload(self) -> None:
        """Reads certificates and tokens again, even from unchanged files, and takes those `settings` that a running server can change
        (RELOADED). No connection and no call is lost."""
        if self.loading:
            return
        self._taken = self.settings
        self.repository.upkeep.limit_queues(self.settings)
        self.parts.tell(lambda part: part.reload(self.settings))
