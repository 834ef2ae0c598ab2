"""The same loads on ONNX Runtime in this process, through inferd.Engine.

Compared with a server's measurement, these show the cost of transport, unless Python is the limit, which a measurement says.
A closed loop is a thread for each request in flight. An open loop is one thread that submits at the intended starts and waits for
nothing. Model and bench share one process, so all processor time counts as the server's. Never in here: sockets, and which loads.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections import Counter
from contextlib import suppress
from copy import copy
from functools import partial
from typing import TYPE_CHECKING

from inferd.bench.client_bound import sent_late
from inferd.bench.generator import MAX_KEPT_BYTES, interval_length_s
from inferd.bench.hdr import encode
from inferd.bench.measurement import Histogram, Interval, Latency, Measurement, ServerSide, Stage
from inferd.bench.server_side import STAGES, rss_bytes
from inferd.bench.worker import DRAIN_S
from inferd.errors import ConfigError, DeadlineExceeded, InferdError, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future

    from inferd.bench.inputs import Requests
    from inferd.bench.measurement import Load
    from inferd.bench.schedule import Arrivals
    from inferd.bench.verify import Verifier
    from inferd.engine.embedded import Engine
    from inferd.engine.local_call import LocalCall
    from inferd.tensors import Array

AHEAD_NS = 200_000_000  # arrivals that are drawn in advance
AHEAD_COUNT = 10_000
MOST_IN_FLIGHT = 1024  # of a closed loop: each is a thread
RUNNING = 0.5  # client-bound: the model runs for less than this share of the time,
BUSY = 0.4  # and this process is busy for more than this share of a core (threads that wait for each other fill none),
ABOVE = 2  # and for so many times as long as the model ran
NEVER_NS = 1 << 62


def measure(
    engine: Engine,
    model: str | None,
    requests: Requests,
    load: Load,
    arrivals: Arrivals | None = None,
    *,
    version: str = "",
    watch: Callable[[Interval], None] | None = None,
    verifier: Verifier | None = None,
    verify_every: int = 100,
) -> Measurement:
    """One load. model: its name; None where there is only one. load.connections * load.streams is what is in flight, closed loop.
    arrivals: of an open loop. watch: told of every interval as it ends. verifier: checks every verify_every-th response.

    Ctrl-C ends it early: what was measured is returned, with `ended`. Raises InferdError when the model cannot be had, and what
    `check_in_flight` does.
    """
    check_in_flight(load)
    tally = Tally(load, len(requests.bodies), verify_every if verifier is not None else 0)
    sender = Sender(engine, model, version, requests, tally)
    work = [partial(sender.ask_at, copy(arrivals))] if arrivals else [sender.ask_again] * (load.connections * load.streams)
    usage = Usage(engine, model, version)
    threads = [threading.Thread(target=target, daemon=True, name="inferd-bench") for target in work]
    tally.begin(time.monotonic_ns())
    ended = _run(threads, tally, usage, watch)
    sender.give_up()
    measured = tally.result(ended)
    measured.version = engine.metadata(model, version).version
    measured.server = usage.result()
    if not load.rate:
        measured.client_bound_reason = usage.bound_by_python()
        measured.client_bound = bool(measured.client_bound_reason)
    if verifier is not None:
        verifier.check_kept(tally.kept, measured, tally.unchecked)
    return measured


def why_bound(running: float, busy: float) -> str:
    """running: the share of the time for which the model ran. busy: cores that this process kept busy."""
    if running < RUNNING and busy > max(BUSY, ABOVE * running):
        return f"the model ran for {running:.0%} of the time, while this process was busy for {busy:.0%} of a core: Python is the limit"
    return ""


def check_in_flight(load: Load) -> None:
    """ConfigError for a closed loop that would measure how so many threads take turns."""
    if not load.rate and (count := load.connections * load.streams) > MOST_IN_FLIGHT:
        raise ConfigError(
            f"--connections {load.connections} x --concurrency {load.streams}: expected {MOST_IN_FLIGHT:,} requests in flight at most, got "
            f"{count:,}: in this process each is a thread, and more would measure the threads; give fewer, a --rate, or a server"
        )


def _run(threads: list[threading.Thread], tally: Tally, usage: Usage, watch: Callable[[Interval], None] | None) -> str:
    """Warms up, measures interval by interval, and waits for the last responses; why it ended early."""
    load = tally.load
    interval_s = interval_length_s(load)
    until_ns = tally.begin_ns
    try:
        for thread in threads:
            thread.start()
        if load.warm_up_s:
            tally.over.wait((until_ns - time.monotonic_ns()) / 1e9)
            usage.begin()
        over = False
        while not over:
            until_ns = min(max(until_ns, time.monotonic_ns()) + int(interval_s * 1e9), tally.end_ns)
            over = tally.over.wait((until_ns - time.monotonic_ns()) / 1e9) or until_ns >= tally.end_ns
            interval = tally.end_interval(time.monotonic_ns())
            if watch is not None and interval is not None:
                watch(interval)
        usage.end()
        _drain(threads, tally)
    except KeyboardInterrupt:
        tally.over.set()
        usage.end()
        tally.end_interval(time.monotonic_ns())
        return "interrupted"
    return ""


def _drain(threads: list[threading.Thread], tally: Tally) -> None:
    """Waits for what has to be asked still, its time having come, and for the responses."""
    until_s = time.monotonic() + DRAIN_S
    for thread in threads:
        thread.join(max(until_s - time.monotonic(), 0))
    tally.over.set()
    tally.wait_for_responses(max(until_s - time.monotonic(), 0))


def _wake_punctually() -> None:
    """Linux may end a thread's sleep 50 us late to save wake-ups, unless it is told not to."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(29, 1, 0, 0, 0)  # PR_SET_TIMERSLACK, ns


