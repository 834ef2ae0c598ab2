"""The rollouts of one process: begins them, asks each a few times a second what it knows, and carries out what it decides.

    start -> the candidate is made ready -> RUNNING, HOLD -> PROMOTED: `stable` names the candidate
                                                          -> ROLLED_BACK, STOPPED: it stays where it is

The `LiveRollout` of each kind acts on requests (shadow.py, canary.py); the roster has them all. Every change is written (ledger.py), and
other processes of the server follow the file (follower.py). Each model has a lock, so that no rollout waits for another model. Methods
belong to the event loop's thread; `status` is for any thread. Never in here: statistics, transports.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from inferd.engine.models.labels import STABLE, versions_of
from inferd.errors import FailedPrecondition, InferdError, InvalidArgument, NotFound
from inferd.log import LIMITED
from inferd.rollout.follower import Follower
from inferd.rollout.roster import Roster, Start
from inferd.rollout.state import Kind, Rollout, RolloutState, begun, merged, running
from inferd.rollout.tasks import Tasks
from inferd.rollout.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
    from concurrent.futures import Future

    from inferd.engine.models.lifecycle import Lifecycle
    from inferd.engine.models.repository import Repository
    from inferd.rollout.ledger import Ledger
    from inferd.rollout.live_rollout import LiveRollout, Site

log = logging.getLogger("inferd.rollout")

TICK_S = 0.1  # between two looks at what a live rollout knows
SAVE_S = 5.0  # between two writes of evidence that decides nothing, and two tries of what could not be carried out


class Rollouts:
    """Owns the promotions that move a label, and the ticks; on the event loop's thread. It is the Site of each live rollout.

    kinds: what makes the live rollout of each kind. lifecycle: None: models stay as they are, and so no rollout begins.
    most: of all models at once; one that goes on after a restart goes on in any case."""

    def __init__(
        self,
        repository: Repository,
        lifecycle: Lifecycle | None,
        loop: asyncio.AbstractEventLoop,
        ledger: Ledger,
        kinds: Mapping[Kind, Callable[[Rollout, Site], LiveRollout]],
        processes: int = 1,
        most: int = 4,
    ) -> None:
        self.repository, self._lifecycle, self.loop, self.processes = repository, lifecycle, loop, processes
        self._ledger, self._kinds = ledger, kinds
        self.roster = Roster(most)
        self._tasks = Tasks(loop)
        self._follower = Follower(self, self.roster, ledger, kinds, self._adopt)
        self._worker = Worker(self.roster, self._follower)
        self._moving: dict[str, Future[None]] = {}  # of promotions: the order that moves the label
        self._timer: asyncio.TimerHandle | None = None
        self._saved_ns = 0

    @property
    def lifecycle(self) -> Lifecycle:
        if self._lifecycle is None:
            raise FailedPrecondition("rollouts need versions that come and go: start the server with --model-control poll or explicit")
        return self._lifecycle

    # ---- what clients ask ----

    async def start(
        self,
        model: str,
        kind: Kind,
        candidate: int = 0,
        *,
        sample: float = 1.0,
        steps: Sequence[float] = (),
        guards: Mapping[str, float],
        dwell_s: float | None = None,
        patience_s: float | None = None,
        unjudged: bool = False,
    ) -> Rollout:
        """Begins a rollout, and returns it once it runs. candidate: 0: the newest version that is not the stable one. dwell_s, patience_s:
        of a canary; None: the usual ones. unjudged: it takes steps without a guard on predictions. Raises RequestError: no rollout has
        begun then, but the label `stable` may be set."""
        if kind not in self._kinds:
            raise InvalidArgument(f"kind: expected {' or '.join(self._kinds)}, got {kind}")
        self.roster.check_begun(model)
        self.roster.check_room(self.roster.table, model)

        async def begin() -> Rollout:
            stable, version = await self._versions(model, candidate)
            made = Rollout(
                id=secrets.token_hex(8),
                model=model,
                kind=kind,
                stable=stable,
                candidate=version,
                sample=sample,
                steps=tuple(steps),
                guards=dict(guards),
                unjudged=unjudged,
                dwell_s=dwell_s,
                patience_s=patience_s,
                reason="started",
                started_ns=(now_ns := time.time_ns()),
                changed_ns=now_ns,
            )
            return await self._begin(made)

        self.roster.starting[model] = Start.REVOCABLE
        return await self._outlive(model, begin(), lambda: self.roster.starting.pop(model))

    async def stop(self, model: str, reason: str = "") -> Rollout:
        return await self._end(model, RolloutState.STOPPED, reason or "a client stopped it")

    async def promote(self, model: str, reason: str = "") -> Rollout:
        return await self._end(model, RolloutState.PROMOTED, reason or "a client promoted it")

    async def roll_back(self, model: str, reason: str = "") -> Rollout:
        return await self._end(model, RolloutState.ROLLED_BACK, reason or "a client rolled it back")

    def status(self, model: str = "") -> list[Rollout]:
        """The rollouts of all models, or of one. Raises NotFound."""
        return self.roster.status(model)

    def report(self, model: str, outcomes: Iterable[tuple[str, bool]]) -> tuple[int, int]:
        """Takes outcomes of a model's requests, by id. Returns how many of the ids are known, and how many are not. Raises NotFound,
        FailedPrecondition."""
        running(self.roster.table, model)
        return self.roster.live[model].report(outcomes) if model in self.roster.live else (0, len(list(outcomes)))

    # ---- life ----

    async def resume(self) -> None:
        """Once models are loaded: resumes the rollouts that ran when the server stopped."""
        if self._lifecycle is None:
            return
        await self._follower.follow()
        if self._ledger.path is not None:
            self._worker.begin()

    def close(self) -> None:
        """The server stops. Running rollouts go on after the next start. Idempotent."""
        self._worker.leave()
        self._follower.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tasks.cancel()
        for model, live in self.roster.live.items():
            live.abandon()
            self.roster.know(after := live.tick(self.roster.table[model], time.monotonic_ns()))
            if not after.runs:  # nobody carries it out any more
                self._ledger.owe(_ended_now(after))
        self._worker.join()
        if self.roster.live or self._ledger.owes:
            self._ledger.close(self.roster.running())
        self.roster.live = {}

    # ---- inside ----

    async def _versions(self, model: str, candidate: int) -> tuple[int, int]:
        """The stable version and the candidate. Raises RequestError."""
        await self._follower.follow_labels()
        stable = versions_of(self.repository.labels, model).get(STABLE) or self.repository.lookup(model, "").version
        place = await asyncio.to_thread(self.lifecycle.place, model)
        there = sorted(() if place is None else place.files)
        others = [version for version in there if version != stable]
        if not others:
            raise NotFound(
                f"candidate_version: model '{model}' has version {stable} alone, which gets the requests; add the folder of another"
            )
        if candidate and candidate not in others:
            why = f"model '{model}' has no such version"
            if candidate == stable:
                why = f"requests get it already; where an earlier version is to be compared with it, move the label '{STABLE}' there first"
            raise InvalidArgument(f"candidate_version: expected one of {', '.join(map(str, others))}, got {candidate}: {why}")
        return stable, candidate or others[-1]

    async def _begin(self, made: Rollout) -> Rollout:
        model = made.model
        begun(self.roster.table, made)
        begun(await self._ledger.read(), made)
        if STABLE not in versions_of(self.repository.labels, model):
            await asyncio.wrap_future(self.lifecycle.label(model, STABLE, made.stable, only_new=True))
        if (stable := versions_of(self.repository.labels, model).get(STABLE)) != made.stable:
            where = f"names version {stable}" if stable else "is gone"
            raise FailedPrecondition(f"rollout: the label '{STABLE}' of model '{model}' {where} since a moment ago; try again")
        live = self._kinds[made.kind](made, self)
        try:
            try:
                await live.begin()
            finally:
                self.roster.starting[model] = Start.FINAL
            made = live.tick(made, time.monotonic_ns())
            await self._ledger.write(lambda table: self.roster.begun(table, made))
        except BaseException:
            there = await self._follower.there(model)
            if there is not None and there.runs:  # another process was faster, and its candidate is the same
                live.abandon()
            else:
                await live.undo()
            self.spawn(self._follower.follow())
            raise
        self.roster.know(made)
        self._adopt(model, live)
        await self._ledger.audit("started", made)
        return made

    async def _end(self, model: str, state: RolloutState, reason: str) -> Rollout:
        self.roster.check_begun(model)
        running(self.roster.table, model)
        if state is not RolloutState.PROMOTED and (moving := self._moving.get(model)) is not None:
            moving.cancel()  # it may wait for another model's load

        async def end() -> Rollout:
            found = running(self.roster.table, model)
            ended = await self._ended(msgspec.structs.replace(found, state=state, reason=reason))
            if ended.state is not state:  # another process was faster
                running(self.roster.table, model)
            return ended

        lock = self.roster.lock(model)
        await lock.acquire()
        return await self._outlive(model, end(), lock.release)

    async def _ended(self, rollout: Rollout) -> Rollout:
        """Carries out the end of a rollout, and returns how it has ended. The model's lock is held. Raises RequestError: it goes on, or
        it has ended here and not in the file."""
        model = rollout.model
        there = await self._follower.there(model)
        if there is not None and there.id == rollout.id and not there.runs:
            return await self.roster.end(there)
        if rollout.state is RolloutState.PROMOTED:
            await self._move_stable(rollout)
        rollout = await self.roster.end(_ended_now(rollout))
        self._ledger.owe(rollout)
        await self._ledger.audit(rollout.state.lower(), rollout)
        try:
            there = (await self._ledger.write(lambda table: table)).get(model)
        except FailedPrecondition as error:
            raise FailedPrecondition(
                f"rollout: that of model '{model}' is {rollout.state} in this process, but a restart and other processes do not know it "
                f"yet: {error}; it is tried again every {SAVE_S:g} s"
            ) from None
        if there is not None and there.id == rollout.id and there.state is not rollout.state:
            self.roster.know(there)
        return self.roster.table[model]

    async def _move_stable(self, rollout: Rollout) -> None:
        """Raises RequestError: the label is where it was."""
        moving = self._moving[rollout.model] = self.lifecycle.label(rollout.model, STABLE, rollout.candidate)
        try:
            await asyncio.wrap_future(moving)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise FailedPrecondition(f"rollout: that of model '{rollout.model}' was ended before it was promoted") from None
        finally:
            del self._moving[rollout.model]

    def _tick(self) -> None:
        self._timer = None
        now_ns = time.monotonic_ns()
        for model, live in self.roster.live.items():
            before = self.roster.table[model]
            try:
                after = self._moved(before) or live.tick(before, now_ns)
            except Exception:
                log.exception("the rollout of model '%s' could not be looked at", model)
                continue
            decides = (after.state, after.step, after.share) != (before.state, before.step, before.share)
            known = after
            if decides and after.state is RolloutState.PROMOTED:  # it runs until the label has moved
                known = msgspec.structs.replace(after, state=before.state, share=before.share, reason=before.reason)
                decides = now_ns >= self.roster.again_ns.get(model, 0) and not self.roster.lock(model).locked()
            self.roster.know(known)
            if decides:
                self.spawn(self._decided(after))
        if now_ns - self._saved_ns > SAVE_S * 1e9:
            self._saved_ns = now_ns
            self.spawn(self._save())
        self._wind()

    def _moved(self, rollout: Rollout) -> Rollout | None:
        """A person has moved the label `stable` meanwhile: the rollout has nothing to compare with any more."""
        stable = versions_of(self.repository.labels, rollout.model).get(STABLE)
        if stable == rollout.stable or not rollout.runs or self.roster.lock(rollout.model).locked():
            return None
        reason = f"the label '{STABLE}' was moved from version {rollout.stable} to {stable or 'none'} meanwhile"
        return msgspec.structs.replace(rollout, state=RolloutState.STOPPED, reason=reason)

    async def _decided(self, rollout: Rollout) -> None:
        """Called when a live rollout has decided."""
        model = rollout.model
        async with self.roster.lock(model):
            now = self.roster.table[model]
            if (
                model not in self.roster.live
                or now.id != rollout.id
                or now.state not in (rollout.state, RolloutState.RUNNING, RolloutState.HOLD)
            ):
                return  # a client was faster, or a later decision
            if not rollout.runs:
                try:
                    await self._ended(rollout)
                except InferdError as error:
                    self._put_off(model, error)
                return
            self.roster.know(msgspec.structs.replace(now, changed_ns=time.time_ns()))
            await self._ledger.audit("hold" if rollout.state is RolloutState.HOLD else "step", rollout)
            await self._save()

    def _put_off(self, model: str, error: InferdError) -> None:
        """A decision could not be carried out."""
        log.error("%s", error, extra=LIMITED)
        if (now := self.roster.table[model]).runs:
            self.roster.again_ns[model] = time.monotonic_ns() + int(SAVE_S * 1e9)
            self.roster.know(msgspec.structs.replace(now, reason=f"not promoted yet, and tried again every {SAVE_S:g} s: {error}"))

    async def _save(self) -> None:
        """Writes what the file and the audit log do not have yet."""
        known = self.roster.running()
        if known or self._ledger.owes:
            with suppress(FailedPrecondition):  # the log has it
                await self._ledger.write(lambda table: merged(table, known))

    def _adopt(self, model: str, live: LiveRollout) -> None:
        """Called when a rollout is at work here."""
        self.roster.add(model, live)
        self._worker.begin()
        self._wind()

    def _wind(self) -> None:
        if self._timer is None and (self.roster.live or self._ledger.owes) and not self._worker.is_stopping:
            self._timer = self.loop.call_later(TICK_S, self._tick)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Work that nobody waits for. Its error is logged."""
        self._tasks.spawn(work)

    async def _outlive(self, model: str, work: Coroutine[Any, Any, Rollout], over: Callable[[], object]) -> Rollout:
        """As Tasks.outlive. A rollout that begins may end with its client."""
        return await self._tasks.outlive(work, lambda: self.roster.starting.get(model) is Start.REVOCABLE, over)


def _ended_now(rollout: Rollout) -> Rollout:
    share = 1.0 if rollout.state is RolloutState.PROMOTED else 0.0
    return msgspec.structs.replace(rollout, changed_ns=time.time_ns(), share=share, memory={})
