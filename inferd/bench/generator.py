"""Measures one load against one server: starts the workers, and adds up what they tell.

Never in here: what to ask (inputs), which loads (modes), whether the figures are the server's (client_bound), how it looks (report).
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import time
from contextlib import ExitStack, closing, suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import unquote

import msgspec

from inferd.bench import client_bound
from inferd.bench.client_bound import Effort
from inferd.bench.hdr import encode
from inferd.bench.interrupts import ignore_interrupts, interrupts_held, interrupts_noted
from inferd.bench.measurement import Histogram, Interval, Latency, Load, Measurement
from inferd.bench.worker import CODES, Ending, Piece, Worker, WorkerPlan, sockets_each
from inferd.client_inputs.reach import PLAINTEXT, Reach
from inferd.errors import ConfigError, StartError
from inferd.system import descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.process import BaseProcess

    from inferd.bench.inputs import Requests
    from inferd.bench.interval_log import IntervalLog
    from inferd.bench.samples import Samples
    from inferd.bench.schedule import Arrivals
    from inferd.bench.verify import Verifier
    from inferd.config import Address

INTERVALS = 20  # that a short measurement is cut into; a long one has one a second
SHORTEST_INTERVAL_S, LONGEST_INTERVAL_S = 0.1, 1.0
HEADSTART_S = 0.05  # from the word to the first request
MAX_KEPT_BYTES = 256 << 20  # of responses to be checked
NOTICED_S = 0.1  # how late Ctrl-C may be noticed
LONG_S = 600.0  # the pieces of a longer measurement are added up while it lasts, by a process of its own
STARTED_S = 30.0  # a worker's process has to be there in
WORKER_DIED = "a worker of the generator ended by itself"
OWN_FILES = 24  # open in a worker's process beside its connections


class Target(NamedTuple):
    """A server, and what every request says to it. Over HTTP the bodies say it all."""

    address: Address
    metadata: tuple[tuple[str, str], ...] = ()
    reach: Reach = PLAINTEXT


def measure(
    target: Target,
    requests: Requests,
    load: Load,
    arrivals: Arrivals | None = None,
    *,
    watch: Callable[[Interval], None] | None = None,
    verifier: Verifier | None = None,
    verify_every: int = 100,
    samples: Samples | None = None,
    log: IntervalLog | None = None,
    spin: bool = False,
) -> Measurement:
    """One load. watch: told of every interval as it ends. verifier: checks every verify_every-th response, when all is over. samples: gets
    (intended, sent, done, code) of every request, int64 each; log: the latencies of each interval. spin: a core is kept for punctual
    sending in an open loop. With `watch` or `samples` the generator gets a process of its own, so that whatever is done there (drawing
    takes milliseconds) disturbs nothing.

    Ctrl-C ends it early: what was measured is returned, with `ended`. Raises StartError when the server cannot be reached.
    """
    allow_files(load, sockets_each(target.address, load))
    plan = WorkerPlan(
        target.address,
        target.metadata,
        requests.bodies,
        load,
        arrivals,
        int(interval_length_s(load) * 1e9),
        spin,
        verify_every if verifier is not None else 0,
        1_000_000 if samples is not None else 0,
        requests.expected,
        target.reach,
    )
    total = Total(load, watch, samples, log)
    with ExitStack() as stack:
        apart = load.processes > 1 or watch or samples is not None or load.duration_s > LONG_S
        crew = stack.enter_context(Crew(plan)) if apart else Alone(plan)
        total.started_unix_s = time.time() + HEADSTART_S
        begin_ns = time.monotonic_ns() + int(HEADSTART_S * 1e9)
        pieces: list[Piece] = []
        total.endings = crew.drive(begin_ns, total.add if apart else pieces.append)  # on the generator's thread all that can wait does
        with interrupts_noted() as interrupted:
            stack.close()
            for piece in pieces:
                total.add(piece)
            measured = total.result()
    if interrupted():
        measured.ended = measured.ended or "interrupted"
    if log is not None:
        log.end(measured)
    if verifier is not None:
        verifier.check_kept(total.responses, measured, total.unchecked)
    return measured


def allow_files(load: Load, each: int = 1) -> None:
    """Lets this process and its children open enough files for their sockets, `each` of them a connection. StartError where the system has
    too few."""
    needed = portion(load.connections, load.processes, 0) * each + OWN_FILES
    allowed = descriptors.allow(needed)
    if allowed < needed:
        raise StartError(
            f"--connections {load.connections}: expected {(allowed - OWN_FILES) // each} at most of each process, for each is an open "
            f"file, and a process may have {allowed} (ulimit -n): raise that limit, or give more --processes"
        )


def interval_length_s(load: Load) -> float:
    """How long the intervals are that a measurement is cut into."""
    return min(max((load.duration_s or LONGEST_INTERVAL_S) / INTERVALS, SHORTEST_INTERVAL_S), LONGEST_INTERVAL_S)


class Total:
    """Adds up the pieces of all workers."""

    def __init__(
        self, load: Load, watch: Callable[[Interval], None] | None, samples: Samples | None, log: IntervalLog | None = None
    ) -> None:
        self.load, self.watch, self.samples, self.log = load, watch, samples, log
        if log is not None:
            log.begin()
        self.started_unix_s = 0.0
        self.endings: list[Ending] = []
        self.codes = [0] * len(CODES)
        self.answered = 0  # with OK, while it was measured
        self.latency, self.service, self.lateness = Histogram(), Histogram(), Histogram()
        self.pieces: dict[int, list[Piece]] = {}  # of intervals that some worker has not ended
        self.intervals: list[Interval] = []
        self.busiest = 0.0  # the largest share of an interval in which a worker had something to do,
        self.ran = 0.0  # and the share of it in which it really ran
        self.cpu_ns = self.delayed_ns = self.turns = 0
        self.kept_bytes = 0
        self.responses: list[tuple[int, bytes]] = []
        self.unchecked = 0
        self.first_ns, self.until_ns = 0, 0  # of all intervals
        self.last_begin_ns = 0  # when the last worker began to measure
        self.held_up_ns = 0  # the longest time by which one came back late while it measured

    def add(self, piece: Piece) -> None:
        """Adds a worker's piece."""
        self.codes = [mine + its for mine, its in zip(self.codes, piece.codes, strict=True)]
        for mine, its in ((self.latency, piece.latency), (self.service, piece.service), (self.lateness, piece.lateness)):
            mine.add_sparse(its)
        self.cpu_ns += piece.cpu_ns
        self.delayed_ns += piece.delayed_ns
        self.turns += piece.turns
        self.unchecked += piece.unchecked
        for response in piece.responses:
            if self.kept_bytes < MAX_KEPT_BYTES:
                self.responses.append(response)
                self.kept_bytes += len(response[1])
            else:
                self.unchecked += 1
        if self.samples is not None:
            self.samples.append(piece.samples)
        if piece.at < 0:
            if self.log is not None:
                self.log.add_after(piece.latency)
            return
        self.answered += piece.codes[0] if self.load.requests else piece.answered  # of a number of requests only these count
        self.first_ns = min(self.first_ns, piece.from_ns) if self.until_ns else piece.from_ns
        self.until_ns = max(self.until_ns, piece.until_ns)
        self.last_begin_ns = max(self.last_begin_ns, piece.from_ns if piece.at == 0 else 0)
        self.held_up_ns = max(self.held_up_ns, piece.held_up_ns)
        gathered = self.pieces.setdefault(piece.at, [])
        gathered.append(piece)
        if len(gathered) == self.load.processes:
            self._end_interval(self.pieces.pop(piece.at))

    def _end_interval(self, pieces: list[Piece]) -> None:
        first = pieces[0]
        latency, lateness = Histogram(), Histogram()
        for piece in pieces:
            latency.add_sparse(piece.latency)
            lateness.add_sparse(piece.lateness)
            length_ns = max(piece.until_ns - piece.from_ns, 1)
            if (busy := 1 - piece.waited_ns / length_ns) > self.busiest:
                self.busiest, self.ran = busy, piece.cpu_ns / length_ns
        answered = sum(piece.codes[0] for piece in pieces)
        interval = Interval.of(
            (first.from_ns - self.first_ns) / 1e9,
            (first.until_ns - first.from_ns) / 1e9,
            answered,
            sum(sum(piece.codes) for piece in pieces) - answered,
            latency,
            lateness,
        )
        self.intervals.append(interval)
        if self.log is not None:
            self.log.add(interval.at_s, interval.duration_s, latency)
        if self.watch is not None:
            self.watch(interval)

    def result(self) -> Measurement:
        for at in sorted(self.pieces):  # in which some worker had ended already
            self._end_interval(self.pieces.pop(at))
        duration_s = (self.until_ns - self.first_ns) / 1e9
        finished = sum(self.codes)
        measured = Measurement(
            self.load,
            started_unix_s=self.started_unix_s + self.load.warm_up_s,
            duration_s=duration_s,
            requests=finished,
            errors={name: count for name, count in zip(CODES[1:], self.codes[1:], strict=True) if count},
            error_messages={CODES[code]: text for code, text in self._messages() if self.codes[code]},
            requests_per_second=self.answered / duration_s if duration_s else 0.0,
            latency_us=Latency.of(self.latency),
            service_us=Latency.of(self.service),
            lateness_us=Latency.of(self.lateness),
            client_cpu_us_per_request=self.cpu_ns / 1e3 / finished if finished else 0.0,
            intervals=self.intervals,
            sent=sum(ending.sent for ending in self.endings),
            unfinished=sum(ending.unfinished for ending in self.endings),
            held_back=sum(ending.held_back for ending in self.endings),
            held_up_s=self.held_up_ns / 1e9,
            connections_missing=sum(ending.missing_ns for ending in self.endings) / 1e9 / duration_s if duration_s else 0.0,
            ended=next((ending.ended for ending in self.endings if ending.ended), ""),
            histogram=encode(self.latency),
        )
        unsent = sum(ending.unsent for ending in self.endings)
        apart_ns = max(self.last_begin_ns - self.first_ns, 0)
        effort = Effort(self.busiest, self.ran, self.cpu_ns, self.delayed_ns, self.turns, unsent, apart_ns)
        measured.client_bound_reason = client_bound.reason(measured, effort)
        measured.client_bound = bool(measured.client_bound_reason)
        return measured

    def _messages(self) -> Iterator[tuple[int, str]]:
        for ending in self.endings:
            for code, text in ending.messages.items():
                yield code, unquote(text.decode("ascii", "replace"), errors="replace")


