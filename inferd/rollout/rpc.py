"""Rollouts by RPC (inferd.v1.Rollouts). Never in here: what a rollout does, which states it has."""

from __future__ import annotations

import itertools
import math
import unicodedata
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from inferd.errors import InvalidArgument
from inferd.part import Method
from inferd.protocol import options
from inferd.rollout.state import LONGEST_S, Kind

if TYPE_CHECKING:
    from inferd.rollout.rollouts import Rollouts
    from inferd.rollout.state import Rollout

SERVICE = "inferd.v1.Rollouts"
MAX_STEPS = 100
MAX_GUARDS = 16
MAX_REASON_CHARS = 1000
MAX_OUTCOMES = 1_000  # of one Report: they are joined on the event loop
MAX_REPORT_NBYTES = 1 << 20


class RolloutControl:
    def __init__(self, rollouts: Rollouts) -> None:
        self._rollouts = rollouts

    def methods(self) -> dict[str, Method]:
        """Rows of the service table, by full method name."""
        request, status = options.RolloutRequest, options.RolloutStatus
        change = partial(Method, "unary", changes=True)
        return {
            f"/{SERVICE}/Start": change(self.start, options.StartRolloutRequest, status),
            f"/{SERVICE}/Stop": change(self.stop, request, status),
            f"/{SERVICE}/Status": Method("unary", self.status, options.RolloutStatusRequest, options.RolloutStatusResponse),
            f"/{SERVICE}/Promote": change(self.promote, request, status),
            f"/{SERVICE}/RollBack": change(self.roll_back, request, status),
            f"/{SERVICE}/Report": Method(
                "unary",
                self.report,
                options.ReportOutcomesRequest,
                options.ReportOutcomesResponse,
                max_request_nbytes=MAX_REPORT_NBYTES,
            ),
        }

    async def start(self, request: options.StartRolloutRequest) -> options.RolloutStatus:
        if request.kind not in (options.SHADOW, options.CANARY):
            raise InvalidArgument(f"kind: expected SHADOW or CANARY, got {request.kind}")
        if request.candidate_version < 0:
            raise InvalidArgument(f"candidate_version: expected a number from 1, or 0 for the newest, got {request.candidate_version}")
        sample = request.sample or 1.0
        if not 0 < sample <= 1:
            raise InvalidArgument(f"sample: expected a share above 0 and up to 1, got {sample:g}")
        steps = list(request.steps)
        if len(steps) > MAX_STEPS or not all(0 < step <= 1 for step in steps) or any(b <= a for a, b in itertools.pairwise(steps)):
            raise InvalidArgument(f"steps: expected at most {MAX_STEPS} shares that rise, above 0 and up to 1, got {steps[:MAX_STEPS]}")
        if request.kind == options.SHADOW and steps:
            raise InvalidArgument("steps: expected none for a shadow, whose share is `sample`")
        times = {name: getattr(request, name) for name in ("dwell_s", "patience_s") if request.HasField(name)}
        for name, seconds in times.items():
            if request.kind == options.SHADOW:
                raise InvalidArgument(f"{name}: expected none for a shadow, which takes no steps, got {seconds:g}")
            if not 0 <= seconds <= LONGEST_S:
                raise InvalidArgument(f"{name}: expected seconds from 0 to {LONGEST_S:.0f}, which are 366 days, got {seconds:g}")
        if request.kind == options.SHADOW and request.promote_unjudged:
            raise InvalidArgument("promote_unjudged: expected false for a shadow, which promotes nothing")
        if len(request.guards) > MAX_GUARDS:
            raise InvalidArgument(f"guards: expected at most {MAX_GUARDS}, got {len(request.guards)}; leave some out")
        for name, limit in request.guards.items():
            if not math.isfinite(limit):
                raise InvalidArgument(f"guards: {name[:64]}: expected a number such as 0.02, got {limit:g}")
        rollout = await self._rollouts.start(
            request.model_name,
            Kind(options.RolloutKind.Name(request.kind)),
            request.candidate_version,
            sample=sample,
            steps=steps,
            guards=request.guards,
            unjudged=request.promote_unjudged,
            **times,
        )
        return told(rollout)

    async def stop(self, request: options.RolloutRequest) -> options.RolloutStatus:
        return told(await self._rollouts.stop(request.model_name, _reason(request)))

    async def promote(self, request: options.RolloutRequest) -> options.RolloutStatus:
        return told(await self._rollouts.promote(request.model_name, _reason(request)))

    async def roll_back(self, request: options.RolloutRequest) -> options.RolloutStatus:
        return told(await self._rollouts.roll_back(request.model_name, _reason(request)))

    async def status(self, request: options.RolloutStatusRequest) -> options.RolloutStatusResponse:
        return options.RolloutStatusResponse(rollouts=[told(each) for each in self._rollouts.status(request.model_name)])

    async def report(self, request: options.ReportOutcomesRequest) -> options.ReportOutcomesResponse:
        if len(request.outcomes) > MAX_OUTCOMES:
            raise InvalidArgument(f"outcomes: expected at most {MAX_OUTCOMES}, got {len(request.outcomes)}; send them in parts")
        joined, unknown = self._rollouts.report(request.model_name, [(each.request_id, each.good) for each in request.outcomes])
        return options.ReportOutcomesResponse(joined=joined, unknown=unknown)


def _reason(request: options.RolloutRequest) -> str:
    if len(request.reason) > MAX_REASON_CHARS:
        raise InvalidArgument(f"reason: expected at most {MAX_REASON_CHARS} characters, got {len(request.reason)}")
    if control := next((each for each in request.reason if unicodedata.category(each) == "Cc"), ""):
        raise InvalidArgument(f"reason: expected text without control characters, on one line, got {control!r} in it; leave it out")
    return request.reason


def told(rollout: Rollout) -> options.RolloutStatus:
    """A rollout as clients see it."""
    return options.RolloutStatus(
        id=rollout.id,
        model_name=rollout.model,
        kind=options.RolloutKind.Value(rollout.kind),
        state=options.RolloutState.Value(rollout.state),
        stable_version=rollout.stable,
        candidate_version=rollout.candidate,
        sample=rollout.sample,
        steps=rollout.steps,
        step=rollout.step,
        share=rollout.share,
        guards=rollout.guards,
        promote_unjudged=rollout.unjudged,
        counts=rollout.counts,
        evidence=[options.RolloutEvidence(**msgspec.structs.asdict(each)) for each in rollout.evidence],
        reason=rollout.reason,
        started_unix_ns=rollout.started_ns,
        changed_unix_ns=rollout.changed_ns,
    )
