"""The queues of one model version. A request without steps before the graph waits in one queue, for its run.

A model with preprocess steps has two more queues in front, one of them for requests that are likely to take long (LARGE_US). Preprocess
threads, which all models share (preparer.py), prepare these requests and queue them for the run. Long requests have separate threads, so
that a small picture never waits for a large one. Never in here: threads, instances, where a model runs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from inferd._core.batching.batcher import Batcher
from inferd._core.metrics.histogram import Statistics
from inferd.engine.configuration.batching import shares_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from inferd._core.batching.batch import Batch
    from inferd._core.batching.tap import Tap
    from inferd.errors import RequestError
    from inferd.protocol.inference import ModelConfig

log = logging.getLogger("inferd.engine")

DEFAULT_QUEUE_REQUESTS = 4096
MAX_PREPARED = 1 << 30  # prepared requests that may wait for a run; preprocess threads take no more than needed (preparer.py)
MAX_DURATION_US = 1 << 50  # 35 years; a longer duration in a configuration counts as this
QUEUE_LIMITS = ("max_queue_requests", "max_queue_bytes", "max_queue_wait_us")
PRIORITIES = ("priority_levels", "default_priority")
ADMISSION = (*PRIORITIES, "max_queue_requests", "max_queue_bytes", "max_wait_ns", "queue_policies")  # of the queues that take new requests


def batching_of(config: ModelConfig) -> dict[str, Any]:
    """The Batcher's keywords, and max_rows, from a model's configuration."""
    policy: dict[str, Any] = {
        "max_rows": 1,  # every request is a run
        "max_queue_requests": config.inferd.max_queue_requests or DEFAULT_QUEUE_REQUESTS,
        "max_queue_bytes": config.inferd.max_queue_bytes,
        "max_wait_ns": 1000 * config.inferd.max_queue_wait_us,
    }
    if not config.HasField("dynamic_batching"):
        return policy
    batching = config.dynamic_batching
    levels = batching.priority_levels
    special = batching.priority_queue_policy
    policies = [special.get(level, batching.default_queue_policy) for level in range(1, max(levels, 1) + 1)]
    if shares_runs(config):
        policy |= {
            "max_rows": max(config.max_batch_size, 1),
            "max_delay_ns": _ns(batching.max_queue_delay_microseconds),
            "preferred_rows": tuple(batching.preferred_batch_size),
        }
    return policy | {
        "priority_levels": levels,
        "default_priority": batching.default_priority_level,
        "queue_policies": [(rule.max_queue_size, _ns(rule.default_timeout_microseconds), rule.allow_timeout_override) for rule in policies],
    }


def _ns(duration_us: int) -> int:
    return min(duration_us, MAX_DURATION_US) * 1000


class Queues:
    """A request waits in `first` or in `large`, which admit and reject, and then in `run`, which takes all. Without steps that prepare
    requests `first` is `run`, and `large` is None.

    name: the model and its version, for errors. statistics: of the runs. takers: instances. together: how many requests a preprocess
    thread takes at once; 0: there are no steps that prepare requests.
    """

    def __init__(
        self, config: ModelConfig, name: str, statistics: Statistics, *, as_triton: bool = False, takers: int = 1, together: int = 0
    ) -> None:
        self._config, self._name = config, name
        policy = batching_of(config)
        behind = policy
        if together:
            behind = {key: value for key, value in policy.items() if key not in ADMISSION or key in PRIORITIES}
            behind["max_queue_requests"] = MAX_PREPARED
        self.run = Batcher(statistics=statistics, name=name, as_triton=as_triton, takers=takers, **behind)
        self.first, self.large = self.run, None
        if together:
            admission = {key: value for key, value in policy.items() if key in ADMISSION}
            threads = config.inferd.preprocess_threads or 1
            self.first, self.large = (
                Batcher(together, Statistics(together), name=name, as_triton=as_triton, takers=threads, **admission) for _ in range(2)
            )
            self.first.behind = self.large.behind = self.run

    @property
    def fronts(self) -> tuple[Batcher, ...]:
        """The queues that admit and reject."""
        return (self.first,) if self.large is None else (self.first, self.large)

    @property
    def all(self) -> tuple[Batcher, ...]:
        """In the order in which a request waits in them."""
        return (self.run,) if self.first is self.run else (*self.fronts, self.run)

    @property
    def depth(self) -> int:
        """Requests that wait."""
        return sum(batcher.depth for batcher in self.all)

    @property
    def depth_bytes(self) -> int:
        """Input bytes of waiting requests."""
        return sum(batcher.depth_bytes for batcher in self.all)

    @property
    def overtaken(self) -> int:
        """Requests that ran before earlier ones of a busier connection."""
        return sum(batcher.queue.overtaken for batcher in self.all)

    @property
    def evictions(self) -> int:
        """Waiting requests that were rejected to make room for a connection with fewer waiting ones."""
        return sum(batcher.queue.evictions for batcher in self.all)

    @property
    def idle(self) -> bool:
        """Whether no request waits or runs. Only on the loop does the result hold for a moment."""
        # A preprocess thread queues a request for its run before its own batch is over, so this order of the queues misses none.
        return not any(batcher.depth or batcher.queue.running for batcher in self.all)

    def tap(self, tap: Tap) -> None:
        """From now on `tap` sees each request and its response. On the loop, or before the version starts."""
        for batcher in self.all:
            batcher.taps = (*(batcher.taps or ()), tap)

    def untap(self, tap: Tap) -> None:
        """Removes a tap, on the loop. Does nothing if it is not there."""
        for batcher in self.all:
            batcher.taps = tuple(each for each in batcher.taps or () if each is not tap) or None

    def limit(self, limits: Mapping[str, int]) -> None:
        """Sets the given QUEUE_LIMITS, in the configuration, too. Requests already queued are kept."""
        for name, value in limits.items():
            setattr(self._config.inferd, name, value)
        policy = batching_of(self._config)
        for batcher in self.fronts:
            batcher.limit(policy["max_queue_requests"], policy["max_queue_bytes"], policy["max_wait_ns"])

    def hurry(self) -> None:
        """From now on no batch waits for more requests (max_queue_delay_microseconds)."""
        for batcher in self.all:
            batcher.hurry()

    def expire(self, now_ns: int) -> None:
        """Fails waiting requests that are too late."""
        for batcher in self.all:
            batch = batcher.expire(now_ns)
            if batch is not None:
                batch.deliver()

    def reject(self, error: RequestError, deliver: Callable[[Batch], None]) -> None:
        """Rejects all that wait. deliver(batch): see Model."""
        for batcher in self.all:
            while (batch := batcher.poll()) is not None:
                batch.fail(error)
                try:
                    deliver(batch)
                except Exception:
                    log.exception("model %s: a batch could not be handed over", self._name)
