"""One version of one model: its contract, its queues, its instances, its life. Its `route` (_core/inference/path.pyx) has the middle of a
request's path: check, submit, and runs on the event loop.

    LOADING --start--> READY --drain--> UNLOADING --close--> UNAVAILABLE

It is UNAVAILABLE, too, while all of its instances hang in a run (running/run_limit.py).

A model runs either inline, on the event loop right after the iteration that gathered its batch, or on executor threads, one per instance.
It is inline when its measured runs are tiny (_core/inference/inline_policy.pyx), shapes bound them (checks/bounds.py), and it has one
instance and no delay. It moves by itself when that changes, and before a request that is much larger than any known to be short. It
never runs in two places at once:

- from the loop to a thread: the loop stops polling, then the thread starts;
- from the thread to the loop: the batcher dismisses the thread when nothing is queued, and the loop polls only once it has gone.

A model with preprocess steps has two more queues in front, one of them for requests that are likely to take long (LARGE_US). Preprocess
threads, which all models share (running/preparer.py), prepare these requests and queue them for the run. Long requests have separate
threads, so that a small picture never waits for a large one. Such a model is never inline.

The executor thread of a model with one instance starts with the first request, and ends when the model was idle for THREAD_IDLE_NS.

`expire` is called some times a second while the model is active: while requests wait or run on threads. An idle model costs nothing. The
first request at an idle model makes it active (`activated`). An inline model is always idle: it runs waiting requests within the iteration,
and its queue drops those that are too late.

Only the event loop's thread calls `check`, `submit` and `expire`, and moves a model. Without a loop (the embedded engine) any thread may
call them, and nothing is inline. Never in here: files, onnxruntime, transports.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferd._core.batching.batcher import Batcher
from inferd._core.inference.batched_route import BatchedRoute
from inferd._core.inference.inline_policy import InlinePolicy
from inferd._core.metrics.histogram import Statistics
from inferd._core.tensor.datatypes import DATATYPES
from inferd.engine.checks import run_limits
from inferd.engine.configuration.batching import shares_runs
from inferd.engine.loading import warmup
from inferd.engine.loading.origin import Origin
from inferd.engine.running.executor import ExecutorThread, Instance
from inferd.engine.running.preparer import Preparer, PreprocessThreads
from inferd.engine.running.run_limit import RunLimit, Stage
from inferd.engine.runtime.arena import KEPT_BYTES
from inferd.errors import RequestError, StartError, Unavailable
from inferd.log import event
from inferd.protocol import options
from inferd.threads import NoThread, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from inferd._core.batching.batch import Batch
    from inferd._core.batching.request import Request
    from inferd._core.batching.tap import Tap
    from inferd._core.grpc.call import Call
    from inferd._core.tensor.signature import Signature
    from inferd.engine.runtime.arena import RunArena
    from inferd.engine.runtime.runtime import Backend
    from inferd.protocol.inference import ModelConfig
    from inferd.steps.plan import Plan

__all__ = ["QUEUE_LIMITS", "Model", "State", "batching_of"]

log = logging.getLogger("inferd.engine")

DEFAULT_QUEUE_REQUESTS = 4096
DEFAULT_INLINE_LIMIT_US = 100
DEFAULT_BUSY_PERCENT = 50
HOPELESS_LIMITS = 4  # a run of this many times the limit ends the measuring
MAX_PREPARED = 1 << 30  # prepared requests that may wait for a run; preprocess threads take no more than needed (running/preparer.py)
MAX_DURATION_US = 1 << 50  # 35 years; a longer duration in a configuration counts as this
CLOSE_TIMEOUT_S = 10.0
THREAD_IDLE_NS = 10 * 10**9  # then the executor thread ends; starting another takes some 100 us
QUEUE_LIMITS = ("max_queue_requests", "max_queue_bytes", "max_queue_wait_us")


class State(StrEnum):
    """The state of one version, in Triton's words."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


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


