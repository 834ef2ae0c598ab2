"""Several processes on the same addresses: a supervisor, which loads no model, accepts connections and hands each to a worker.

The supervisor accepts by itself because a gRPC client keeps one connection for hours, so connections decide the load. The kernel does not
divide them well. SO_REUSEPORT sends them to random workers, also to one that loads or has died. On a shared socket, the first worker to
wake takes all of them. The supervisor hands each connection to the ready worker with the fewest open ones, by the workers' reports. That
costs a little for each connection, and nothing for a request.

Each worker reports health to its own connections. So the server is ready as long as one worker is. A crashed worker costs only its own
connections, even if no other can take its place: files for a start may be missing then. Never in here: models, requests, HTTP/2.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from inferd import log as logs
from inferd.config import RELOADED, Settings, most_workers
from inferd.errors import ConfigError, InferdError, StartError
from inferd.observe.metrics import MergedMetrics
from inferd.observe.pages import Sums
from inferd.part import counter, gauge
from inferd.serving.listening.listeners import ACCEPTED_AT_ONCE, LAST_S, Listener, adopt, announce, bind, close_empty
from inferd.serving.memory.budget import settled
from inferd.serving.processes.child import MAX_CRASHES, MAX_FAILURES, Child, Restarts, read_page
from inferd.serving.processes.systemd import addresses
from inferd.serving.summary import ModelSummary
from inferd.system.descriptors import warn_of_few

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from socket import socket

    from inferd.config import Address
    from inferd.engine.loading.planner import Host
    from inferd.observe.pages import Page
    from inferd.observe.scrape import ScrapeServer
    from inferd.part import Table
    from inferd.serving.processes.systemd import Inherited

__all__ = ["Supervisor", "count", "share"]

log = logging.getLogger(__name__)

CORES_EACH = 4  # cores per worker, if neither their number nor the threads of a run are set
NO_DESCRIPTOR_PAUSE_S = 1.0
TAKEN_PAUSE_S = 0.001  # between two checks whether a worker has taken the last connection
LOOK_S = 1.0  # between two looks at the workers
SILENT_LOOKS = 30  # a worker without a report for so many looks hangs
GRACE_S = 10.0  # time of a worker beyond drain_timeout_s
METRICS_TIMEOUT_S = 3.0  # for all workers to send their metrics


def count(settings: Settings, host: Host) -> int:
    """How many processes the settings ask for."""
    if settings.workers:
        return settings.workers
    if settings.transport == "grpcio" or settings.model_control == "explicit":  # an order to load a model reaches only one process
        return 1
    most = most_workers(settled(settings).message_memory_bytes, settings.max_message_bytes)
    return max(1, min(host.usable // (settings.intra_op_threads or CORES_EACH), most))


def share(settings: Settings, workers: int) -> Settings:
    """The settings of one worker: its share of the limits, without those of the supervisor. It opens no port; http_port only tells whether
    connections of REST come."""
    http_port = 0 if settings.serves_http else -1
    settings = settled(msgspec.structs.replace(settings, workers=workers))
    return msgspec.structs.replace(
        settings,
        workers=workers,
        transport="native",
        max_connections=math.ceil(settings.max_connections / workers),
        message_memory_bytes=settings.message_memory_bytes // workers,
        picture_memory_bytes=max(1, settings.picture_memory_bytes // workers),
        model_memory=settings.model_memory // workers,
        listen=(),
        http_port=http_port,
        metrics_port=-1,
        pid_file=None,
        lame_duck_s=0,
    )


class Supervisor:
    """A server of several processes: started, reloaded and stopped as a Server is (server.py).

    sockets: inherited ones that listen already, in place of grpc_port and http_port. fail(): called when a worker has crashed too often;
    stop() then raises the error. start() raises the ConfigError or StartError of a worker.
    """

    def __init__(self, settings: Settings, workers: int, sockets: Sequence[Inherited], fail: Callable[[], None]) -> None:
        self.settings = settings
        self.fixed: frozenset[str] = frozenset()
        self.runs_left = False  # workers have the runs
        self.loading = False
        self._workers = workers
        self._sockets = sockets
        self._fail = fail
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Future[None] = self._loop.create_future()
        self._listeners: list[Listener] = []
        self._accepting = False
        self._held = False  # it accepts no connections for a while
        self._untaken: list[tuple[socket, Address]] = []  # an accepted connection that no worker has taken, and its address: at most one
        self._children: dict[int, Child] = {}
        self._restarts = {number: Restarts() for number in range(1, workers + 1)}
        self._restarted = 0
        self._starts_failed = 0
        self._timers: dict[int, asyncio.TimerHandle] = {}  # of workers that are started again later
        self._look_timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._turn = 0
        self._levels: list[int] | None = None  # of the log, if a client changed them since the settings were read
        self._summaries: list[object] = []  # of models, from the last worker that became ready
        self._serving = False
        self._stopping = False
        self._draining = False  # workers were told to end
        self._error: InferdError | None = None
        self._sums = Sums()
        self._asking = threading.Lock()
        self._scrapes: ScrapeServer | None = None

    # ---- life ----

    async def start(self) -> dict[str, object]:
        """Starts until all workers are ready. Returns the real addresses, as a Server does."""
        began = time.monotonic()
        self.loading = True
        try:
            addresses = self._bind()
            for number in self._restarts:
                self._start_worker(number)
            await self._started
            self.loading = False
            real = self._open(addresses)
        except BaseException as error:
            self.loading = False
            self._start_none()
            await self._kill_all()
            self._close()
            if isinstance(error, OSError):
                raise StartError(f"workers: a process cannot be started: {error.strerror}") from None
            raise
        self._serving = True
        self._look()
        took_s = time.monotonic() - began
        fields = logs.event("server_ready", **real, workers=self._workers, duration_ms=round(1000 * took_s))
        log.info("ready on %s: %d workers, %.2f s in all", real["grpc"], self._workers, took_s, extra=fields)
        return real

    def summaries(self) -> list[ModelSummary]:
        """The models, for people. Each worker serves all of them."""
        return msgspec.convert(self._summaries, list[ModelSummary])

    async def stop(self) -> None:
        """Drains and ends all workers. Idempotent. Raises the error of a worker that crashed too often."""
        if self._stopping:
            return
        self._start_none()
        if self._serving:
            self._tell("not_ready")
            if self.settings.lame_duck_s:
                log.info(
                    "not ready: requests are answered for %s s more, so that balancers turn away first",
                    self.settings.lame_duck_s,
                    extra=logs.event("server_not_ready"),
                )
                await self._serve_for(self.settings.lame_duck_s)
        if self._children:
            await self._leave_listeners()
            await self._end_all()
        self._close()
        if self._error is not None:
            raise self._error

    async def _serve_for(self, seconds: float) -> None:
        """Waits, but no longer than until the last worker has ended, as none is started any more."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._all_ended()

    def reload(self) -> None:
        """Tells workers to reload certificates, tokens, and settings that can change. A worker that cannot be told now is told again at
        each look: it must not go on with names that may no longer call."""
        self._levels = None
        for child in self._children.values():
            if not child.tell("reload", **self._reloaded()):
                why = "it does not read just now, or no file descriptor is left"
                log.error("%s was not told of the settings that were read again, and will be: %s", child, why)

    def _reloaded(self) -> dict[str, object]:
        """The settings that a running worker can change."""
        shared = share(self.settings, self._workers)
        return {name: getattr(shared, name) for name in RELOADED}

    def _bind(self) -> list[list[Listener]]:
        """Binds all addresses, so that one in use is known before models are loaded. Returns the sockets of each address."""
        tls = self.settings.tls_cert is not None
        places = [[adopt(given, tls)] for given in self._sockets]
        self._listeners = [listener for place in places for listener in place]
        for address in addresses(self.settings, self._sockets):
            places.append(bind(address, self.settings))
            self._listeners += places[-1]
        if (metrics := self.settings.metrics_address) is not None:
            self._scrapes = MergedMetrics(self._metrics, self._tables).bind(metrics.host, metrics.port)
        return places

    def _open(self, places: list[list[Listener]]) -> dict[str, object]:
        bound = [place[0].address for place in places]
        for listener in self._listeners:
            if listener.ours:
                listener.listen()
        warn_of_few(share(self.settings, self._workers).max_connections)
        self._accept_again()
        return announce(bound, self.settings, self._scrapes)

    async def _end_all(self) -> None:
        """Tells workers to drain and end, and kills those that do not."""
        self._draining = True
        self._tell("stop")
        with suppress(TimeoutError):
            async with asyncio.timeout(self.settings.drain_timeout_s + GRACE_S):
                await self._all_ended()
        for child in self._children.values():
            log.error("%s does not end: killed", child)
        await self._kill_all()

    async def _kill_all(self) -> None:
        for child in self._children.values():
            child.process.kill()
        await self._all_ended()

    async def _all_ended(self) -> None:
        while self._children:
            self._changed.clear()
            await self._changed.wait()

    async def _leave_listeners(self) -> None:
        """Closes the listeners. Connections in the backlog are still served, as long as workers take them."""
        self._pause()
        left, self._listeners = self._listeners, []
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                await close_empty(left, self._accept)
                while self._untaken:
                    await asyncio.sleep(TAKEN_PAUSE_S)
        self._close_listeners()

    def _close_listeners(self) -> None:
        self._pause()
        for listener in self._listeners:
            listener.close()
        self._listeners = []
        for opened, _ in self._untaken:
            opened.close()
            log.warning("a client is sent away: no worker took its connection")
        self._untaken = []

    def _close(self) -> None:
        """Frees all that is left when all workers have ended."""
        self._close_listeners()
        if self._look_timer is not None:
            self._look_timer.cancel()
        if self._scrapes is not None:
            self._scrapes.close()
            self._scrapes = None

    # ---- workers ----

    def _start_none(self) -> None:
        """From now on no worker is started in place of one that ends."""
        self._stopping = True
        for timer in self._timers.values():
            timer.cancel()

    def _start_worker(self, number: int) -> None:
        self._timers.pop(number, None)
        child = Child(number)
        child.start(self._worker_settings())
        self._children[number] = child
        self._sums.begin(child)
        self._loop.add_reader(child.channel.fileno(), self._hear, child)
        self._loop.add_reader(child.ended, self._ended, child)
        log.info("%s is started", child, extra=logs.event("worker_started", worker=number))

    def _worker_settings(self) -> Settings:
        """The settings of a new worker. One that is started again must fail rather than skip a model that the others serve."""
        settings = share(self.settings, self._workers)
        all_are_served = self._serving and not any(model.error for model in self.summaries())
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
                            child.tell_later("reload", **self._reloaded())
                        child.reported(**message.fields)
                        self._accept_again()
                    case "leaving":
                        self._leave(child)
                    case "log":
                        self._levels = message.fields["levels"]
                        logs.show_levels(self._levels)
                        self._tell("log", levels=self._levels)
        except EOFError:
            self._loop.remove_reader(child.channel.fileno())  # `_ended` is called for its end

    def _ready(self, child: Child) -> None:
        child.state = "ready"
        if self._levels is not None:
            child.tell("log", levels=self._levels)
        self._restarts[child.number].started()
        if not self._started.done():
            if self._ready_workers == self._workers:
                self._started.set_result(None)
        else:
            log.info("%s is ready", child, extra=logs.event("worker_ready", worker=child.number))

    def _failed(self, child: Child, text: str, *, setting: bool) -> None:
        """Called when a worker could not start: then the server cannot either. Once it serves, the worker is started again later."""
        if not self._started.done():
            self._started.set_exception(ConfigError(text) if setting else StartError(text))
        elif self._serving:
            log.error("%s cannot start: %s", child, text)

    def _leave(self, child: Child) -> None:
        if not self._stopping and child.state == "ready":
            child.leave()
            log.info("%s leaves, and another takes its place", child)

    def _ended(self, child: Child) -> None:
        self._hear(child)  # its last messages
        code = child.process.wait()
        self._loop.remove_reader(child.channel.fileno())
        self._loop.remove_reader(child.ended)
        child.close()
        del self._children[child.number]
        if page := child.last_page():
            self._sums.saw(child, page)
        self._sums.end(child)
        self._changed.set()
        how = f"by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"with code {code}"
        if self._stopping or self._error is not None:
            if self._serving and not (code == 0 and (self._draining or child.state == "leaving")):
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
        if not (self._children or self._draining):
            self._error = self._error or InferdError(f"no worker is left, and none is started in a lame duck: {child} ended {how}")

    def _crashed(self, number: int, how: str) -> None:
        wait_ns = self._restarts[number].crashed(time.monotonic_ns())
        if wait_ns is None:
            self._end(f"worker {number} ended {MAX_CRASHES} times within a minute, at last {how}; the log has more")
        else:
            self._start_later(number, wait_ns)

    def _not_started(self, number: int, how: str) -> None:
        """Called when a worker ended before it was ready. It is started again later, while the others serve. Ends the server if no worker
        can be started, or, before it is ready, if this one cannot."""
        self._starts_failed += 1
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
        self._error = InferdError(text)
        self._fail()

    def _start_later(self, number: int, wait_ns: int) -> None:
        log.info("worker %d is started again in %g s", number, wait_ns / 1e9)
        self._timers[number] = self._loop.call_later(wait_ns / 1e9, self._start_again, number)

    def _start_again(self, number: int) -> None:
        try:
            self._start_worker(number)
            self._restarted += 1
        except OSError as error:
            self._not_started(number, f"with its process ({error.strerror})")

    def _look(self) -> None:
        """Kills workers without a report for long: their event loop hangs."""
        self._look_timer = self._loop.call_later(LOOK_S, self._look)
        for child in self._children.values():
            child.tell_again()
            child.silent_looks += 1
            if child.state != "loading" and child.silent_looks > SILENT_LOOKS:
                log.error("%s hangs: killed", child, extra=logs.event("worker_killed", worker=child.number))
                child.process.kill()

    @property
    def _ready_workers(self) -> int:
        return sum(child.state == "ready" for child in list(self._children.values()))

    def _tell(self, kind: str, **fields: object) -> None:
        for child in self._children.values():
            child.tell(kind, **fields)

    # ---- connections ----

    def _accept_again(self) -> None:
        """Accepts connections if there is a worker that takes them; else they wait in the backlog."""
        self._hand_on_again()
        if not (self._accepting or self._held or self.loading) and self._listeners and self._next() is not None:
            self._accepting = True
            for listener in self._listeners:
                self._loop.add_reader(listener.socket.fileno(), self._accept, listener)

    def _pause(self) -> None:
        self._accepting = False
        for listener in self._listeners:
            self._loop.remove_reader(listener.socket.fileno())

    def _next(self) -> Child | None:
        """The worker that gets the next connection: the one with the fewest, round-robin among those with as few."""
        able = (child for child in self._children.values() if child.takes)
        return min(able, key=lambda child: (child.connections, child.turn), default=None)

    def _accept(self, listener: Listener) -> bool:
        """Accepts connections of one address and hands them on. False: some may be left."""
        for _ in range(ACCEPTED_AT_ONCE):
            if self._next() is None:
                self._pause()
                return False
            try:
                opened, _ = listener.socket.accept()
            except BlockingIOError:
                return True
            except OSError as error:
                self._not_accepted(error)
                return False
            self._hand_on(opened, listener.address)
        return False

    def _hand_on(self, opened: socket, address: Address) -> None:
        """Hands a connection to a worker. If none takes it, it waits, and no other connection is accepted until one does."""
        self._turn += 1
        while (child := self._next()) is not None:
            if child.hand(opened, self._turn, tls=address.tls, http=address.http):
                opened.close()
                return
        self._untaken.append((opened, address))
        log.warning(
            "clients wait: no worker takes connections; they do not read just now, or more descriptors are on their way to them than "
            "the limit on open files (ulimit -n) allows",
            extra=logs.LIMITED,
        )

    def _hand_on_again(self) -> None:
        while self._untaken and self._next() is not None:
            self._hand_on(*self._untaken.pop())

    def _not_accepted(self, error: OSError) -> None:
        """Pauses if this process has no descriptors or memory for a connection. Other errors mean that the client has gone."""
        if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            return
        self._pause()
        self._held = True
        self._loop.call_later(NO_DESCRIPTOR_PAUSE_S, self._accept_after_all)
        said = "connections wait: none can be accepted (%s); raise the limit on open files (ulimit -n)"
        log.warning(said, error.strerror, extra=logs.LIMITED)

    def _accept_after_all(self) -> None:
        self._held = False
        self._accept_again()

    # ---- metrics, on threads that scrapes have ----

    def _metrics(self, own: Page) -> Page:
        """Asks all workers at once. The last page of a worker counts if it does not respond. A worker that hangs is not asked."""
        with self._asking:  # else an older page could come last
            able = [child for child in list(self._children.values()) if child.state != "loading" and child.is_responsive]
            asked = [(child, child.ask_metrics()) for child in able]
            overdue_s = time.monotonic() + METRICS_TIMEOUT_S
            for child, pipe in asked:
                if page := read_page(pipe, overdue_s):
                    self._sums.saw(child, page)
            return self._sums.page(own)

    def _tables(self) -> Iterator[Table]:
        serving = sum(child.state == "ready" and child.is_responsive for child in list(self._children.values()))
        yield gauge("inferd_workers", "Worker processes that take requests; only with several.", serving)
        told = "Worker processes that had ended and were started again; only with several."
        yield counter("inferd_worker_restarts", told, self._restarted)
        told = "Worker processes that ended before they were ready; only with several."
        yield counter("inferd_worker_starts_failed", told, self._starts_failed)
        yield counter("inferd_log_dropped", "Log lines that were dropped: stderr was not read fast enough.", logs.dropped())
