"""The worker processes: they are started, told of changes, replaced when they end, and killed when they hang.

Before the server serves, a worker that cannot start ends the start. After that, it is tried again ever later while others serve. Never in
here: who gets which connection (dispatcher.py), one process's own life (child.py), when all of this begins and ends (supervisor.py).
"""

from __future__ import annotations

import asyncio
import enum
import logging
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from inferd import log as logs
from inferd.errors import ConfigError, InferdError, StartError
from inferd.serving.processes.child import MAX_CRASHES, MAX_FAILURES, Child, Restarts
from inferd.serving.processes.worker_settings import reloaded, share
from inferd.serving.summary import ModelSummary

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd.config import Settings
    from inferd.serving.processes.worker_metrics import WorkerMetrics

log = logging.getLogger(__name__)

LOOK_S = 1.0  # between two looks at the workers
SILENT_LOOKS = 30  # a worker without a message for more looks than these hangs
GRACE_S = 10.0  # time of a worker beyond drain_timeout_s


class Phase(enum.Enum):
    """Decides what the end of a worker means."""

    STARTING = enum.auto()  # some cannot start: then the server cannot
    SERVING = enum.auto()  # another takes its place
    LAME_DUCK = enum.auto()  # the others serve on, and none takes its place
    DRAINING = enum.auto()  # it was told to end
    ABANDONED = enum.auto()  # the start has failed: all are killed


