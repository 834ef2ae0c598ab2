"""perf_analyzer, Triton's own load tester (C++), runs to its report on both transports, and counts what the server counts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server_fixtures import TRANSPORTS, ServerFixture
from tests.wire import Caller

MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"


@pytest.fixture(scope="module", params=TRANSPORTS)
def served(request: pytest.FixtureRequest) -> Iterator[ServerFixture]:
    with ServerFixture(MODELS, transport=request.param) as server:
        yield server


def told(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What it says to a closed loop of four, over three windows of a quarter of a second that agree, among sixty at most."""
    program = shutil.which("perf_analyzer", path=str(Path(sys.executable).parent)) or shutil.which("perf_analyzer")
    assert program, "perf_analyzer is missing: pip install perf-analyzer"
    command = [program, "-u", address, "-i", "grpc", "--concurrency-range", "4", "-p", "250", "-r", "60", "-s", "99", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)


def analyze(address: str, *arguments: str) -> str:
    done = told(address, *arguments)
    assert done.returncode == 0, done.stdout
    assert "Server:" in done.stdout, done.stdout  # it ends with 0 without a report, too
    return done.stdout


def number(report: str, label: str) -> float:
    found = re.search(rf"{re.escape(label)}: ([0-9.]+)", report)
    assert found, report
    return float(found[1])


@pytest.mark.parametrize(
    ("served", "model", "rows", "mode"),
    [
        ("native", "identity", 2, ()),
        ("native", "digits", 1, ()),
        ("native", "identity", 1, ("--async",)),
        ("native", "identity", 1, ("--async", "--streaming")),
        ("grpcio", "digits", 2, ("--async",)),
        ("grpcio", "identity", 1, ("--async", "--streaming")),
    ],
    indirect=["served"],
)
def test_a_report(served: ServerFixture, model: str, rows: int, mode: tuple[str, ...]) -> None:
    with Caller(served.address) as caller:
        before: Any = caller.statistics(model)
        report = analyze(served.address, "-m", model, "-b", str(rows), *mode)
        after = caller.statistics(model)
    assert "Request concurrency: 4" in report
    assert not re.search("error|fail|unable", report, re.IGNORECASE), report
    client, server = report.split("Server:")
    assert number(client, "Throughput") > 0
    assert number(client, "Request count") > 0
    assert number(client, "Avg latency") > 0
    assert number(server, "Successful request count") > 0
    assert "queue" in server
    grown = after.inference_stats.success.count - before.inference_stats.success.count
    assert grown >= number(client, "Request count")
    assert after.inference_count - before.inference_count == grown * rows
    assert after.inference_stats.fail.count == before.inference_stats.fail.count
