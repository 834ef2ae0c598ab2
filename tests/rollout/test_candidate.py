"""The verdicts of a shadow, from what its process has found."""

from __future__ import annotations

import numpy as np
import pytest

from inferd.diff.outputs import Difference, compare
from inferd.rollout.candidate import evidence_of
from inferd.rollout.evidence import MeanShift
from inferd.rollout.messages import Found
from inferd.rollout.shift import LEARNED_AFTER, OutputShift
from inferd.rollout.state import Verdict

ALPHA = 0.0125


def shifted(value: float, requests: int = 2000) -> OutputShift:
    mean = MeanShift(ALPHA)
    for _ in range(requests):
        mean.add(value)
    return OutputShift(ALPHA, [mean], 1, LEARNED_AFTER, spread=3.0)


@pytest.mark.parametrize(
    ("value", "limit", "verdict"),
    [(0.0, None, Verdict.OK), (0.3, None, Verdict.BAD), (-0.3, None, Verdict.BAD), (0.1, None, Verdict.OPEN), (0.3, 0.5, Verdict.OK)],
)
def test_the_mean(value: float, limit: float | None, verdict: Verdict) -> None:
    found = Found(shifts={"y": shifted(value), "z": shifted(0.0)})
    *_, mean = evidence_of(found, {} if limit is None else {"mean": limit}, ALPHA)
    assert (mean.guard, mean.count, mean.limit, mean.verdict) == ("mean", 2000, limit or 0.1, verdict)
    assert mean.estimate == pytest.approx(value, abs=0.01)
    assert mean.lower < mean.estimate < mean.upper
    assert not value or mean.says == "worst: output 'y', spread 3"


def test_a_mean_that_is_not_known_yet_keeps_the_verdict_open() -> None:
    found = Found(shifts={"y": OutputShift(ALPHA, learned=40)})
    *_, mean = evidence_of(found, {}, ALPHA)
    assert (mean.count, mean.verdict) == (0, Verdict.OPEN)
    assert mean.says == "160 more requests tell how widely output 'y' is spread"


def test_the_place_that_shifts_is_told() -> None:
    still, moved = (shifted(value, 100).places[0] for value in (0.0, -0.3))
    found = Found(shifts={"y": OutputShift(ALPHA, [still, still, moved], 3, LEARNED_AFTER, spread=3.0)})
    *_, mean = evidence_of(found, {}, ALPHA)
    assert mean.estimate == moved.estimate
    assert mean.says == "worst: output 'y'[..., 2], spread 3"


def test_a_model_without_floats_has_no_mean() -> None:
    assert [each.guard for each in evidence_of(Found(), {}, ALPHA)] == ["errors", "flips", "shapes"]


@pytest.mark.parametrize("guards", [{}, {"flips": 0.02}])
def test_flips_without_a_decision_are_told_where_they_are_asked_for(guards: dict[str, float]) -> None:
    """A value beyond 0..1 shows that the 1000 earlier ones, one of which seems to flip, were no probabilities either."""
    total = Difference()
    for expected, got in (*[(0.2, 0.2)] * 999, (0.2, 0.8), (7.0, 7.0)):
        total.merge(compare({"y": np.array([[expected]])}, {"y": np.array([[got]])}))
    flips = [each for each in evidence_of(Found(total=total), guards, ALPHA) if each.guard == "flips"]
    assert len(flips) == len(guards)
    for each in flips:
        assert (each.count, each.estimate, each.verdict) == (0, 0.0, Verdict.OPEN)
        assert each.says.startswith("no response has a decision to compare: ")
