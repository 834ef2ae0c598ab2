"""What a canary does next: counts of both arms go in, a decision and its reason come out.

Each guard has one limit, which rolls back and promotes:

- **Roll back** as soon as an e-value says that the limit is passed. A candidate that is as good as the stable version is rolled back by
  any of the guards with a probability of at most `ALPHA`, however often somebody looks. Where no stable request comes beside the
  candidate's, as good means that at most half of them fail.
- **Step** when the damage that the next step could do is bounded: its share of requests times the guard's upper bound is at most the
  limit. So 1 % is left after few requests, and 100 % asks for an upper bound below the limit itself.
- **Hold** when neither has happened for `patience_s`, or when there is no step left. The share stays as it is, guards still roll back,
  and a step is still taken once evidence allows it.

The step to 100 % is the promotion. Never in here: clocks, threads, models, where counts come from.
"""

from __future__ import annotations

import enum
from math import exp, log
from typing import NamedTuple

import msgspec

from inferd.rollout.evidence import Band, MeanShift, TwoArms, either, quantile_threshold, rate_band, rate_evidence

__all__ = ["ALPHA", "Counts", "Decision", "Finding", "Guard", "Kind", "Plan", "Policy", "Seen", "odds"]

ALPHA = 0.05  # of all guards in all processes together
FROZEN_AFTER = 1000  # stable latencies that the threshold of p99 is made of
SLOW_TIMES, SLOW_NS = 1.2, 1_000_000  # a request is slow above so many times the stable p99, and this on top: a version that gets one of
# ten requests finds colder caches, and smaller batches
ALONE_LIMIT = 0.5  # the share of errors that a candidate without a stable request beside it may have
ALONE_WEIGHT = 0.01  # of the evidence against that: the other loses a hundredth for it
MAX_ELAPSED_S = 10.0  # that one look may add: a machine that slept has not watched


class Decision(enum.Enum):
    CONTINUE = "continue"
    STEP = "step"
    PROMOTE = "promote"
    HOLD = "hold"
    ROLL_BACK = "roll back"


class Kind(enum.StrEnum):
    """Of a guard: what it looks at, and what its limit means."""

    ERRORS = "errors"  # failed requests; how many more of the candidate's than of the stable ones may fail
    P99 = "p99"  # requests clearly slower than the stable p99; how many more of the candidate's may be
    FLIPS = "flips"  # decisions that differ on the same request; how many may
    MEAN = "mean"  # the mean difference of outputs on the same request, in spreads of the stable output; how far it may lie from 0
    OUTCOME = "outcome"  # bad outcomes that users report; how many more of the candidate's may be bad


DEFAULT_LIMITS = {Kind.ERRORS: 0.01, Kind.P99: 0.02, Kind.FLIPS: 0.01, Kind.MEAN: 0.1, Kind.OUTCOME: 0.05}
WEIGHTS = {Kind.ERRORS: 3.0}  # of a guard's part of ALPHA; the others have 1
TOLERATED = {Kind.ERRORS: 1.0, Kind.P99: 2.0, Kind.OUTCOME: 1.0}  # the ratio to the stable rate that rolls nothing back
PAIRED = (Kind.FLIPS, Kind.MEAN)  # both versions have to answer the same requests


class Guard(msgspec.Struct, frozen=True):
    kind: Kind
    limit: float


class Plan(msgspec.Struct, frozen=True):
    """How a canary is to go. steps: shares of requests, rising. dwell_s: the least time at a step. patience_s: the most. processes: each
    decides by its own requests, and a decision of one holds for all."""

    steps: tuple[float, ...] = (0.01, 0.1, 0.5, 1.0)
    guards: tuple[Guard, ...] = (Guard(Kind.ERRORS, DEFAULT_LIMITS[Kind.ERRORS]), Guard(Kind.P99, DEFAULT_LIMITS[Kind.P99]))
    dwell_s: float = 60.0
    patience_s: float = 3600.0
    processes: int = 1

    def alpha(self, kind: Kind) -> float:
        """The guard's part of ALPHA, in one process."""
        return ALPHA / self.processes * WEIGHTS.get(kind, 1.0) / sum(WEIGHTS.get(guard.kind, 1.0) for guard in self.guards)

    @property
    def is_paired(self) -> bool:
        """Whether a guard needs the other version's response to the same request."""
        return any(guard.kind in PAIRED for guard in self.guards)


