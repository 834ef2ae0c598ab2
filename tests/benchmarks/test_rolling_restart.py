"""In which order servers are restarted, and what counts as a failure; the servers themselves are left out."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import proxies
import rolling_restart
from record import Report

TOLD = {"requests": 120_000, "requests_per_second": 2000.0, "errors": {}, "latency_us": {"p50": 400.0, "p99": 3000.0, "max": 9000.0}}


def test_one_server_leaves_when_the_other_is_well_again() -> None:
    seen: list[str] = []

    def server(name: str) -> Any:
        return SimpleNamespace(stop=lambda: seen.append(f"{name} stops"), start=lambda: seen.append(f"{name} starts"))

    proxy: Any = SimpleNamespace(wait_until_well=lambda count: seen.append(f"{count} are well"))
    assert len(rolling_restart.restart_in_turn([server("a"), server("b")], proxy, 2)) == 4
    assert seen == ["a stops", "a starts", "2 are well", "b stops", "b starts", "2 are well"] * 2


@pytest.mark.parametrize(
    ("told", "lasted", "kept"),
    [({}, 35.0, {"yes"}), ({"errors": {"UNAVAILABLE": 1}}, 35.0, {"yes", "NO"}), ({}, 75.0, {"yes", "NO"})],
)
def test_a_failed_call_is_a_failure_and_so_is_a_load_that_ended_early(told: dict[str, Any], lasted: float, kept: set[str]) -> None:
    report = Report(1, 60.0)
    rolling_restart.judge(report, TOLD | told, [3.0, 3.5], lasted)
    assert {verdict for *_, verdict in report.rows if verdict} == kept


def test_a_configuration_that_lacks_what_is_replaced_is_another_one() -> None:
    assert proxies.fitted("listen 80;", {"80": "8080"}) == "listen 8080;"
    with pytest.raises(ValueError, match="no '443' any more"):
        proxies.fitted("listen 80;", {"443": "8443"})
