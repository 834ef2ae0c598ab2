"""Decides a canary's next step: counts of both arms go in, a decision and its reason come out.

Each guard has one limit, which rolls back and promotes:

- **Roll back** as soon as an e-value says that the limit is passed. A candidate within all limits is rolled back with a probability of
  at most `ALPHA`, however often the evidence is checked. If most requests of a candidate fail, and fewer of the stable ones, it is rolled
  back even with too few keys.
- **Step** when the possible damage of the next step is bounded: its share of requests times the guard's upper bound is at most the
  limit. So 1 % is left after few requests, and 100 % needs an upper bound below the limit itself.
- **Hold** when neither has happened for `patience_s`, or when there is no step left. The share stays as it is, guards still roll back,
  and a step is still taken once evidence allows it.

The step to 100 % is the promotion. Never in here: clocks, threads, models, where counts come from.
"""

from __future__ import annotations

import enum
from math import exp, log
from typing import Annotated, NamedTuple

import msgspec
import numpy as np

from inferd.compare.statistics import GROUPS, MAX_FIGURE, Band, Count, Excess, MeanShift, quantile_threshold, rate_band, rate_evidence
from inferd.config.units import percent

ALPHA = 0.05  # of all guards in all processes together
FROZEN_AFTER = 1000  # stable latencies that the threshold of p99 is made of
# A request is slow above so many times the stable p99, and this on top. A version that gets one request of ten has colder caches and
# smaller batches.
SLOW_TIMES, SLOW_NS = 1.2, 1_000_000
MOST = 0.5  # the share of its requests that any candidate may fail
MOST_WEIGHT = 0.1  # of the evidence against that: the other loses a tenth for it
FEW_KEYS = 12  # with fewer groups of keys nothing tells a version from what its keys always did
MAX_ELAPSED_S = 10.0  # that one look may add: a machine that slept has not watched


class Decision(enum.Enum):
    CONTINUE = "continue"
    STEP = "step"
    PROMOTE = "promote"
    HOLD = "hold"
    ROLL_BACK = "roll back"


class GuardKind(enum.StrEnum):
    """Kinds of guards, each with the figure that it watches, and the meaning of its limit."""

    ERRORS = "errors"  # failed requests; how many more of the candidate's than of the stable ones may fail
    P99 = "p99"  # requests clearly slower than the stable p99; how many more of the candidate's may be
    FLIPS = "flips"  # decisions that differ on the same request; how many may
    MEAN = "mean"  # the mean difference of outputs on the same request, in spreads of the stable output; how far it may lie from 0
    OUTCOME = "outcome"  # bad outcomes that users report; how many more of the candidate's may be bad


DEFAULT_LIMITS = {GuardKind.ERRORS: 0.01, GuardKind.P99: 0.02, GuardKind.FLIPS: 0.01, GuardKind.MEAN: 0.1, GuardKind.OUTCOME: 0.05}
WEIGHTS = {GuardKind.ERRORS: 3.0}  # of a guard's part of ALPHA; the others have 1
COMPARED = (GuardKind.ERRORS, GuardKind.P99, GuardKind.OUTCOME)  # of both arms, each on its own requests
PAIRED = (GuardKind.FLIPS, GuardKind.MEAN)  # both versions have to run the same requests
JUDGING = (*PAIRED, GuardKind.OUTCOME)  # of predictions
UNJUDGED = (
    "nothing judges predictions, so the canary stays at its first step: start it with a guard, such as --guard flips=1%, mean=0.1 or "
    "outcome=5%, or with --promote-unjudged"
)


class Guard(msgspec.Struct, frozen=True):
    kind: GuardKind
    limit: float


