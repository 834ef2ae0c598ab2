"""One version of one model: its contract, its queues, its instances, its life. Its `route`
(_core/inference/batched_route.pyx) has the middle of a request's path: check, submit, and runs on the event loop.

    LOADING --start--> READY --drain--> UNLOADING --close--> UNAVAILABLE

It is UNAVAILABLE, too, while all of its instances hang in a run (running/run_limit.py).

A model runs either inline, on the event loop right after the iteration that gathered its batch, or on executor threads, one per instance.
It is inline when its measured runs are tiny (_core/inference/inline_policy.pyx), shapes bound them (checks/bounds.py), and it has one
instance and no delay. It moves by itself when that changes, and before a request that is much larger than any known to be short. It
never runs in two places at once:

- from the loop to a thread: the loop stops polling, then the thread starts;
- from the thread to the loop: the batcher dismisses the thread when nothing is queued, and the loop polls only once it has gone.

A model with preprocess steps has more queues (running/queues.py). It is never inline.

The executor thread of a model with one instance starts with the first request, and ends when the model was idle for THREAD_IDLE_NS.

`expire` is called some times a second while the model is active. It is active while requests wait or run on threads, and until
its idle executor thread is dismissed. An idle model costs nothing. The
first request at an idle model makes it active (`activated`). An inline model is always idle: it runs waiting requests within the iteration,
and its queue drops those that are too late.

Only the event loop's thread calls `check`, `submit` and `expire`, and moves a model. Without a loop (the embedded engine) any thread may
call them, and nothing is inline. Never in here: files, onnxruntime, transports.
"""

from __future__ import annotations

import logging
import threading
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from inferd._core.inference.batched_route import BatchedRoute
from inferd._core.metrics.histogram import Statistics
from inferd.engine.checks import run_limits
from inferd.engine.loading import warmup
from inferd.engine.loading.origin import Origin
from inferd.engine.running import inline_choice
from inferd.engine.running.executor import Instance
from inferd.engine.running.executors import Executors
from inferd.engine.running.preparer import Preparer, PreprocessThreads
from inferd.engine.running.queues import Queues, batching_of
from inferd.engine.running.run_limit import RunLimit, Stage
from inferd.engine.running.run_memory import RunMemory
from inferd.engine.runtime.arena import KEPT_BYTES
from inferd.errors import RequestError, StartError, Unavailable
from inferd.log import event
from inferd.protocol import options
from inferd.threads import NoThread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inferd._core.batching.batch import Batch
    from inferd._core.batching.request import Request
    from inferd._core.batching.tap import Tap
    from inferd._core.grpc.call import Call
    from inferd._core.tensor.signature import Signature
    from inferd.engine.runtime.arena import RunArena
    from inferd.engine.runtime.runtime import Backend
    from inferd.protocol.inference import ModelConfig
    from inferd.steps.plan import Plan

log = logging.getLogger("inferd.engine")

HOPELESS_LIMITS = 4  # a run of this many times the limit ends the measuring
CLOSE_TIMEOUT_S = 10.0
THREAD_IDLE_NS = 10 * 10**9  # then the executor thread ends; starting another takes some 100 us


