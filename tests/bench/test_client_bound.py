"""Whose the figures are: the generator's where it had no core, was behind, or kept requests to itself; else the server's."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferd.bench import worker
from inferd.bench.client_bound import Effort, reason
from inferd.bench.measurement import Latency, Load, Measurement

CLOSED = Load(connections=1)


def measured(load: Load, p50_us: float = 100.0, *, requests: int = 10_000, late_us: float = 0.0, **fields: object) -> Measurement:
    """A second in which every request was answered."""
    latency = Latency(p50_us, p50_us, 2 * p50_us, 4 * p50_us, 8 * p50_us, 16 * p50_us)
    late = Latency(late_us, late_us, late_us, late_us, late_us, late_us)
    made = Measurement(load, duration_s=1.0, requests=requests, requests_per_second=requests, latency_us=latency, lateness_us=late)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def effort(ran_s: float, delayed_s: float, turns: int) -> Effort:
    return Effort(cpu_ns=round(ran_s * 1e9), delayed_ns=round(delayed_s * 1e9), turns=turns)


@pytest.mark.parametrize(
    ("measurement", "spent"),
    [
        (measured(CLOSED, 23, requests=40_000), effort(0.45, 0.02, 40_000)),  # one at a time, on a machine with two cores for both
        (measured(Load(4), 60, requests=56_000), effort(0.5, 0.25, 20_000)),
        (measured(Load(4, 16), 220, requests=290_000), effort(0.37, 0.14, 12_000)),
        (measured(Load(4, rate=107_500), 230, requests=107_500), effort(0.55, 0.38, 4_200)),  # half of what the server can do
        (measured(Load(4, 16), 1_018, requests=42_500), effort(0.07, 0.16, 2_300)),  # the server's threads fill both cores
        (measured(Load(4, 4), 100_000, requests=160), effort(0.002, 0.03, 160)),
        (measured(CLOSED), Effort()),  # the kernel does not say
        (Measurement(CLOSED), effort(0.0, 1.0, 10)),  # nothing was answered
    ],
)
def test_a_generator_that_shares_the_machine_with_the_server_is_none_that_lacks_a_core(measurement: Measurement, spent: Effort) -> None:
    assert reason(measurement, spent) == ""


@pytest.mark.parametrize(
    ("measurement", "spent", "says"),
    [
        (measured(CLOSED, 56, requests=7_500), effort(0.25, 0.51, 7_500), "no core for 67% of the time in which it had work, 68 µs each"),
        (measured(Load(1, 16), 91, requests=80_000), effort(0.22, 0.45, 5_000), "no core for 67% of the time in which it had work, 90 µs"),
        (measured(Load(4, 16), 163, requests=152_000), effort(0.26, 0.53, 4_500), "the median latency is 163 µs: too much else runs on"),
        (measured(Load(rate=1_000), 105, requests=1_000), effort(0.06, 0.12, 1_800), "no core for 67% of the time"),
        (measured(CLOSED, 53, requests=12_000), effort(0.36, 0.36, 12_000), "waited 30 µs a request for a core"),
        (measured(Load(rate=1_000), 40, requests=1_000), effort(0.14, 0.06, 1_900), "waited 60 µs a request for a core"),  # it spins
    ],
)
def test_a_generator_that_waits_for_a_core_says_so(measurement: Measurement, spent: Effort, says: str) -> None:
    assert says in reason(measurement, spent)


DEADLINE = Load(4, rate=800_000, deadline_ms=10.0)
MISSED = {"requests_per_second": 500.0, "requests": 800_000, "errors": {"DEADLINE_EXCEEDED": 799_500}}


@pytest.mark.parametrize("late_us", [23, 93, 270, 1_400])
def test_equal_overloads_have_equal_verdicts(late_us: float) -> None:
    """All latencies are about the deadline, beside which lateness is little: what tells is that many were due whenever one left."""
    overload = measured(DEADLINE, 10_300, late_us=late_us, **MISSED)
    assert reason(overload, Effort()).endswith("more --processes")
    assert reason(measured(DEADLINE, 10_300, late_us=1, **MISSED), Effort()) == "", "the server's doing"
    answered = measured(DEADLINE, 20_000, late_us=late_us, requests=800_000)
    assert reason(answered, Effort()) == "", "nothing says that it was the limit"


def test_of_a_server_that_answers_nothing_no_sender_is_the_limit() -> None:
    silent = {"requests_per_second": 0.0, "requests": 150_000, "errors": {"unanswered": 150_000}, "held_back": 150_000}
    for load in (Load(4, rate=150_000), DEADLINE):
        assert reason(measured(load, 30e6, late_us=600, **silent), Effort()) == ""


def test_of_several_processes_each_has_its_share_of_what_is_due() -> None:
    load = Load(4, rate=800_000, processes=4)
    assert reason(measured(load, 10_300, late_us=40, requests=100), Effort()) == ""
    assert "when 20 or more were due" in reason(measured(load, 10_300, late_us=100, requests=100), Effort())


def test_a_burst_is_due_at_once() -> None:
    bursts = Load(4, rate=100_000, arrivals="burst:1000")
    assert reason(measured(bursts, 10_300, late_us=500, requests=100), Effort()) == ""
    assert "1020 or more were due" in reason(measured(bursts, 110_300, late_us=10_200, requests=100), Effort())


def test_a_rate_that_the_server_never_saw_is_not_its_own() -> None:
    """The server's limit of streams keeps nearly all of it here, until the deadline has passed."""
    kept = measured(DEADLINE, 10_300, held_back=510_000, **MISSED)
    assert reason(kept, Effort()).startswith("510,000 of 800,000 requests waited in the generator for a stream or a free connection")
    assert reason(measured(DEADLINE, 10_300, held_back=210_000, **MISSED), Effort()) == ""
    patient = measured(Load(4, rate=800_000), 10_300, held_back=510_000, requests_per_second=500.0)
    assert reason(patient, Effort()) == "", "without a deadline their waiting is latency"


def test_a_thread_knows_how_long_it_waited_for_a_core(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = tmp_path / "schedstat"
    monkeypatch.setattr(worker, "SCHEDSTAT", str(told))
    assert worker.scheduled() == (0, 0), "this kernel does not say"
    told.write_text("87000000 187000000 4168\n")
    assert worker.scheduled() == (187_000_000, 4168)
    told.write_text("?\n")
    assert worker.scheduled() == (0, 0)
