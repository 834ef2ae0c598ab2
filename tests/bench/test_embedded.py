"""Loads without a server: every request is counted once, the intended start is what latency counts from, and a stall shows."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from inferd import Engine
from inferd.bench import embedded
from inferd.bench.hdr import decode
from inferd.bench.inputs import Requests, make
from inferd.bench.measurement import Interval, Load, Measurement
from inferd.bench.schedule import Arrivals, parse
from inferd.bench.verify import Verifier
from inferd.client_inputs.inputs import Spec
from inferd.client_inputs.targets import Description
from inferd.errors import ConfigError, InferdError
from tests import models

MS = 1_000_000


def requests(dims: int = 16, count: int = 3, rows: int = 1) -> Requests:
    return make(Description("model", "", (Spec("x", "FP32", (-1, dims)),), ()), count=count, rows=rows)


def measure(
    path: Path, model: str | None, made: Requests, load: Load, arrivals: Arrivals | None = None, *, verify_every: int = 100, **given: Any
) -> Measurement:
    """With an Engine of its own, and the arrivals that the load names. given: of the measurement, else the Engine's options."""
    own = {name: given.pop(name) for name in ("watch", "verifier") if name in given}
    if load.rate and arrivals is None:
        arrivals = parse(load.arrivals, load.rate, load.seed)
    with Engine(path, **given) as engine:
        return embedded.measure(engine, model, made, load, arrivals, verify_every=verify_every, **own)


@pytest.fixture(scope="module")
def doubled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.write(tmp_path_factory.mktemp("doubled"), "doubled", models.doubled())


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.write(tmp_path_factory.mktemp("slow"), "slow", models.slow(20))


def test_a_number_of_requests_in_a_closed_loop(doubled: Path) -> None:
    told: list[Interval] = []
    load = Load(connections=2, streams=2, requests=101, duration_s=0, warm_up_s=0)
    measured = measure(doubled, None, requests(), load, watch=told.append)
    assert (measured.requests, measured.sent, measured.unfinished) == (101, 101, 0)
    assert (measured.errors, measured.ended, measured.version) == ({}, "", "1")
    assert measured.requests_per_second == pytest.approx(101 / measured.duration_s)
    assert measured.intervals == told
    assert sum(interval.requests for interval in told) == 101
    histogram = decode(measured.histogram)
    assert histogram.count == 101
    assert 0 < measured.latency_us.p50 <= measured.latency_us.p99 <= measured.latency_us.max


def test_a_time_in_a_closed_loop(doubled: Path) -> None:
    measured = measure(doubled, None, requests(), Load(streams=2, duration_s=0.3, warm_up_s=0.1))
    assert measured.duration_s == pytest.approx(0.3)
    assert measured.sent > measured.requests > 0
    assert len(measured.intervals) >= 1


@pytest.mark.parametrize(
    ("running", "busy", "bound"),
    [
        (0.01, 1.0, True),  # a model of some microseconds stands still while threads of Python take turns
        (0.3, 0.7, True),
        (0.0, 0.41, True),
        (0.0, 0.39, False),  # nobody is busy: another process has the processor
        (0.3, 0.5, False),  # the model is most of what this process is busy with
        (0.51, 1.5, False),
        (0.95, 1.0, False),  # one of some milliseconds does not
        (3.8, 4.0, False),
    ],
)
def test_python_is_the_limit_where_it_is_busy_and_the_model_stands_still(running: float, busy: float, bound: bool) -> None:
    assert ("Python is the limit" in embedded.why_bound(running, busy)) is bound


@pytest.mark.parametrize("busy", [0.0, 1000.0])
def test_a_closed_loop_that_python_bounds_says_so(doubled: Path, monkeypatch: pytest.MonkeyPatch, busy: float) -> None:
    monkeypatch.setattr(embedded, "RUNNING", 2.0)
    monkeypatch.setattr(embedded, "BUSY", busy)
    monkeypatch.setattr(embedded, "ABOVE", 0)
    measured = measure(doubled, None, requests(), Load(streams=2, duration_s=0.1, warm_up_s=0.05), instances=1)
    assert measured.client_bound == (busy == 0.0)
    assert ("Python is the limit" in measured.client_bound_reason) == measured.client_bound


@pytest.mark.parametrize(("changed", "counted"), [({}, True), ({"rate": 100.0}, False), ({"requests": 7}, False)])
def test_what_is_left_of_a_closed_loops_warm_up_is_measured_from_its_sending(changed: dict[str, Any], counted: bool) -> None:
    """Its threads ask nothing else meanwhile: a stall that began in the warm-up would hide. Not so arrivals, and a number of requests."""
    tally = embedded.Tally(msgspec.structs.replace(Load(streams=3, duration_s=1.0, warm_up_s=1.0), **changed), 1, 0)
    tally.begin(0)
    numbers = [tally.take(sent_ns) for sent_ns in (100 * MS, 800 * MS, 900 * MS)]
    for number, sent_ns, done_ns in ((numbers[0], 100 * MS, 400 * MS), (numbers[1], 800 * MS, 1500 * MS)):
        assert number is not None
        tally.record(number, sent_ns, sent_ns, done_ns, {}, None)
    interval = tally.end_interval(2000 * MS)
    measured = tally.result("")
    assert interval is not None
    assert (measured.requests, measured.unfinished, interval.requests) == (counted, counted, 1)
    assert measured.latency_us.max == (700_000 if counted else 0)