class CanaryPlan(msgspec.Struct, frozen=True):
    """How a canary is to go. steps: shares of requests, rising. dwell_s: the least time at a step. patience_s: the time without a
    decision until HOLD. processes: each decides by its own requests, and a decision of one holds for all. unjudged: steps are taken though
    no guard judges predictions."""

    steps: tuple[float, ...] = (0.01, 0.1, 0.5, 1.0)
    guards: tuple[Guard, ...] = (
        Guard(GuardKind.ERRORS, DEFAULT_LIMITS[GuardKind.ERRORS]),
        Guard(GuardKind.P99, DEFAULT_LIMITS[GuardKind.P99]),
    )
    dwell_s: float = 60.0
    patience_s: float = 3600.0
    processes: int = 1
    unjudged: bool = False

    def alpha(self, kind: GuardKind) -> float:
        """The guard's part of ALPHA, in one process."""
        return ALPHA / self.processes * WEIGHTS.get(kind, 1.0) / sum(WEIGHTS.get(guard.kind, 1.0) for guard in self.guards)

    @property
    def is_paired(self) -> bool:
        """Whether a guard needs the other version's response to the same request."""
        return any(guard.kind in PAIRED for guard in self.guards)

    @property
    def is_judged(self) -> bool:
        """Whether steps may be taken: a guard judges predictions, or nobody asks for one."""
        return self.unjudged or any(guard.kind in JUDGING for guard in self.guards)


def by_group(number: int = 0, group: int = GROUPS) -> np.ndarray:
    """So many requests of one group; those without a key by default."""
    made = np.zeros(GROUPS + 1, np.int64)
    made[group] = number
    return made


class Counts(NamedTuple):
    """Finished requests of one arm, by group of keys; the last entry has those without a key. slow: they took longer than the frozen
    threshold."""

    requests: np.ndarray
    errors: np.ndarray
    slow: np.ndarray

    @classmethod
    def of(cls, requests: int = 0, errors: int = 0, slow: int = 0, group: int = GROUPS) -> Counts:
        return cls(by_group(requests, group), by_group(errors, group), by_group(slow, group))


class Seen(msgspec.Struct):
    """All that a canary has seen: what a restart has to find again."""

    step: Annotated[int, msgspec.Meta(ge=0)] = 0
    step_s: Annotated[float, msgspec.Meta(ge=0.0, le=MAX_FIGURE)] = 0.0  # how long it is at this step
    excess: dict[str, Excess] = {}  # of errors, p99 and outcome, by guard; errors are counted without a guard, too
    most: Excess = msgspec.field(default_factory=lambda: Excess(0.0))  # of errors over MOST of all, or over the stable ones
    threshold_ns: Count = 0  # the stable p99, frozen; 0: not yet
    compared: Count = 0  # requests with a decision
    flips: Count = 0
    mean: MeanShift | None = None


class Finding(msgspec.Struct, frozen=True):
    """A guard's finding now. band: where its number lies; e_value: evidence against the candidate; it rolls back at `rolls_back_at`."""

    kind: GuardKind
    limit: float
    count: int
    estimate: float
    band: Band
    e_value: float
    rolls_back_at: float
    bound: float  # the largest upper bound at which the next step is taken
    keys: float = 0.0  # groups of keys that have the candidate; 0: requests have no keys, or they do not matter

    @property
    def upper(self) -> float:
        return max(abs(self.band.low), abs(self.band.high)) if self.kind is GuardKind.MEAN else self.band.high

    @property
    def fails(self) -> bool:
        return self.e_value >= self.rolls_back_at

    @property
    def passes(self) -> bool:
        return self.count > 0 and self.upper <= self.bound


class Judgement(NamedTuple):
    decision: Decision
    reason: str
    findings: tuple[Finding, ...]


