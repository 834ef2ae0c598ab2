"""Several processes on the same addresses: a supervisor, which loads no model, accepts connections and hands each to a worker.

Each worker reports health to its own connections. So the server is ready as long as one worker is. A crashed worker costs only its own
connections, even if no other can take its place: files for a start may be missing then. Never in here: models, requests, HTTP/2,
who gets which connection (dispatcher.py), restarts (workers.py).
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from inferd import log as logs
from inferd.errors import StartError
from inferd.observe.metrics import MergedMetrics
from inferd.serving.listening.listeners import announce
from inferd.serving.processes.dispatcher import Dispatcher
from inferd.serving.processes.worker_metrics import WorkerMetrics
from inferd.serving.processes.worker_settings import share
from inferd.serving.processes.workers import Workers
from inferd.system.descriptors import warn_of_few

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inferd.config import Address, Settings
    from inferd.observe.scrape import ScrapeServer
    from inferd.serving.processes.child import Child
    from inferd.serving.processes.systemd import Inherited
    from inferd.serving.summary import ModelSummary

log = logging.getLogger(__name__)


class Supervisor:
    """A server of several processes: started, reloaded and stopped as a Server is (server.py).

    sockets: inherited ones that listen already, in place of grpc_port and http_port. fail(): called when a worker has crashed too often,
    or none can be started; stop() then raises the error. start() raises the ConfigError or StartError of a worker.
    """

    def __init__(self, settings: Settings, workers: int, sockets: Sequence[Inherited], fail: Callable[[], None]) -> None:
        self.settings = settings
        self.fixed: frozenset[str] = frozenset()
        self.runs_left = False  # workers have the runs
        self.loading = False
        self._sockets = sockets
        children: dict[int, Child] = {}
        self.dispatcher = Dispatcher(children)
        self.metrics = WorkerMetrics(children)
        self.workers = Workers(settings, workers, children, self.metrics, self.dispatcher.accept_again, fail)
        self._stopping = False
        self._scrapes: ScrapeServer | None = None

    async def start(self) -> dict[str, object]:
        """Starts until all workers are ready. Returns the real addresses, as a Server does."""
        began = time.monotonic()
        self.loading = True
        try:
            bound = self._bind()
            await self.workers.start()
            self.loading = False
            warn_of_few(share(self.settings, self.workers.wanted).max_connections)
            self.dispatcher.open()
            real = announce(bound, self.settings, self._scrapes)
        except BaseException as error:
            self.loading = False
            self._stopping = True
            await self.workers.abandon()
            self._close()
            if isinstance(error, OSError):
                raise StartError(f"workers: a process cannot be started: {error.strerror}") from None
            raise
        self.workers.serve()
        took_s = time.monotonic() - began
        fields = logs.event("server_ready", **real, workers=self.workers.wanted, duration_ms=round(1000 * took_s))
        log.info("ready on %s: %d workers, %.2f s in all", real["grpc"], self.workers.wanted, took_s, extra=fields)
        return real

    def _bind(self) -> list[Address]:
        bound = self.dispatcher.bind(self.settings, self._sockets)
        if (metrics := self.settings.metrics_address) is not None:
            self._scrapes = MergedMetrics(self.metrics.page, self.metrics.tables).bind(metrics.host, metrics.port)
        return bound

    def summaries(self) -> list[ModelSummary]:
        """The models, for people. Each worker serves all of them."""
        return self.workers.summaries()

    def reload(self) -> None:
        """Tells workers to reload certificates, tokens, and settings that can change."""
        self.workers.reload(self.settings)

    async def stop(self) -> None:
        """Drains and ends all workers. Idempotent. Raises an error where workers crashed too often, none can be
        started, or none is left in a lame duck."""
        if self._stopping:
            return
        self._stopping = True
        if self.workers.leave():
            self.workers.tell("not_ready")
            if self.settings.lame_duck_s:
                log.info(
                    "not ready: requests are served for %s s more, so that balancers turn away first",
                    self.settings.lame_duck_s,
                    extra=logs.event("server_not_ready"),
                )
                await self.workers.serve_for(self.settings.lame_duck_s)
        if self.workers.children:
            await self.dispatcher.leave()
            await self.workers.end(self.settings.drain_timeout_s)
        self._close()
        if self.workers.error is not None:
            raise self.workers.error

    def _close(self) -> None:
        """Frees all that is left when all workers have ended."""
        self.dispatcher.close()
        self.workers.close()
        if self._scrapes is not None:
            self._scrapes.close()
            self._scrapes = None
