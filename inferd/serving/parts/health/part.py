"""grpc.health.v1: whether the server, or one model, takes requests. Check asks once, Watch follows.

Names of services in requests:

    ""                                  the server as a whole
    "inference.GRPCInferenceService"    the same, for clients that ask by service
    "<model>"                           the version that the label stable names, else the newest ready one
    "<model>/<version>"                 that version

A name that is none of these is NOT_FOUND for Check and SERVICE_UNKNOWN for Watch, which goes on: the model may come.
Never in here: when something is ready.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from inferd.errors import InvalidArgument, NotFound, RequestError, ResourceExhausted
from inferd.part import Method, Part, gauge
from inferd.protocol import health
from inferd.serving.parts.health.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from inferd.engine.models.repository import Repository
    from inferd.part import Table
    from inferd.serving.parts.registry import Parts

SERVICE = "grpc.health.v1.Health"
SERVER_NAMES = frozenset({"", "inference.GRPCInferenceService"})

MAX_REQUEST_NBYTES = 4 << 10  # of one HealthCheckRequest: any client may send it
TYPES = (health.HealthCheckRequest, health.HealthCheckResponse)
MAX_NAME_CHARS = 1024  # a Watch keeps its name for as long as it lasts
ECHOED_CHARS = 64  # of an unknown name in an error: clients may send any
RETRY_AFTER_NS = 5_000_000_000  # no event tells a rejected watcher when to retry


def make(parts: Parts) -> Part:
    settings = parts.settings.of(Settings)
    return Health(parts.repository, parts.ready, settings.max_watchers, settings.max_connection_watchers)


class Health(Part):
    """Check and Watch over a repository. All runs on the event loop, but `metrics`, and `changed` while the models of the start load.

    `ready` says whether the server as a whole takes requests. The server calls `changed` when that, or a model's state, changes.
    Each Watch then sends the state if it differs from the last one sent. So a watcher that reads slowly gets the newest state,
    never a backlog, and costs one pending wake-up at most.
    """

    def __init__(
        self, repository: Repository, ready: Callable[[], bool], max_watchers: int = 1000, max_connection_watchers: int = 16
    ) -> None:
        self._repository = repository
        self._ready = ready
        self._max_watchers, self._max_connection_watchers = max_watchers, max_connection_watchers
        self._watchers: set[asyncio.Event] = set()
        self._closed = False

    def methods(self) -> dict[str, Method]:
        """Rows of the service table, by full method name."""
        return {
            f"/{SERVICE}/Check": Method("unary", self.check, *TYPES, MAX_REQUEST_NBYTES, quick=True),
            f"/{SERVICE}/Watch": Method(
                "stream", self.watch, *TYPES, MAX_REQUEST_NBYTES, self._max_connection_watchers, " (max_connection_watchers)", single=True
            ),
        }

    def metrics(self) -> Iterator[Table]:
        yield gauge("inferd_watchers", "Open Watch streams of the health service.", len(self._watchers))

    async def check(self, request: health.HealthCheckRequest) -> health.HealthCheckResponse:
        status = self._status(request.service)
        if status == health.HealthCheckResponse.SERVICE_UNKNOWN:
            raise NotFound(
                f'service "{request.service[:ECHOED_CHARS]}" is not served; ask for "" (the server), "<model>" or "<model>/<version>"'
            )
        return health.HealthCheckResponse(status=status)

    async def watch(self, requests: AsyncIterator[health.HealthCheckRequest]) -> AsyncIterator[health.HealthCheckResponse]:
        """The status now, then every change of it, until the client goes away or the server ends."""
        name = await self._watched_name(requests)
        changed = self._add_watcher()
        try:
            sent: health.HealthCheckResponse.ServingStatus | None = None
            while True:
                status = self._status(name)
                if status != sent:
                    yield health.HealthCheckResponse(status=status)
                    sent = status
                    continue  # it may have changed again while the client was slow to read
                if self._closed:
                    return
                changed.clear()
                await changed.wait()
        finally:
            self._watchers.discard(changed)

    def changed(self) -> None:
        """The server's readiness or a model's state may have changed: wake every watcher."""
        for watcher in self._watchers:
            watcher.set()

    def leave(self) -> None:
        """From now on all is NOT_SERVING. Each Watch sends that and ends, so that it does not hold up the drain."""
        self._closed = True
        self.changed()

    async def _watched_name(self, requests: AsyncIterator[health.HealthCheckRequest]) -> str:
        request = await anext(requests, None)
        if request is None:
            raise InvalidArgument("Watch: expected one HealthCheckRequest, got the end of the stream; send one, empty for the server")
        name = request.service
        if len(name) > MAX_NAME_CHARS:
            raise InvalidArgument(f"service: expected a name of at most {MAX_NAME_CHARS} characters, got {len(name)}")
        return name

    def _add_watcher(self) -> asyncio.Event:
        if len(self._watchers) >= self._max_watchers:
            raise ResourceExhausted(
                f"{self._max_watchers} health watchers are open, which is the limit; use Check, or close a Watch that is not needed",
                reason="watchers",
                retry_after_ns=RETRY_AFTER_NS,
            )
        changed = asyncio.Event()
        self._watchers.add(changed)
        return changed

    def _status(self, name: str) -> health.HealthCheckResponse.ServingStatus:
        serving = self._ready() and not self._closed
        if name not in SERVER_NAMES:
            model_ready = self._model_ready(name)
            if model_ready is None:
                return health.HealthCheckResponse.SERVICE_UNKNOWN
            serving = serving and model_ready
        return health.HealthCheckResponse.SERVING if serving else health.HealthCheckResponse.NOT_SERVING

    def _model_ready(self, name: str) -> bool | None:
        """Whether the model takes requests now; None where there is no such model or version."""
        model_name, slash, version = name.rpartition("/")
        asked = (model_name, version) if slash else (name, "")
        if self._repository.is_on_demand(*asked):
            return True
        try:
            model = self._repository.lookup(*asked)
        except (NotFound, InvalidArgument):
            return None
        except RequestError:  # known, but no place to run now
            return False
        return model.state == "READY"