class Alone:
    """The worker in this process."""

    def __init__(self, plan: WorkerPlan) -> None:
        self.worker = Worker(plan)

    def drive(self, begin_ns: int, emit: Callable[[Piece], None]) -> list[Ending]:
        return [self.worker.drive(begin_ns, emit, lambda: False)]


class Crew:
    """A worker in each of several processes, begun at one time."""

    def __init__(self, plan: WorkerPlan) -> None:
        self.plan = plan
        self.pipes: list[Connection] = []
        self.processes: list[BaseProcess] = []

    def __enter__(self) -> Self:
        try:
            for index in range(self.plan.load.processes):
                self._start(index)
            for pipe in self.pipes:
                await_connected(pipe)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, index: int) -> None:
        context = multiprocessing.get_context("spawn")  # nothing of this process is shared but the pipe
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, share(self.plan, self.plan.load.processes, index)), daemon=True)
        with interrupts_held():
            process.start()
            self.processes.append(process)
        theirs.close()
        self.pipes.append(ours)

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()  # deaf to all other signals, and without anything to put away
        for process in self.processes:
            process.join()

    def drive(self, begin_ns: int, emit: Callable[[Piece], None]) -> list[Ending]:
        """A worker that ends early ends the others, too; what was measured is kept."""
        for pipe in self.pipes:
            pipe.send(begin_ns)
        endings: list[Ending] = []
        sent = dict.fromkeys(self.pipes, 0)  # by each, as far as it has told
        waiting = list(self.pipes)
        with interrupts_noted() as interrupted:
            while waiting:
                for pipe in [pipe for pipe in multiprocessing.connection.wait(waiting, NOTICED_S) if isinstance(pipe, Connection)]:
                    try:
                        told = pipe.recv()
                    except (EOFError, OSError):
                        told = Ending(WORKER_DIED, sent[pipe], 0, 0, {})
                    if isinstance(told, Ending):
                        endings.append(told)
                        waiting.remove(pipe)
                    else:
                        sent[pipe] = told.sent
                        emit(told)
                if interrupted() or any(ending.ended for ending in endings):
                    for pipe in waiting:
                        with suppress(OSError):
                            pipe.send("stop")
            if interrupted() and not any(ending.ended for ending in endings):  # it came with the last word of the last one
                endings[-1] = endings[-1]._replace(ended="interrupted")
        return endings


