"""The policy of a rollout: it gets counts and makes a decision."""

from __future__ import annotations

import re

import msgspec
import numpy as np
import pytest

from inferd.compare.statistics import MeanShift
from inferd.rollout.policy import ALPHA, UNJUDGED, CanaryPlan, Counts, Decision, Guard, GuardKind, Policy, Seen, strength

ERRORS = (Guard(GuardKind.ERRORS, 0.01),)


def shift(value: float, requests: int) -> MeanShift:
    made = MeanShift(0.01)
    for _ in range(requests):
        made.add(value)
    return made


def feed(policy: Policy, requests: int, rate: float, stable_rate: float, rng: np.random.Generator | None = None) -> None:
    """Requests by the policy's share, 100 a second."""
    rng = rng or np.random.default_rng(1)
    for _ in range(requests // 100):
        count = int(rng.binomial(100, policy.share))
        theirs = Counts.of(100 - count, int(rng.binomial(100 - count, stable_rate)))
        policy.count(Counts.of(count, int(rng.binomial(count, rate))), theirs, 1.0)


class TestSteps:
    def test_a_good_candidate_goes_all_the_way(self) -> None:
        policy = Policy(CanaryPlan(guards=ERRORS, dwell_s=0, unjudged=True))
        taken = []
        for _ in range(200):
            feed(policy, 1000, 0.0, 0.0)
            decision = policy.decide().decision
            if decision is Decision.PROMOTE:
                break
            if decision is Decision.STEP:
                taken.append(policy.step())
        assert taken == [0.1, 0.5]
        assert policy.seen.excess["errors"].candidate_count > 500, "an upper bound of 1 % without an error takes more than 500 requests"

    def test_no_step_is_taken_before_its_time(self) -> None:
        policy = Policy(CanaryPlan(guards=ERRORS, dwell_s=60, unjudged=True))
        feed(policy, 20_000, 0.0, 0.0)
        policy.elapse(10)
        assert policy.decide().decision is Decision.CONTINUE
        for _ in range(5):
            policy.elapse(10)
        assert policy.decide().decision is Decision.STEP

    def test_the_last_step_holds_where_it_is_not_100_percent(self) -> None:
        policy = Policy(CanaryPlan(steps=(0.5,), guards=ERRORS, dwell_s=0))
        feed(policy, 10_000, 0.0, 0.0)
        assert policy.decide().decision is Decision.HOLD


class TestRollBack:
    def test_errors_roll_back(self) -> None:
        policy = Policy(CanaryPlan(steps=(0.1, 1.0), guards=ERRORS))
        feed(policy, 10_000, 0.05, 0.01)
        verdict = policy.decide()
        assert verdict.decision is Decision.ROLL_BACK
        assert verdict.reason.startswith("errors: ")

    def test_a_slow_candidate_rolls_back_once_the_threshold_is_frozen(self) -> None:
        policy = Policy(CanaryPlan(steps=(0.1, 1.0)))
        policy.count(Counts.of(100, 0, 100), Counts.of(900, 0, 0), 1.0)
        assert policy.seen.excess["p99"].candidate_count == 0, "nothing counts as slow before there is a threshold"
        assert not policy.freeze([1] * 999)
        assert policy.freeze(list(range(1000, 2000)))
        assert policy.seen.threshold_ns == 1_002_386
        for _ in range(50):
            policy.count(Counts.of(10, 0, 5), Counts.of(90, 0, 1), 1.0)
        verdict = policy.decide()
        assert verdict.decision is Decision.ROLL_BACK
        assert verdict.reason.startswith("p99: ")

    def test_flips_a_shift_and_bad_outcomes_roll_back(self) -> None:
        for kind in (GuardKind.FLIPS, GuardKind.MEAN, GuardKind.OUTCOME):
            policy = Policy(CanaryPlan(guards=(Guard(kind, 0.05),)))
            policy.compare(400, 80, shift(0.3, 400))
            for _ in range(100):
                if kind is GuardKind.OUTCOME:
                    policy.report(Counts.of(2, 1), Counts.of(2, 0), 1.0)
            verdict = policy.decide()
            assert verdict.decision is Decision.ROLL_BACK, kind
            assert verdict.reason.startswith(kind.value)

    def test_an_equal_candidate_is_rarely_rolled_back(self) -> None:
        rng = np.random.default_rng(5)
        streams, rolled_back = 100, 0
        for _ in range(streams):
            policy = Policy(CanaryPlan(steps=(0.5, 1.0), guards=ERRORS))
            for _ in range(6):
                feed(policy, 300, 0.05, 0.05, rng)
                if policy.decide().decision is Decision.ROLL_BACK:
                    rolled_back += 1
                    break
        assert rolled_back <= ALPHA * streams

    @pytest.mark.parametrize(("errors", "decision"), [(64, Decision.ROLL_BACK), (32, Decision.CONTINUE)], ids=["all fail", "half fail"])
    def test_a_candidate_that_fails_alone_rolls_back(self, errors: int, decision: Decision) -> None:
        """One sticky key has the candidate: no stable request comes beside it, after some did at first."""
        policy = Policy(CanaryPlan(steps=(0.9, 1.0), guards=ERRORS))
        feed(policy, 500, 0.0, 0.0)
        for _ in range(60):
            policy.count(Counts.of(64, errors), Counts.of(), 1.0)
        assert policy.decide().decision is decision

    def test_bad_outcomes_of_most_responses_are_no_evidence_alone(self) -> None:
        """Outcomes have no natural rate: of some models most are bad."""
        policy = Policy(CanaryPlan(guards=(Guard(GuardKind.OUTCOME, 0.05),)))
        for _ in range(500):
            policy.report(Counts.of(1, 1), Counts.of(), 1.0)
        assert policy.decide().decision is Decision.CONTINUE

    def test_the_limit_is_what_is_tested(self) -> None:
        """An excess of 1 % is far within a limit of 5 %."""
        policy = Policy(CanaryPlan(guards=(Guard(GuardKind.ERRORS, 0.05),), unjudged=True))
        feed(policy, 40_000, 0.02, 0.01)
        assert policy.decide().decision is not Decision.ROLL_BACK
        policy = Policy(CanaryPlan(steps=(0.5, 1.0), guards=(Guard(GuardKind.ERRORS, 0.05),), unjudged=True))
        feed(policy, 20_000, 0.12, 0.01)
        verdict = policy.decide()
        assert verdict.decision is Decision.ROLL_BACK
        assert re.search(r"; limit 5 %: a version that keeps the limit shows this in at most 1 of [\d,]+ canaries$", verdict.reason)

    @pytest.mark.parametrize(("errors", "decision"), [(10, Decision.ROLL_BACK), (4, Decision.CONTINUE)], ids=["all fail", "less than half"])
    def test_two_keys_of_which_little_can_be_known(self, errors: int, decision: Decision) -> None:
        """They may be of a kind that always fails often. Where most of their requests fail, nobody waits for more keys."""
        policy = Policy(CanaryPlan(guards=ERRORS))
        for turn in range(200):
            policy.count(Counts.of(10, errors, group=turn % 2), Counts.of(90, 0, group=2 + turn % 60), 1.0)
        verdict = policy.decide()
        assert verdict.decision is decision
        assert "about 2 groups of keys have the new version: too few to tell it from what these keys always do" in verdict.reason

    def test_a_machine_that_fails_all_requests_of_both_is_no_evidence(self) -> None:
        policy = Policy(CanaryPlan(guards=ERRORS))
        for _ in range(100):
            policy.count(Counts.of(10, 10), Counts.of(90, 90), 1.0)
        assert policy.decide().decision is Decision.CONTINUE


class TestJudged:
    def test_nothing_is_promoted_that_no_guard_has_judged(self) -> None:
        policy = Policy(CanaryPlan(dwell_s=0, guards=ERRORS))
        assert policy.decide().reason.endswith(UNJUDGED)
        feed(policy, 100_000, 0.0, 0.0)
        verdict = policy.decide()
        assert (verdict.decision, verdict.reason) == (Decision.HOLD, UNJUDGED)

    @pytest.mark.parametrize("kind", [GuardKind.FLIPS, GuardKind.MEAN, GuardKind.OUTCOME])
    def test_a_guard_on_predictions_judges(self, kind: GuardKind) -> None:
        policy = Policy(CanaryPlan(dwell_s=0, guards=(*ERRORS, Guard(kind, 0.1))))
        feed(policy, 100_000, 0.0, 0.0)
        policy.compare(5000, 0, shift(0.0, 5000))
        for _ in range(100):
            if kind is GuardKind.OUTCOME:
                policy.report(Counts.of(20, 1), Counts.of(20, 1), 1.0)
        assert policy.decide().decision is Decision.STEP

    def test_a_person_may_ask_for_none(self) -> None:
        policy = Policy(CanaryPlan(dwell_s=0, guards=ERRORS, unjudged=True))
        feed(policy, 100_000, 0.0, 0.0)
        assert policy.decide().decision is Decision.STEP


class TestHold:
    def test_no_decision_in_time_holds_and_still_rolls_back(self) -> None:
        policy = Policy(CanaryPlan(guards=ERRORS, patience_s=30))
        for _ in range(3):
            policy.elapse(10)
        verdict = policy.decide()
        assert verdict.decision is Decision.HOLD
        assert "no request was counted yet" in verdict.reason
        feed(policy, 100_000, 0.5, 0.0)
        assert policy.decide().decision is Decision.ROLL_BACK

    def test_a_guard_that_sees_nothing_keeps_the_step(self) -> None:
        policy = Policy(CanaryPlan(guards=(*ERRORS, Guard(GuardKind.FLIPS, 0.01)), dwell_s=0))
        feed(policy, 100_000, 0.0, 0.0)
        verdict = policy.decide()
        assert verdict.decision is Decision.CONTINUE
        assert verdict.reason == "flips: no request with a decision was compared yet"

    @pytest.mark.parametrize("seconds", [-3600.0, float("-inf")])
    def test_a_clock_that_goes_back_adds_no_time(self, seconds: float) -> None:
        policy = Policy(CanaryPlan())
        policy.elapse(seconds)
        assert policy.seen.step_s == 0.0

    def test_a_clock_that_jumps_ahead_ends_no_patience(self) -> None:
        policy = Policy(CanaryPlan(patience_s=30))
        policy.elapse(1e9)
        assert policy.decide().decision is Decision.CONTINUE


@pytest.mark.parametrize(
    ("e_value", "words"), [(0.176, "none"), (1.0, "none"), (5.16, "50%"), (26.67, "100%"), (4.5e22, "100%"), (float("inf"), "100%")]
)
def test_an_e_value_is_told_in_words_that_people_read(e_value: float, words: str) -> None:
    assert strength(e_value, 26.67) == words


@pytest.mark.parametrize("processes", [1, 4])
def test_the_guards_of_all_processes_share_the_chance_of_a_false_alarm(processes: int) -> None:
    plan = CanaryPlan(guards=tuple(Guard(kind, 0.01) for kind in GuardKind), processes=processes)
    assert processes * sum(plan.alpha(kind) for kind in GuardKind) == pytest.approx(0.05)


def test_a_restart_finds_the_evidence_where_it_was() -> None:
    policy = Policy(CanaryPlan(steps=(0.1, 1.0)))
    feed(policy, 2000, 0.02, 0.01)
    policy.compare(7, 1, shift(0.1, 7))
    kept = msgspec.json.decode(msgspec.json.encode(policy.seen), type=Seen)
    assert Policy(policy.plan, kept).decide() == policy.decide()