class Sender:
    """Sends one body after the other to an engine, and tells a Tally what came back."""

    def __init__(self, engine: Engine, model: str | None, version: str, requests: Requests, tally: Tally) -> None:
        self.engine, self.model, self.version, self.inputs, self.tally = engine, model, version, requests.inputs, tally
        self.timeout_s = tally.load.deadline_ms / 1e3 or None
        self.waiting: set[LocalCall] = set()  # open loop

    def ask_again(self) -> None:
        """A stream of a closed loop: the next request starts when the last one has its response."""
        while (number := self.tally.take(sent_ns := time.monotonic_ns())) is not None:
            outputs, error = None, None
            try:
                inputs = self.inputs[number % len(self.inputs)]
                outputs = self.engine.infer(self.model, inputs, version=self.version, timeout=self.timeout_s)
            except InferdError as failure:
                error = failure
            self.tally.record(number, sent_ns, sent_ns, time.monotonic_ns(), outputs, error)

    def ask_at(self, arrivals: Arrivals) -> None:
        """An open loop: every request at its intended start, or as soon after it as this thread gets to run."""
        _wake_punctually()
        begun_ns, over = self.tally.started_ns, self.tally.over
        ahead_ns = 0
        while not over.is_set() and not arrivals.ended:
            ahead_ns = max(ahead_ns, time.monotonic_ns() - begun_ns) + AHEAD_NS
            for offset_ns in arrivals.take(ahead_ns, AHEAD_COUNT).tolist():
                intended_ns = begun_ns + offset_ns
                if intended_ns >= self.tally.end_ns:
                    return
                wait_ns = intended_ns - time.monotonic_ns()
                if wait_ns > AHEAD_NS:
                    over.wait(wait_ns / 1e9)  # can be broken off
                elif wait_ns > 0:
                    time.sleep(wait_ns / 1e9)
                if (number := self.tally.take(intended_ns)) is None:
                    return
                self._submit(number, intended_ns)
        if arrivals.ended:
            self.tally.exhausted = True
            self.tally.end_when_answered()

    def _submit(self, number: int, intended_ns: int) -> None:
        sent_ns = time.monotonic_ns()
        try:
            inputs = self.inputs[number % len(self.inputs)]
            call = self.engine._submit(self.model, inputs, None, self.version, self.timeout_s)
        except InferdError as error:
            self.tally.record(number, intended_ns, sent_ns, time.monotonic_ns(), None, error)
            return
        self.waiting.add(call)
        call.future.add_done_callback(partial(self._answered, call, number, intended_ns, sent_ns))

    def _answered(self, call: LocalCall, number: int, intended_ns: int, sent_ns: int, future: Future[dict[str, Array]]) -> None:
        """On the thread that ran the model."""
        now_ns = time.monotonic_ns()
        self.waiting.discard(call)
        error = future.exception()
        outputs = None if error else future.result()
        if error is None and self.timeout_s is not None and now_ns - sent_ns > self.timeout_s * 1e9:
            outputs, error = None, DeadlineExceeded(f"no response within the timeout of {self.timeout_s} s")
        self.tally.record(number, intended_ns, sent_ns, now_ns, outputs, error)

    def give_up(self) -> None:
        """Cancels the requests that still wait."""
        for call in list(self.waiting):
            call.cancel()


