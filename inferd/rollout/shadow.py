"""A shadow: the candidate runs requests of the stable version again, and its responses are compared and thrown away.

The candidate has a process of its own (mirror.py). A request pays only for its tap. Never in here: comparing, and when requests leave the
tap.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import asdict
from typing import TYPE_CHECKING

import msgspec

from inferd._core.batching.tap import Tap
from inferd.errors import FailedPrecondition, InvalidArgument
from inferd.rollout.candidate import ALPHA, GUARDS
from inferd.rollout.messages import Found, Setup
from inferd.rollout.mirror import Mirror
from inferd.rollout.shift import floats_of
from inferd.rollout.signatures import difference
from inferd.rollout.state import RolloutState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from inferd.engine.model import Model
    from inferd.rollout.live_rollout import Site
    from inferd.rollout.state import Rollout

MAX_HELD = 2048  # requests that wait for the candidate: older ones would say little of today's
MAX_HELD_NBYTES = 16 << 20  # of them: clients' messages need the same memory
MAX_WHY = 1000  # characters of why a candidate cannot be loaded


class Shadow:
    """The live rollout of a shadow. A canary has one, too, unless it is unjudged and no guard compares responses. alpha: of each guard."""

    def __init__(self, rollout: Rollout, site: Site, alpha: float = ALPHA / len(GUARDS)) -> None:
        self._rollout, self._site, self._alpha = rollout, site, alpha
        self._tap = Tap(rollout.sample, max_held=MAX_HELD, max_held_nbytes=MAX_HELD_NBYTES)
        self._tapped: Model | None = None  # None: the stable version is not in memory
        self._mirror: Mirror | None = None
        self._before = dict(rollout.counts)  # of earlier starts of the server
        self._checked = self._ended = False
        self._found: Found | None = None  # that `_memory` is made of
        self._memory: dict[str, object] = {}

    async def begin(self, *, resumed: bool = False) -> None:
        if unknown := sorted(set(self._rollout.guards) - set(GUARDS)):
            raise InvalidArgument(f"guards: expected some of {', '.join(GUARDS)} for a shadow, got {unknown[0][:64]!r}")
        if wrong := [name for name, limit in self._rollout.guards.items() if not 0 < limit < 1]:
            raise InvalidArgument(f"guards: {wrong[0]}: expected a number between 0 and 1, got {self._rollout.guards[wrong[0]]:g}")
        model = self._site.repository[self._rollout.model].serving.get(self._rollout.stable)
        if "mean" in self._rollout.guards and model is not None and not floats_of(model.signature.output_specs):
            raise InvalidArgument(f"guards: mean: model '{self._rollout.model}' has no output of floats; leave this guard out")
        place = await asyncio.to_thread(self._site.lifecycle.place, self._rollout.model)
        if place is None or place.folder is None:
            raise FailedPrecondition(f"rollout: model '{self._rollout.model}' has no folder with versions")
        setup = Setup(
            str(place.folder),
            place.name,
            self._rollout.candidate,
            asdict(self._site.repository.loader.defaults),
            self._rollout.guards,
            self._alpha,
            msgspec.convert(self._rollout.memory.get("found", {}), Found),
        )
        title = f"the shadow of model '{place.name}', version {self._rollout.candidate}"
        self._mirror = Mirror(title, setup, self._tap, self._busy)
        self._mirror.start()
        if not resumed:
            await asyncio.wait([asyncio.wrap_future(self._mirror.ready)])
            if why := self._why_not():
                raise FailedPrecondition(f"rollout: {why}")
        self._follow_model()

    async def undo(self) -> None:
        await self.end(self._rollout)

    def tick(self, rollout: Rollout, now_ns: int) -> Rollout:
        why = self.watch()
        rollout = self.told(rollout)
        return msgspec.structs.replace(rollout, state=RolloutState.STOPPED, reason=why) if why else rollout

    def follow(self, rollout: Rollout) -> None:
        """Nothing that another process decides changes a shadow, but its end."""

    def work(self) -> float:
        return math.inf  # another process does

    def report(self, outcomes: Iterable[tuple[str, bool]]) -> tuple[int, int]:
        return 0, sum(1 for _ in outcomes)

    async def end(self, rollout: Rollout) -> Rollout:
        self.untap()
        if self._mirror is not None:
            await asyncio.to_thread(self._mirror.stop)
        return self.told(rollout)

    def abandon(self) -> None:
        self.untap()
        if self._mirror is not None:
            self._mirror.stop()

    # ---- of a canary, too ----

    def watch(self) -> str:
        """Taps the stable version that serves now. Why the candidate cannot run beside it, once that is known; ''."""
        self._follow_model()
        return "" if self._ended else self._why_not()

    def untap(self) -> None:
        """No request is mirrored from now on."""
        self._ended = True
        self._follow_model()

    @property
    def found(self) -> Found:
        """On any thread."""
        return Found() if self._mirror is None else self._mirror.found

    def told(self, rollout: Rollout) -> Rollout:
        """With what is known now."""
        mirror = self._mirror
        if mirror is None:
            return rollout
        if mirror.found is not self._found:
            self._found = mirror.found
            self._memory = {"found": msgspec.to_builtins(mirror.found)}
        now = {
            "compared": mirror.compared,  # these before `mirrored`: the difference waits
            "dropped": mirror.dropped,
            "dropped_full": self._tap.dropped,
            "dropped_lost": mirror.lost,
            "dropped_skipped": mirror.skipped,
            "dropped_unanswered": mirror.unanswered,
            "restarts": mirror.restarts,
            "mirrored": self._tap.offered,
            "seen": self._tap.seen,
        }
        counts = {name: count + self._before.get(name, 0) for name, count in now.items()}
        counts["waiting"] = counts["mirrored"] - counts["compared"] - counts["dropped"]
        total = mirror.found.total
        counts |= {"failed": mirror.found.failed, "changed": total.changed, "flipped": total.flipped, "mismatched": total.mismatched}
        return msgspec.structs.replace(rollout, counts=counts, evidence=tuple(mirror.found.evidence), memory=self._memory)

    # ---- inside ----

    def _busy(self) -> bool:
        model = self._tapped
        return model is not None and model.queues.depth > 0

    def _follow_model(self) -> None:
        """The stable version may be loaded again, or leave memory, meanwhile."""
        model = None if self._ended else self._site.repository[self._rollout.model].serving.get(self._rollout.stable)
        if model is self._tapped:
            return
        if self._tapped is not None:
            self._tapped.queues.untap(self._tap)
        if model is not None:
            model.queues.tap(self._tap)
        self._tapped = model

    def _why_not(self) -> str:
        """Why the candidate cannot run beside the stable version, once that is known; ''."""
        if self._mirror is not None and self._mirror.too_large:
            return self._mirror.too_large[:MAX_WHY]
        mirror, model = self._mirror, self._tapped or self._site.repository[self._rollout.model].serving.get(self._rollout.stable)
        if self._checked or mirror is None or not mirror.ready.done():
            return ""
        if (error := mirror.ready.exception()) is not None:
            return str(error)[:MAX_WHY]
        if model is None:
            return ""
        self._checked = True
        ready, signature = mirror.ready.result(), model.signature
        unlike = difference((signature.input_specs, signature.output_specs), (ready.inputs, ready.outputs))
        if not unlike:
            return ""
        return f"version {self._rollout.candidate} cannot take the place of version {self._rollout.stable}: {unlike}"
