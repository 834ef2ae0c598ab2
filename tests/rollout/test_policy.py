"""The policy of a canary: counts in, a decision out."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from inferd.errors import InvalidArgument
from inferd.rollout.policy import Counts, Decision, Guard, Kind, Plan, Policy, Seen, parse_guards, parse_steps

ERRORS = (Guard(Kind.ERRORS, 0.01),)


def feed(canary: Policy, requests: int, rate: float, stable_rate: float, rng: np.random.Generator | None = None) -> None:
    """Requests by the canary's share, in turns of 100."""
    rng = rng or np.random.default_rng(1)
    for _ in range(requests // 100):
        count = int(rng.binomial(100, canary.share))
        canary.count(Counts(count, int(rng.binomial(count, rate))), Counts(100 - count, int(rng.binomial(100 - count, stable_rate))))


class TestSteps:
    def test_a_good_candidate_goes_all_the_way(self) -> None:
        canary = Policy(Plan(guards=ERRORS, dwell_s=0))
        taken = []
        for _ in range(200):
            feed(canary, 1000, 0.0, 0.0)
            decision = canary.decide().decision
            if decision is Decision.PROMOTE:
                break
            if decision is Decision.STEP:
                taken.append(canary.step())
        assert taken == [0.1, 0.5]
        assert canary.evidence.errors.candidate_count > 500, "an upper bound of 1 % without an error takes more than 500 requests"

    def test_no_step_is_taken_before_its_time(self) -> None:
        canary = Policy(Plan(guards=ERRORS, dwell_s=60))
        feed(canary, 20_000, 0.0, 0.0)
        canary.elapse(10)
        assert canary.decide().decision is Decision.CONTINUE
        for _ in range(5):
            canary.elapse(10)
        assert canary.decide().decision is Decision.STEP

    def test_the_last_step_holds_where_it_is_not_100_percent(self) -> None:
        canary = Policy(Plan(steps=(0.5,), guards=ERRORS, dwell_s=0))
        feed(canary, 10_000, 0.0, 0.0)
        assert canary.decide().decision is Decision.HOLD


class TestRollBack:
    def test_errors_roll_back(self) -> None:
        canary = Policy(Plan(steps=(0.1, 1.0), guards=ERRORS))
        feed(canary, 10_000, 0.05, 0.01)
        verdict = canary.decide()
        assert verdict.decision is Decision.ROLL_BACK
        assert verdict.reason.startswith("errors: ")

    def test_a_slow_candidate_rolls_back_once_the_threshold_is_frozen(self) -> None:
        canary = Policy(Plan(steps=(0.1, 1.0)))
        canary.count(Counts(100, 0, 100), Counts(900, 0, 0))
        assert canary.evidence.slow.candidate_count == 0, "nothing counts as slow before there is a threshold"
        assert not canary.freeze([1] * 499)
        assert canary.freeze(list(range(1000, 2000)))
        assert canary.evidence.threshold_ns == 1989
        for _ in range(50):
            canary.count(Counts(10, 0, 5), Counts(90, 0, 1))
        verdict = canary.decide()
        assert verdict.decision is Decision.ROLL_BACK
        assert verdict.reason.startswith("p99: ")

    def test_flips_a_shift_and_bad_outcomes_roll_back(self) -> None:
        for kind in (Kind.FLIPS, Kind.MEAN, Kind.OUTCOME):
            canary = Policy(Plan(guards=(Guard(kind, 0.05),)))
            for i in range(400):
                canary.compare(i % 5 == 0, 0.3)
                canary.report(i % 2 == 0, bad=i % 2 == 0 and i % 4 == 0)
            verdict = canary.decide()
            assert verdict.decision is Decision.ROLL_BACK, kind
            assert verdict.reason.startswith(kind.value)

    def test_an_equal_candidate_is_rarely_rolled_back(self) -> None:
        rng = np.random.default_rng(5)
        rolled_back = 0
        for _ in range(40):
            canary = Policy(Plan(steps=(0.1, 1.0), guards=ERRORS))
            for _ in range(40):
                feed(canary, 200, 0.01, 0.01, rng)
                if canary.decide().decision is Decision.ROLL_BACK:
                    rolled_back += 1
                    break
        assert rolled_back <= 5


class TestHold:
    def test_no_decision_in_time_holds_and_still_rolls_back(self) -> None:
        canary = Policy(Plan(guards=ERRORS, patience_s=30))
        for _ in range(3):
            canary.elapse(10)
        verdict = canary.decide()
        assert verdict.decision is Decision.HOLD
        assert "no request was counted yet" in verdict.reason
        feed(canary, 100_000, 0.5, 0.0)
        assert canary.decide().decision is Decision.ROLL_BACK

    def test_a_guard_that_sees_nothing_keeps_the_step(self) -> None:
        canary = Policy(Plan(guards=(*ERRORS, Guard(Kind.FLIPS, 0.01)), dwell_s=0))
        feed(canary, 100_000, 0.0, 0.0)
        assert canary.decide().decision is Decision.CONTINUE

    @pytest.mark.parametrize("seconds", [-3600.0, float("-inf")])
    def test_a_clock_that_goes_back_adds_no_time(self, seconds: float) -> None:
        canary = Policy(Plan())
        canary.elapse(seconds)
        assert canary.evidence.step_s == 0.0

    def test_a_clock_that_jumps_ahead_ends_no_patience(self) -> None:
        canary = Policy(Plan(patience_s=30))
        canary.elapse(1e9)
        assert canary.decide().decision is Decision.CONTINUE


def test_the_guards_share_the_chance_of_a_false_alarm() -> None:
    plan = Plan(guards=tuple(Guard(kind, 0.01) for kind in Kind))
    assert sum(plan.alpha(kind) for kind in Kind) == pytest.approx(0.05)


def test_a_restart_finds_the_evidence_where_it_was() -> None:
    canary = Policy(Plan(steps=(0.1, 1.0)))
    feed(canary, 2000, 0.02, 0.01)
    canary.compare(True, 0.1)
    kept = msgspec.json.decode(msgspec.json.encode(canary.evidence), type=Seen)
    assert Policy(canary.plan, kept).decide() == canary.decide()


class TestWords:
    def test_steps(self) -> None:
        assert parse_steps("1%, 10%,0.5,100%") == (0.01, 0.1, 0.5, 1.0)

    def test_guards(self) -> None:
        assert parse_guards("errors,p99=3%") == (Guard(Kind.ERRORS, 0.01), Guard(Kind.P99, 0.03))

    @pytest.mark.parametrize("text", ["", "1%,x", "10%,1%", "0%", "101%", "nan", "inf", "1%,1%", ",".join(["1%"] * 101), "-1%"])
    def test_steps_that_are_none(self, text: str) -> None:
        with pytest.raises(InvalidArgument, match=r"^steps: expected"):
            parse_steps(text)

    @pytest.mark.parametrize("text", ["", "speed", "errors=", "errors=x", "errors,errors", "errors=0", "p99=2"])
    def test_guards_that_are_none(self, text: str) -> None:
        if text == "errors=":
            assert parse_guards(text) == ERRORS
            return
        with pytest.raises(InvalidArgument, match=r"^guards: "):
            parse_guards(text)