class Model:
    """One version. Made LOADING, with a completed configuration and one backend for each instance.

    schedule(callback): loop.call_soon; None: there is no loop, so nothing is inline.
    deliver(batch): called on an executor thread with a batch that has run; it must see to a call of batch.deliver().
    activated(model): called when the model becomes active. From now on the caller calls `expire` and `rest`, until `rest` returns True.
    signature: the tensors that clients send and get. steps: those between clients and the graph; None: there are none. preprocess: the
    threads that prepare requests, if steps do; the caller closes them. plan_reason: why it has these threads and instances, for people.
    why_unbounded(): why shapes do not bound a run, '' where they do; called before it becomes inline.
    arenas: the memory of its runs, as far as inferd knows. warmup_file(name): the path of an input_data_file.
    warmup_records: files of records whose requests warm it up.
    triton_statuses: see the setting of that name.
    All other options are in `config.inferd`.
    """

    def __init__(
        self,
        name: str,
        version: int,
        config: ModelConfig,
        signature: Signature,
        backends: Sequence[Backend],
        *,
        schedule: Callable[[Callable[[], None]], object] | None = None,
        deliver: Callable[[Batch], None],
        activated: Callable[[Model], object] = lambda _: None,
        steps: Plan | None = None,
        preprocess: PreprocessThreads | None = None,
        plan_reason: str = "",
        why_unbounded: Callable[[], str] = lambda: "",
        arenas: Sequence[RunArena] = (),
        warmup_file: Callable[[str], Path] = Path,
        warmup_records: Sequence[Path] = (),
        triton_statuses: bool = False,
    ) -> None:
        self.name = name
        self.version = version
        self.config = config
        self.signature = signature
        self.state = State.LOADING
        self.reason = ""
        self.plan_reason = plan_reason
        self.run_cost: run_limits.RunCost | None = None  # learned at warm-up where sizes vary
        self.memory_bytes = 0  # an estimate, without its runs; set by the code that loads it
        self._started_ns = 0  # by the wall clock
        self.origin = Origin()
        self.inline_reason = "not decided before warm-up"
        self.instances: int = len(backends)
        self.statistics: Statistics = Statistics(max(config.max_batch_size, 1))
        self._title = f"model '{name}' version {version}"
        self._arenas = arenas
        self._decayed_runs = 0  # runs at the last decay
        self._seen_runs, self._arena_bytes = -1, 0  # runs when the arenas were looked at, and what they held
        self._has_loop = schedule is not None
        self._deliver = deliver
        self._activated = activated
        self._run_signature = signature if steps is None else steps.run_signature
        if self._run_signature is not signature:
            self._run_signature.clients = signature
        self.zeros_fault: RequestError | None = None  # raised by a warm-up run with zeros
        self._examples: warmup.Examples = {} if steps is None else steps.examples
        self._prepare = steps.prepare if steps is not None and steps.prepares else None
        self._run_queue = Batcher(
            statistics=self.statistics,
            name=f"'{name}' version {version}",
            as_triton=triton_statuses,
            takers=self.instances,
            **batching_of(config),
        )
        self._first_queue = self._run_queue  # the first queue of a request
        self._large: Batcher | None = None  # the first queue of requests that take long to prepare
        self._preparer: Preparer | None = None
        finish = steps.finish if steps is not None and steps.finishes else None
        self._instances = [Instance(self._title, backend, finish) for backend in backends]
        for instance in self._instances:
            instance.labels = {"model": name, "version": version}
        if steps is not None and steps.prepares:
            assert preprocess is not None, "steps that prepare requests need preprocess threads"
            self._put_in_front(steps, preprocess, config.inferd.preprocess_threads or 1, triton_statuses, schedule)
        else:
            self._run_queue.schedule = schedule
        self.route = route = BatchedRoute(self, signature, self._run_queue, self._instances[0], schedule)
        route.first_queue, route.large, route.contents = self._first_queue, self._large, b"" if steps is None else steps.contents
        route.policy = self._inline_policy()
        route.turn_ns = 1000 * (config.inferd.inline_limit_us or DEFAULT_INLINE_LIMIT_US)
        route.short_nbytes = 0 if self._run_signature.fixed else 1
        route.works_alone = config.inferd.intra_op_threads == 1 and not any(group.kind == group.KIND_GPU for group in config.instance_group)
        self._limits = [RunLimit(instance, 10**9 * config.inferd.max_run_s) for instance in self._instances]
        self._hangs = False  # all instances hang in a run
        self._threads: list[ExecutorThread] = []
        self._starting = threading.Lock()  # of _threads and _dismissed: without a loop, any thread may submit the first request
        self._dismissed = False  # the executor thread was dismissed, as the model is idle
        self._rested_runs, self._idle_from_ns = -1, 0  # the number of runs when `rest` last saw it change, and when that was
        self._why_unbounded = why_unbounded
        self._warmup_file, self._warmup_records = warmup_file, warmup_records
        self._may_return = False  # to the loop; set by the executor thread
        self._returning = False  # the executor thread was dismissed, and the loop takes over when it has gone
        self._closing = threading.Lock()

    # ---- the path of a request; transports call the route itself ----

    def check(self, request: Request) -> None:
        """Checks datatypes, shapes, sizes and rows against the signature. Raises InvalidArgument."""
        self.route.check(request)

    def submit(self, request: Request, call: Call) -> None:
        """Queues a checked request; the call gets its response later. Raises ResourceExhausted or Unavailable, at once."""
        self.route.submit(request, call)

    # ---- taps ----

    def tap(self, tap: Tap) -> None:
        """From now on `tap` sees each request and its response. On the loop, like untap."""
        for batcher in self._batchers:
            batcher.taps = (*(batcher.taps or ()), tap)

    def untap(self, tap: Tap) -> None:
        """Removes a tap. Does nothing if it is not there."""
        for batcher in self._batchers:
            batcher.taps = tuple(each for each in batcher.taps or () if each is not tap) or None

    # ---- what is known of it ----

    def comes_from(self, origin: Origin) -> None:
        """Called when its load is done, before it starts."""
        self.origin = origin
        if origin.provenance is not None:
            self.signature.provenance = origin.provenance.parameters()

    @property
    def inline(self) -> bool:
        """Whether it runs on the event loop."""
        return self.route.inline

    @property
    def failures(self) -> dict[str, int]:
        """Failed requests, by Triton's reason. REJECTED: rejected by a full queue, evicted from it, or too late there. CANCELED: the client
        went away, or the deadline passed in the run. BACKEND: the run failed. OTHER: all else."""
        counts = self.route.rejected.copy()
        for batcher in self._batchers:
            counts["REJECTED"] += batcher.expired
            counts["CANCELED"] += batcher.cancelled
            counts["BACKEND" if batcher is self._run_queue else "OTHER"] += batcher.failed  # failed preparation: the request was wrong
        return counts

    @property
    def depth(self) -> int:
        """Requests that wait."""
        return sum(batcher.depth for batcher in self._batchers)

    @property
    def running(self) -> int:
        """Requests in the current runs."""
        batches = [instance.running for instance in self._instances]
        return sum(len(batch.requests) for batch in batches if batch is not None)

    @property
    def used_ns(self) -> int:
        """The time when it last ran, or was started, by the wall clock."""
        return max(self.statistics.last_ns, self._started_ns)

    @property
    def overtaken(self) -> int:
        """Requests that ran before earlier ones of a busier connection."""
        return sum(batcher.queue.overtaken for batcher in self._batchers)

    @property
    def evictions(self) -> int:
        """Waiting requests that were rejected to make room for a connection with fewer waiting ones."""
        return sum(batcher.queue.evictions for batcher in self._batchers)

    @property
    def depth_bytes(self) -> int:
        """Input bytes of waiting requests."""
        return sum(batcher.depth_bytes for batcher in self._batchers)

    # ---- memory ----

    @property
    def has_arena(self) -> bool:
        """Whether its runs have arenas of inferd's, with a limit and decay."""
        return bool(self._arenas)

    @property
    def arena_bytes(self) -> int:
        """Memory that the runs' arenas hold at the moment, in use or kept for the next run; 0 where inferd has none."""
        if self.statistics.runs != self._seen_runs or any(instance.running for instance in self._instances):
            self._measure_arenas()
        return self._arena_bytes

    def _measure_arenas(self) -> None:
        self._seen_runs, self._arena_bytes = self.statistics.runs, sum(arena.held_bytes() for arena in self._arenas)

    @property
    def run_peak_bytes(self) -> int:
        """The most that its runs needed at once, as found by each decay."""
        return sum(arena.peak_bytes for arena in self._arenas)

    @property
    def buffer_bytes(self) -> int:
        """Bytes of the arrays that its instances bind for their largest batch, if every size but the rows is known. Only pages that
        batches have touched are in memory."""
        signature = self._run_signature
        if not signature.fixed:
            return 0
        rows = max(signature.max_batch_size, 1)
        specs = (*signature.run_input_specs, *signature.run_output_specs)
        axes = 1 if signature.max_batch_size else 0
        return self.instances * rows * sum(math.prod(shape[axes:]) * DATATYPES[word][1] for _, word, shape in specs)

    def decay(self) -> None:
        """Returns unused memory of earlier runs to the system. Not on the loop. An inline model keeps its memory, as its runs would wait
        meanwhile: they are tiny, and it decayed before it returned to the loop."""
        runs = self.statistics.runs
        if self.inline or runs == self._decayed_runs:
            return
        self._decayed_runs = runs
        self._give_back()

    def _give_back(self, kept_bytes: int = KEPT_BYTES) -> int:
        """Returns unused memory to the system. Returns the bytes held before."""
        held_bytes = sum(arena.give_back(kept_bytes) for arena in self._arenas)
        log.debug("%s: its runs held %d bytes; what none of them uses is given back", self._title, held_bytes)
        self._seen_runs = -1
        return held_bytes

    # ---- life ----

    def warm_up(self, deterministic: bool | None = None) -> bool | None:
        """Runs every instance before it serves, and decides where the model runs. On the loader's thread. Returns whether the same input
        twice gives the same bytes; None: no made-up input runs. deterministic: that result, if it is known; else trial runs find it.

        An error with zeros is kept in `zeros_fault`. Raises StartError if a model_warmup of the configuration fails, ConfigError if a
        record does not fit.
        """
        measured_ns = None
        signature = self._run_signature
        unbounded = self._rule_out_unbounded()
        try:
            for instance in self._instances:  # they share a session, so the first one warms its threads and caches
                warmup.warm_up(instance, signature, self._examples, once=instance is not self._instances[0])
            policy = self.route.policy
            if policy is not None and not unbounded:
                measured_ns = warmup.measure(self._instances[0], signature, self._examples, HOPELESS_LIMITS * policy.limit_ns)
                if not signature.fixed and policy.admits(measured_ns):
                    self.route.short_nbytes += warmup.short_nbytes(self._instances[0], signature, self._examples, policy.limit_ns)
        except RequestError as error:
            self.zeros_fault = error
        self._learn_cost()
        if deterministic is None:
            deterministic = warmup.is_deterministic(self._instances[0], signature, self._examples)
        for name, count, inputs in warmup.configured_inputs(self.config, signature, self._warmup_file):
            try:
                for instance in self._instances:
                    for _ in range(count):
                        warmup.run_once(instance, signature, inputs)
            except RequestError as error:
                raise StartError(f"{self._title}: model_warmup {name!r} failed: {error}") from None
        if self._warmup_records:
            from inferd.engine.loading.warmup_records import run_records

            ran = run_records(self._warmup_records, self._instances, self.signature, self._prepare, self._title)
            log.info("%s: %d recorded requests have warmed it up", self._title, ran)
        self._warmup_file, self._warmup_records = Path, ()  # they refer to the configuration's text, which may be long
        self._decide(measured_ns, unbounded)
        if 0 < self._give_back(kept_bytes=0) <= KEPT_BYTES:
            warmup.run_one_row(self._instances, signature, self._examples)  # allocates the memory of a first request's run
        self._measure_arenas()
        return deterministic

    def _learn_cost(self) -> None:
        """Where sizes vary, learns how much memory runs take, so that `check` rejects a request whose run would not fit."""
        limit_bytes = self.config.inferd.max_run_bytes
        if self._run_signature.fixed or self._run_signature is not self.signature or not self._arenas or not limit_bytes:
            return
        cost = run_limits.learn(self._instances[0], self.signature, self._examples, self._arenas[0], limit_bytes)
        if cost is not None:
            self.signature.limit_runs(limit_bytes, *cost)
            self.run_cost = cost
            log.debug("%s: a row of %d bytes takes %d bytes in its run, more of them by the power of %.2f", self._title, *cost)

    def start_threads(self) -> None:
        """Starts the threads that it needs before the first request. On the loader's thread. Raises NoThread. Idempotent."""
        if self._preparer is not None:
            self._preparer.start()
        if self.instances > 1 and not self._threads:
            self._start_executors()

    def start(self) -> None:
        """Takes requests from now on. Raises NoThread, unless start_threads was called."""
        self.start_threads()
        if not self.inline:
            self.route.first_waits = self._activate
        self._started_ns = time.time_ns()
        self.state = State.READY

    def expire(self, now_ns: int) -> bool:
        """Called some times a second while the model is active. Fails waiting requests that are too late, and ends runs that take too
        long or that nobody waits for. Lets the model return to the loop. True: the model's state has changed."""
        for batcher in self._batchers:
            batch = batcher.expire(now_ns)
            if batch is not None:
                batch.deliver()
        for limit in self._limits:
            limit.enforce(now_ns)
        if self._run_queue.depth and not self._threads:
            self._have_executor()  # the system had no thread for an earlier request
        if self._returning:
            self._return_if_left()
        elif self._may_return and not self._run_queue.closed:
            self._returning = True
            self.route.first_waits = self._return_if_left
            self._run_queue.dismiss()
        return self._update_hung()

    def rest(self, now_ns: int) -> bool:
        """Called right after `expire`. True: nothing waits, runs or moves, so the executor thread was dismissed, and the model is idle
        until a request makes it active."""
        if not self.idle:
            return False
        if self._may_return or self._returning or any(limit.watches for limit in self._limits):
            return False
        if self.inline or self._first_queue.closed:
            return True
        if self.statistics.runs != self._rested_runs:
            self._rested_runs, self._idle_from_ns = self.statistics.runs, now_ns
        if self.instances == 1 and now_ns - self._idle_from_ns < THREAD_IDLE_NS:
            return False
        if self.instances == 1 and self._threads:
            self._dismissed = True
            self._run_queue.dismiss()
        self.route.first_waits = self._activate
        return True

    @property
    def idle(self) -> bool:
        """Whether no request waits or runs. Only on the loop does the result hold for a moment."""
        # A preprocess thread queues a request for its run before its own batch is over, so this order of the queues misses none.
        return not any(batcher.depth or batcher.queue.running for batcher in self._batchers)

    def _activate(self) -> None:
        self.route.first_waits = None
        self._activated(self)
        self._have_executor()

    def _update_hung(self) -> bool:
        """Rejects waiting requests while all instances hang. True: the model's state has changed."""
        hangs = self.hung == self.instances
        changed = hangs != self._hangs and not self._run_queue.closed
        self._hangs = hangs
        if hangs:
            self._reject_waiting(f"{self._title} does not end its run and takes no requests until it does; another replica may answer")
        if changed and hangs:
            log.error("%s takes no requests: none of its instances ends its run; restart the server if that lasts", self._title)
            self.state, self.reason = State.UNAVAILABLE, "its run does not end"
        elif changed:
            self.state, self.reason = State.READY, ""
        return changed

    @property
    def hung(self) -> int:
        """Instances whose run was terminated and does not end."""
        return sum(limit.stage is Stage.HUNG for limit in self._limits)

    @property
    def runs_ended(self) -> int:
        """Runs that were terminated, as they took longer than max_run_s."""
        return sum(limit.ended for limit in self._limits)

    def _reject_waiting(self, why: str) -> None:
        for batcher in self._batchers:
            while (batch := batcher.poll()) is not None:
                batch.fail(Unavailable(why))
                self._hand_over(batch)

    def limit_queue(self, limits: Mapping[str, int]) -> None:
        """Sets the given QUEUE_LIMITS. Requests already queued are kept."""
        for name, value in limits.items():
            setattr(self.config.inferd, name, value)
        policy = batching_of(self.config)
        for batcher in self._fronts:
            batcher.limit(policy["max_queue_requests"], policy["max_queue_bytes"], policy["max_wait_ns"])

    def leave(self) -> None:
        """Begins to drain: no request is submitted any more. `drain` waits for those that wait and run."""
        if self.state is State.READY:
            self.state = State.UNLOADING

    def hurry(self) -> None:
        """From now on no batch waits for more requests (max_queue_delay_microseconds)."""
        for batcher in self._batchers:
            batcher.hurry()

    def drain(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Takes no new requests and waits for those that wait and run. False: some are left after timeout_s. Not on the event loop,
        which runs the requests of an inline model."""
        self.leave()
        until_s = time.monotonic() + timeout_s
        for batcher in self._fronts:
            batcher.close()
        pause = threading.Event()
        while self._preparer is not None and self._preparer.busy and time.monotonic() < until_s:
            pause.wait(0.001)
        self._run_queue.close()
        for thread in self._threads:
            if thread.ident is not None:  # it was started
                thread.join(max(until_s - time.monotonic(), 0.0))
        while (self.depth or self.route.polling or any(thread.is_alive() for thread in self._threads)) and time.monotonic() < until_s:
            pause.wait(0.001)
        return not (self.depth or self.route.polling or any(thread.is_alive() for thread in self._threads))

    def end(self) -> None:
        """Terminates runs, and rejects waiting requests with Unavailable; `close` waits for the runs."""
        self.route.inline, self.route.first_waits = False, None
        for batcher in self._batchers:
            batcher.close()
        self._reject_waiting(f"{self._title} was unloaded before the request ran; retry")
        for instance in self._instances:
            instance.end()

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Ends the model: joins threads and frees buffers. False: a run did not end within timeout_s, and is left behind."""
        self.end()
        if not self._closing.acquire(timeout=timeout_s):
            return False
        try:
            return self._close(timeout_s)
        finally:
            self._closing.release()

    def _close(self, timeout_s: float) -> bool:
        ended = self.drain(timeout_s)
        if ended:
            for limit, instance in zip(self._limits, self._instances, strict=True):
                limit.enforce(time.monotonic_ns())  # frees the last batch
                instance.backend.close()
            self._threads.clear()
            if self._preparer is not None:
                self._preparer.close()
            self.route.model = None  # they refer to each other, and the sessions are large
        else:
            log.error("%s: a run does not end; its thread is left behind", self._title)
        self.state, self.reason = State.UNAVAILABLE, self.reason or "unloaded"
        return ended

    @property
    def _batchers(self) -> tuple[Batcher, ...]:
        return (self._run_queue,) if self._first_queue is self._run_queue else (*self._fronts, self._run_queue)

    @property
    def _fronts(self) -> tuple[Batcher, ...]:
        """The queues that admit and reject."""
        return (self._first_queue,) if self._large is None else (self._first_queue, self._large)

    def _put_in_front(
        self,
        steps: Plan,
        shared: PreprocessThreads,
        threads: int,
        as_triton: bool,
        schedule: Callable[[Callable[[], None]], object] | None,
    ) -> None:
        """Makes the queues in front of the preprocess threads. They admit and reject requests; the queue behind them takes all."""
        policy = batching_of(self.config)
        kept = {"priority_levels", "default_priority", "max_queue_requests", "max_queue_bytes", "max_wait_ns", "queue_policies"}
        waiting = {key: value for key, value in policy.items() if key in kept}
        title = f"'{self.name}' version {self.version}"
        first, large = (
            Batcher(steps.together, Statistics(steps.together), name=title, as_triton=as_triton, takers=threads, **waiting)
            for _ in range(2)
        )
        behind = {key: value for key, value in policy.items() if key not in kept} | {"max_queue_requests": MAX_PREPARED}
        behind |= {key: policy[key] for key in ("priority_levels", "default_priority") if key in policy}
        self._run_queue = Batcher(statistics=self.statistics, name=title, as_triton=as_triton, takers=self.instances, **behind)
        first.behind = large.behind = self._run_queue
        self._first_queue, self._large = first, large
        self._preparer = Preparer(
            steps,
            shared,
            (first, large),
            self._deliver,
            max_rows=policy["max_rows"],
            most=threads,
            schedule=schedule,
            name=self._title,
        )

    def _hand_over(self, batch: Batch) -> None:
        try:
            self._deliver(batch)
        except Exception:
            log.exception("%s: a batch could not be handed over", self._title)

    # ---- where it runs ----

    def _inline_policy(self) -> InlinePolicy | None:
        """The policy of a model that is or may become inline by itself; None where it cannot."""
        own = self.config.inferd
        if own.inline != options.ModelOptions.AUTO or self._never_inline():
            return None
        limit_us = own.inline_limit_us or DEFAULT_INLINE_LIMIT_US
        return InlinePolicy(1000 * limit_us, (own.inline_busy_percent or DEFAULT_BUSY_PERCENT) / 100)

    def _never_inline(self) -> str:
        """Why it cannot be inline, whatever its runs take; empty when it can."""
        if not self._has_loop:
            return "there is no event loop"
        if self.instances != 1:
            return f"it has {self.instances} instances"
        if self._preparer is not None:
            return "its inputs are made by preprocess threads"
        if shares_runs(self.config) and self.config.dynamic_batching.max_queue_delay_microseconds:
            return "max_queue_delay_microseconds is set"
        return ""

    def _rule_out_unbounded(self) -> str:
        """Drops the inline policy if shapes do not bound the model's runs. Returns why they do not, '' where they do or it does not
        matter."""
        if self.config.inferd.inline == options.ModelOptions.OFF or self._never_inline():
            return ""
        why = self._why_unbounded()
        if why:
            self.route.policy = None
        return why

    def _decide(self, measured_ns: int | None, unbounded: str) -> None:
        mode = self.config.inferd.inline
        never = self._never_inline()
        if mode == options.ModelOptions.OFF:
            self.route.inline, self.inline_reason = False, "executor thread: inline is off"
        elif never:
            self.route.inline, self.inline_reason = False, f"executor thread: {never}"
            if mode == options.ModelOptions.ON:
                log.warning("%s: inline is on, but %s: it runs on executor threads", self._title, never)
        elif mode == options.ModelOptions.ON:
            self.route.inline, self.inline_reason = True, "inline: inline is on"
            if unbounded:
                log.warning("%s: inline is on, and %s: one request can hold up all others", self._title, unbounded)
        elif unbounded:
            self.route.inline, self.inline_reason = False, f"executor thread: {unbounded}"
        elif measured_ns is None or self.route.policy is None:
            self.route.inline, self.inline_reason = False, "executor thread: it could not be measured"
        else:
            self.route.inline = self.route.policy.admits(measured_ns)
            place = "inline" if self.inline else "executor thread"
            self.inline_reason = f"{place}: a run takes {measured_ns / 1e3:.0f} us, the limit is {self.route.policy.limit_ns / 1e3:.0f} us"
        log.debug("%s: %s", self._title, self.inline_reason)

    def leave_loop(self, reason: str) -> None:
        """From now on an executor thread runs its batches. On the loop."""
        if self.route.policy is not None:
            self.route.policy.begin_anew()
        self.route.inline = False
        self._activate()
        self.inline_reason = f"executor thread: {reason}"
        log.info("%s leaves the event loop: %s", self._title, reason)

    def _have_executor(self) -> None:
        """Starts the executor threads if there are none, as a request waits or will. Rejects waiting requests if the system has no
        thread left."""
        with self._starting:
            stays = self._dismissed and self._run_queue.recall() > 0
            gone = not self._threads or (self._dismissed and not stays)
            self._dismissed = False
            if not gone or self.inline or self._run_queue.closed:
                return
            try:
                self._start_executors()
                return
            except NoThread as error:
                self._threads.clear()
                log.error("%s rejects requests: %s", self._title, error, extra=event("no_thread", model=self.name, version=self.version))
        self.route.first_waits = self._activate  # the next request tries again
        self._reject_waiting(f"{self._title}: the system has no thread left to run it; retry, another replica may answer")

    def _start_executors(self) -> None:
        finished = self._account if self.route.policy is not None else None
        self._threads = [
            ExecutorThread(
                instance, self._run_queue, self._deliver, finished, f"{self.name}/{self.version}#{index}", alone=self.instances == 1
            )
            for index, instance in enumerate(self._instances)
        ]
        for thread in self._threads:
            start_thread(thread)

    def _account(self, batch: Batch) -> None:
        """Called on the executor thread of a model that may become inline. `expire` reads `_may_return` on the loop."""
        if self.route.policy is None or not batch.run_ns:
            return
        if self.route.short_nbytes and self.route.policy.admits(batch.run_ns):
            self.route.short_nbytes = max(self.route.short_nbytes, *(request.nbytes for request in batch.requests))
        if not self._returning and self.route.policy.recovered(batch.run_ns, batch.finished_ns):
            self._give_back()  # runs on the loop would wait while this happens
            self._may_return = True

    def _return_if_left(self) -> None:
        """Moves the model to the loop once its dismissed executor thread has gone. Until then the thread still takes batches."""
        if self._run_queue.leaving or self._run_queue.closed:
            return
        self._returning = self._may_return = False
        self._threads.clear()
        self.route.inline, self.route.first_waits = True, None
        self.inline_reason = "inline: its runs have become short again"
        log.info("%s returns to the event loop: its runs have become short again", self._title)
        if self.depth:
            self.route.schedule_inline()
