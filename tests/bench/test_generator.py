"""One load: what the pieces of all workers add up to, what is said of the generator itself, and connections that are made again."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from inferd._core.load.generator import Generator
from inferd.bench import generator, report, schedule, worker
from inferd.bench.generator import Crew, Target, Total, allow_files, measure, portion, share, work
from inferd.bench.hdr import decode
from inferd.bench.inputs import Requests
from inferd.bench.interval_log import IntervalLog
from inferd.bench.measurement import Histogram, Interval, Load, Measurement
from inferd.bench.modes import Outcome
from inferd.bench.tables import warnings
from inferd.bench.worker import CODES, Ending, Expected, Piece, Worker, WorkerPlan, grpc_timeout, headers
from inferd.client_inputs.reach import Reach
from inferd.config import Address, parse_address
from inferd.errors import StartError
from inferd.system import descriptors
from tests import models
from tests.certificates import Files
from tests.http2_peer import EMPTY_SETTINGS
from tests.reports import is_clean, sample
from tests.server_fixtures import ServerFixture
from tests.system.test_descriptors import Limits
from tests.wire import infer_request

S = 1_000_000_000


def histogram(*values_us: float) -> Histogram:
    made = Histogram()
    for value in values_us:
        made.record(int(value * 1000))
    return made


def piece(at: int, answered: int = 10, *, waited: float = 0.5, ran: float = 0.5, latency_us: float = 1000, late_us: float = 0) -> Piece:
    """One worker's second `at`: so many responses, and shares of the time in which it waited and ran."""
    codes = [answered] + [0] * (len(CODES) - 1)
    latency = histogram(*[latency_us] * answered).sparse()
    late = histogram(*[late_us] * answered).sparse()
    return Piece(
        at, at * S, (at + 1) * S, codes, answered if at >= 0 else 0, latency, latency, late, int(ran * S), int(waited * S), [], 0, b""
    )


def total(load: Load, *pieces: Piece, ended: str = "") -> Total:
    made = Total(load, None, None)
    for each in pieces:
        made.add(each)
    made.endings = [Ending(ended, 25, 0, 0, {}) for _ in range(load.processes)]
    return made


def test_workers_add_up_interval_by_interval() -> None:
    seen: list[Interval] = []
    made = Total(Load(processes=2), seen.append, None)
    made.add(piece(0, 10, latency_us=1000))
    made.add(piece(1, 5))
    assert seen == [], "the other worker's first second is not over"
    made.add(piece(0, 30, latency_us=3000))
    assert [(one.requests, one.errors) for one in seen] == [(40, 0)]
    assert seen[0].p50_us == pytest.approx(3000, rel=1e-3)
    made.add(piece(1, 7))
    assert [one.requests for one in seen] == [40, 12]
    made.endings = [Ending("", 30, 1, 0, {}), Ending("", 40, 2, 0, {})]
    measured = made.result()
    assert (measured.requests, measured.sent, measured.unfinished, measured.duration_s) == (52, 70, 3, 2.0)
    assert measured.requests_per_second == 26


def test_what_comes_after_the_end_is_counted_but_is_no_throughput() -> None:
    late = piece(-1, 4)
    measured = total(Load(), piece(0, 10), late).result()
    assert (measured.requests, measured.requests_per_second) == (14, 10)


def test_of_a_number_of_requests_only_these_are_throughput() -> None:
    """Answers to the warm-up that come meanwhile are as many as were under way, whatever the number."""
    measured = total(Load(requests=10), piece(0, 10)._replace(answered=266)).result()
    assert (measured.requests, measured.requests_per_second) == (10, 10)
    assert total(Load(), piece(0, 10)._replace(answered=266)).result().requests_per_second == 266


def test_the_measured_time_begins_with_the_first_worker_that_measures() -> None:
    late = piece(0, 10)._replace(from_ns=2 * S, until_ns=4 * S)
    measured = total(Load(processes=2, requests=20), late, late._replace(from_ns=3 * S, until_ns=5 * S)).result()
    assert (measured.duration_s, measured.requests_per_second) == (3.0, 20 / 3)


def test_errors_have_names_and_first_messages() -> None:
    codes = [0] * len(CODES)
    codes[0], codes[14], codes[17], codes[18] = 5, 3, 2, 1
    made = total(Load(), piece(0)._replace(codes=codes, answered=5))
    made.endings = [Ending("", 11, 0, 0, {13: b"nobody's", 14: b"try%20again", 17: b"an output has no name"})]
    measured = made.result()
    assert measured.errors == {"UNAVAILABLE": 3, "malformed": 2, "connection": 1}
    assert measured.error_messages == {"UNAVAILABLE": "try again", "malformed": "an output has no name"}
    assert (measured.requests, measured.failed, measured.requests_per_second) == (11, 6, 5)