class Workers:
    """All workers of a server.

    wanted: how many there are to be. children: those that run, by number. reported(): called when one has sent its report. fail(): called
    when none can be started, or one has crashed too often. `error` then says why.
    """

    def __init__(
        self,
        settings: Settings,
        wanted: int,
        children: dict[int, Child],
        metrics: WorkerMetrics,
        reported: Callable[[], None],
        fail: Callable[[], None],
    ) -> None:
        self.wanted = wanted
        self.children = children
        self.error: InferdError | None = None
        self.phase = Phase.STARTING
        self._settings = settings
        self._metrics = metrics
        self._reported = reported
        self._fail = fail
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Future[None] = self._loop.create_future()
        self._restarts = {number: Restarts() for number in range(1, wanted + 1)}
        self._timers: dict[int, asyncio.TimerHandle] = {}  # of workers that are started again later
        self._look_timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._levels: list[int] | None = None  # of the log, if a client changed them since the settings were read
        self._summaries: list[object] = []  # of models, from the last worker that became ready

    # ---- all of them ----

    async def start(self) -> None:
        """Starts all, and waits until they are ready. Raises the error of one that cannot start."""
        for number in self._restarts:
            self._start_worker(number)
        await self._started

    def serve(self) -> None:
        """From now on a worker that ends is replaced, and one that hangs is killed."""
        self.phase = Phase.SERVING
        self._look()

    def leave(self) -> bool:
        """From now on no worker is started in place of one that ends. Returns whether they have served."""
        has_served = self.phase is Phase.SERVING
        self.phase = Phase.LAME_DUCK if has_served else Phase.ABANDONED
        for timer in self._timers.values():
            timer.cancel()
        return has_served

    async def abandon(self) -> None:
        """Kills all, for the start has failed."""
        self.leave()
        await self._kill_all()

    async def serve_for(self, seconds: float) -> None:
        """Waits, but no longer than until the last worker has ended, as none is started any more."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._all_ended()

    async def end(self, drain_timeout_s: float) -> None:
        """Tells workers to drain and end, and kills those that do not."""
        self.phase = Phase.DRAINING
        self.tell("stop")
        await self.serve_for(drain_timeout_s + GRACE_S)
        for child in self.children.values():
            log.error("%s does not end: killed", child)
        await self._kill_all()

    async def _kill_all(self) -> None:
        for child in self.children.values():
            child.process.kill()
        await self._all_ended()

    async def _all_ended(self) -> None:
        while self.children:
            self._changed.clear()
            await self._changed.wait()

    def close(self) -> None:
        """Ends the looks, when all workers have ended."""
        if self._look_timer is not None:
            self._look_timer.cancel()

    def summaries(self) -> list[ModelSummary]:
        """The models, from the last worker that became ready."""
        return msgspec.convert(self._summaries, list[ModelSummary])

    def reload(self, settings: Settings) -> None:
        """Tells workers to reload certificates, tokens, and settings that can change. A worker that cannot be told now is told again at
        each look: it must not go on with names that may no longer call."""
        self._settings = settings
        self._levels = None
        for child in self.children.values():
            if not child.tell("reload", **reloaded(settings, self.wanted)):
                why = "it does not read just now, or no file descriptor is left"
                log.error("%s was not told of the settings that were read again, and will be: %s", child, why)

    def tell(self, kind: str, **fields: object) -> None:
        for child in self.children.values():
            child.tell(kind, **fields)

    # ---- one of them ----

    def _start_worker(self, number: int) -> None:
        self._timers.pop(number, None)
        child = Child(number)
        child.start(self._worker_settings())
        self.children[number] = child
        self._metrics.begin(child)
        self._loop.add_reader(child.channel.fileno(), self._hear, child)
        self._loop.add_reader(child.ended, self._ended, child)
        log.info("%s is started", child, extra=logs.event("worker_started", worker=number))

    def _worker_settings(self) -> Settings:
        """The settings of a new worker. One that is started again must fail rather than skip a model that the others serve."""
        settings = share(self._settings, self.wanted)
        all_are_served = self._has_served and not any(model.error for model in self.summaries())
        return msgspec.structs.replace(settings, on_model_error="exit") if all_are_served else settings

    def _hear(self, child: Child) -> None:
        child.silent_looks = 0
        try:
            while (message := child.channel.receive()) is not None:
                match message.kind:
                    case "ready":
                        self._summaries = message.fields.get("models", [])
                        self._ready(child)
                    case "failed":
                        self._failed(child, message.fields["text"], setting=message.fields["setting"])
                    case "report":
                        if message.fields.pop("missed"):
                            child.tell_later("reload", **reloaded(self._settings, self.wanted))
                        child.reported(**message.fields)
                        self._reported()
                    case "leaving":
                        self._leave(child)
                    case "log":
                        self._levels = message.fields["levels"]
                        logs.show_levels(self._levels)
                        self.tell("log", levels=self._levels)
        except EOFError:
            self._loop.remove_reader(child.channel.fileno())  # `_ended` is called for its end

    def _ready(self, child: Child) -> None:
        child.state = "ready"
        if self._levels is not None:
            child.tell("log", levels=self._levels)
        self._restarts[child.number].started()
        if not self._started.done():
            if self._ready_workers == self.wanted:
                self._started.set_result(None)
        else:
            log.info("%s is ready", child, extra=logs.event("worker_ready", worker=child.number))

    def _failed(self, child: Child, text: str, *, setting: bool) -> None:
        """Called when a worker could not start: then the server cannot either. Once it serves, the worker is started again later."""
        if not self._started.done():
            self._started.set_exception(ConfigError(text) if setting else StartError(text))
        elif self._has_served:
            log.error("%s cannot start: %s", child, text)

    def _leave(self, child: Child) -> None:
        if not self._is_leaving and child.state == "ready":
            child.leave()
            log.info("%s leaves, and another takes its place", child)

    def _ended(self, child: Child) -> None:
        self._hear(child)  # its last messages
        code = child.process.wait()
        self._loop.remove_reader(child.channel.fileno())
        self._loop.remove_reader(child.ended)
        child.close()
        del self.children[child.number]
        self._metrics.end(child)
        self._changed.set()
        how = f"by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"with code {code}"
        if self._is_leaving or self.error is not None:
            if self._has_served and not (code == 0 and (self.phase is Phase.DRAINING or child.state == "leaving")):
                self._lost(child, how)
            return
        told = code == -signal.SIGTERM  # somebody replaces workers one by one
        if child.state == "leaving" and (code == 0 or told):
            self._start_again(child.number)
        elif not (self._started.done() or told):
            self._started.set_exception(StartError(f"worker {child.number} ended {how} before it was ready; the log has more"))
        elif child.state == "loading":
            self._not_started(child.number, how)
        else:
            log.error("%s ended %s; its connections are lost", child, how, extra=logs.event("worker_ended", worker=child.number))
            self._crashed(child.number, how)

    def _lost(self, child: Child, how: str) -> None:
        """Called when a worker ended while the server leaves. None takes its place; without any worker left, that is an error."""
        log.error("%s ended %s%s", child, how, " before it was ready" if child.state == "loading" else "; its connections are lost")
        if not (self.children or self.phase is Phase.DRAINING):
            self.error = self.error or InferdError(f"no worker is left, and none is started in a lame duck: {child} ended {how}")

    def _crashed(self, number: int, how: str) -> None:
        wait_ns = self._restarts[number].crashed(time.monotonic_ns())
        if wait_ns is None:
            self._end(f"worker {number} ended {MAX_CRASHES} times within a minute, at last {how}; the log has more")
        else:
            self._start_later(number, wait_ns)

    def _not_started(self, number: int, how: str) -> None:
        """Called when a worker ended before it was ready. It is started again later, while the others serve. Ends the server if no worker
        can be started, or, before it is ready, if this one cannot."""
        self._metrics.starts_failed += 1
        restarts = self._restarts[number]
        wait_ns = restarts.failed()
        log.error("worker %d ended %s before it was ready; %d others are ready", number, how, self._ready_workers)
        if restarts.hopeless and not self._started.done():
            failed = f"{MAX_FAILURES} starts of it failed, at last {how}"
            self._started.set_exception(StartError(f"worker {number} cannot be started: {failed}; the log has more"))
        elif all(each.hopeless for each in self._restarts.values()):
            self._end(f"no worker can be started: {MAX_FAILURES} starts of each failed, at last {how}; the log has more")
        else:
            self._start_later(number, wait_ns)

    def _end(self, text: str) -> None:
        self.error = InferdError(text)
        self._fail()

    def _start_later(self, number: int, wait_ns: int) -> None:
        log.info("worker %d is started again in %g s", number, wait_ns / 1e9)
        self._timers[number] = self._loop.call_later(wait_ns / 1e9, self._start_again, number)

    def _start_again(self, number: int) -> None:
        try:
            self._start_worker(number)
            self._metrics.restarted += 1
        except OSError as error:
            self._not_started(number, f"with its process ({error.strerror})")

    def _look(self) -> None:
        """Kills workers without a report for long: their event loop hangs."""
        self._look_timer = self._loop.call_later(LOOK_S, self._look)
        for child in self.children.values():
            child.tell_again()
            child.silent_looks += 1
            if child.state != "loading" and child.silent_looks > SILENT_LOOKS:
                log.error("%s hangs: killed", child, extra=logs.event("worker_killed", worker=child.number))
                child.process.kill()

    @property
    def _ready_workers(self) -> int:
        return sum(child.state == "ready" for child in list(self.children.values()))

    @property
    def _has_served(self) -> bool:
        return self.phase in (Phase.SERVING, Phase.LAME_DUCK, Phase.DRAINING)

    @property
    def _is_leaving(self) -> bool:
        return self.phase not in (Phase.STARTING, Phase.SERVING)