def test_what_the_model_used(doubled: Path) -> None:
    load = Load(streams=4, requests=200, duration_s=0, warm_up_s=0)
    side = measure(doubled, None, requests(), load).server
    assert side is not None
    assert side.requests == 200
    assert side.runs == sum(side.batch_sizes.values())
    assert sum(rows * runs for rows, runs in side.batch_sizes.items()) == 200
    assert side.cpu_us_per_request > 0
    assert side.rss_bytes > 1 << 20
    assert side.compute_infer_us > 0


def test_an_open_loop_asks_at_the_intended_starts(doubled: Path) -> None:
    load = Load(rate=500, arrivals="poisson", duration_s=0.5, warm_up_s=0.1, seed=3)
    measured = measure(doubled, None, requests(), load)
    expected = Arrivals("poisson", 500, seed=3).take(600 * MS, 10_000)
    assert measured.sent == len(expected)
    assert measured.requests == int(np.sum(expected >= 100 * MS))
    assert measured.latency_us.mean >= measured.service_us.mean
    assert measured.latency_us.mean == pytest.approx(measured.service_us.mean + measured.lateness_us.mean, rel=1e-6)


def test_an_overloaded_model_cannot_hide_it(slow: Path) -> None:
    """More than it can do: those that wait count from their intended start."""
    load = Load(rate=1000, duration_s=0.1, warm_up_s=0)
    measured = measure(slow, None, requests(64), load, max_batch_size=1, instances=1, intra_op_threads=1)
    assert measured.requests == 100
    assert measured.requests_per_second < 900
    assert measured.latency_us.max > 1.5 * measured.latency_us.p50 > 5 * measured.lateness_us.p50
    assert measured.unfinished == 0


def test_a_trace_comes_to_its_end(doubled: Path) -> None:
    trace = Arrivals("trace", 0, trace=np.arange(40, dtype=np.int64) * MS)
    load = Load(rate=1000, duration_s=0, warm_up_s=0)
    for _ in range(2):  # the same arrivals again
        measured = measure(doubled, None, requests(), load, trace)
        assert (measured.requests, measured.ended) == (40, "")


def test_errors_by_their_code(doubled: Path, slow: Path) -> None:
    load = Load(requests=20, duration_s=0, warm_up_s=0)
    measured = measure(doubled, None, requests(dims=5), load)
    assert measured.errors == {"INVALID_ARGUMENT": 20}
    assert "x" in measured.error_messages["INVALID_ARGUMENT"]
    assert (measured.requests, measured.requests_per_second, measured.latency_us.max) == (20, 0, 0)
    for rate in (0, 5000):
        late = Load(requests=20, rate=rate, duration_s=0, warm_up_s=0, deadline_ms=0.01)
        measured = measure(slow, None, requests(64), late)
        assert measured.errors == {"DEADLINE_EXCEEDED": 20}
        assert measured.requests_per_second == 0
        assert measured.latency_us.p50 >= 10, "a deadline hides no stall: so long, at least, there was no answer"
        assert decode(measured.histogram).count == 20


def test_responses_are_checked(doubled: Path, tmp_path: Path) -> None:
    made = requests()
    load = Load(streams=2, requests=30, duration_s=0, warm_up_s=0)
    other = models.write(tmp_path, "identity", models.identity())
    for reference, wrong in ((doubled, 0), (other, 10)):
        verifier = Verifier.from_file(str(reference), made)
        measured = measure(doubled, None, made, load, verifier=verifier, verify_every=3)
        assert (measured.verified.checked, measured.verified.wrong) == (10, wrong)


def test_responses_that_there_was_no_room_for_are_counted(doubled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "MAX_KEPT_BYTES", 3 * 64)
    made = requests()
    verifier = Verifier.from_file(str(doubled), made)
    measured = measure(doubled, None, made, Load(requests=30, duration_s=0, warm_up_s=0), verifier=verifier, verify_every=3)
    assert (measured.verified.checked, measured.verified.unchecked) == (3, 7)


def test_an_engine_that_is_there_stays_open(doubled: Path) -> None:
    with Engine(doubled) as engine:
        for _ in range(2):
            measured = embedded.measure(engine, "doubled", requests(), Load(requests=5, duration_s=0, warm_up_s=0))
            assert measured.requests == 5
        assert engine.models == ("doubled",)


def test_a_model_that_is_not_there(doubled: Path, tmp_path: Path) -> None:
    load = Load(requests=5, duration_s=0, warm_up_s=0)
    with pytest.raises(InferdError):
        measure(doubled, "absent", requests(), load)
    with pytest.raises(InferdError):
        measure(tmp_path / "absent.onnx", None, requests(), load)


def test_so_many_in_flight_that_threads_would_be_measured(doubled: Path) -> None:
    with pytest.raises(
        ConfigError, match="--connections 1000 x --concurrency 1000: expected 1,024 requests in flight at most, got 1,000,000"
    ):
        measure(doubled, None, requests(), Load(connections=1000, streams=1000))
    embedded.check_in_flight(Load(connections=64, streams=16))
    embedded.check_in_flight(Load(connections=10_000, rate=1))


@pytest.mark.parametrize("rate", [0, 200])
def test_ctrl_c_keeps_what_was_measured(doubled: Path, rate: float) -> None:
    def interrupt(interval: Interval) -> None:
        signal.raise_signal(signal.SIGINT)

    measured = measure(doubled, None, requests(), Load(rate=rate, duration_s=60, warm_up_s=0), watch=interrupt)
    assert measured.ended == "interrupted"
    assert measured.requests > 0
    assert 0 < measured.duration_s < 60
    assert isinstance(measured, Measurement)
    assert not [thread for thread in threading.enumerate() if thread.name == "inferd-bench" and not thread.daemon]