class Tally:
    """Numbers the requests and counts the responses; any thread may call it. Times are monotonic.

    Requests are counted that are meant to start in the measured time, whenever they end. The rate is of responses within that time. A
    closed loop also counts requests of the warm-up that are still in flight when the measured time begins, from their sending. A number of
    requests, if one is given, counts only those sent from then on.
    """

    def __init__(self, load: Load, bodies: int, verify_every: int) -> None:
        self.load, self.bodies, self.verify_every = load, bodies, verify_every
        self.kept: list[tuple[int, Mapping[str, Array]]] = []  # responses to be checked: number of the body, outputs
        self._kept_bytes = 0
        self.unchecked = 0  # more, for which there was no room
        self.over = threading.Event()  # nothing new is asked, even if its time has come
        self.exhausted = False  # a trace came to its end
        self._lock = threading.Condition()
        self._taken = 0  # requests in all, warm-up included
        self._warming = 0  # of the warm-up, not finished
        self._asked = self._finished = self._answered = 0  # of what is measured
        self._errors: Counter[str] = Counter()
        self._messages: dict[str, str] = {}
        self._latency, self._service, self._lateness = Histogram(), Histogram(), Histogram()
        self._interval, self._interval_requests, self._interval_errors = Histogram(), 0, 0
        self._interval_from_ns = self._last_ns = 0
        self._intervals: list[Interval] = []
        self._closed = False

    def begin(self, now_ns: int) -> None:
        self.started_ns = now_ns
        self.started_unix_s = time.time() + self.load.warm_up_s
        self.begin_ns = self._interval_from_ns = self._last_ns = now_ns + int(self.load.warm_up_s * 1e9)
        self.end_ns = self.begin_ns + int(self.load.duration_s * 1e9) if self.load.duration_s > 0 else NEVER_NS

    def take(self, intended_ns: int) -> int | None:
        """The number of the next request, which is to start then; None: there is none any more."""
        with self._lock:
            limit = self.load.requests
            if self.over.is_set() or intended_ns >= self.end_ns or (limit and self._asked >= limit):
                return None
            self._asked += intended_ns >= self.begin_ns
            self._warming += intended_ns < self.begin_ns
            self._taken += 1
            return self._taken - 1

    def record(
        self, number: int, intended_ns: int, sent_ns: int, now_ns: int, outputs: Mapping[str, Array] | None, error: BaseException | None
    ) -> None:
        """One that is finished: outputs, or why there are none."""
        with self._lock:
            if self._closed:
                return
            if self.begin_ns <= now_ns < self.end_ns:
                self._interval_requests += error is None
                self._interval_errors += error is not None
                self._answered += error is None
            if intended_ns < self.begin_ns:
                self._warming -= 1
                if not self._counts_what_is_left or now_ns < self.begin_ns:
                    return
                self._asked += 1
            self._finished += 1
            self._last_ns = now_ns
            self._lateness.record(sent_ns - intended_ns)
            if error is not None:
                name = error.status if isinstance(error, RequestError) else "UNKNOWN"
                self._errors[name] += 1
                self._messages.setdefault(name, str(error))
            if isinstance(error, DeadlineExceeded):  # there was no response until then, whenever that was said
                now_ns = max(now_ns, sent_ns + int(self.load.deadline_ms * 1e6))
            if error is None or isinstance(error, DeadlineExceeded):
                self._latency.record(now_ns - intended_ns)
                self._service.record(now_ns - sent_ns)
                self._interval.record(now_ns - intended_ns)
            if outputs is not None and self.verify_every and number % self.verify_every == 0:
                self._keep(number % self.bodies, outputs)
            if self._finished == self._asked and (self.exhausted or self.load.requests == self._asked):
                self.over.set()
            self._lock.notify_all()

    @property
    def _counts_what_is_left(self) -> bool:
        return not self.load.rate and not self.load.requests

    @property
    def _unfinished(self) -> int:
        """Counted requests without a response."""
        return self._asked - self._finished + (self._warming if self._counts_what_is_left else 0)

    def _keep(self, body: int, outputs: Mapping[str, Array]) -> None:
        if self._kept_bytes >= MAX_KEPT_BYTES:
            self.unchecked += 1
            return
        self.kept.append((body, outputs))
        self._kept_bytes += sum(array.nbytes for array in outputs.values())

    def end_when_answered(self) -> None:
        """For the end of a trace."""
        with self._lock:
            if self._finished == self._asked:
                self.over.set()

    def end_interval(self, now_ns: int) -> Interval | None:
        """The interval since the last one; None: the warm-up goes on."""
        with self._lock:
            if now_ns <= self._interval_from_ns:
                return None
            interval = Interval.of(
                (self._interval_from_ns - self.begin_ns) / 1e9,
                (now_ns - self._interval_from_ns) / 1e9,
                self._interval_requests,
                self._interval_errors,
                self._interval,
            )
            self._intervals.append(interval)
            self._interval, self._interval_requests, self._interval_errors = Histogram(), 0, 0
            self._interval_from_ns = now_ns
            return interval

    def wait_for_responses(self, at_most_s: float) -> None:
        with self._lock:
            self._lock.wait_for(lambda: not self._unfinished, at_most_s)

    def result(self, ended: str) -> Measurement:
        """Nothing is counted afterwards."""
        with self._lock:
            self._closed = True
            until_ns, answered = min(self.end_ns, self._interval_from_ns), self._answered
            if not ended and (self.exhausted or (self.load.requests and self._asked == self.load.requests)):
                until_ns, answered = self._last_ns, self._finished - self._errors.total()
            duration_s = max(until_ns - self.begin_ns, 0) / 1e9
            measured = Measurement(
                self.load,
                started_unix_s=self.started_unix_s,
                duration_s=duration_s,
                requests=self._finished,
                errors=dict(self._errors),
                error_messages=self._messages,
                requests_per_second=answered / duration_s if duration_s else 0.0,
                latency_us=Latency.of(self._latency),
                service_us=Latency.of(self._service),
                lateness_us=Latency.of(self._lateness),
                intervals=self._intervals,
                sent=self._taken,
                unfinished=self._unfinished,
                ended=ended,
                histogram=encode(self._latency),
            )
            if self.load.rate:
                measured.client_bound_reason = sent_late(measured.lateness_us, measured.latency_us)
                measured.client_bound = bool(measured.client_bound_reason)
            return measured