def test_a_generator_without_a_pause_says_so() -> None:
    assert not total(Load(), piece(0, waited=0.2, ran=0.8)).result().client_bound
    measured = total(Load(), piece(0, waited=0.5), piece(1, waited=0.02, ran=0.95)).result()
    assert measured.client_bound
    assert "busy for 98%" in measured.client_bound_reason
    measured = total(Load(), piece(0, waited=0.0, ran=0.3)).result()
    assert "ran for 30% of it" in measured.client_bound_reason


def test_a_generator_without_a_core_says_so() -> None:
    """Whichever of its processes it was, and after the end, too."""
    part = piece(0, 1000, ran=0.1, latency_us=100)._replace(delayed_ns=S // 5, turns=1000)
    measured = total(Load(processes=2), part, part, part._replace(at=-1)).result()
    assert measured.client_bound
    assert "no core for 67% of the time in which it had work, 200 µs each time" in measured.client_bound_reason


def test_a_piece_says_how_long_its_thread_waited_for_a_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter(range(10))
    monkeypatch.setattr(worker, "scheduled", lambda: ((at := next(told)) * S, at * at))
    with ServerFixture(models.write(tmp_path, "m", models.identity())) as server:
        made = Worker(
            WorkerPlan(parse_address(server.address), (), requests().bodies, Load(requests=1, duration_s=0.0, warm_up_s=0.0), None, S)
        )
        pieces: list[Piece] = []
        made.drive(time.monotonic_ns(), pieces.append, lambda: False)
    assert [(each.delayed_ns, each.turns) for each in pieces] == [(S, 1), (S, 3), (S, 5)], "the first was the warm-up's"


def test_a_generator_that_stood_still_says_so() -> None:
    held = piece(1)._replace(held_up_ns=S // 4)
    measured = total(Load(), piece(0), held, piece(-1)._replace(held_up_ns=9 * S)).result()
    assert (measured.held_up_s, measured.duration_s) == (0.25, 2.0), "after the end nothing is measured"
    assert measured.client_bound_reason == "the generator stood still for 250 ms: it was stopped, or had too much to do at once"
    assert not total(Load(), piece(0), held._replace(held_up_ns=S // 10)).result().client_bound


def test_processes_that_begin_apart_say_so() -> None:
    first, last = piece(0), piece(0)._replace(from_ns=S // 2, until_ns=S + S // 2)
    measured = total(Load(processes=2), first, last, piece(1), piece(1)).result()
    assert "began 500 ms apart" in measured.client_bound_reason


class Stopped:
    """A generator whose process is stopped for as long as `times` says at the beginning of that run. It keeps its arrivals."""

    def __init__(self, generator: Generator, clock: Any, times: dict[int, int]) -> None:
        self.generator, self.clock, self.times, self.runs = generator, clock, times, 0
        self.arrivals: list[int] = []
        self.told: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.generator, name)

    def arrive(self, times_ns: Any) -> None:
        self.arrivals += times_ns.tolist()
        self.told.append(times_ns)

    def start(self, from_ns: int, *given: int) -> None:
        self.generator.start(max(from_ns - self.clock.ahead_ns, 0), *given)

    def run(self, until_ns: int, spin_ns: int = 0) -> int:
        self.runs += 1
        self.clock.ahead_ns += self.times.get(self.runs, 0)
        while self.told:
            self.generator.arrive(self.told.pop(0) - self.clock.ahead_ns)
        return self.generator.run(until_ns - self.clock.ahead_ns, spin_ns) + self.clock.ahead_ns


class Jumping:
    """The module `time`, whose monotonic clock is ahead by the time in which the process was stopped."""

    def __init__(self) -> None:
        self.ahead_ns = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def monotonic_ns(self) -> int:
        return time.monotonic_ns() + self.ahead_ns


def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Load, times: dict[int, int]) -> tuple[Measurement, Stopped]:
    """What a worker measures whose process is stopped like that."""
    clock = Jumping()
    monkeypatch.setattr(worker, "time", clock)
    arrivals = schedule.parse("constant", load.rate) if load.rate else None
    with ServerFixture(models.write(tmp_path, "m", models.identity())) as server:
        made = Worker(WorkerPlan(parse_address(server.address), (), requests().bodies, load, arrivals, S // 20))
        made.generator = stopping = Stopped(made.generator, clock, times)  # type: ignore[assignment]
        pieces: list[Piece] = []
        ending = made.drive(clock.monotonic_ns(), pieces.append, lambda: False)
    adding = total(load, *pieces)
    adding.endings = [ending]
    return adding.result(), stopping


def test_a_generator_that_is_stopped_past_the_end_measures_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its warm-up: it measures for as long as was asked for, from when it goes on."""
    load = Load(duration_s=0.2, warm_up_s=0.1)
    measured, _ = stopped(tmp_path, monkeypatch, load, {1: 3 * S})
    assert measured.duration_s >= 0.2
    assert measured.requests_per_second > 0
    assert measured.held_up_s >= 2.9, "what was under way meanwhile is measured"
    assert measured.client_bound


def test_a_schedule_waits_for_a_generator_that_is_stopped_in_its_warm_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = Load(duration_s=1.0, warm_up_s=0.1, rate=200)
    measured, stopping = stopped(tmp_path, monkeypatch, load, {1: 3 * S})
    assert 195 <= measured.requests <= 205
    assert measured.latency_us.max < 2e6
    assert max(b - a for a, b in zip(stopping.arrivals, stopping.arrivals[1:], strict=False)) > 2 * S, "nothing was due meanwhile"


@pytest.mark.parametrize("rate", [0.0, 200.0])
def test_a_generator_that_is_stopped_while_it_measures_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float) -> None:
    """What it counted is of all the time until it went on, and no interval is said to be silent in which nobody listened."""
    measured, _ = stopped(tmp_path, monkeypatch, Load(duration_s=0.3, warm_up_s=0.0, rate=rate), {3: 2 * S})
    assert measured.client_bound
    assert measured.held_up_s >= 1.9
    assert measured.duration_s >= 2
    assert sum(interval.duration_s for interval in measured.intervals) == pytest.approx(measured.duration_s)


def test_a_generator_that_sends_late_says_so() -> None:
    load = Load(rate=10)
    assert not total(load, piece(0, waited=0.0, late_us=50, latency_us=1000)).result().client_bound
    assert not total(load, piece(0, answered=0)._replace(lateness=histogram(5.0).sparse())).result().client_bound, "there is no latency"
    measured = total(load, piece(0, late_us=200, latency_us=1000)).result()
    assert "200 µs late (median), the latency is 1 ms" in measured.client_bound_reason


def test_shares_are_the_whole() -> None:
    for count in (1, 2, 3, 7):
        assert sum(portion(10, count, index) for index in range(count)) == 10
    arrivals = schedule.parse("poisson", 1000, 1)
    plan = WorkerPlan(Address("h", 1), (), [b""], Load(connections=5, rate=1000, requests=11), arrivals, S)
    shares = [share(plan, 3, index) for index in range(3)]
    assert [one.load.connections for one in shares] == [2, 2, 1]
    assert [one.load.requests for one in shares] == [4, 4, 3]
    apart = np.sort(np.concatenate([one.arrivals.take(S, 10_000) for one in shares if one.arrivals]))
    assert (apart == arrivals.take(S, 10_000)).all()


def test_headers() -> None:
    plan = WorkerPlan(Address("h", 1), (("x-key", "v"),), [b""], Load(deadline_ms=1.5), None, S)
    said = dict(headers(plan))
    assert (said[b":authority"], said[b"grpc-timeout"], said[b"x-key"]) == (b"h:1", b"1500u", b"v")
    assert dict(headers(plan._replace(address=Address("", 0, "/s"), load=Load())))[b":authority"] == b"localhost"
    assert b"grpc-timeout" not in dict(headers(plan._replace(load=Load())))
    assert said[b":scheme"] == b"http"
    said = dict(headers(plan._replace(reach=Reach(tls=True))))
    assert (said[b":scheme"], said[b":authority"]) == (b"https", b"h:1")
    assert dict(headers(plan._replace(reach=Reach(server_name="name.test"))))[b":authority"] == b"name.test", "as gRPC's clients say it"


@pytest.mark.parametrize(
    ("duration_ms", "said"),
    [(1e-6, b"1u"), (2.5, b"2500u"), (99_999.999, b"99999999u"), (100_000, b"100000m"), (3e8, b"300000S"), (1e15, b"99999999S")],
)
def test_a_deadline_has_eight_digits(duration_ms: float, said: bytes) -> None:
    assert grpc_timeout(duration_ms) == said
    assert re.fullmatch(rb"[0-9]{1,8}[HMSmun]", said)


def requests() -> Requests:
    x = np.zeros((1, 16), np.float32)
    return Requests([infer_request("m", {"x": x}).SerializeToString()], [{"x": x}], 1.0, [])


def test_a_server_that_comes_back_is_asked_again(tmp_path: Path) -> None:
    """Connections that it closed are made again; what was under way is counted as lost, not forgotten."""
    model = models.write(tmp_path, "m", models.identity())
    address = f"unix:{tmp_path / 'socket'}"
    servers = [ServerFixture(model, listen=(address,))]
    servers[0].__enter__()

    def restart(interval: Interval) -> None:
        if len(servers) == 1:
            servers[0].__exit__(None, None, None)
            servers.append(ServerFixture(model, listen=(address,)))
            servers[1].__enter__()

    try:
        load = Load(connections=2, streams=2, duration_s=2.0, warm_up_s=0.0)
        measured = measure(Target(parse_address(address)), requests(), load, watch=restart)
    finally:
        servers[-1].__exit__(None, None, None)
    assert measured.ended == ""
    assert measured.errors.keys() <= {"connection", "UNAVAILABLE"}
    assert sum(interval.requests for interval in measured.intervals[1:]) > 0, "the second server answers"


def test_by_tls_connections_are_made_again_with_their_handshakes(tmp_path: Path) -> None:
    """A server that comes back on its port, with another certificate of the same authority; and one that is gone for good says so."""
    files = Files.made(tmp_path / "files")
    model = models.write(tmp_path, "m", models.identity())
    servers = [ServerFixture(model, **files.settings())]
    servers[0].__enter__()
    address = parse_address(servers[0].address)

    def restart(interval: Interval) -> None:
        if len(servers) == 1:
            servers[0].__exit__(None, None, None)
            files.renew()
            servers.append(ServerFixture(model, grpc_port=address.port, **files.settings()))
            servers[1].__enter__()

    target = Target(address, reach=Reach(ca=str(files.ca)))
    try:
        load = Load(connections=2, streams=2, duration_s=2.0, warm_up_s=0.0)
        measured = measure(target, requests(), load, watch=restart)
    finally:
        servers[-1].__exit__(None, None, None)
    assert measured.ended == ""
    assert measured.errors.keys() <= {"connection", "UNAVAILABLE"}
    assert sum(interval.requests for interval in measured.intervals[1:]) > 0, "the second server answers"
    with pytest.raises(StartError, match=r"cannot connect: Connection refused"):
        measure(target, requests(), load)
    with ServerFixture(model) as plaintext, pytest.raises(StartError, match="it speaks no TLS, but plaintext: leave --tls"):
        measure(target._replace(address=parse_address(plaintext.address)), requests(), load)


def test_by_tls_a_server_that_does_not_shake_hands_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start; and where a connection is made again it keeps nobody waiting."""
    monkeypatch.setattr(worker, "CONNECT_S", 0.05)
    files = Files.made(tmp_path / "files")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = Target(Address(*silent.getsockname()), reach=Reach(ca=str(files.ca)))
        with pytest.raises(StartError, match="cannot connect: the server does not respond"):
            measure(target, requests(), Load(duration_s=0.1))
        with ServerFixture(models.write(tmp_path, "m", models.identity()), **files.settings()) as server:
            monkeypatch.setattr(worker, "CONNECT_S", 5.0)
            made = Worker(WorkerPlan(parse_address(server.address), (), requests().bodies, Load(), None, 10**9, reach=target.reach))
            try:
                made.missing.append(1)
                made.peer = silent.getsockname()
                for at_ns in range(1 * S, 2 * S, S // 100):
                    made._reconnect(at_ns)
                assert made.attempt is not None
                assert made.attempt.in_handshake
                made._reconnect(7 * S)
                assert (made.attempt, made.failure, made.missing) == (None, "Connection timed out", [1])
            finally:
                made.close()


def test_by_tls_the_files_may_be_gone_when_the_workers_start(tmp_path: Path) -> None:
    target = Target(Address("127.0.0.1", 1), reach=Reach(ca=str(tmp_path / "nosuch.pem")))
    with pytest.raises(StartError, match=r"nosuch\.pem: no certificates can be read in it"):
        measure(target, requests(), Load(connections=2, processes=2))


def test_what_the_servers_limit_of_streams_keeps_back_is_said(tmp_path: Path) -> None:
    model = models.write(tmp_path, "m", models.identity())
    with ServerFixture(model, max_concurrent_streams=2) as server:
        for streams, held in ((2, False), (6, True)):
            load = Load(connections=1, streams=streams, requests=200, duration_s=0.0, warm_up_s=0.05)
            measured = measure(Target(parse_address(server.address)), requests(), load)
            assert (measured.requests, measured.errors, measured.held_back > 0) == (200, {}, held)
            said = [line.text for line in warnings(sample(measurements=[measured])) if "MAX_CONCURRENT_STREAMS" in line.text]
            assert bool(said) == held


@pytest.mark.parametrize("rate", [0, 2000])
def test_the_servers_limit_of_streams_holds_from_the_first_request_on(tmp_path: Path, rate: float) -> None:
    """It is known before anything is asked: a server refuses what it did not allow."""
    model = models.write(tmp_path, "m", models.identity())
    with ServerFixture(model, max_concurrent_streams=4) as server:
        for _ in range(5):
            load = Load(connections=2, streams=16, rate=rate, requests=200, duration_s=0.0, warm_up_s=0.0)
            measured = measure(Target(parse_address(server.address)), requests(), load, schedule.parse("burst:40", rate) if rate else None)
            assert (measured.requests, measured.errors) == (200, {})


def test_a_response_of_another_model_or_with_another_output_is_malformed(tmp_path: Path) -> None:
    load = Load(requests=8, duration_s=0.0, warm_up_s=0.0)
    with ServerFixture(models.write(tmp_path, "m", models.identity())) as server:
        for expected, fault in (
            (Expected(("m",), ("y",)), ""),
            (Expected(("n", "o"), ("y",)), "the response is another model's"),
            (Expected(("m",), ("x", "z")), "an output is none that the model has by its metadata"),
        ):
            measured = measure(Target(parse_address(server.address)), requests()._replace(expected=expected), load)
            assert measured.errors == ({"malformed": 8} if fault else {})
            assert measured.error_messages == ({"malformed": fault} if fault else {})


def test_a_connection_that_is_slow_to_come_back_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its place in the backlog is taken: the attempt stays on its way while time goes on, ends in time, and the next succeeds."""
    monkeypatch.setattr(worker, "GREETED_S", 0.05)
    monkeypatch.setattr(worker, "CONNECT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        address = Address(*listening.getsockname())
        made = Worker(WorkerPlan(address, (), requests().bodies, Load(), None, 10**9))
        try:
            made.missing.append(1)
            made._reconnect(1 * S)  # the first connection was not accepted: this one has no place, the kernel does not answer
            made._reconnect(2 * S - 1)
            attempt = made.attempt
            assert attempt is not None
            assert (made.missing, list(made.sockets)) == ([1], [0])
            made._reconnect(2 * S + 1)
            assert (made.attempt, made.failure, attempt.socket.fileno()) == (None, "Connection timed out", -1)
            listening.accept()[0].close()  # there is room again
            made._reconnect(2 * S + 2 + worker.RETRY_NS)
            assert (made.missing, list(made.sockets)) == ([], [0, 1])
        finally:
            made.close()


def test_a_connection_that_is_gone_for_good_is_missing_in_the_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one goes on asking, and the result says that it was not the load that was asked for."""
    monkeypatch.setattr(worker, "on_its_way", refused)
    with ServerFixture(models.write(tmp_path, "m", models.identity())) as server:
        load = Load(connections=2, streams=2, warm_up_s=0.0, duration_s=0.4)
        made, pieces = Worker(WorkerPlan(parse_address(server.address), (), requests().bodies, load, None, S // 10)), []

        def told(piece: Piece) -> None:
            pieces.append(piece)
            if len(pieces) == 2:
                made.sockets[0].shutdown(socket.SHUT_RDWR)

        ending = made.drive(time.monotonic_ns(), told, lambda: False)
    everything = total(load, *pieces)
    everything.endings = [ending]
    measured = everything.result()
    assert (ending.ended, measured.lacked_connections) == ("", True)
    assert 0 < measured.connections_missing < 1
    assert not is_clean(Outcome("closed", [measured], None, ""))
    assert any("connections 0." in line.text for line in warnings(report.make("closed", "t", "m", [measured])))


def refused(*_: object) -> socket.socket:
    raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


def test_a_refused_connection_is_tried_again_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "GREETED_S", 0.05)
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        made = Worker(WorkerPlan(Address("", 0, str(path)), (), requests().bodies, Load(), None, 10**9))
    try:
        made.missing.append(1)
        path.unlink()
        made._reconnect(1 * S)
        assert (made.missing, made.failure) == ([1], "No such file or directory")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            listening.listen()
            made._reconnect(1 * S + worker.RETRY_NS - 1)
            assert made.missing == [1]
            made._reconnect(1 * S + worker.RETRY_NS)
            assert (made.missing, list(made.sockets)) == ([], [0, 1])
    finally:
        made.close()


@contextmanager
def silent_server(path: Path, monkeypatch: pytest.MonkeyPatch, *, greets: bool = False) -> Iterator[Address]:
    """It takes one connection and never answers. greets: it sends its SETTINGS, and so the requests are sent."""
    monkeypatch.setattr(worker, "GREETED_S", 0.05)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path / "s"))
        listening.listen()
        if not greets:
            yield Address("", 0, str(path / "s"))
            return
        accepted: list[socket.socket] = []

        def greet() -> None:
            accepted.append(listening.accept()[0])
            accepted[0].sendall(EMPTY_SETTINGS)

        greeting = threading.Thread(target=greet)
        greeting.start()
        yield Address("", 0, str(path / "s"))
        greeting.join()
        accepted[0].close()


@pytest.mark.parametrize(
    ("load", "warm_up_s", "greets"),
    [
        (Load(requests=4), 0.0, True),
        (Load(requests=4), 0.1, False),
        (Load(duration_s=0.2), 0.0, False),
        (Load(duration_s=0.2), 0.1, True),
        (Load(rate=20, duration_s=0.2), 0.0, True),
        (Load(rate=20, duration_s=0.2), 0.1, False),
        (Load(rate=20, requests=4), 0.0, False),
        (Load(rate=20, requests=4), 0.1, True),
    ],
)
def test_a_server_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Load, warm_up_s: float, greets: bool) -> None:
    """Every request is an error that took as long as it was waited for, also those that the warm-up has left, and the run ends."""
    monkeypatch.setattr(worker, "DRAIN_S", 0.1)
    asked = msgspec.structs.replace(load, streams=4, warm_up_s=warm_up_s, duration_s=load.duration_s if not load.requests else 0.0)
    arrivals = schedule.parse("constant", load.rate) if load.rate else None
    with silent_server(tmp_path, monkeypatch, greets=greets) as address:
        measured = measure(Target(address), requests(), asked, arrivals)
    left = int(load.rate * warm_up_s)  # a closed loop has its four then, and asks no more
    assert measured.errors == {"unanswered": 4 + left}
    assert (measured.requests, measured.unfinished, measured.requests_per_second) == (4 + left, 4 + left, 0.0)
    assert measured.latency_us.max >= 0.1e6
    assert not is_clean(Outcome("single", [measured], None, ""))


def interrupted(address: Address, load: Load, answered: Histogram, *, after: int = 0) -> Measurement:
    """What is told of a load that Ctrl-C ends. answered: the latencies until then. after: so many intervals."""
    made, pieces = Worker(WorkerPlan(address, (), requests().bodies, load, None, S // 20)), []
    made.answered.add_sparse(answered.sparse())
    ending = made.drive(time.monotonic_ns(), pieces.append, lambda: len(pieces) >= after)
    made_total = Total(load, None, None)
    for each in pieces:
        made_total.add(each)
    made_total.endings = [ending]
    return made_total.result()


def test_what_waits_when_it_is_interrupted_is_a_latency_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loses patience with a silent server sees for how long it was; what waits no longer than responses do says nothing yet."""
    load = Load(streams=4, warm_up_s=0.0)
    with silent_server(tmp_path, monkeypatch) as address:
        silent = interrupted(address, load, histogram(*[1.0] * 100))
        slow = interrupted(address, load, histogram(*[1e9] * 100))
    for measured in (silent, slow):
        assert (measured.ended, measured.requests, measured.errors, measured.unfinished) == ("interrupted", 0, {}, 4)
    assert silent.latency_us.p50 > 0
    assert decode(silent.histogram).count == 4
    assert decode(slow.histogram).count == 0


def test_a_server_that_is_silent_from_the_warm_up_on_shows_when_it_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the measuring has begun; a wait of the warm-up says nothing."""
    with silent_server(tmp_path, monkeypatch) as address:
        measuring = interrupted(address, Load(streams=4, warm_up_s=0.1), Histogram(), after=1)
        warming_up = interrupted(address, Load(streams=4, warm_up_s=60.0), Histogram())
    assert (measuring.ended, decode(measuring.histogram).count, measuring.unfinished) == ("interrupted", 4, 4)
    assert measuring.latency_us.p50 >= 100_000
    assert (warming_up.ended, decode(warming_up.histogram).count) == ("interrupted", 0)


@pytest.mark.parametrize(("duration_s", "count"), [(0.2, 4), (0.2000001, 4), (0.21, 4), (0.23, 5)])
def test_no_fragment_of_an_interval_is_left_over(tmp_path: Path, duration_s: float, count: int) -> None:
    """Of some nanoseconds in which the client was busy all the time."""
    with ServerFixture(models.write(tmp_path, "m", models.identity())) as server:
        load = Load(warm_up_s=0.0, duration_s=duration_s)
        pieces: list[Piece] = []
        Worker(WorkerPlan(parse_address(server.address), (), requests().bodies, load, None, S // 20)).drive(
            time.monotonic_ns(), pieces.append, lambda: False
        )
    assert len([piece for piece in pieces if piece.at >= 0]) <= count, "fewer where the machine was busy"
    assert min(piece.until_ns - piece.from_ns for piece in pieces if piece.at >= 0) >= S // 50


@pytest.mark.parametrize("arrivals", ["constant", "burst:40"])
def test_a_number_of_requests_at_a_rate_ends_with_its_last_response(tmp_path: Path, arrivals: str) -> None:
    """Arrivals that were handed over for later, and not allowed any more, are not unsent."""
    with ServerFixture(models.write(tmp_path, "m", models.identity())) as server:
        load = Load(rate=400, requests=40, duration_s=0.0, warm_up_s=0.0)
        measured = measure(Target(parse_address(server.address)), requests(), load, schedule.parse(arrivals, 400))
    assert (measured.requests, measured.sent, measured.errors) == (40, 40, {})
    assert "never sent" not in measured.client_bound_reason


@pytest.mark.parametrize(("arrivals", "late_s"), [("constant", 0.2), ("burst:10", 0.0)])
def test_a_number_of_requests_is_that_of_the_measured_ones(tmp_path: Path, arrivals: str, late_s: float) -> None:
    """Not fewer where what is left of the warm-up is sent late, and not more where a burst is due when it ends; each with its lateness."""
    pieces: list[Piece] = []
    load = Load(rate=1000, requests=5, duration_s=0.0, warm_up_s=0.1)
    with ServerFixture(models.write(tmp_path, "m", models.identity())) as server:
        plan = WorkerPlan(parse_address(server.address), (), requests().bodies, load, schedule.parse(arrivals, 1000), S)
        ending = Worker(plan).drive(time.monotonic_ns() - int(late_s * S), pieces.append, lambda: False)
    measured = total(load, *pieces)
    measured.endings = [ending]
    assert (measured.result().requests, measured.result().errors, measured.lateness.count) == (5, {}, 5)


class Watched:
    """A generator that notes what is under way whenever a part of the load begins."""

    def __init__(self, generator: Generator) -> None:
        self.generator, self.under_way = generator, []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.generator, name)

    def start(self, *given: int) -> None:
        self.under_way.append(self.generator.outstanding)
        self.generator.start(*given)


@pytest.mark.parametrize("load", [Load(requests=10, duration_s=0.0), Load(duration_s=0.1)])
def test_a_number_of_requests_has_the_connections_to_itself(tmp_path: Path, load: Load) -> None:
    """What the warm-up had under way is answered before; where a time is measured it fills the connections, as at its end."""
    with ServerFixture(models.write(tmp_path, "m", models.identity())) as server:
        asked = msgspec.structs.replace(load, streams=64, warm_up_s=0.05)
        made = Worker(WorkerPlan(parse_address(server.address), (), requests().bodies, asked, None, S))
        made.generator = watched = Watched(made.generator)
        pieces: list[Piece] = []
        ending = made.drive(time.monotonic_ns(), pieces.append, lambda: False)
    assert (ending.ended, ending.unfinished) == ("", 0)
    assert watched.under_way == [0, 0 if load.requests else 64]
    if load.requests:
        assert sum(piece.answered for piece in pieces) == sum(sum(piece.codes) for piece in pieces) == 10


def test_a_number_of_requests_at_a_rate_waits_for_nothing_of_the_warm_up(tmp_path: Path) -> None:
    """Of a server that is too slow for the rate the warm-up leaves a queue; what is measured begins without it, late as that may be."""
    with ServerFixture(models.write(tmp_path, "m", models.slow(20))) as server:
        address = parse_address(server.address)
        load = Load(rate=400, requests=5, duration_s=0.0, warm_up_s=0.1)
        x = np.ones((1, 64), np.float32)
        body = infer_request("m", {"x": x}).SerializeToString()
        made = Worker(WorkerPlan(address, (), [body], load, schedule.parse("constant", 400), S))
        made.generator = watched = Watched(made.generator)
        pieces: list[Piece] = []
        ending = made.drive(time.monotonic_ns(), pieces.append, lambda: False)
    assert (ending.ended, ending.unfinished, watched.under_way) == ("", 0, [0, 0])
    assert sum(piece.codes[0] for piece in pieces) == 5


def test_a_closed_loop_whose_server_has_gone_says_so(tmp_path: Path) -> None:
    """Also where its end comes before the connections are given up, and where nothing was under way when they went."""
    server = ServerFixture(models.write(tmp_path, "m", models.identity()))
    server.__enter__()
    pieces: list[Piece] = []

    def told(piece: Piece) -> None:
        pieces.append(piece)
        if len(pieces) == 2:
            server.__exit__(None, None, None)

    load = Load(connections=1, warm_up_s=0.0, duration_s=1.0)
    ending = Worker(WorkerPlan(parse_address(server.address), (), requests().bodies, load, None, S // 20)).drive(
        time.monotonic_ns(), told, lambda: False
    )
    assert ending.ended.startswith("every connection to ")


def test_what_was_due_when_the_server_had_gone_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request that was due until the end is counted; none of it is called the generator's fault."""
    monkeypatch.setattr(worker, "RECONNECT_S", 0.3)
    monkeypatch.setattr(worker, "SLICE_NS", 5_000_000)
    server = ServerFixture(models.write(tmp_path, "m", models.identity()))
    server.__enter__()
    address = parse_address(server.address)
    plan = WorkerPlan(address, (), requests().bodies, Load(rate=1000), schedule.parse("constant", 1000), S // 10)
    made, pieces = Worker(plan._replace(load=Load(rate=1000, warm_up_s=0.0, duration_s=5.0))), []

    def told(piece: Piece) -> None:
        pieces.append(piece)
        if len(pieces) == 2:
            server.__exit__(None, None, None)

    begin_ns = time.monotonic_ns()
    ending = made.drive(begin_ns, told, lambda: False)
    most = (time.monotonic_ns() - begin_ns) // 1_000_000 + 1
    made_total = Total(plan.load, None, None)
    for each in pieces:
        made_total.add(each)
    made_total.endings = [ending]
    measured = made_total.result()
    due = measured.duration_s * 1000
    assert "every connection to" in ending.ended
    assert (ending.unsent, ending.unfinished) == (0, 0)
    assert due - 1 <= measured.requests <= most, "all that were due until it ended are counted"
    assert measured.errors["connection"] > 200
    assert "never sent" not in measured.client_bound_reason


def test_what_waits_for_a_silent_server_is_not_the_generators_fault() -> None:
    """Its endings say how many were due and not sent; only those that the generator did not get to are held against it."""
    made = total(Load(rate=10), piece(0))
    assert not made.result().client_bound
    made.endings = [Ending("", 25, 0, 3, {})]
    assert "3 requests whose time had come were never sent" in made.result().client_bound_reason


def test_ctrl_c_while_the_workers_connect_leaves_none_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(pipe: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(generator, "await_connected", interrupt)
    address = Address("", 0, str(tmp_path / "nowhere"))
    crew = Crew(WorkerPlan(address, (), requests().bodies, Load(connections=2, processes=2), None, S))
    with pytest.raises(KeyboardInterrupt), crew:
        pass
    assert [process.is_alive() for process in crew.processes] == [False, False]


def test_a_worker_that_dies_has_told_what_it_sent(tmp_path: Path) -> None:
    """What it counted until then is kept, and so is how much that was of."""
    pieces: list[Piece] = []
    with ServerFixture(models.write(tmp_path, "m", models.identity())) as server:
        load = Load(connections=2, processes=2, duration_s=60.0, warm_up_s=0.0)
        plan = WorkerPlan(parse_address(server.address), (), requests().bodies, load, None, S // 20)
        with Crew(plan) as crew:

            def kill_one(piece: Piece) -> None:
                pieces.append(piece)
                if len(pieces) == 4:
                    crew.processes[0].kill()

            endings = crew.drive(time.monotonic_ns(), kill_one)
    assert [ending.ended for ending in endings] == [generator.WORKER_DIED, "interrupted"]
    assert endings[0].sent > 0
    assert sum(ending.sent for ending in endings) >= sum(sum(piece.codes) for piece in pieces)


def test_ctrl_c_while_it_is_added_up_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = Total.add

    def interrupted_add(self: Total, piece: Piece) -> None:
        signal.raise_signal(signal.SIGINT)
        add(self, piece)

    monkeypatch.setattr(Total, "add", interrupted_add)
    with ServerFixture(models.write(tmp_path, "m", models.identity())) as server:
        load = Load(requests=10, duration_s=0.0, warm_up_s=0.0)
        measured = measure(Target(parse_address(server.address)), requests(), load)
    assert (measured.requests, measured.ended) == (10, "interrupted")


@pytest.mark.parametrize("processes", [1, 2])
def test_what_is_logged_of_the_intervals_is_all_that_was_measured(tmp_path: Path, processes: int) -> None:
    """Also what comes after the end."""
    log, together = IntervalLog(), Histogram()
    with ServerFixture(models.write(tmp_path, "m", models.identity())) as server:
        load = Load(connections=2, streams=4, duration_s=0.3, warm_up_s=0.0, processes=processes)
        measured = measure(Target(parse_address(server.address)), requests(), load, log=log)
    lines = log.lines(measured)
    assert [line.at_s for line in lines] == [interval.at_s for interval in measured.intervals]
    for line in lines:
        together.add_sparse(line.latency)
    assert np.array_equal(together.counts, decode(measured.histogram).counts)
    assert together.count == measured.requests > 0


class Gone:
    """A pipe whose other end was closed."""

    def __init__(self, connected: bool) -> None:
        self.connected = connected

    def send(self, told: object) -> None:
        if not self.connected:
            raise BrokenPipeError

    def recv(self) -> object:
        raise EOFError


@pytest.mark.parametrize("connected", [False, True])
def test_a_worker_whose_parent_has_gone_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connected: bool) -> None:
    monkeypatch.setattr(generator, "ignore_interrupts", lambda: None)
    pipe: Any = Gone(connected)
    with ServerFixture(models.write(tmp_path, "m", models.identity())) as server:
        work(pipe, WorkerPlan(parse_address(server.address), (), requests().bodies, Load(), None, S))


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "processes", "then"),
    [
        (1024, 4096, 1000, 1, 1024),
        (1024, 4096, 1001, 1, 1025),
        (1024, 4096, 2001, 2, 1025),
        (1024, -1, 9000, 1, 9024),
        (-1, -1, 9000, 1, -1),
    ],
)
def test_as_many_files_may_be_open_as_there_are_connections(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, connections: int, processes: int, then: int
) -> None:
    limits = Limits(soft, hard)
    monkeypatch.setattr(descriptors, "resource", limits)
    allow_files(Load(connections, processes=processes))
    assert (limits.soft, limits.hard) == (then, hard)


def test_more_connections_than_files_may_be_open_are_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "resource", Limits(200, 200))
    with pytest.raises(StartError, match=r"--connections 1000: expected 176 at most .* may have 200 \(ulimit -n\): raise that limit"):
        measure(Target(Address("h", 1)), requests(), Load(1000))


def test_nobody_there(tmp_path: Path) -> None:
    for processes in (1, 2):
        with pytest.raises(StartError, match="cannot connect: No such file or directory; is the server up"):
            measure(Target(Address("", 0, str(tmp_path / "nowhere"))), requests(), Load(connections=2, processes=processes))