class State(StrEnum):
    """The state of one version, in Triton's words."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


class Model:
    """One version. Made LOADING, with a completed configuration and one backend for each instance.

    schedule(callback): loop.call_soon; None: there is no loop, so nothing is inline.
    deliver(batch): called on an executor thread with a batch that has run; it must see to a call of batch.deliver().
    activated(model): called when the model becomes active. From now on the caller calls `expire` and `rest`, until `rest` returns True.
    signature: the tensors that clients send and get. steps: those between clients and the graph; None: there are none. preprocess: the
    threads that prepare requests, if steps do; the caller closes them. plan_reason: why it has these threads and instances, for people.
    why_unbounded(): why shapes do not bound a run, '' where they do; called before it becomes inline.
    arenas: the memory of its runs, as far as inferd knows. warmup_file(name): the path of an input_data_file.
    warmup_records: files of records whose requests warm it up. runners: one for each backend. run_signature: the tensors that they take,
    and that clients get.
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
        self._deliver = deliver
        self._activated = activated
        self.run_signature = signature if steps is None else steps.run_signature
        if self.run_signature is not signature:
            self.run_signature.clients = signature
        self.zeros_fault: RequestError | None = None  # raised by a warm-up run with zeros
        self._examples: warmup.Examples = {} if steps is None else steps.examples
        self._prepare = steps.prepare if steps is not None and steps.prepares else None
        finish = steps.finish if steps is not None and steps.finishes else None
        self.runners = [Instance(self._title, backend, finish) for backend in backends]
        for instance in self.runners:
            instance.labels = {"model": name, "version": version}
        self.memory = RunMemory(self._title, self.run_signature, arenas, self.runners, self.statistics)
        prepares = steps is not None and steps.prepares
        self.queues = Queues(
            config,
            f"'{name}' version {version}",
            self.statistics,
            as_triton=triton_statuses,
            takers=self.instances,
            together=steps.together if steps is not None and prepares else 0,
        )
        self._preparer: Preparer | None = None
        if steps is not None and self.queues.large is not None:
            assert preprocess is not None, "steps that prepare requests need preprocess threads"
            self._preparer = Preparer(
                steps,
                preprocess,
                (self.queues.first, self.queues.large),
                deliver,
                max_rows=batching_of(config)["max_rows"],
                most=config.inferd.preprocess_threads or 1,
                schedule=schedule,
                name=self._title,
            )
        else:
            self.queues.run.schedule = schedule
        self.route = route = BatchedRoute(self, signature, self.queues.run, self.runners[0], schedule)
        route.first_queue, route.large = self.queues.first, self.queues.large
        route.contents = b"" if steps is None else steps.contents
        self._never_inline = inline_choice.never_inline(config, has_loop=schedule is not None, instances=self.instances, prepares=prepares)
        route.policy = inline_choice.policy_of(config, self._never_inline)
        route.turn_ns = 1000 * (config.inferd.inline_limit_us or inline_choice.DEFAULT_LIMIT_US)
        route.short_nbytes = 0 if self.run_signature.fixed else 1
        route.works_alone = config.inferd.intra_op_threads == 1 and not any(group.kind == group.KIND_GPU for group in config.instance_group)
        self._limits = [RunLimit(instance, 10**9 * config.inferd.max_run_s) for instance in self.runners]
        self._hangs = False  # all instances hang in a run
        self._executors = Executors(f"{name}/{version}", self.runners, self.queues.run, deliver)
        self._rested_runs, self._idle_from_ns = -1, 0  # the number of runs when `rest` last saw it change, and when that was
        self._why_unbounded = why_unbounded
        self._warmup_file, self._warmup_records = warmup_file, warmup_records
        self._may_return = False  # to the loop; set by the executor thread
        self._returning = False  # the executor thread was dismissed, and the loop takes over when it has gone
        self._closing = threading.Lock()

    # ---- the path of a request; transports call the route itself ----

    def check(self, request: Request) -> None:
        """Checks datatypes, shapes, sizes and rows against the signature. Raises InvalidArgument and ResourceExhausted."""
        self.route.check(request)

    def submit(self, request: Request, call: Call) -> None:
        """Queues a checked request; the call gets its response later. Raises ResourceExhausted or Unavailable, at once."""
        self.route.submit(request, call)

    def tap(self, tap: Tap) -> None:
        """From now on `tap` sees each request and its response. On the loop, or before the version starts."""
        self.queues.tap(tap)

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
        for batcher in self.queues.all:
            counts["REJECTED"] += batcher.expired
            counts["CANCELED"] += batcher.cancelled
            counts["BACKEND" if batcher is self.queues.run else "OTHER"] += batcher.failed  # failed preparation: the request was wrong
        return counts

    @property
    def running(self) -> int:
        """Requests in the current runs."""
        batches = [instance.running for instance in self.runners]
        return sum(len(batch.requests) for batch in batches if batch is not None)

    @property
    def used_ns(self) -> int:
        """The time when it last ran, or was started, by the wall clock."""
        return max(self.statistics.last_ns, self._started_ns)

    def decay(self) -> None:
        """Returns unused memory of earlier runs to the system. Not on the loop. An inline model keeps its memory, as its runs would wait
        meanwhile: they are tiny, and it decayed before it returned to the loop."""
        if not self.inline:
            self.memory.decay()

    # ---- life ----

    def warm_up(self, deterministic: bool | None = None) -> bool | None:
        """Runs every instance before it serves, and decides where the model runs. On the loader's thread. Returns whether the same input
        twice gives the same bytes; None: no made-up input runs. deterministic: that result, if it is known; else trial runs find it.

        An error with zeros is kept in `zeros_fault`. Raises StartError if a model_warmup of the configuration fails, ConfigError if a
        record does not fit.
        """
        measured_ns = None
        signature = self.run_signature
        unbounded = "" if self.config.inferd.inline == options.ModelOptions.OFF or self._never_inline else self._why_unbounded()
        if unbounded:
            self.route.policy = None
        try:
            for instance in self.runners:  # they share a session, so the first one warms its threads and caches
                warmup.warm_up(instance, signature, self._examples, once=instance is not self.runners[0])
            policy = self.route.policy
            if policy is not None and not unbounded:
                measured_ns = warmup.measure(self.runners[0], signature, self._examples, HOPELESS_LIMITS * policy.limit_ns)
                if not signature.fixed and policy.admits(measured_ns):
                    self.route.short_nbytes += warmup.short_nbytes(self.runners[0], signature, self._examples, policy.limit_ns)
        except RequestError as error:
            self.zeros_fault = error
        self._learn_cost()
        if deterministic is None:
            deterministic = warmup.is_deterministic(self.runners[0], signature, self._examples)
        for name, count, inputs in warmup.configured_inputs(self.config, signature, self._warmup_file):
            try:
                for instance in self.runners:
                    for _ in range(count):
                        warmup.run_once(instance, signature, inputs)
            except RequestError as error:
                raise StartError(f"{self._title}: model_warmup {name!r} failed: {error}") from None
        if self._warmup_records:
            from inferd.engine.loading.warmup_records import run_records

            ran = run_records(self._warmup_records, self.runners, self.signature, self._prepare, self._title)
            log.info("%s: %d recorded requests have warmed it up", self._title, ran)
        self._warmup_file, self._warmup_records = Path, ()  # they refer to the configuration's text, which may be long
        self._decide(measured_ns, unbounded)
        if 0 < self.memory.give_back(kept_bytes=0) <= KEPT_BYTES:
            warmup.run_one_row(self.runners, signature, self._examples)  # allocates the memory of a first request's run
        self.memory.measure()
        return deterministic

    def _learn_cost(self) -> None:
        """Where sizes vary, learns how much memory runs take, so that `check` rejects a request whose run would not fit."""
        limit_bytes = self.config.inferd.max_run_bytes
        if self.run_signature.fixed or self.run_signature is not self.signature or not self.memory.arenas or not limit_bytes:
            return
        cost = run_limits.learn(self.runners[0], self.signature, self._examples, self.memory.arenas[0], limit_bytes)
        if cost is not None:
            self.signature.limit_runs(limit_bytes, *cost)
            self.run_cost = cost
            log.debug("%s: a row of %d bytes takes %d bytes in its run, more of them by the power of %.2f", self._title, *cost)

    def start_threads(self) -> None:
        """Starts the threads that it needs before the first request. On the loader's thread. Raises NoThread. Idempotent."""
        if self._preparer is not None:
            self._preparer.start()
        if self.instances > 1 and not self._executors.threads:
            self._executors.start()

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
        self.queues.expire(now_ns)
        for limit in self._limits:
            limit.enforce(now_ns)
        if self.queues.run.depth and not self._executors.threads:
            self._have_executor()  # the system had no thread for an earlier request
        if self._returning:
            self._return_if_left()
        elif self._may_return and not self.queues.run.closed:
            self._returning = True
            self.route.first_waits = self._return_if_left
            self.queues.run.dismiss()
        return self._update_hung()

    def rest(self, now_ns: int) -> bool:
        """Called right after `expire`. True: nothing waits, runs or moves, so the executor thread was dismissed, and the model is idle
        until a request makes it active."""
        if not self.queues.idle:
            return False
        if self._may_return or self._returning or any(limit.watches for limit in self._limits):
            return False
        if self.inline or self.queues.first.closed:
            return True
        if self.statistics.runs != self._rested_runs:
            self._rested_runs, self._idle_from_ns = self.statistics.runs, now_ns
        if self.instances == 1 and now_ns - self._idle_from_ns < THREAD_IDLE_NS:
            return False
        if self.instances == 1 and self._executors.threads:
            self._executors.dismiss()
        self.route.first_waits = self._activate
        return True

    def _activate(self) -> None:
        self.route.first_waits = None
        self._activated(self)
        self._have_executor()

    def _update_hung(self) -> bool:
        """Rejects waiting requests while all instances hang. True: the model's state has changed."""
        hangs = self.hung == self.instances
        changed = hangs != self._hangs and not self.queues.run.closed
        self._hangs = hangs
        if hangs:
            self._reject_waiting(f"{self._title} does not end its run and takes no requests until it does; another replica may respond")
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
        self.queues.reject(Unavailable(why), self._deliver)

    def leave(self) -> None:
        """Begins to drain: no request is submitted any more. `drain` waits for those that wait and run."""
        if self.state is State.READY:
            self.state = State.UNLOADING

    def drain(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Takes no new requests and waits for those that wait and run. False: some are left after timeout_s. Not on the event loop,
        which runs the requests of an inline model."""
        self.leave()
        until_s = time.monotonic() + timeout_s
        for batcher in self.queues.fronts:
            batcher.close()
        pause = threading.Event()
        while self._preparer is not None and self._preparer.busy and time.monotonic() < until_s:
            pause.wait(0.001)
        self.queues.run.close()
        self._executors.join(until_s)
        while (left := self.queues.depth > 0 or self.route.polling or self._executors.alive) and time.monotonic() < until_s:
            pause.wait(0.001)
        return not left

    def end(self) -> None:
        """Terminates runs, and rejects waiting requests with Unavailable; `close` waits for the runs."""
        self.route.inline, self.route.first_waits = False, None
        for batcher in self.queues.all:
            batcher.close()
        self._reject_waiting(f"{self._title} was unloaded before the request ran; retry")
        for instance in self.runners:
            instance.end()

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Ends the model: joins threads and frees buffers. False: a run did not end within timeout_s, and is left behind."""
        self.end()
        if not self._closing.acquire(timeout=timeout_s):
            return False
        try:
            ended = self.drain(timeout_s)
            if ended:
                for limit, instance in zip(self._limits, self.runners, strict=True):
                    limit.enforce(time.monotonic_ns())  # frees the last batch
                    instance.backend.close()
                self._executors.threads.clear()
                if self._preparer is not None:
                    self._preparer.close()
                self.route.model = None  # they refer to each other, and the sessions are large
            else:
                log.error("%s: a run does not end; its thread is left behind", self._title)
            self.state, self.reason = State.UNAVAILABLE, self.reason or "unloaded"
            return ended
        finally:
            self._closing.release()

    # ---- where it runs ----

    def _decide(self, measured_ns: int | None, unbounded: str) -> None:
        mode, never = self.config.inferd.inline, self._never_inline
        self.route.inline, self.inline_reason = inline_choice.choose(mode, never, unbounded, self.route.policy, measured_ns)
        if mode == options.ModelOptions.ON and never:
            log.warning("%s: inline is on, but %s: it runs on executor threads", self._title, never)
        elif mode == options.ModelOptions.ON and unbounded:
            log.warning("%s: inline is on, and %s: one request can hold up all others", self._title, unbounded)
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
        try:
            self._executors.have(self._account if self.route.policy is not None else None, wanted=not self.inline)
            return
        except NoThread as error:
            log.error("%s rejects requests: %s", self._title, error, extra=event("no_thread", model=self.name, version=self.version))
        self.route.first_waits = self._activate  # the next request tries again
        self._reject_waiting(f"{self._title}: the system has no thread left to run it; retry, another replica may respond")

    def _account(self, batch: Batch) -> None:
        """Called on the executor thread of a model that may become inline. `expire` reads `_may_return` on the loop."""
        if self.route.policy is None or not batch.run_ns:
            return
        if self.route.short_nbytes and self.route.policy.admits(batch.run_ns):
            self.route.short_nbytes = max(self.route.short_nbytes, *(request.nbytes for request in batch.requests))
        if not self._returning and self.route.policy.recovered(batch.run_ns, batch.finished_ns):
            self.memory.give_back()  # runs on the loop would wait while this happens
            self._may_return = True

    def _return_if_left(self) -> None:
        """Moves the model to the loop once its dismissed executor thread has gone. Until then the thread still takes batches."""
        if self.queues.run.leaving or self.queues.run.closed:
            return
        self._returning = self._may_return = False
        self._executors.threads.clear()
        self.route.inline, self.route.first_waits = True, None
        self.inline_reason = "inline: its runs have become short again"
        log.info("%s returns to the event loop: its runs have become short again", self._title)
        if self.queues.depth:
            self.route.schedule_inline()
