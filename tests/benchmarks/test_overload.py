"""What counts as goodput's peak, a refusal and a recovery; servers and loads are left out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import overload
from record import Report

MS = 10**6
GOOD: dict[str, Any] = {
    "capacity": 1000.0,
    "service_ms": 10.0,
    "peak": 980.0,
    "goodput": 970.0,
    "asked": 3000.0,
    "codes": {0: 29_100, 8: 60_000, 4: 900},
    "refusal_p99_ms": 1.0,
    "probe_p99_ms": 3.0,
    "probe_max_ms": 9.0,
    "recovery_s": 0.1,
    "grown_mib": 2.0,
    "late_p99_ms": 0.1,
}


@pytest.mark.parametrize(
    "fault", [{"goodput": 900.0}, {"peak": 0.0}, {"refusal_p99_ms": 6.0}, {"probe_p99_ms": 60.0}, {"recovery_s": 2.0}, {"grown_mib": 100.0}]
)
def test_medians_of_rounds_are_judged(fault: dict[str, Any]) -> None:
    def verdicts(*rounds: dict[str, Any]) -> set[str]:
        report = Report(len(rounds), 30.0)
        overload.judge(report, "thread", [overload.Round(**(GOOD | each)) for each in rounds])
        return {verdict for *_, verdict in report.rows if verdict}

    assert verdicts({}, fault, {}) == {"yes"}
    assert verdicts(fault, fault, {}) == {"yes", "NO"}


def light(*latencies_ms: float, code: int = 0) -> Any:
    """A request each 20 ms from 0 on."""
    return np.array([(20 * MS * n, 20 * MS * n, 20 * MS * n + int(ms * MS), code) for n, ms in enumerate(latencies_ms)], np.int64)


def test_recovery_is_when_answers_are_as_quick_as_before() -> None:
    assert overload.recovered_s(light(*[30] * 20, *[2] * 30), 0, 2.0) == pytest.approx(0.02 * 16), "by the median of ten"
    assert overload.recovered_s(light(*[2] * 50), 10 * 20 * MS, 2.0) == 0
    assert overload.recovered_s(light(*[30] * 50), 0, 2.0) == float("inf")
    assert overload.recovered_s(light(*[2] * 50, code=overload.RESOURCE_EXHAUSTED), 0, 2.0) == float("inf"), "a refusal is quick, too"
    assert overload.recovered_s(light(*[2] * 5), 0, 2.0) == float("inf"), "too few to tell"
