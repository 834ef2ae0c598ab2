"""The verdicts of a shadow, from what its process has found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inferd.compare.outputs import Difference, compare
from inferd.compare.statistics import MeanShift
from inferd.rollout.candidate import evidence_of
from inferd.rollout.judge import LEARNED_NBYTES, LEARNED_REQUESTS, Judge
from inferd.rollout.messages import Found, Worst
from inferd.rollout.shift import LEARNED_AFTER, OutputShift
from inferd.rollout.state import Verdict

Array = np.ndarray[Any, np.dtype[Any]]

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
    assert not value or mean.explanation == "worst: output 'y', spread 3"


def test_a_mean_that_is_not_known_yet_keeps_the_verdict_open() -> None:
    found = Found(shifts={"y": OutputShift(ALPHA, learned=40)})
    *_, mean = evidence_of(found, {}, ALPHA)
    assert (mean.count, mean.verdict) == (0, Verdict.OPEN)
    assert mean.explanation == "160 more requests tell how widely output 'y' is spread"


def test_the_place_that_shifts_is_told() -> None:
    still, moved = (shifted(value, 100).places[0] for value in (0.0, -0.3))
    found = Found(shifts={"y": OutputShift(ALPHA, [still, still, moved], 3, LEARNED_AFTER, spread=3.0)})
    *_, mean = evidence_of(found, {}, ALPHA)
    assert mean.estimate == moved.estimate
    assert mean.explanation == "worst: output 'y'[..., 2], spread 3"


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
        assert each.explanation.startswith("no response has a decision to compare: ")


# ---- one request after another ------------------------------------------------------------------------------------

BEFORE, AFTER = [[0.9, 0.1]], [[0.1, 0.9]]
TIE, OTHER_TIE = [[0.5000001, 0.4999999]], [[0.4999999, 0.5000001]]


def answer(label: int | str, scores: list[list[float]] | None = None) -> dict[str, Array]:
    text = isinstance(label, str)
    made: dict[str, Array] = {"label": np.array([label.encode() if isinstance(label, str) else label], object if text else np.int64)}
    return made | ({} if scores is None else {"scores": np.array(scores, np.float32)})


def found_of(pairs: list[tuple[dict[str, Array], dict[str, Array]]], words: dict[str, str]) -> Found:
    found = Found()
    judge = Judge(found, words, {})
    for number, (expected, got) in enumerate(pairs):
        judge.add(f"row {number}", expected, got)
    return found


@pytest.mark.parametrize("at", [0, 5, LEARNED_REQUESTS, LEARNED_REQUESTS + 5], ids=["first", "early", "learned", "late"])
def test_a_tie_in_the_scores_is_no_flip_of_the_label_beside_them(at: int) -> None:
    """Also where it came before anything said that the two are one decision."""
    same = [(each, each) for each in (answer(0, BEFORE), answer(1, AFTER))] * LEARNED_REQUESTS
    same[at] = (answer(0, TIE), answer(1, OTHER_TIE))
    found = found_of(same, {"label": "INT64", "scores": "FP32"})
    assert (found.total.flipped, found.total.requests, found.worst) == (0, 2 * LEARNED_REQUESTS, [])
    assert found.total.outputs["scores"].joined


def test_what_earlier_processes_found_stays_when_this_one_learns() -> None:
    earlier = compare(answer(0, BEFORE), answer(1, AFTER))
    found, pairs = Found(total=earlier, worst=[Worst(earlier.badness, "earlier", "")]), [answer(0, BEFORE), answer(1, AFTER)]
    judge = Judge(found, {"label": "INT64", "scores": "FP32"}, {})
    for number in range(LEARNED_REQUESTS):
        judge.add("", pairs[number % 2], pairs[number % 2])
    assert (found.total.requests, found.total.flipped) == (1 + LEARNED_REQUESTS, 1)
    assert [each.request_id for each in found.worst] == ["earlier"]


def test_few_requests_are_held_where_they_are_large() -> None:
    large = {"y": np.zeros((1, LEARNED_NBYTES // 4), np.float32)}
    judge = Judge(Found(), {"y": "FP32"}, {})
    judge.add("", large, large)
    assert not judge.first


@pytest.mark.parametrize(("word", "labels", "words"), [("INT64", (3, 4), "3 became 4"), ("BYTES", ("cat", "dog"), "'cat' became 'dog'")])
def test_a_label_that_flips_is_told_by_both_labels(word: str, labels: tuple[int | str, int | str], words: str) -> None:
    old, new = map(answer, labels)
    found = found_of([(old, old), (old, new)], {"label": word})
    assert found.total.flipped == 1
    assert [(each.request_id, each.words) for each in found.worst] == [("row 1", f"label[0]: {words}; label: 1 of 1 decisions flipped")]


def test_a_tie_in_the_scores_is_no_flip_of_the_ranks_of_a_graph() -> None:
    def ranks(scores: list[float], places: list[int]) -> dict[str, Array]:
        return {"values": np.array([scores], np.float32), "places": np.array([places], np.int64)}

    pairs = [(each, each) for each in (ranks([0.9, 0.1], [0, 1]), ranks([0.8, 0.1], [1, 2]))] * LEARNED_REQUESTS
    pairs[3] = (ranks([0.4, 0.4], [0, 1]), ranks([0.4, 0.4], [1, 0]))
    assert found_of(pairs, {"values": "FP32", "places": "INT64"}).total.flipped == 0