def await_connected(pipe: Connection) -> None:
    """Until a worker has its connections; StartError if it will not."""
    try:
        failure = pipe.recv() if pipe.poll(STARTED_S) else "a worker of the generator did not start in time"
    except EOFError:
        failure = "a worker of the generator ended before it was connected"
    if failure:
        raise StartError(failure)


def share(plan: WorkerPlan, count: int, index: int) -> WorkerPlan:
    """Worker `index` of `count`'s part: connections, rate and requests."""
    load = plan.load
    arrivals = plan.arrivals.split(count, index) if plan.arrivals else None
    part = msgspec.structs.replace(load, connections=portion(load.connections, count, index), requests=portion(load.requests, count, index))
    return plan._replace(load=part, arrivals=arrivals)


def portion(total: int, count: int, index: int) -> int:
    return total // count + (index < total % count)


def work(pipe: Connection, plan: WorkerPlan) -> None:
    """A worker's process. It ends without a word where the parent has gone."""
    ignore_interrupts()
    with suppress(EOFError, BrokenPipeError):
        try:
            worker = Worker(plan)
        except (StartError, ConfigError) as error:  # the latter of files of TLS that have gone meanwhile
            pipe.send(str(error))
            return
        with closing(worker):
            pipe.send("")
            pipe.send(worker.drive(pipe.recv(), pipe.send, pipe.poll))