class Counts(NamedTuple):
    """Requests of one arm that were answered. slow: they took longer than the frozen threshold."""

    requests: int = 0
    errors: int = 0
    slow: int = 0


class Seen(msgspec.Struct):
    """All that a canary has seen: what a restart has to find again."""

    step: int = 0
    step_s: float = 0.0  # how long it is at this step
    errors: TwoArms = msgspec.field(default_factory=TwoArms)
    slow: TwoArms = msgspec.field(default_factory=TwoArms)
    outcomes: TwoArms = msgspec.field(default_factory=TwoArms)
    threshold_ns: int = 0  # the stable p99, frozen; 0: not yet
    compared: int = 0  # requests with a decision
    flips: int = 0
    mean: MeanShift | None = None


class Finding(msgspec.Struct, frozen=True):
    """What a guard says now. band: where its number lies; e_value: evidence against the candidate; it rolls back at `rolls_back_at`."""

    kind: Kind
    limit: float
    count: int
    estimate: float
    band: Band
    e_value: float
    rolls_back_at: float
    bound: float  # the largest upper bound at which the next step is taken

    @property
    def upper(self) -> float:
        return max(abs(self.band.low), abs(self.band.high)) if self.kind is Kind.MEAN else self.band.high

    @property
    def fails(self) -> bool:
        return self.e_value >= self.rolls_back_at

    @property
    def passes(self) -> bool:
        return self.count > 0 and self.upper <= self.bound


class Verdict(NamedTuple):
    decision: Decision
    reason: str
    findings: tuple[Finding, ...]


