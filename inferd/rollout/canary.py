"""A canary: a growing share of a model's requests goes to the candidate, as far as evidence allows (policy.py).

    begin: label `canary`, the candidate is loaded beside -> a split of the requests without a version, and a tally of each version
    tick:  what the tallies have counted, and the shadow has compared -> the policy -> step, hold, promote or roll back: by one assignment
    end:   no split, no tally, no label `canary`

The split has effect in the next request. A shadow runs beside the canary, on requests of the stable version, unless the canary is
unjudged and no guard compares responses (policy.PAIRED). Never in here: evidence, files, which requests name a version.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from inferd._core.batching.tally import Tally
from inferd._core.batching.tap import Tap
from inferd._core.inference.split import Split
from inferd.compare.statistics import GROUPS
from inferd.config.units import percent
from inferd.engine.model import State
from inferd.engine.models.labels import versions_of
from inferd.errors import FailedPrecondition, InvalidArgument, NotFound, RequestError
from inferd.rollout import policy
from inferd.rollout.candidate import flip_words, mean_words
from inferd.rollout.policy import CanaryPlan, Counts, Decision, Guard, GuardKind, Policy, Seen, by_group
from inferd.rollout.shadow import Shadow
from inferd.rollout.shift import worst_of
from inferd.rollout.signatures import difference
from inferd.rollout.state import Evidence, Rollout, RolloutState, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from inferd.engine.model import Model
    from inferd.rollout.live_rollout import Site

log = logging.getLogger("inferd.rollout")

CANARY = "canary"  # the label of the candidate
STARTED = "started"  # the reason of a rollout that has just begun
REMEMBER_S = 0.002  # between two looks at requests whose outcome may be reported: what a tap holds takes memory
LOOK_S = 0.1  # between two decisions: they take the thread half a millisecond
ABSENT_S = 0.5  # how long the candidate may take no requests: a reload of its files takes no time
SAMPLE = 4 * policy.FROZEN_AFTER  # stable latencies that are kept until the threshold is frozen
MAX_JOINED = 100_000  # request ids that outcomes can be reported for
DIGEST_NBYTES = 16  # of an id: clients choose how long theirs are


def plan_of(rollout: Rollout, processes: int) -> CanaryPlan:
    """A canary as a client asked for it: the usual guards, and those that are named. Raises InvalidArgument."""
    usual = CanaryPlan()
    found = {guard.kind: guard for guard in usual.guards}
    for name, limit in rollout.guards.items():
        kind = next((kind for kind in GuardKind if kind.value == name), None)
        if kind is None:
            raise InvalidArgument(f"guards: expected some of {', '.join(GuardKind)} for a canary, got {name[:64]!r}")
        if not 0 < limit <= 1:
            raise InvalidArgument(f"guards: {name}: expected more than 0 and at most 1 (100%), got {limit:g}")
        found[kind] = Guard(kind, limit)
    plan = CanaryPlan(
        rollout.steps or usual.steps,
        tuple(found.values()),
        usual.dwell_s if rollout.dwell_s is None else rollout.dwell_s,
        usual.patience_s if rollout.patience_s is None else rollout.patience_s,
        processes,
        rollout.unjudged,
    )
    if rollout.sample < 1 and rollout.unjudged and not plan.is_paired:
        raise InvalidArgument(
            f"sample: expected a guard that compares responses beside promote_unjudged, flips or mean, got {rollout.sample:g} alone"
        )
    return plan


def check(rollout: Rollout, plan: CanaryPlan) -> None:
    """Whether evidence can come. Raises InvalidArgument."""
    if plan.steps[0] >= 1:
        raise InvalidArgument(
            "steps: expected a first share below 100%, so that both versions answer requests, got 100%; to switch at once, "
            f"move the label: inferd models HOST label {rollout.model} stable {rollout.candidate}"
        )
    if plan.processes > 1 and any(guard.kind is GuardKind.OUTCOME for guard in plan.guards):
        raise InvalidArgument(
            f"guards: outcome: expected a server of one process, got {plan.processes}, each of which knows the ids of its own requests "
            "alone; start the server with --workers 1, or leave this guard out"
        )


def digest_of(request_id: str) -> bytes:
    return blake2b(request_id.encode(), digest_size=DIGEST_NBYTES).digest()


class Canary:
    """The live rollout of a canary."""

    def __init__(self, rollout: Rollout, site: Site) -> None:
        self._rollout, self._site = rollout, site
        seen = msgspec.convert(rollout.memory["seen"], Seen) if "seen" in rollout.memory else None
        self._policy = Policy(plan := plan_of(rollout, site.processes), seen)
        self._limits = {guard.kind: guard.limit for guard in plan.guards}
        self._shadow: Shadow | None = None
        if plan.is_paired or not plan.unjudged:
            paired = {kind.value: self._limits[kind] for kind in policy.PAIRED if kind in self._limits}
            self._shadow = Shadow(msgspec.structs.replace(rollout, guards=paired), site, plan.alpha(GuardKind.MEAN))
        self._blind = ""  # why nothing is compared any more
        self._split = Split(self, rollout.id, rollout.share or self._policy.share)
        self._joins = GuardKind.OUTCOME in self._limits
        self._stable, self._candidate = (_Counted(sample, Tap() if self._joins else None) for sample in (SAMPLE, 0))
        # By the digest of a request's id: whether it was the candidate's, and the group of its key.
        self._joined: OrderedDict[bytes, tuple[bool, int]] = OrderedDict()
        self._remembering = threading.Lock()  # of what the taps hold, until it is in there, and of outcomes
        self._reported = _nothing_reported()
        self._verdict: tuple[int, policy.Judgement] | None = None  # and the step that it was made at
        self._looked_ns = self._decided_ns = 0
        self._absent_s = 0.0
        self._ended = False
        self._over: tuple[RolloutState, str] | None = None  # how it has ended, and why
        self._before: int | None = None  # the version that the label named before it was moved, or 0; None: it was not moved
        self._is_there = False  # the candidate has taken requests

    # ---- life ----

    async def begin(self, *, resumed: bool = False) -> None:
        """Loads the candidate, and splits requests. Raises RequestError."""
        rollout, repository = self._rollout, self._site.repository
        check(rollout, self._policy.plan)
        if not resumed:
            before = versions_of(repository.labels, rollout.model).get(CANARY, 0)
            self._before = 0 if before == rollout.candidate else before
            await self._label(rollout.candidate)
            self._check(repository[rollout.model].serving)
        if self._shadow is not None:
            await self._begin_shadow(self._shadow)
        self._is_there = not resumed
        self._watch()
        repository.split(rollout.model, rollout.candidate, self._split)

    async def _begin_shadow(self, shadow: Shadow) -> None:
        """The candidate's process loads meanwhile."""
        try:
            await shadow.begin(resumed=True)
        except FailedPrecondition as error:
            if self._policy.plan.is_paired:
                raise
            log.warning("canary of model '%s': responses are not compared: %s", self._rollout.model, error)
            self._shadow = None

    async def undo(self) -> None:
        self._leave()
        if self._shadow is not None:
            await self._shadow.undo()
        if self._before is not None:
            await self._unlabel(self._before)

    def _check(self, serving: Mapping[int, Model]) -> None:
        """Raises FailedPrecondition unless the candidate can serve clients of the stable version."""
        stable, candidate = (serving.get(version) for version in (self._rollout.stable, self._rollout.candidate))
        if stable is None or candidate is None:
            which = self._rollout.candidate if candidate is None else self._rollout.stable
            raise FailedPrecondition(f"rollout: version {which} of model '{self._rollout.model}' takes no requests")
        if why := difference(*((model.signature.input_specs, model.signature.output_specs) for model in (stable, candidate))):
            raise FailedPrecondition(f"rollout: version {candidate.version} cannot take the place of version {stable.version}: {why}")

    def abandon(self) -> None:
        self._leave()
        if self._shadow is not None:
            self._shadow.abandon()

    def _leave(self) -> None:
        """No request is split or counted from now on."""
        self._ended = True
        self._site.repository.split(self._rollout.model, 0, None)
        for counted in (self._stable, self._candidate):
            counted.watch(None)

    async def end(self, rollout: Rollout) -> Rollout:
        self._split.share = 0.0
        self._leave()
        if self._shadow is not None:
            await self._shadow.end(rollout)
        told = self._told(rollout)
        if versions_of(self._site.repository.labels, rollout.model).get(CANARY) == rollout.candidate:
            self._site.spawn(self._unlabel(0))  # it may wait for another model's load
        return told

    async def _unlabel(self, version: int) -> None:
        """The label goes back to a version, or goes: 0."""
        try:
            await self._label(version)
        except NotFound:
            pass  # it was never set, or another process was faster
        except RequestError as error:
            log.warning("the label '%s' of model '%s' stays: %s", CANARY, self._rollout.model, error)

    async def _label(self, version: int) -> None:
        await asyncio.wrap_future(self._site.lifecycle.label(self._rollout.model, CANARY, version))

    # ---- what is known, and what is to be done ----

    def work(self) -> float:
        """On the rollouts' thread: a decision takes it a while."""
        if self._joins:
            self._remember()
        rest_s = REMEMBER_S if self._joins else LOOK_S
        if (now_ns := time.monotonic_ns()) - self._decided_ns < LOOK_S * 1e9 or self._ended:
            return rest_s
        seconds = min((now_ns - (self._decided_ns or now_ns)) / 1e9, policy.MAX_ELAPSED_S)
        self._decided_ns = now_ns
        seen = self._policy.seen
        self._policy.count(self._candidate.take(), self._stable.take(), seconds)
        if self._joins:
            with self._remembering:
                (stable, candidate), self._reported = self._reported, _nothing_reported()
            self._policy.report(candidate, stable, seconds)
        if self._shadow is not None:
            self._compare(self._shadow)
        if self._policy.freeze(self._stable.tally.latencies_ns):
            log.info("canary of model '%s': requests above %.3f ms are slow", self._rollout.model, seen.threshold_ns / 1e6)
        self._stable.tally.threshold_ns = self._candidate.tally.threshold_ns = seen.threshold_ns
        step = seen.step
        self._verdict = step, self._policy.decide()
        return rest_s

    def _compare(self, shadow: Shadow) -> None:
        """Requests with a decision count. Responses of another shape or datatype have none that can be compared: they count as flips."""
        found = shadow.found
        limit = self._limits.get(GuardKind.MEAN, 1.0)
        total, worst = found.total, worst_of(found.shifts, limit)
        compared = min(total.decisive + total.mismatched, total.requests)
        flips = min(total.flipped + total.mismatched, compared)
        self._policy.compare(compared, flips, found.shifts[worst].worst(limit)[1] if worst else None)
        if self._blind:
            shadow.abandon()  # requests that wait count as dropped

    def _remember(self) -> None:
        """Every request that has its response. On any thread."""
        with self._remembering:
            for counted in (self._stable, self._candidate):
                for tapped in counted.ids.take(MAX_JOINED) if counted.ids is not None else ():
                    if found := getattr(tapped.request, "id", ""):
                        self._joined[digest_of(found)] = counted is self._candidate, tapped.group
            while len(self._joined) > MAX_JOINED:
                self._joined.popitem(last=False)

    def tick(self, rollout: Rollout, now_ns: int) -> Rollout:
        before_ns, self._looked_ns = self._looked_ns or now_ns, now_ns
        elapsed_s = (now_ns - before_ns) / 1e9
        if self._ended or not rollout.runs:
            return self._told(rollout)
        if self._over is not None:
            return self._end_as(rollout, *self._over)
        labelled = versions_of(self._site.repository.labels, rollout.model).get(CANARY)
        self._watch()
        candidate = self._candidate.model
        self._is_there = self._is_there or (candidate is not None and candidate.state is State.READY)
        why = self._lost(elapsed_s) if self._is_there else self._broken()
        if why:
            return self._end_as(rollout, RolloutState.ROLLED_BACK, why)
        if labelled != rollout.candidate:
            why = f"the label '{CANARY}' was moved from version {rollout.candidate} to {labelled or 'none'} meanwhile"
            return self._end_as(rollout, RolloutState.STOPPED, why)
        if not self._is_there:  # after a restart it may be on demand, and no request goes to it
            return self._told(rollout)
        if self._shadow is not None and not self._blind and (why := self._shadow.watch()):
            is_paired = self._policy.plan.is_paired
            self._blind = f"{'no step is taken, because ' if is_paired else ''}nothing can be compared: {why}"
            self._shadow.untap()
            log.error("canary of model '%s': %s", rollout.model, self._blind)
            if is_paired:
                rollout = msgspec.structs.replace(rollout, reason=self._blind)
        self._policy.elapse(elapsed_s)
        made, self._verdict = self._verdict, None
        if made is None or made[0] != self._policy.seen.step:
            return self._told(rollout)
        verdict = made[1]
        if verdict.decision in (Decision.STEP, Decision.PROMOTE) and (against := self._against()):
            verdict = verdict._replace(decision=Decision.HOLD, reason=against)
        if verdict.decision is Decision.ROLL_BACK:
            return self._end_as(rollout, RolloutState.ROLLED_BACK, verdict.reason, verdict)
        if verdict.decision is Decision.PROMOTE:
            rollout = msgspec.structs.replace(rollout, state=RolloutState.PROMOTED, reason=verdict.reason)
        elif verdict.decision is Decision.STEP:
            self._split.share = share = self._policy.step()
            rollout = msgspec.structs.replace(
                rollout, state=RolloutState.RUNNING, step=self._policy.seen.step, share=share, reason=verdict.reason
            )
        elif verdict.decision is Decision.HOLD and rollout.state is RolloutState.RUNNING:
            rollout = msgspec.structs.replace(rollout, state=RolloutState.HOLD, reason=self._blocked or verdict.reason)
        elif verdict.decision is Decision.CONTINUE and rollout.state is RolloutState.RUNNING:
            rollout = msgspec.structs.replace(rollout, reason=self._blocked or f"no step yet: {verdict.reason}")
        return self._told(rollout, verdict)

    @property
    def _blocked(self) -> str:
        """Why no step is taken whatever the evidence says; ''."""
        return self._blind if self._policy.plan.is_paired else ""

    def _against(self) -> str:
        """Why no step is taken though all guards allow it: too many decisions differ, and no guard judges decisions; ''."""
        if self._joins or self._policy.plan.unjudged:
            return ""
        flips = next((each for each in self._reports() if each.guard == GuardKind.FLIPS and each.verdict is Verdict.BAD), None)
        if flips is None:
            return ""
        between = f"{percent(flips.lower)} to {percent(flips.upper)}"
        return (
            f"flips: {between} of decisions differ, over {flips.count} requests, and no guard judges decisions: promote it by hand, or "
            "start it with --guard flips=LIMIT, outcome=5% or with --promote-unjudged"
        )

    def _end_as(self, rollout: Rollout, state: RolloutState, why: str, verdict: policy.Judgement | None = None) -> Rollout:
        """The candidate gets no request from now on, whatever an older file says."""
        self._split.share, self._over = 0.0, (state, why)
        return self._told(msgspec.structs.replace(rollout, state=state, reason=why), verdict)

    def _lost(self, elapsed_s: float) -> str:
        """Why the candidate can take no requests; '' while it can."""
        candidate = self._candidate.model
        if candidate is not None and candidate.state is State.READY:
            self._absent_s = 0.0
            return ""
        self._absent_s += max(elapsed_s, 0.0)
        if self._absent_s < ABSENT_S:
            return ""
        return f"version {self._rollout.candidate} takes no requests: {candidate.reason if candidate is not None else 'it is not loaded'}"

    def _broken(self) -> str:
        """Why the candidate could not be loaded; '' while it may be."""
        why = self._site.repository[self._rollout.model].broken.get(self._rollout.candidate, "")
        return f"version {self._rollout.candidate} takes no requests: {why}" if why else ""

    def _watch(self) -> None:
        """Counts at the models that serve now: a reload makes others."""
        serving = self._site.repository[self._rollout.model].serving
        self._stable.watch(serving.get(self._rollout.stable))
        self._candidate.watch(serving.get(self._rollout.candidate))

    def _told(self, rollout: Rollout, verdict: policy.Judgement | None = None) -> Rollout:
        """With what is known now."""
        seen = self._policy.seen
        errors = seen.excess[GuardKind.ERRORS.value]
        counts = {
            "stable": errors.stable_count,
            "stable_errors": errors.stable_events,
            "canary": errors.candidate_count,
            "canary_errors": errors.candidate_events,
        }
        evidence = rollout.evidence
        if verdict is not None:
            evidence = (*(_evidence(each, self._told_of(each.kind), rollout.runs) for each in verdict.findings), *self._reports())
        if rollout.reason == STARTED and not self._policy.plan.is_judged:
            rollout = msgspec.structs.replace(rollout, reason=f"{STARTED}; {policy.UNJUDGED}")
        share, step = (self._split.share, seen.step) if rollout.runs else (rollout.share, rollout.step)
        memory = {"seen": msgspec.to_builtins(seen)}
        if self._shadow is not None:
            beside = self._shadow.told(rollout)
            counts, memory = {**beside.counts, **counts}, {**beside.memory, **memory}
        steps = self._policy.plan.steps  # a client may have left them out
        return msgspec.structs.replace(rollout, steps=steps, counts=counts, evidence=evidence, share=share, step=step, memory=memory)

    def _reports(self) -> Iterator[Evidence]:
        """Evidence of the shadow that no guard asks for: it decides nothing."""
        for each in self._shadow.found.evidence if self._shadow is not None else ():
            if each.guard in policy.PAIRED and GuardKind(each.guard) not in self._limits:
                words = filter(None, ("a report: no guard asks for it", each.explanation))
                yield msgspec.structs.replace(each, explanation="; ".join(words))

    def _told_of(self, kind: GuardKind) -> str:
        """Words for people about a guard, beside its numbers."""
        if self._shadow is None or kind not in policy.PAIRED:
            return ""
        found = self._shadow.found
        if kind is GuardKind.FLIPS:
            return self._blind or flip_words(found)
        worst = worst_of(found.shifts, self._limits[kind])
        return self._blind or (mean_words(worst, found.shifts[worst], self._limits[kind]) if worst else "")

    def follow(self, rollout: Rollout) -> None:
        """A share never falls: what the file says may be older than what this process has decided."""
        if self._over is None:
            self._policy.go_to(max(rollout.step, self._policy.seen.step))
            self._split.share = max(self._split.share, rollout.share)

    def report(self, outcomes: Iterable[tuple[str, bool]]) -> tuple[int, int]:
        if not self._joins:
            raise FailedPrecondition("outcomes: this canary has no guard that asks for them; begin one with --guard outcome=5%")
        self._remember()  # a client may be faster than the thread
        joined = unknown = 0
        for request_id, good in outcomes:
            known = self._joined.pop(digest_of(request_id), None)  # one outcome of a request counts
            if known is None:
                unknown += 1
            else:
                joined += 1
                of_candidate, group = known
                with self._remembering:
                    self._reported[of_candidate].requests[group] += 1
                    self._reported[of_candidate].errors[group] += not good
        return joined, unknown


