"""One process's share of a load: makes its connections, runs the native generator, and tells what happened, piece by piece.

Never in here: what the pieces add up to (generator.py), processes, terminals.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from inferd import __version__
from inferd.bench.attempt import Attempt, on_its_way
from inferd.bench.measurement import BUCKETS, Counts, Histogram, Load, Sparse
from inferd.client_inputs.connections import Handshake, connected, context_of, failed, name_of, protocol_of, said
from inferd.client_inputs.reach import PLAINTEXT, Reach
from inferd.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd._core.load.generator import Generator
    from inferd._core.load.load_protocol import LoadProtocol
    from inferd.bench.schedule import Arrivals
    from inferd.config import Address

SCHEDSTAT = "/proc/thread-self/schedstat"  # ns in which the thread ran, ns in which it could have, and how often it did
PATH = b"/inference.GRPCInferenceService/ModelInfer"
CODES = [
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED"),
    *("RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"),
    *("UNAUTHENTICATED", "malformed", "connection", "unanswered"),  # the last three are the generator's own
]

NEVER_NS = 2**63 - 1
SLICE_NS = 50_000_000  # the native loop comes back this often, for Ctrl-C and for more arrivals
HANDSHAKE_NS = 1_000_000  # and so often where a connection's handshake waits for its next step
AHEAD_NS = 200_000_000  # arrivals that it is given in advance
AHEAD_COUNT = 1_000_000  # at most
LATE_NS = 10_000_000  # a native loop that comes back later than that was held up
SPIN_NS = 100_000  # kept awake before an arrival, where that was asked for: a sleep ends some ten microseconds late
CONNECT_S = 5.0  # a connection has to be there in
GREETED_S = 1.0  # and the server's SETTINGS in; from then on requests wait for them
RECONNECT_S = 3.0  # without any connection a measurement ends after
RETRY_NS = 100_000_000  # between two tries
DRAIN_S = 30.0  # longest wait for requests in flight at the end
LONG = 0.99  # an unfinished request is counted if it has waited longer than this share of the responses took


class Expected(NamedTuple):
    """Names that a response may have, by the metadata of its model; empty: any."""

    models: tuple[str, ...] = ()  # names of the model: the one that was asked for, and the one that it gives itself
    outputs: tuple[str, ...] = ()  # names of outputs
    versions: tuple[str, ...] = ()  # of the model: the one that was asked for


class WorkerPlan(NamedTuple):
    """All that one worker has to know; goes from process to process."""

    address: Address  # its `http` says what is spoken there
    metadata: tuple[tuple[str, str], ...]
    bodies: list[bytes]  # serialized ModelInferRequests; over HTTP whole requests, which say all that `metadata` would
    load: Load  # this worker's share
    arrivals: Arrivals | None
    interval_ns: int
    spin: bool = False
    verify_every: int = 0
    sample_room: int = 0  # of each interval
    expected: Expected = Expected()
    reach: Reach = PLAINTEXT


class Piece(NamedTuple):
    """One interval, or what came after the end of the measuring."""

    at: int  # its number; -1: after the end
    from_ns: int  # monotonic
    until_ns: int
    codes: list[int]  # how many requests ended with each of CODES
    answered: int  # responses with OK that came in it, those to requests of the warm-up included
    latency: Sparse
    service: Sparse
    lateness: Sparse
    cpu_ns: int  # this process's
    waited_ns: int  # of it in which the generator had nothing to do
    responses: list[tuple[int, bytes]]  # to be checked: number of the body, response as the native loop keeps it
    unchecked: int  # more, for which there was no room
    samples: bytes
    delayed_ns: int = 0  # of it in which the generator had work and no core
    turns: int = 0  # how often it was given one
    held_up_ns: int = 0  # the longest time by which the native loop came back late: it was stopped, or had too much to do at once
    sent: int = 0  # requests since the beginning, warm-up included


class Ending(NamedTuple):
    """The last word of a worker. ended: why it stopped before its time; empty: it did not."""

    ended: str
    sent: int  # in all, warm-up included
    unfinished: int  # without a response at the end; they are errors unless it ended early
    unsent: int  # arrivals whose time had come, and that the generator itself did not get to
    messages: dict[int, bytes]
    held_back: int = 0  # requests that waited here until the server took another stream on their connection, or one was free
    missing_ns: int = 0  # for which connections were lost and not made again, while it was measured, added up


class Worker:
    """The connections of one process. Made, it is connected; `drive` does the work, once. Raises StartError."""

    def __init__(self, plan: WorkerPlan) -> None:
        self.plan = plan
        self.generator: Generator = self._made(
            deadline_ns=int(plan.load.deadline_ms * 1e6), verify_every=plan.verify_every, sample_room=plan.sample_room
        )
        self.each = sockets_each(plan.address, plan.load)
        self.sockets: dict[int, socket.socket] = {}
        self.answered = Histogram()  # latencies of all that was collected
        self.scratch = [np.zeros(BUCKETS, np.uint64) for _ in range(3)]
        self.missing: list[int] = []  # connections that are to be made again
        self.missing_ns, self.looked_ns = 0, 0  # for which they were missing, added up; until when
        self.failure = ""  # why the last try failed
        self.attempt: Attempt | None = None  # one of them, on its way
        self.attempt_ns = 0  # since when; 0: the next may begin at once
        self.finished, self.finished_ns = -1, 0  # requests, and when there was one more
        self.idle_ns = 0  # slept because there was nothing to poll for
        self.connected_ns = 0  # when there was a connection last
        self.begun_ns, self.end_ns = 0, 0
        self.given_ns = 0  # until when the generator has its arrivals
        self.draining = False
        self.held_up_ns = 0  # since the last piece
        self.spent_ns = (0, 0)  # of the processor, and in waiting, when it was last asked
        self.turns = (0, 0)  # what `scheduled` said then
        self.context = context_of(plan.reach, protocol_of(plan.address)) if plan.reach.by_tls else None
        try:
            for number in range(plan.load.connections * self.each):
                self._connect(number)
            self._greet()
        except OSError as error:
            self.close()
            if isinstance(error, ssl.SSLError):
                raise StartError(f"{plan.address}: {failed(plan.address, plan.reach, error)}") from None
            raise StartError(f"{plan.address}: cannot connect: {said(error)}; is the server up?") from None

    def _made(self, **settings: int) -> Generator:
        from inferd._core.load.generator import Generator

        models, outputs, versions = words(self.plan.expected)
        return Generator(self.plan.bodies, spoken_by(self.plan), models=models, outputs=outputs, versions=versions, **settings)

    def _connect(self, number: int) -> None:
        until_s = time.monotonic() + CONNECT_S
        made = connected(self.plan.address, CONNECT_S)
        self.family, self.peer = made.family, made.getpeername()
        self.attempt = Attempt(made, self._handshake)  # to be closed, whatever comes
        while not self.attempt.is_made():
            self.attempt.wait(until_s)
        self._add(number, self.attempt)
        self.attempt = None

    def _handshake(self, made: socket.socket) -> Handshake | None:
        """The TLS handshake that a new connection needs; None: it is plaintext."""
        address = self.plan.address
        return Handshake(made, self.context, name_of(address, self.plan.reach), protocol_of(address)) if self.context else None

    def _greet(self) -> None:
        """Waits for the server to say what it allows on each connection, a round trip that the first requests would wait for otherwise.
        One that is silent is none before the measuring, which shows it."""
        until_ns = time.monotonic_ns() + int(GREETED_S * 1e9)
        while self.generator.greet(min(until_ns, time.monotonic_ns() + SLICE_NS)) and time.monotonic_ns() < until_ns:
            pass  # Ctrl-C is heeded here

    def close(self) -> None:
        self.generator.close()
        for made in self.sockets.values():
            made.close()
        self.sockets.clear()
        if self.attempt is not None:
            self.attempt.close()
            self.attempt = None

    def drive(self, begin_ns: int, emit: Callable[[Piece], None], stopped: Callable[[], bool]) -> Ending:
        """Asks from begin_ns on (monotonic), warms up, measures, and waits for the last responses."""
        load, generator = self.plan.load, self.generator
        measure_ns = begin_ns + int(load.warm_up_s * 1e9)
        streams = 0 if self.plan.arrivals else load.streams // self.each
        ended, at, missing_ns = "", 0, 0
        end_ns = measure_ns + int(load.duration_s * 1e9) if load.duration_s > 0 else NEVER_NS
        self.begun_ns = self.given_ns = begin_ns
        self.end_ns = measure_ns if load.requests and load.warm_up_s > 0 else end_ns
        try:
            sleep_until(begin_ns)
            if load.warm_up_s > 0:
                generator.start(NEVER_NS if streams else measure_ns, streams)
                ended = self._run(measure_ns, stopped)
                if load.requests and not ended:  # so many requests are to have the connections to themselves
                    ended = self._drain(stopped)
            self._collect(-1)  # of the warm-up nothing is counted, but its processor time
            self.end_ns = end_ns
            from_ns = self._begin_measuring(measure_ns)
            self.missing_ns, self.looked_ns, self.finished_ns = 0, from_ns, from_ns
            if not ended:  # in a closed loop what is under way is measured from here on
                generator.start(from_ns, streams, load.requests or -1)
            while not ended and from_ns < self.end_ns and not self._is_done() and not self._is_stuck(time.monotonic_ns()):
                until_ns = min(from_ns + self.plan.interval_ns, self.end_ns)
                ended = self._run(until_ns, stopped)
                if not ended and time.monotonic_ns() + self.plan.interval_ns // 2 > self.end_ns > until_ns:
                    until_ns = self.end_ns  # a fragment that is left over would say nothing
                    ended = self._run(until_ns, stopped)
                now_ns = time.monotonic_ns()
                if ended or self._is_done() or now_ns > until_ns + LATE_NS:  # what was counted is of all the time until now
                    until_ns = now_ns
                emit(self._collect(at, from_ns, until_ns))
                at, from_ns = at + 1, until_ns
            missing_ns = self.missing_ns
            if not ended:
                ended = self._drain(stopped)
            if not ended and not self.sockets:  # since when nothing was asked, and so nothing failed
                ended = self._all_lost()
        except KeyboardInterrupt:
            ended = "interrupted"
        emit(self._collect(-1))  # all responses: waiting requests are compared with these
        unsent, unfinished = self._give_up(ended)
        emit(self._collect(-1))
        messages = generator.messages()
        if self.failure:  # requests that were never sent have no message about their connection
            messages.setdefault(CODES.index("connection"), self.failure.encode())
        ending = Ending(ended, generator.sent, unfinished, unsent, messages, generator.held_back, missing_ns // self.each)
        self.close()
        return ending

    def _drain(self, stopped: Callable[[], bool]) -> str:
        """Waits for what is under way; why that had to end. In an open loop those are still sent whose time had come."""
        self.draining = True
        if self.plan.arrivals is None:
            self.generator.stop()
        ended = self._run(time.monotonic_ns() + int(DRAIN_S * 1e9), stopped)
        self.draining = False
        return ended

    def _begin_measuring(self, measure_ns: int) -> int:
        """The start of the measured time, which lasts as long as was asked for, however late the warm-up ended.

        An open loop keeps to its schedule. If the generator was held up for long, or waited for responses of the warm-up, the schedule is
        moved: requests that were not sent say nothing of the server."""
        now_ns = time.monotonic_ns()
        late_ns = now_ns - measure_ns
        if self.plan.arrivals is not None:
            if not (self.plan.load.requests and self.plan.load.warm_up_s) and late_ns <= min(AHEAD_NS, (self.end_ns - measure_ns) // 2):
                return measure_ns
            self.begun_ns += max(now_ns - self.given_ns, 0)
        elif not self.plan.load.requests:
            self.held_up_ns = late_ns  # what is under way has waited for that, and is measured
        if self.end_ns != NEVER_NS:
            self.end_ns += late_ns
        return now_ns

    def _give_up(self, ended: str) -> tuple[int, int]:
        """Stops waiting, and returns `unsent` and `unfinished` of the Ending.

        A request that was due and could not be sent counts like one that was sent. It is lost without a connection, else without a
        response. After an early end that is no error, for a response may have been near. It is a latency only if it is one of the
        longest."""
        generator, until_ns = self.generator, min(time.monotonic_ns(), self.end_ns)
        overdue = generator.overdue(until_ns)
        if ended and self.sockets:
            self._count_waiting(until_ns)
            return 0, generator.outstanding + (overdue if generator.blocked else 0)
        lost = generator.give_up_overdue(until_ns) if generator.blocked or not self.sockets else 0
        if ended:
            return 0, generator.outstanding
        return overdue - lost, generator.give_up() + lost

    def _count_waiting(self, until_ns: int) -> None:
        """A server that has gone silent shows; shorter times so far say nothing yet, and would make the percentiles less than they are."""
        self.generator.count_waiting(until_ns, self.answered.quantile_ns(LONG))

    def _run(self, until_ns: int, stopped: Callable[[], bool]) -> str:
        """The native loop until then, or until there is nothing left to do; why it has to end before."""
        generator = self.generator
        while True:
            self._give_arrivals()
            in_handshake = self.attempt is not None and self.attempt.in_handshake
            back_ns = min(until_ns, time.monotonic_ns() + (HANDSHAKE_NS if in_handshake else SLICE_NS))
            try:
                now_ns = generator.run(back_ns, SPIN_NS if self.plan.spin else 0)
            except KeyboardInterrupt:
                return "interrupted"
            self.held_up_ns = max(self.held_up_ns, now_ns - back_ns)
            lost = self._keep_connected(now_ns)
            if stopped():
                return "interrupted"
            if now_ns >= until_ns or self._is_done() or self._is_stuck(now_ns):
                return ""
            if lost:
                return lost
            if not self.sockets or (generator.outstanding == 0 and not generator.arrivals_waiting):
                sleep_until(min(until_ns, now_ns + 1_000_000))  # nothing to poll for
                self.idle_ns += time.monotonic_ns() - now_ns

    def _keep_connected(self, now_ns: int) -> str:
        """Makes again the connections that have died; why there is no point in it any more."""
        if self.sockets:  # until now
            self.connected_ns = now_ns
        self.missing_ns += len(self.missing) * (now_ns - self.looked_ns)
        self.looked_ns = now_ns
        for number in self.generator.take_dead():
            self.sockets.pop(number).close()
            self.missing.append(number)
        if self.missing:
            self._reconnect(now_ns)
        if not self.sockets and now_ns - self.connected_ns > RECONNECT_S * 1e9:
            return self._all_lost()
        return ""

    def _all_lost(self) -> str:
        return f"every connection to {self.plan.address} was lost: {self.failure or 'the server closed it'}"

    def _is_done(self) -> bool:
        """Whether all requests are over: a number of requests, a trace, or after the end those begun before."""
        arrivals, generator = self.plan.arrivals, self.generator
        exhausted = generator.exhausted
        if arrivals is not None and (arrivals.ended or self.draining):
            exhausted = exhausted or not generator.arrivals_waiting
        return exhausted and generator.outstanding == 0

    def _is_stuck(self, now_ns: int) -> bool:
        """Whether a number of requests, or a trace, will not end: there was no response for DRAIN_S."""
        generator = self.generator
        if generator.finished != self.finished or not generator.outstanding:
            self.finished, self.finished_ns = generator.finished, now_ns
        return self.end_ns == NEVER_NS and now_ns - self.finished_ns > DRAIN_S * 1e9

    def _give_arrivals(self) -> None:
        """Those of the next moments, and none that is meant for a time after the end."""
        arrivals, generator = self.plan.arrivals, self.generator
        if arrivals is None or generator.arrivals_waiting >= AHEAD_COUNT:
            return
        until_ns = min(time.monotonic_ns() + AHEAD_NS, self.end_ns)
        offsets = arrivals.take(until_ns - self.begun_ns, AHEAD_COUNT - generator.arrivals_waiting)
        generator.arrive(offsets + self.begun_ns)
        self.given_ns = until_ns

    def _collect(self, at: int, from_ns: int = 0, until_ns: int = 0) -> Piece:
        """The counts since the last call. It must be quick, for the generator neither sends nor reads meanwhile."""
        codes, totals, answered = self.generator.collect(*self.scratch)
        latency, service, lateness = (emptied(counts, *total) for counts, total in zip(self.scratch, totals, strict=True))
        self.answered.add_sparse(latency)
        cpu_ns, waited_ns = self.spent_ns
        self.spent_ns = time.process_time_ns(), self.generator.waited_ns + self.idle_ns
        responses, unchecked = self.generator.take_responses() if self.plan.verify_every else ([], 0)
        samples = self.generator.take_samples()[0] if self.plan.sample_room else b""
        spent = self.spent_ns[0] - cpu_ns, self.spent_ns[1] - waited_ns
        (delayed_ns, turns), self.turns = self.turns, scheduled()
        since = self.turns[0] - delayed_ns, self.turns[1] - turns
        told = (*spent, responses, unchecked, samples, *since, self.held_up_ns, self.generator.sent)
        self.held_up_ns = 0
        return Piece(at, from_ns, until_ns, codes, answered, latency, service, lateness, *told)

    def _reconnect(self, now_ns: int) -> None:
        """Makes again what is missing, one after the other and without waiting: the other connections go on asking."""
        while self.missing:
            try:
                if self.attempt is None:
                    if now_ns - self.attempt_ns < RETRY_NS:
                        return
                    self.attempt_ns = now_ns
                    self.attempt = Attempt(on_its_way(self.family, self.peer), self._handshake)
                if not self.attempt.is_made():
                    if now_ns - self.attempt_ns > CONNECT_S * 1e9:
                        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
                    return
            except OSError as error:
                self.failure = said(error)
                if self.attempt is not None:
                    self.attempt.close()
                    self.attempt = None
                return
            self._add(self.missing.pop(), self.attempt)
            self.attempt, self.attempt_ns = None, 0

    def _add(self, number: int, attempt: Attempt) -> None:
        made = attempt.socket
        if made.family != socket.AF_UNIX:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.generator.add(made.fileno(), number, attempt.tls())
        self.sockets[number] = made


def sockets_each(address: Address, load: Load) -> int:
    """Sockets that a connection of the load is: HTTP/1.1 has one request in flight on each."""
    return load.streams if address.http else 1


def spoken_by(plan: WorkerPlan) -> LoadProtocol:
    """The protocol that the native loop speaks. ImportError where it is not built."""
    if plan.address.http:
        from inferd._core.load.http1 import Http1

        return Http1()
    from inferd._core.load.http2 import Http2

    return Http2(headers(plan))


def headers(plan: WorkerPlan) -> list[tuple[bytes, bytes]]:
    """The headers of every request."""
    authority = plan.reach.server_name or ("localhost" if plan.address.path else str(plan.address))
    said = [
        (b":method", b"POST"),
        (b":scheme", b"https" if plan.reach.by_tls else b"http"),
        (b":path", PATH),
        (b":authority", authority.encode()),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"user-agent", f"inferd-bench/{__version__}".encode()),
    ]
    if plan.load.deadline_ms:
        said.append((b"grpc-timeout", grpc_timeout(plan.load.deadline_ms)))
    return said + [(name.encode(), value.encode()) for name, value in plan.metadata]


def words(expected: Expected) -> list[list[bytes]]:
    """As the generator takes them: models, outputs, versions."""
    return [[word.encode() for word in said] for said in expected]


def grpc_timeout(duration_ms: float) -> bytes:
    """As the header says it: 8 digits at most, in the smallest unit that does."""
    for unit, unit_ms in ((b"u", 1e-3), (b"m", 1), (b"S", 1e3)):
        count = max(1, round(duration_ms / unit_ms))
        if count < 10**8:
            return b"%d%b" % (count, unit)
    return b"99999999S"  # three years


def emptied(counts: Counts, sum_ns: int, max_ns: int, min_ns: int) -> Sparse:
    """The entries of a distribution, whose buckets are empty afterwards."""
    buckets = np.flatnonzero(counts)
    held = counts[buckets]
    counts[buckets] = 0
    return Sparse(buckets, held, sum_ns, max_ns, min_ns)


def scheduled() -> tuple[int, int]:
    """How long this thread has waited for a core, in ns, and how often it got one. Zeros where the kernel does not say."""
    try:
        with open(SCHEDSTAT, "rb") as told:
            _, delayed_ns, turns = told.read().split()
        return int(delayed_ns), int(turns)
    except (OSError, ValueError):
        return 0, 0


def sleep_until(then_ns: int) -> None:
    if (rest_ns := then_ns - time.monotonic_ns()) > 0:
        time.sleep(rest_ns / 1e9)