class Policy:
    """One canary's plan and evidence. Not thread-safe."""

    def __init__(self, plan: Plan, seen: Seen | None = None) -> None:
        self.plan = plan
        self.seen = seen or Seen()

    @property
    def share(self) -> float:
        """Of requests that go to the candidate."""
        return self.plan.steps[self.seen.step]

    # ---- what comes in ----

    def count(self, candidate: Counts, stable: Counts) -> None:
        """Requests of both arms since the last call."""
        seen = self.seen
        seen.errors.add(candidate.requests, candidate.errors, stable.requests, stable.errors)
        if seen.threshold_ns:
            seen.slow.add(candidate.requests, candidate.slow, stable.requests, stable.slow)

    def freeze(self, stable_latencies_ns: list[int]) -> bool:
        """Takes the threshold of p99 from the stable version's latencies. False: there are too few of them, or it has one."""
        if self.seen.threshold_ns or len(stable_latencies_ns) < FROZEN_AFTER:
            return False
        self.seen.threshold_ns = int(SLOW_TIMES * quantile_threshold(stable_latencies_ns, 0.99)) + SLOW_NS
        return True

    def compare(self, compared: int, flips: int, mean: MeanShift | None) -> None:
        """Requests with a decision that both versions have answered since the canary began, and those of them with another decision. mean:
        of the output that shifts most, at most with the alpha of its guard."""
        self.seen.compared, self.seen.flips, self.seen.mean = compared, flips, mean

    def report(self, of_candidate: bool, bad: bool) -> None:
        """A user reports the outcome of one response."""
        arm = (1, int(bad))
        self.seen.outcomes.add(*(arm if of_candidate else (0, 0)), *((0, 0) if of_candidate else arm))

    def elapse(self, seconds: float) -> None:
        """Time at this step, by a clock that never goes back. A clock that does adds nothing."""
        self.seen.step_s += min(max(seconds, 0.0), MAX_ELAPSED_S)

    # ---- what comes out ----

    def findings(self) -> tuple[Finding, ...]:
        return tuple(self._find(guard) for guard in self.plan.guards)

    def _find(self, guard: Guard) -> Finding:
        seen, alpha = self.seen, self.plan.alpha(guard.kind)
        if guard.kind is Kind.FLIPS:
            count, band = seen.compared, rate_band(seen.flips, seen.compared, alpha)
            estimate = seen.flips / max(seen.compared, 1)
            evidence = rate_evidence(seen.flips, seen.compared, guard.limit)
        elif guard.kind is Kind.MEAN:
            mean = seen.mean or MeanShift(alpha)
            count, band = mean.count, mean.band()
            estimate = mean.estimate
            evidence = -log(alpha) if band.low > guard.limit or band.high < -guard.limit else 0.0
        else:
            arms = {Kind.ERRORS: seen.errors, Kind.P99: seen.slow, Kind.OUTCOME: seen.outcomes}[guard.kind]
            count, band = arms.candidate_count, arms.excess_band(alpha)
            estimate = arms.candidate_events / max(count, 1) - arms.stable_events / max(arms.stable_count, 1)
            evidence = arms.evidence(TOLERATED[guard.kind])
            if guard.kind is Kind.ERRORS:
                count_alone, events_alone = arms.alone
                evidence = either(evidence, rate_evidence(events_alone, count_alone, ALONE_LIMIT), ALONE_WEIGHT)
        after = self.seen.step + 1
        bound = guard.limit / (self.plan.steps[after] if after < len(self.plan.steps) else 1.0)
        return Finding(guard.kind, guard.limit, count, estimate, band, exp(min(evidence, 700.0)), 1.0 / alpha * (1.0 - 1e-9), bound)

    def decide(self) -> Verdict:
        """What is to be done now. A step is taken by `step`."""
        findings, plan, seen = self.findings(), self.plan, self.seen
        last = seen.step + 1 >= len(plan.steps)
        for each in findings:
            if each.fails:
                return Verdict(Decision.ROLL_BACK, f"{_said(each)}: evidence {odds(each.e_value)} that the limit is passed", findings)
        waits = [each for each in findings if not each.passes]
        if not waits and seen.step_s >= plan.dwell_s and not last:
            share = plan.steps[seen.step + 1]
            decision = Decision.PROMOTE if share >= 1.0 else Decision.STEP
            return Verdict(decision, f"all bounds allow {share:.4g} of requests: {'; '.join(map(_said, findings))}", findings)
        if not waits and last:
            return Verdict(Decision.HOLD, f"the last step, {self.share:.4g} of requests, is reached: promote, or roll back", findings)
        if seen.step_s >= plan.patience_s and waits:
            why = "; ".join(map(_said, waits))
            return Verdict(Decision.HOLD, f"no decision after {seen.step_s:.0f} s at {self.share:.4g} of requests: {why}", findings)
        why = "; ".join(map(_said, waits)) or f"{plan.dwell_s - seen.step_s:.0f} s are left of this step"
        return Verdict(Decision.CONTINUE, why, findings)

    def step(self) -> float:
        """Takes the next step, and returns its share."""
        self.go_to(self.seen.step + 1)
        return self.share

    def go_to(self, step: int) -> None:
        """Another has decided."""
        if step != self.seen.step:
            self.seen.step, self.seen.step_s = min(step, len(self.plan.steps) - 1), 0.0


def odds(e_value: float) -> str:
    """An e-value for people."""
    return "more than a million : 1" if e_value > 1e6 else f"{e_value:.0f} : 1" if e_value >= 100 else f"{e_value:.3g} : 1"


def _said(found: Finding) -> str:
    """A guard's finding in words."""
    if not found.count:
        which = "request with a decision" if found.kind is Kind.FLIPS else "request"
        return f"{found.kind.value}: no {which} was {'compared' if found.kind in PAIRED else 'counted'} yet"
    low, high = found.band
    more = "" if found.kind in PAIRED else "more than stable, "
    return f"{found.kind.value}: {low:.4f} to {high:.4f} {more}over {found.count} requests, limit {found.limit:.4g}"
