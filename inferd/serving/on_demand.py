"""Requests for models that are not in memory, with a limit on the memory of models. They wait until their model is loaded, as in Envoy's
on-demand discovery. The first one orders the load. When it ends, all of them continue in the same step of the loop.

A request for a model in memory never comes here. A request waits for model_wait_s at most, and not beyond its deadline. At most
max_queue_requests wait for one model. Never in here: how a model is loaded, which one leaves to make room (engine/models/versions.py).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from time import monotonic_ns
from typing import TYPE_CHECKING

from inferd._core.metrics.histogram import Histogram
from inferd.errors import DeadlineExceeded, FailedPrecondition, ResourceExhausted, Unavailable
from inferd.part import Part, counter, durations, gauge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from inferd._core.codec.infer import InferRequest
    from inferd._core.grpc.call import Call
    from inferd._core.rest.request import RestRequest
    from inferd.engine.models.repository import Repository
    from inferd.errors import RequestError
    from inferd.part import Table

RETRY_AFTER_NS = 10**9
MISS_BOUNDS_NS = tuple(step * 10**zeros for zeros in range(6, 11) for step in (1, 2, 5))  # 1 ms to 50 s


class OnDemand(Part):
    """Lives on the event loop's thread.

    demand(name): orders the load of a model. most: requests that may wait for one model. wait_s: how long one may wait. go_on(call,
    request) and reject(call, error) are set by the service.
    """

    go_on: Callable[[Call, InferRequest | RestRequest], None]
    reject: Callable[[Call, Exception], None]

    def __init__(
        self, repository: Repository, demand: Callable[[str], Future[None]], loop: asyncio.AbstractEventLoop, *, most: int, wait_s: float
    ) -> None:
        self._repository, self._demand, self._loop = repository, demand, loop
        self._most, self._wait_s = most, wait_s
        self._waiting: dict[str, dict[_Waiting, None]] = {}  # by model, in the order in which they came
        self.durations = Histogram()  # how long requests waited, with and without success
        self._gone_on = 0  # requests whose wait succeeded
        self._hits = 0  # the last value of the metric

    def take(self, call: Call, request: InferRequest | RestRequest) -> bool:
        """Lets the request wait if its model is on demand; False: it is not. Raises ResourceExhausted."""
        name = request.model_name
        if not self._repository.is_on_demand(name, request.model_version):
            return False
        if name not in self._waiting:
            self._waiting[name] = {}
            self._demand(name).add_done_callback(partial(self._tell, name))
        if len(self._waiting[name]) >= self._most:
            raise ResourceExhausted(
                f"{self._most} requests wait until model '{name}' is loaded, which is the limit (max_queue_requests); retry later",
                reason="queue_full",
                retry_after_ns=RETRY_AFTER_NS,
            )
        call.work = waiting = _Waiting(self, call, request)
        left_s = max((call.deadline_ns - waiting.since_ns) / 1e9, 0.0)
        waiting.timer = self._loop.call_later(min(self._wait_s, left_s), self._late, waiting, left_s <= self._wait_s)
        self._waiting[name][waiting] = None
        return True

    async def bring(self, name: str, version: str) -> None:
        """Waits until the model is loaded, if it is on demand. Ignores a failed load, which the repository reports. Raises
        ResourceExhausted and Unavailable."""
        try:
            async with asyncio.timeout(self._wait_s):
                while self._repository.is_on_demand(name, version):
                    await asyncio.shield(asyncio.wrap_future(self._demand(name)))
        except TimeoutError:
            raise self._too_late(name) from None
        except FailedPrecondition:
            return

    def metrics(self) -> Iterator[Table]:
        served = self._repository.left_requests + sum(model.statistics.request.count for model in self._repository.models())
        self._hits = max(self._hits, served - self._gone_on)  # a counter never falls
        yield counter("inferd_model_hits", "Requests served whose model was in memory; only with model_memory.", self._hits)
        told = "Requests that waited for their model to be loaded; only with model_memory."
        yield counter("inferd_model_misses", told, self.durations.count)
        told = "Models that left memory for others; only with model_memory."
        yield counter("inferd_model_evictions", told, self._repository.evictions)
        told = "What models in memory hold without runs, estimated; only with model_memory."
        yield gauge("inferd_model_memory_bytes", told, self._repository.memory_bytes())
        told = "Models that are not in memory, and that a request loads; only with model_memory."
        yield gauge("inferd_models_on_demand", told, len(self._repository.on_demand))
        told = "Time that requests waited for their model to be loaded; only with model_memory."
        yield durations("inferd_model_miss_duration_seconds", told, self.durations, MISS_BOUNDS_NS)

    def give_up(self, waiting: _Waiting) -> None:
        """Called when a request waits no longer."""
        self._waiting.get(waiting.request.model_name, {}).pop(waiting, None)
        self.durations.add(monotonic_ns() - waiting.since_ns)
        if waiting.timer is not None:
            waiting.timer.cancel()

    def leave(self) -> None:
        """Called when the server drains, and loads no models: rejects all requests that wait."""
        for name in list(self._waiting):
            self._loaded(name, Unavailable("the server stops, and loads no models any more; another replica may serve"))

    def _tell(self, name: str, done: Future[None]) -> None:
        """Called before the loader's next order, so that a model gets its requests before it can leave again. On the loop's thread only
        where an order is rejected at once."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._loaded, name, done.exception())

    def _loaded(self, name: str, error: BaseException | None) -> None:
        for waiting in self._waiting.pop(name, {}):
            self.give_up(waiting)
            waiting.call.work = None
            try:
                if error is not None and self._repository.is_on_demand(name, ""):
                    raise error
                self.go_on(waiting.call, waiting.request)
                self._gone_on += 1
            except Exception as rejection:
                self.reject(waiting.call, rejection)

    def _late(self, waiting: _Waiting, by_deadline: bool) -> None:
        name = waiting.request.model_name
        self.give_up(waiting)
        waiting.call.work = None
        error: RequestError = self._too_late(name)
        if by_deadline:
            error = DeadlineExceeded(f"the deadline passed before model '{name}' was loaded; allow more time", reason="deadline")
        self.reject(waiting.call, error)

    def _too_late(self, name: str) -> Unavailable:
        said = f"model '{name}' was not loaded within {self._wait_s:g} s (model_wait_s); retry later"
        return Unavailable(said, retry_after_ns=RETRY_AFTER_NS)


class _Waiting:
    """One request that waits, as its call's work."""

    def __init__(self, on_demand: OnDemand, call: Call, request: InferRequest | RestRequest) -> None:
        self._on_demand, self.call, self.request = on_demand, call, request
        self.since_ns = monotonic_ns()
        self.timer: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        """Called when the client went away."""
        self._on_demand.give_up(self)