class Policy:
    """One canary's plan and evidence. Not thread-safe."""

    def __init__(self, plan: CanaryPlan, seen: Seen | None = None) -> None:
        self.plan = plan
        self.seen = seen or Seen()
        limits = DEFAULT_LIMITS | {guard.kind: guard.limit for guard in plan.guards}
        for kind in COMPARED:
            if kind in (GuardKind.ERRORS, *(guard.kind for guard in plan.guards)):
                self.seen.excess.setdefault(kind.value, Excess(limits[kind]))

    @property
    def share(self) -> float:
        """The share of requests that goes to the candidate."""
        return self.plan.steps[self.seen.step]

    # ---- what comes in ----

    def count(self, candidate: Counts, stable: Counts, seconds: float) -> None:
        """Requests of both arms since the last call, so many seconds ago."""
        excess = self.seen.excess
        excess[GuardKind.ERRORS.value].add((candidate.requests, candidate.errors), (stable.requests, stable.errors), seconds)
        if self.seen.threshold_ns and GuardKind.P99.value in excess:
            excess[GuardKind.P99.value].add((candidate.requests, candidate.slow), (stable.requests, stable.slow), seconds)
        count, events, others = (int(each.sum()) for each in (candidate.requests, candidate.errors, stable.requests))
        beside = max(MOST, int(stable.errors.sum()) / others) if others else MOST
        self.seen.most.add((by_group(count), by_group(events)), (by_group(count), beside * by_group(count)), seconds)

    def freeze(self, stable_latencies_ns: list[int]) -> bool:
        """Takes the threshold of p99 from the stable version's latencies. False: there are too few of them, or it has one."""
        if self.seen.threshold_ns or len(stable_latencies_ns) < FROZEN_AFTER:
            return False
        self.seen.threshold_ns = int(SLOW_TIMES * quantile_threshold(stable_latencies_ns, 0.99)) + SLOW_NS
        return True

    def compare(self, compared: int, flips: int, mean: MeanShift | None) -> None:
        """Takes what both versions decided on the same requests since the canary began.

        compared: requests with two decisions. flips: of these, with two that differ. mean: of the output that shifts most, at most with the
        alpha of its guard."""
        self.seen.compared, self.seen.flips, self.seen.mean = compared, flips, mean

    def report(self, candidate: Counts, stable: Counts, seconds: float) -> None:
        """Outcomes that users have reported since the last call, so many seconds ago: the bad ones are errors."""
        outcome = self.seen.excess[GuardKind.OUTCOME.value]
        outcome.add((candidate.requests, candidate.errors), (stable.requests, stable.errors), seconds)

    def elapse(self, seconds: float) -> None:
        """Time at this step, by a clock that never goes back. A clock that does adds nothing."""
        self.seen.step_s += min(max(seconds, 0.0), MAX_ELAPSED_S)

    # ---- what comes out ----

    def findings(self) -> tuple[Finding, ...]:
        return tuple(self._find(guard) for guard in self.plan.guards)

    def _find(self, guard: Guard) -> Finding:
        seen, alpha, keys = self.seen, self.plan.alpha(guard.kind), 0.0
        if guard.kind is GuardKind.FLIPS:
            count, band = seen.compared, rate_band(seen.flips, seen.compared, alpha)
            estimate = seen.flips / max(seen.compared, 1)
            evidence = rate_evidence(seen.flips, seen.compared, guard.limit)
        elif guard.kind is GuardKind.MEAN:
            mean = seen.mean or MeanShift(alpha)
            count, band = mean.count, mean.band()
            estimate = mean.estimate
            evidence = -log(alpha) if band.low > guard.limit or band.high < -guard.limit else 0.0
        else:
            arms = seen.excess[guard.kind.value]
            count, band = arms.candidate_count, arms.band(alpha)
            estimate = arms.candidate_events / max(count, 1) - arms.stable_events / max(arms.stable_count, 1)
            evidence, keys = self.evidence(guard.kind), arms.keys
        after = self.seen.step + 1
        bound = guard.limit / (self.plan.steps[after] if after < len(self.plan.steps) else 1.0)
        e_value, rolls_back_at = exp(min(evidence, 700.0)), 1.0 / alpha * (1.0 - 1e-9)
        return Finding(guard.kind, guard.limit, count, estimate, band, e_value, rolls_back_at, bound, keys)

    def evidence(self, kind: GuardKind) -> float:
        """Log e-value against: the guard, one of COMPARED, keeps its limit. A mean of two e-values is one (Vovk, Wang 2021)."""
        evidence = self.seen.excess[kind.value].evidence()
        if kind is GuardKind.ERRORS:
            evidence = float(np.logaddexp(evidence + log(1.0 - MOST_WEIGHT), self.seen.most.evidence() + log(MOST_WEIGHT)))
        return evidence

    def decide(self) -> Judgement:
        """The decision now. A step is taken by `step`."""
        findings, plan, seen = self.findings(), self.plan, self.seen
        last = seen.step + 1 >= len(plan.steps)
        for each in findings:
            if each.fails:
                rare = f"a version that keeps the limit shows this in at most 1 of {min(each.e_value, 1e6):,.0f} canaries"
                return Judgement(Decision.ROLL_BACK, f"{_said(each)}: {rare}", findings)
        waits = [each for each in findings if not each.passes]
        if not waits and seen.step_s >= plan.dwell_s and not last:
            if not plan.is_judged:
                return Judgement(Decision.HOLD, UNJUDGED, findings)
            share = plan.steps[seen.step + 1]
            decision = Decision.PROMOTE if share >= 1.0 else Decision.STEP
            return Judgement(decision, f"all bounds allow {percent(share)} of requests: {'; '.join(map(_said, findings))}", findings)
        if not waits and last:
            return Judgement(
                Decision.HOLD, f"the last step, {percent(self.share)} of requests, is reached: promote, or roll back", findings
            )
        why = "; ".join(map(_said, waits)) or f"{plan.dwell_s - seen.step_s:.0f} s are left of this step"
        if not plan.is_judged:
            why += f"; {UNJUDGED}"
        if seen.step_s >= plan.patience_s and waits:
            return Judgement(Decision.HOLD, f"no decision after {seen.step_s:.0f} s at {percent(self.share)} of requests: {why}", findings)
        return Judgement(Decision.CONTINUE, why, findings)

    def step(self) -> float:
        """Takes the next step, and returns its share."""
        self.go_to(self.seen.step + 1)
        return self.share

    def go_to(self, step: int) -> None:
        """Another has decided."""
        if step != self.seen.step:
            self.seen.step, self.seen.step_s = min(step, len(self.plan.steps) - 1), 0.0


