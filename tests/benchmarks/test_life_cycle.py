"""Which version may answer when, and what counts as a failure; servers are left out."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import life_cycle
from life_cycle import Spans, Window
from record import Report


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """Version 2 is ordered at 20 and has taken the place of version 1 at 30."""
    times = iter([0.0, 20.0, 30.0, 50.0])
    monkeypatch.setattr(life_cycle, "time", SimpleNamespace(monotonic=lambda: next(times)))
    made = Spans()
    made.ordered(1)()
    made.ordered(2)()
    made.end()
    return made


@pytest.mark.parametrize(
    ("version", "sent", "done", "allowed"),
    [(1, 5, 6, True), (1, 29, 40, True), (1, 31, 40, False), (2, 10, 19, False), (2, 10, 21, True), (2, 45, 46, True), (3, 25, 26, False)],
)
def test_a_version_may_answer_what_was_in_flight_while_it_served(
    spans: Spans, version: int, sent: float, done: float, allowed: bool
) -> None:
    assert spans.allows(version, sent, done) is allowed


@pytest.mark.parametrize(
    ("change", "kept"),
    [({}, {"yes"}), ({"wrong": 1}, {"yes", "NO"}), ({"failures": Counter(x=1)}, {"yes", "NO"}), ({"answers": [(1, 2, 9)]}, {"yes", "NO"})],
)
def test_one_bad_response_is_a_failure(spans: Spans, change: dict[str, Any], kept: set[str]) -> None:
    report = Report(1, 0.0)
    asking: Any = SimpleNamespace(**{"answers": [(5.0, 6.0, 1)], "failures": Counter(), "wrong": 0} | change)
    life_cycle.judge(report, "version replaced", asking, spans, 50.0)
    assert {verdict for *_, verdict in report.rows if verdict} == kept


def test_only_requests_within_the_window_count_but_every_error() -> None:
    samples = np.array([[0, 0, 9_000_000, 14], [10, 10, 1_000_010, 0], [20, 20, 3_000_020, 0], [30, 30, 9_000_000, 0]])
    assert Window.of(samples, 10, 30) == Window(2.0, pytest.approx(2.98), 2, 1)
