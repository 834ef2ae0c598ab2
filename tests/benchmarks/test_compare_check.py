"""What compare_check makes of runs whose truth is known; the servers are left out."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from tests import reports

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import compare_check
import workloads
from compare_check import Tally, alone, in_rounds
from record import Report
from servers import Running

from inferd.bench.hdr import decode, encode
from inferd.bench.measurement import Interval, Latency, Load, Measurement, ServerSide
from inferd.engine.embedded import Engine


def run(seed: int, load: Load | None = None, slower: float = 1.0, stalled: bool = False) -> Measurement:
    made = reports.measurement(load, seconds=6, rate=200 / slower, slower=slower, seed=seed, server=ServerSide(cpu_us_per_request=slower))
    whole = decode(made.histogram)
    if stalled:
        whole.record(1_000_000_000)
    return replace(made, histogram=encode(whole), latency_us=Latency.of(whole))


def rows(report: Report) -> dict[str, tuple[str, str]]:
    return {what: (shown, kept) for what, _, shown, kept in report.rows}


@pytest.fixture
def servers_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running("nobody", 1, "127.0.0.1:1", 0.0)
    monkeypatch.setattr(compare_check.servers, "inferd", lambda *arguments: nullcontext(running))


def test_pairs_and_the_figures_that_are_worse_are_counted() -> None:
    before, after = [run(1), run(2)], [run(3, slower=2.0), run(4)]
    tally = Tally.of((one, other) for one in alone(before) for other in alone(after))
    assert (tally.pairs, tally.worse) == (4, 2)
    assert tally.by_figure["p50"] == 2
    assert str(tally).startswith("2 of 4 (")
    assert str(Tally.of([])) == "0 of 0"


def test_rounds_are_runs_in_a_row() -> None:
    runs = [run(seed) for seed in range(9)]
    assert in_rounds(runs) == [runs[:4], runs[4:8]]


def test_the_widest_intervals_are_kept() -> None:
    runs = [run(seed) for seed in range(8)]
    low, high = Tally.of([(runs[:4], runs[4:]), (runs[4:], runs[:4])]).widest["p50"]
    assert -0.1 < low < 0 < high < 0.1


def test_a_server_that_is_left_alone_and_one_that_stands_still(servers_left_out, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seeds = count()
    monkeypatch.setattr(compare_check.Bench, "run", lambda bench, load: run(next(seeds), load))
    for name in ("stopped", "stopped_before"):
        monkeypatch.setattr(compare_check.Bench, name, lambda bench, load: run(next(seeds), load, stalled=True))
    report = Report(8, 3)
    compare_check.digits(report, tmp_path)
    assert [kept for *_, kept in report.rows if kept] == ["yes"] * 12
    shown = rows(report)
    for words in ("stopped for 1 s of 3 s", "stopped from the warm-up on, for some 1 s of 3 s"):
        assert shown[f"closed loop, {words}: called worse"] == ("8 of 8 (max 8)", "yes")
    assert shown["same, in one of 4 rounds: called worse"] == ("2 of 2 (max 2)", "yes")
    numbers = report.numbers["open loop 200/s constant"]
    assert (numbers["stall_found_in_rounds"], numbers["early_stall_found_in_rounds"]) == (1, 1)


def test_a_server_that_seems_worse_without_a_reason_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(8, 3)
    compare_check.left_alone(report, "runs", [run(seed, slower=2.0 if seed == 5 else 1.0) for seed in range(8)])
    shown, kept = rows(report)["same: ordered pairs called worse"]
    assert shown.startswith("7 of 56 (")
    assert kept == "NO"


def test_more_work_is_worse(servers_left_out, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seeds, factors = count(), {"1": 1.0, "2": 1.3, "3": 2.0}
    asked: list[str] = []

    def measured(bench: compare_check.Bench, load: Load, version: str) -> Measurement:
        asked.append(version)
        return run(next(seeds), load, factors[version])

    monkeypatch.setattr(compare_check.Bench, "run", measured)
    report = Report(8, 3)
    compare_check.work(report, tmp_path)
    assert "".join(asked) == "111122223333" * 2
    for times in ("1.3", "2"):
        numbers = report.numbers[f"{times} times the work"]
        assert numbers["server_cpu"] == pytest.approx(float(times))
        assert numbers["found_in_rounds"] == 1
    assert report.numbers["2 times the work"]["found"] == 1


def test_the_versions_differ_in_nothing_but_their_turns(tmp_path: Path) -> None:
    workload = workloads.working(tmp_path, [1, 2])
    with Engine(tmp_path) as engine:
        for version in ("1", "2"):
            answer = engine.infer(workload.model, {"x": np.float32([[3.0]])}, version=version)
            assert answer["y"].tolist() == [[3.0]]


def test_a_process_is_stopped_once_and_goes_on_in_any_case() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        with compare_check.stopping(process.pid, at_s=1.0, for_s=3600) as watch:
            watch(Interval(0.0, 0.5, 0, 0, 0, 0, 0))
            watch(Interval(0.5, 0.5, 0, 0, 0, 0, 0))
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            watch(Interval(1.0, 0.5, 0, 0, 0, 0, 0))
        process.communicate(b"\n", timeout=30)
        assert process.returncode == 0


def test_a_process_is_stopped_when_its_time_has_come_and_goes_on_in_any_case() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        with compare_check.stopped_after(process.pid, after_s=0.0, for_s=3600) as begin:
            begin()
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
        process.communicate(b"\n", timeout=30)
        assert process.returncode == 0


def test_a_server_that_was_stopped_too_late_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = compare_check.Bench(Running("nobody", os.getpid(), "127.0.0.1:1", 0.0), "", 3)
    monkeypatch.setattr(compare_check.Bench, "run", lambda *arguments, **named: run(1))
    with pytest.raises(RuntimeError, match="before the server was stopped"):
        bench.stopped_before(Load())


def test_a_run_that_was_over_before_the_stop_says_so() -> None:
    with (
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process,
        pytest.raises(RuntimeError, match="before the server was stopped"),
        compare_check.stopping(process.pid, at_s=1.0),
    ):
        process.communicate(b"\n", timeout=30)