def strength(e_value: float, enough: float) -> str:
    """An e-value for people: how much of the evidence there is that would be enough. A logarithm grows as evidence does."""
    if e_value <= 1.0:
        return "none"
    return f"{min(log(e_value) / log(enough), 1.0):.0%}"


SAID = {
    GuardKind.ERRORS: "the new version fails {} of its requests than the stable one",
    GuardKind.P99: "{} of the new version's requests are slow than of the stable one's",
    GuardKind.OUTCOME: "{} of the new version's outcomes are bad than of the stable one's",
    GuardKind.FLIPS: "{} of decisions differ",
    GuardKind.MEAN: "the mean shifts by {} spreads",
}


def _between(low: float, high: float) -> str:
    """A difference of two shares, for people."""
    if high <= 0:
        return f"{percent(-high)} to {percent(-low)} less"
    return f"{percent(low)} to {percent(high)} more" if low >= 0 else f"between {percent(-low)} less and {percent(high)} more"


def _said(found: Finding) -> str:
    """A guard's finding in words."""
    kind = found.kind
    if not found.count:
        which = "request with a decision" if kind is GuardKind.FLIPS else "request"
        return f"{kind.value}: no {which} was {'compared' if kind in PAIRED else 'counted'} yet"
    low, high = found.band
    if kind is GuardKind.MEAN:
        between, limit = f"{low:.3g} to {high:.3g}", f"{found.limit:.3g}"
    else:
        between, limit = _between(low, high) if kind in COMPARED else f"{percent(low)} to {percent(high)}", percent(found.limit)
    said = f"{kind.value}: {SAID[kind].format(between)}, over {found.count} requests; limit {limit}"
    if 0 < found.keys < FEW_KEYS and not found.passes:
        said += f"; about {found.keys:.0f} groups of keys have the new version: too few to tell it from what these keys always do"
    return said
