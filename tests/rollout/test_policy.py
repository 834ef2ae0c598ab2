"""The policy of a rollout: it gets counts and makes a decision."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from inferd.rollout.evidence import MeanShift
from inferd.rollout.policy import ALPHA, Counts, Decision, Guard, Kind, Plan, Policy, Seen, odds

ERRORS = (Guard(Kind.ERRORS, 0.01),)


def shift(value: float, requests: int) -> MeanShift:
    made = MeanShift(0.01)
    for _ in range(requests):
        made.add(value)
    return made


def feed(policy: Policy, requests: int, rate: float, stable_rate: float, rng: np.random.Generator | None = None) -> None:
    """Requests by the policy's share, in turns of 100."""
    rng = rng or np.random.default_rng(1)
    for _ in range(requests // 100):
        count = int(rng.binomial(100, policy.share))
        policy.count(Counts(count, int(rng.binomial(count, rate))), Counts(100 - count, int(rng.binomial(100 - count, stable_rate))))


class TestSteps:
    def test_a_good_candidate_goes_all_the_way(self) -> None:
        policy = Policy(Plan(guards=ERRORS, dwell_s=0))
        taken = []
        for _ in range(200):
            feed(policy, 1000, 0.0, 0.0)
            decision = policy.decide().decision
            if decision is Decision.PROMOTE:
                break
            if decision is Decision.STEP:
                taken.append(policy.step())
        assert taken == [0.1, 0.5]
        assert policy.seen.errors.candidate_count > 500, "an upper bound of 1 % without an error takes more than 500 requests"

    def test_no_step_is_taken_before_its_time(self) -> None:
        policy = Policy(Plan(guards=ERRORS, dwell_s=60))
        feed(policy, 20_000, 0.0, 0.0)
        policy.elapse(10)
        assert policy.decide().decision is Decision.CONTINUE
        for _ in range(5):
            policy.elapse(10)
        assert policy.decide().decision is Decision.STEP

    def test_the_last_step_holds_where_it_is_not_100_percent(self) -> None:
        policy = Policy(Plan(steps=(0.5,), guards=ERRORS, dwell_s=0))
        feed(policy, 10_000, 0.0, 0.0)
        assert policy.decide().decision is Decision.HOLD


class TestRollBack:
    def test_errors_roll_back(self) -> None:
        policy = Policy(Plan(steps=(0.1, 1.0), guards=ERRORS))
        feed(policy, 10_000, 0.05, 0.01)
        verdict = policy.decide()
        assert verdict.decision is Decision.ROLL_BACK
        assert verdict.reason.startswith("errors: ")

    def test_a_slow_candidate_rolls_back_once_the_threshold_is_frozen(self) -> None:
        policy = Policy(Plan(steps=(0.1, 1.0)))
        policy.count(Counts(100, 0, 100), Counts(900, 0, 0))
        assert policy.seen.slow.candidate_count == 0, "nothing counts as slow before there is a threshold"
        assert not policy.freeze([1] * 999)
        assert policy.freeze(list(range(1000, 2000)))
        assert policy.seen.threshold_ns == 1_002_386
        for _ in range(50):
            policy.count(Counts(10, 0, 5), Counts(90, 0, 1))
        verdict = policy.decide()
        assert verdict.decision is Decision.ROLL_BACK
        assert verdict.reason.startswith("p99: ")

    def test_flips_a_shift_and_bad_outcomes_roll_back(self) -> None:
        for kind in (Kind.FLIPS, Kind.MEAN, Kind.OUTCOME):
            policy = Policy(Plan(guards=(Guard(kind, 0.05),)))
            policy.compare(400, 80, shift(0.3, 400))
            for i in range(400):
                policy.report(i % 2 == 0, bad=i % 2 == 0 and i % 4 == 0)
            verdict = policy.decide()
            assert verdict.decision is Decision.ROLL_BACK, kind
            assert verdict.reason.startswith(kind.value)

    def test_an_equal_candidate_is_rarely_rolled_back(self) -> None:
        rng = np.random.default_rng(5)
        streams, rolled_back = 100, 0
        for _ in range(streams):
            policy = Policy(Plan(steps=(0.5, 1.0), guards=ERRORS))
            for _ in range(6):
                feed(policy, 300, 0.05, 0.05, rng)
                if policy.decide().decision is Decision.ROLL_BACK:
                    rolled_back += 1
                    break
        assert rolled_back <= ALPHA * streams

    @pytest.mark.parametrize(("errors", "decision"), [(64, Decision.ROLL_BACK), (32, Decision.CONTINUE)], ids=["all fail", "half fail"])
    def test_a_candidate_that_fails_alone_rolls_back(self, errors: int, decision: Decision) -> None:
        """One sticky key has the candidate: no stable request comes beside it, after some did at first."""
        policy = Policy(Plan(steps=(0.9, 1.0), guards=ERRORS))
        feed(policy, 500, 0.0, 0.0)
        for _ in range(20):
            policy.count(Counts(64, errors), Counts())
        assert policy.decide().decision is decision

    def test_bad_outcomes_of_most_responses_are_no_evidence_alone(self) -> None:
        """Outcomes have no natural rate: of some models most are bad."""
        policy = Policy(Plan(guards=(Guard(Kind.OUTCOME, 0.05),)))
        for _ in range(500):
            policy.report(of_candidate=True, bad=True)
        assert policy.decide().decision is Decision.CONTINUE


class TestHold:
    def test_no_decision_in_time_holds_and_still_rolls_back(self) -> None:
        policy = Policy(Plan(guards=ERRORS, patience_s=30))
        for _ in range(3):
            policy.elapse(10)
        verdict = policy.decide()
        assert verdict.decision is Decision.HOLD
        assert "no request was counted yet" in verdict.reason
        feed(policy, 100_000, 0.5, 0.0)
        assert policy.decide().decision is Decision.ROLL_BACK

    def test_a_guard_that_sees_nothing_keeps_the_step(self) -> None:
        policy = Policy(Plan(guards=(*ERRORS, Guard(Kind.FLIPS, 0.01)), dwell_s=0))
        feed(policy, 100_000, 0.0, 0.0)
        verdict = policy.decide()
        assert verdict.decision is Decision.CONTINUE
        assert verdict.reason == "flips: no request with a decision was compared yet"

    @pytest.mark.parametrize("seconds", [-3600.0, float("-inf")])
    def test_a_clock_that_goes_back_adds_no_time(self, seconds: float) -> None:
        policy = Policy(Plan())
        policy.elapse(seconds)
        assert policy.seen.step_s == 0.0

    def test_a_clock_that_jumps_ahead_ends_no_patience(self) -> None:
        policy = Policy(Plan(patience_s=30))
        policy.elapse(1e9)
        assert policy.decide().decision is Decision.CONTINUE


@pytest.mark.parametrize(
    ("e_value", "words"), [(1.0, "1 : 1"), (26.67, "26.7 : 1"), (12345.6, "12346 : 1"), (4.5e22, "more than a million : 1")]
)
def test_an_e_value_is_told_in_words_that_people_read(e_value: float, words: str) -> None:
    assert odds(e_value) == words


@pytest.mark.parametrize("processes", [1, 4])
def test_the_guards_of_all_processes_share_the_chance_of_a_false_alarm(processes: int) -> None:
    plan = Plan(guards=tuple(Guard(kind, 0.01) for kind in Kind), processes=processes)
    assert processes * sum(plan.alpha(kind) for kind in Kind) == pytest.approx(0.05)


def test_a_restart_finds_the_evidence_where_it_was() -> None:
    policy = Policy(Plan(steps=(0.1, 1.0)))
    feed(policy, 2000, 0.02, 0.01)
    policy.compare(7, 1, shift(0.1, 7))
    kept = msgspec.json.decode(msgspec.json.encode(policy.seen), type=Seen)
    assert Policy(policy.plan, kept).decide() == policy.decide()
