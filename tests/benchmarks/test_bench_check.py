"""What bench_check asks of each tester, and what it makes of the answers; the testers themselves are left out."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tritonclient.grpc")
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import bench_check
from record import Report
from servers import Running

REPORT = """\
finished in 1.00s, 8100.12 req/s, 1.52MB/s
requests: 8100 total, 8100 started, 8100 done, 8100 succeeded, 0 failed, 0 errored, 0 timeout
time for request:       50us      9.50ms      1.25ms       640us    70.30%
"""
LATENCY = {"mean": 200.0, "p50": 190.0, "p99": 350.0, "max": 900.0}


class StandIns:
    """Stands where the programs would run: keeps what was asked, and leaves what each of them writes."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []

    def __call__(self, bench: bench_check.Bench, command: list[str], tolerant: bool = False) -> tuple[str, float]:
        self.commands.append(command)

        def given(flag: str) -> str:
            return command[command.index(flag) + 1] if flag in command else ""

        if command[0] == "h2load":
            if given("--log-file"):
                Path(given("--log-file")).write_text("1 200 150\n1 200 170\n")
            return REPORT.replace("8100.12", "4000.00") if given("--log-file") else REPORT, 3.0
        if command[0] == "perf_analyzer":
            Path(given("-f")).write_text("Inferences/Second,p50 latency,p99 latency\n1000,1,2\n")
            return "", 40.0
        report = {"requests_per_second": 8100.12, "latency_us": LATENCY, "client_cpu_us_per_request": 2.0}
        Path(given("--json")).write_text(json.dumps(report | {"measurements": [{"lateness_us": LATENCY}]}))
        if given("--samples"):
            gaps = np.random.default_rng(int(given("--seed"))).exponential(1 / float(given("--rate")), 2000)
            times = np.cumsum(gaps * 1e9).astype(np.int64)
            np.save(given("--samples"), np.column_stack([times, times, times, times * 0]))
        return "", 2.0

    def of(self, program: str) -> list[list[str]]:
        return [command for command in self.commands if command[0] == program]


@pytest.fixture
def testers(monkeypatch: pytest.MonkeyPatch) -> StandIns:
    stand_in = StandIns()
    monkeypatch.setattr(bench_check.Bench, "_run", lambda bench, command, tolerant=False: stand_in(bench, command, tolerant))
    running = Running("nobody", 1, "127.0.0.1:1", 0.0)
    monkeypatch.setattr(bench_check.servers, "inferd", lambda *arguments: nullcontext(running))
    return stand_in


def rows(report: Report) -> dict[str, tuple[str, str]]:
    return {what: (shown, kept) for what, _, shown, kept in report.rows}


def test_what_h2load_reaches_is_measured_without_its_log(testers, tmp_path: Path) -> None:
    report = Report(1, 1.0)
    bench_check.reach(report, tmp_path)
    assert ["--log-file" in command for command in testers.of("h2load")] == [False, True]
    assert rows(report)["identity 4x16: requests/s against h2load's"] == ("1.00", "yes")
    assert report.numbers["identity 4x16"]["h2load"] == {"requests_s": 8100.12, "p50_us": 150, "p99_us": 170, "max_us": 170, "cpu_us": 3.0}


def test_each_run_draws_other_arrivals_and_says_which(testers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = iter([11, 12])
    monkeypatch.setattr(bench_check.time, "time_ns", lambda: next(seeds))
    shown = []
    for name in ("one", "two"):
        report = Report(1, 1.0)
        (tmp_path / name).mkdir()
        bench_check.rate(report, tmp_path / name)
        shown.append(rows(report)["same: inter-arrivals as intended, KS test"][0])
        assert report.numbers["rate"]["seed"] == f"{10 + len(shown)}"
    assert [text.rpartition("; ")[2] for text in shown] == ["seed 11", "seed 12"]
    assert len({text.partition(",")[0] for text in shown}) == 2, "another D each time"