def _nothing_reported() -> tuple[Counts, Counts]:
    """Outcomes since the last decision, of the stable version and of the candidate; the bad ones are errors."""
    return Counts.of(), Counts.of()


class _Counted:
    """Counts requests of one version, whichever Model it is at the moment. ids: a tap that remembers requests; None: not needed."""

    def __init__(self, sample: int, ids: Tap | None) -> None:
        self.model: Model | None = None
        self.tally, self.ids = Tally(sample), ids
        self._rejected = 0
        self._taken = np.zeros((3, GROUPS + 1), np.int64)

    def watch(self, model: Model | None) -> None:
        """On the loop."""
        if model is self.model:
            return
        for tap in filter(None, (self.tally, self.ids)):
            if self.model is not None:
                self.model.queues.untap(tap)
            if model is not None:
                model.queues.tap(tap)
        self.model, self._rejected = model, _rejected(model)

    def take(self) -> Counts:
        """The requests since the last call. A request that finds the queue full is an error, too."""
        tally, rejected = self.tally, _rejected(self.model)
        more, self._rejected = max(rejected - self._rejected, 0), rejected
        now = np.frombuffer(tally.by_group(), np.int64).reshape(3, GROUPS + 1)
        before, self._taken = self._taken, now
        requests, errors, slow = now - before
        return Counts(requests + by_group(more), errors + by_group(more), slow)


def _rejected(model: Model | None) -> int:
    """Requests that its queue did not take."""
    return 0 if model is None else model.route.rejected["REJECTED"] + model.route.rejected["BACKEND"]


def _evidence(found: policy.Finding, told: str, runs: bool) -> Evidence:
    """told: what is said ahead of what the numbers would lead to."""
    verdict = Verdict.BAD if found.fails else Verdict.OK if found.passes else Verdict.OPEN
    low, high = found.band
    if runs:
        bound = f"{found.bound:.3g} spreads" if found.kind is GuardKind.MEAN else percent(found.bound)
        evidence = policy.strength(found.e_value, found.rolls_back_at)
        leads_to = (
            f"the next step comes once the band ends at {bound} or below; a rollback takes evidence that 1 of {found.rolls_back_at:.0f} "
            f"versions at the limit would show, and there is {evidence} of it"
        )
        told = f"{told}; {leads_to}" if told else leads_to
    return Evidence(found.kind.value, found.count, found.estimate, low, high, found.limit, verdict, told)