class Usage:
    """Processor time and runs of this process and the model between begin() and end()."""

    def __init__(self, engine: Engine, model: str | None, version: str) -> None:
        self._statistics = engine._lookup(model, version).statistics
        self._before = self._after = self._look()

    def begin(self) -> None:
        self._before = self._look()

    def bound_by_python(self) -> str:
        """Why a closed loop's figures are more this process's than the model's; empty: they are not. There requests always wait: a
        model that stood still for most of the time, while a processor was busy, was not given them fast enough."""
        spent = {name: value - self._before[name] for name, value in self._after.items()}
        wall_ns = max(spent["wall_ns"], 1)
        return why_bound(spent["running_ns"] / wall_ns, spent["cpu_ns"] / wall_ns)

    def end(self) -> None:
        self._after = self._look()

    def result(self) -> ServerSide:
        spent = {name: value - self._before[name] for name, value in self._after.items()}
        requests = spent["requests"]
        side = ServerSide(requests=requests, runs=spent["runs"], notices=["model and bench are one process: CPU and memory are of both"])
        if requests:
            side.cpu_us_per_request = spent["cpu_ns"] / requests / 1e3
            for stage, (_, field) in STAGES.items():
                side.stages[stage] = Stage(spent[stage] / requests / 1e3)
                if field:
                    setattr(side, field, side.stages[stage].mean_us)
        side.batch_sizes = {int(size): runs for size, runs in spent.items() if size.isdecimal() and runs}
        side.rss_bytes = rss_bytes([os.getpid()])
        return side

    def _look(self) -> Counter[str]:
        """Requests, runs, ns of each stage and of the processor, and by their rows, as text, the runs of each size."""
        statistics = self._statistics
        sizes = statistics.batch_sizes()
        look = Counter({str(rows): entry[0] for rows, entry in sizes.items()})
        look["running_ns"] = sum(entry[2] for entry in sizes.values())
        look.update({stage: getattr(statistics, stage).sum_ns for stage in STAGES})
        look.update(requests=statistics.request.count, runs=statistics.runs, cpu_ns=time.process_time_ns(), wall_ns=time.monotonic_ns())
        return look
