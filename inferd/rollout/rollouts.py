"""The rollouts of one process: begins them, asks each a few times a second what it knows, and carries out what it decides.

    start -> the candidate is made ready -> RUNNING, HOLD -> PROMOTED: `stable` names the candidate
                                                          -> ROLLED_BACK, STOPPED: it stays where it is

The `Arm` of each kind of rollout acts on requests (shadow.py, canary.py). Every change is written (ledger.py), and other processes of
the server follow the file. Each model has a lock, so that no rollout waits for another model. Methods belong to the event loop's thread.
Never in here: statistics, transports.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import msgspec

from inferd.engine.models.labels import STABLE, versions_of
from inferd.errors import FailedPrecondition, InferdError, InvalidArgument, NotFound, ResourceExhausted
from inferd.log import LIMITED
from inferd.rollout.state import Kind, Rollout, State, begun, merged, running

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
    from concurrent.futures import Future

    from inferd.engine.models.lifecycle import Lifecycle
    from inferd.engine.models.repository import Repository
    from inferd.rollout.arm import Arm, Site
    from inferd.rollout.ledger import Ledger
    from inferd.rollout.state import Table

__all__ = ["Rollouts"]

log = logging.getLogger("inferd.rollout")

TICK_S = 0.1  # between two looks at what an arm knows
SAVE_S = 5.0  # between two writes of evidence that decides nothing, and two tries of what could not be carried out
FOLLOW_S = 0.5  # between two looks at the file, which another process may have changed


class Start(Enum):
    """The state of a rollout that begins. REVOCABLE: it ends if its client leaves. FINAL: it is written or undone without the client."""

    REVOCABLE = auto()
    FINAL = auto()


class Rollouts:
    """kinds: what makes the arm of each kind. lifecycle: None: models stay as they are, and so no rollout begins.
    most: of all models at once; one that goes on after a restart goes on in any case."""

    def __init__(
        self,
        repository: Repository,
        lifecycle: Lifecycle | None,
        loop: asyncio.AbstractEventLoop,
        ledger: Ledger,
        kinds: Mapping[Kind, Callable[[Rollout, Site], Arm]],
        processes: int = 1,
        most: int = 4,
    ) -> None:
        self.repository, self._lifecycle, self.loop, self.processes = repository, lifecycle, loop, processes
        self._most = most
        self._ledger, self._kinds = ledger, kinds
        self._table: Table = {}  # as this process knows it: newer evidence than the file
        self._arms: dict[str, Arm] = {}  # by model; replaced as a whole, for the thread reads it
        self._starting: dict[str, Start] = {}  # models whose rollout begins
        self._locks: dict[str, asyncio.Lock] = {}  # of each model's arm, and of how its rollout ends
        self._moving: dict[str, Future[None]] = {}  # of promotions: the order that moves the label
        self._again_ns: dict[str, int] = {}  # when a promotion that could not be carried out is tried again, by model
        self._following = False
        self._timer: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None  # of a look at the file: labels could not be read
        self._saved_ns = 0
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

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
        of a canary; None: the usual ones. unjudged: it takes steps without a guard on predictions. Raises RequestError: nothing has begun
        then."""
        if kind not in self._kinds:
            raise InvalidArgument(f"kind: expected {' or '.join(self._kinds)}, got {kind}")
        self._check_begun(model)
        self._check_room(self._table, model)

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

        self._starting[model] = Start.REVOCABLE
        return await self._outlive(model, begin(), lambda: self._starting.pop(model))

    async def stop(self, model: str, reason: str = "") -> Rollout:
        return await self._end(model, State.STOPPED, reason or "a client stopped it")

    async def promote(self, model: str, reason: str = "") -> Rollout:
        return await self._end(model, State.PROMOTED, reason or "a client promoted it")

    async def roll_back(self, model: str, reason: str = "") -> Rollout:
        return await self._end(model, State.ROLLED_BACK, reason or "a client rolled it back")

    def status(self, model: str = "") -> list[Rollout]:
        """The rollouts of all models, or of one. Raises NotFound."""
        if model and model not in self._table:
            running(self._table, model)
        return [rollout for name, rollout in sorted(self._table.items()) if not model or name == model]

    def report(self, model: str, outcomes: Iterable[tuple[str, bool]]) -> tuple[int, int]:
        """Takes outcomes of a model's requests, by id. Returns how many of the ids are known, and how many are not. Raises NotFound,
        FailedPrecondition."""
        running(self._table, model)
        return self._arms[model].report(outcomes) if model in self._arms else (0, len(list(outcomes)))

    # ---- life ----

    async def resume(self) -> None:
        """Once models are loaded: resumes the rollouts that ran when the server stopped."""
        if self._lifecycle is None:
            return
        await self._follow()
        if self._ledger.path is not None:
            self._begin_thread()

    def close(self) -> None:
        """The server stops. Running rollouts go on after the next start. Idempotent."""
        self._stopping.set()
        for timer in filter(None, (self._timer, self._retry)):
            timer.cancel()
        self._timer = None
        for task in self._tasks:
            task.cancel()
        for model, arm in self._arms.items():
            arm.abandon()
            self._know(after := arm.tick(self._table[model], time.monotonic_ns()))
            if not after.runs:  # nobody carries it out any more
                self._ledger.owe(_ended_now(after))
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(1.0)
        if self._arms or self._ledger.owes:
            self._ledger.close(self._running())
        self._arms = {}

    # ---- inside ----

    async def _versions(self, model: str, candidate: int) -> tuple[int, int]:
        """The stable version and the candidate. Raises RequestError."""
        await self._follow_labels()
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

    def _check_begun(self, model: str) -> None:
        if model in self._starting:
            raise FailedPrecondition(f"rollout: one of model '{model}' begins just now, and its candidate is made ready; retry later")

    def _check_room(self, table: Table, model: str) -> None:
        """Raises ResourceExhausted where as many others run or begin as may."""
        others = {name for name, rollout in table.items() if rollout.runs} | set(self._starting)
        if len(others - {model}) >= self._most:
            some = ", ".join(repr(name) for name in sorted(others - {model})[:4])
            raise ResourceExhausted(
                f"rollout: {self._most} run at once, which is the limit (max_rollouts): those of models {some}; end one, or raise the limit"
            )

    def _begun(self, table: Table, made: Rollout) -> Table:
        self._check_room(table, made.model)
        return begun(table, made)

    async def _begin(self, made: Rollout) -> Rollout:
        model = made.model
        begun(self._table, made)
        begun(await self._ledger.read(), made)
        if STABLE not in versions_of(self.repository.labels, model):
            await asyncio.wrap_future(self.lifecycle.label(model, STABLE, made.stable, only_new=True))
        if (stable := versions_of(self.repository.labels, model).get(STABLE)) != made.stable:
            where = f"names version {stable}" if stable else "is gone"
            raise FailedPrecondition(f"rollout: the label '{STABLE}' of model '{model}' {where} since a moment ago; try again")
        arm = self._kinds[made.kind](made, self)
        try:
            try:
                await arm.begin()
            finally:
                self._starting[model] = Start.FINAL
            made = arm.tick(made, time.monotonic_ns())
            await self._ledger.write(lambda table: self._begun(table, made))
        except BaseException:
            there = await self._there(model)
            if there is not None and there.runs:  # another process was faster, and its candidate is the same
                arm.abandon()
            else:
                await arm.undo()
            self.spawn(self._follow())
            raise
        self._know(made)
        self._adopt_arm(model, arm)
        await self._ledger.audit("started", made)
        return made

    async def _end(self, model: str, state: State, reason: str) -> Rollout:
        self._check_begun(model)
        running(self._table, model)
        if state is not State.PROMOTED and (moving := self._moving.get(model)) is not None:
            moving.cancel()  # it may wait for another model's load

        async def end() -> Rollout:
            found = running(self._table, model)
            ended = await self._ended(msgspec.structs.replace(found, state=state, reason=reason))
            if ended.state is not state:  # another process was faster
                running(self._table, model)
            return ended

        lock = self._lock(model)
        await lock.acquire()
        return await self._outlive(model, end(), lock.release)

    async def _outlive(self, model: str, work: Coroutine[Any, Any, Rollout], over: Callable[[], object]) -> Rollout:
        """Carries work out, even if the client that asked for it leaves: half of an end is none. over: called then."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        for call in (self._tasks.discard, lambda _: over()):
            task.add_done_callback(call)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if self._starting.get(model) is Start.REVOCABLE:
                task.cancel()
            task.add_done_callback(self._over)  # the log gets its error
            raise

    async def _ended(self, rollout: Rollout) -> Rollout:
        """Carries out the end of a rollout, and returns how it has ended. The model's lock is held. Raises RequestError: it goes on, or
        it has ended here and not in the file."""
        model = rollout.model
        there = await self._there(model)
        if there is not None and there.id == rollout.id and not there.runs:
            return await self._take(there)
        if rollout.state is State.PROMOTED:
            await self._move_stable(rollout)
        rollout = await self._take(_ended_now(rollout))
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
            self._know(there)
        return self._table[model]

    async def _take(self, rollout: Rollout) -> Rollout:
        """The rollout has ended so. Returns it with its last counts."""
        arm = self._arms.get(rollout.model)
        if arm is not None:
            rollout = await arm.end(rollout)
        rollout = msgspec.structs.replace(rollout, memory={})  # it never goes on: the file keeps its evidence alone
        self._arms = {name: each for name, each in self._arms.items() if name != rollout.model}
        self._again_ns.pop(rollout.model, None)
        self._know(rollout)
        return rollout

    async def _there(self, model: str) -> Rollout | None:
        """The rollout in the file; None also where it cannot be read: a rollback has effect then, too."""
        try:
            return (await self._ledger.read()).get(model)
        except FailedPrecondition:
            return None

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
        for model, arm in self._arms.items():
            before = self._table[model]
            try:
                after = self._moved(before) or arm.tick(before, now_ns)
            except Exception:
                log.exception("the rollout of model '%s' could not be looked at", model)
                continue
            decides = (after.state, after.step, after.share) != (before.state, before.step, before.share)
            known = after
            if decides and after.state is State.PROMOTED:  # it runs until the label has moved
                known = msgspec.structs.replace(after, state=before.state, share=before.share, reason=before.reason)
                decides = now_ns >= self._again_ns.get(model, 0) and not self._lock(model).locked()
            self._know(known)
            if decides:
                self.spawn(self._decided(after))
        if now_ns - self._saved_ns > SAVE_S * 1e9:
            self._saved_ns = now_ns
            self.spawn(self._save())
        self._wind()

    def _moved(self, rollout: Rollout) -> Rollout | None:
        """A person has moved the label `stable` meanwhile: the rollout has nothing to compare with any more."""
        stable = versions_of(self.repository.labels, rollout.model).get(STABLE)
        if stable == rollout.stable or not rollout.runs or self._lock(rollout.model).locked():
            return None
        reason = f"the label '{STABLE}' was moved from version {rollout.stable} to {stable or 'none'} meanwhile"
        return msgspec.structs.replace(rollout, state=State.STOPPED, reason=reason)

    async def _decided(self, rollout: Rollout) -> None:
        """An arm has decided."""
        model = rollout.model
        async with self._lock(model):
            now = self._table[model]
            if model not in self._arms or now.id != rollout.id or now.state not in (rollout.state, State.RUNNING, State.HOLD):
                return  # a client was faster, or a later decision
            if not rollout.runs:
                try:
                    await self._ended(rollout)
                except InferdError as error:
                    self._put_off(model, error)
                return
            self._know(msgspec.structs.replace(now, changed_ns=time.time_ns()))
            await self._ledger.audit("hold" if rollout.state is State.HOLD else "step", rollout)
            await self._save()

    def _put_off(self, model: str, error: InferdError) -> None:
        """A decision could not be carried out."""
        log.error("%s", error, extra=LIMITED)
        if (now := self._table[model]).runs:
            self._again_ns[model] = time.monotonic_ns() + int(SAVE_S * 1e9)
            self._know(msgspec.structs.replace(now, reason=f"not promoted yet, and tried again every {SAVE_S:g} s: {error}"))

    async def _save(self) -> None:
        """Writes what the file and the audit log do not have yet."""
        known = self._running()
        if known or self._ledger.owes:
            with suppress(FailedPrecondition):  # the log has it
                await self._ledger.write(lambda table: merged(table, known))

    def _running(self) -> Table:
        return {name: self._table[name] for name in self._arms if self._table[name].runs}

    async def _follow(self) -> None:
        """Takes what another process has decided, and at the start all that runs."""
        try:
            table = await self._ledger.read()
        except FailedPrecondition:
            return  # the log has it
        finally:
            self._following = False  # what is written from now on is looked at again
        news = [rollout.model for rollout in table.values() if self._is_news(rollout)]
        begins = [model for model in news if table[model].runs and model not in self._arms and self._is_served(model)]
        for model in news:
            if model not in begins:
                await self._follow_one(table[model])
        if (begins or any(not table[model].runs for model in news)) and not await self._follow_labels() and begins:
            if self._retry is not None:
                self._retry.cancel()
            self._retry = self.loop.call_later(SAVE_S, self._look)  # a rollout whose labels are not known would seem to have lost them
            return
        for model in begins:
            await self._follow_one(table[model])

    def _is_news(self, there: Rollout) -> bool:
        """Whether the file knows more of a rollout than this process. Nothing that has ended here runs again."""
        known = self._table.get(there.model)
        if there.model in self._starting:
            return False
        if known is None or known.id != there.id:
            return True
        if not known.runs:
            return False
        if not there.runs or there.model not in self._arms:
            return True
        here, place = (known.step, known.share), (there.step, there.share)
        return place > here or (place == here and there.state is not known.state)

    async def _follow_one(self, seen: Rollout) -> None:
        model = seen.model
        async with self._lock(model):
            rollout = await self._there(model)  # once more: this process may have written meanwhile
            if rollout is None or rollout.id != seen.id or not self._is_news(rollout):
                return  # another rollout, with labels of its own, is followed with the next look at the file
            known, arm = self._table.get(model), self._arms.get(model)
            if arm is not None and known is not None and known.id != rollout.id:
                arm.abandon()  # the label belongs to the other one
                self._arms = {name: each for name, each in self._arms.items() if name != model}
                arm = None
            if not rollout.runs:
                await self._take(rollout)
            elif arm is not None:
                arm.follow(rollout)
            elif self._is_served(model):
                try:
                    arm = self._kinds[rollout.kind](rollout, self)
                    await arm.begin(resumed=True)
                except Exception as error:
                    if arm is not None:
                        arm.abandon()
                    where = self._ledger.path or "memory"
                    log.error("the rollout of model '%s' does not go on here: '%s': %s", model, where, error)
                    return
            self._know(rollout)  # an end with the counts of the process that has decided
            if rollout.runs and arm is not None:
                self._adopt_arm(model, arm)

    async def _follow_labels(self) -> bool:
        """Another process has moved labels: this one takes them now, and not with its next look at the files of models. Whether it has
        them."""
        try:
            await asyncio.wrap_future(self.lifecycle.compare({""}))
        except InferdError as error:
            log.error("labels stay as they are: %s", error)
            return False
        return True

    def _is_served(self, model: str) -> bool:
        return model in self.repository.names() | self.repository.on_demand

    def _know(self, rollout: Rollout) -> None:
        self._table = {**self._table, rollout.model: rollout}

    def _lock(self, model: str) -> asyncio.Lock:
        return self._locks.setdefault(model, asyncio.Lock())

    def _adopt_arm(self, model: str, arm: Arm) -> None:
        self._arms = {**self._arms, model: arm}
        self._begin_thread()
        self._wind()

    def _wind(self) -> None:
        if self._timer is None and (self._arms or self._ledger.owes) and not self._stopping.is_set():
            self._timer = self.loop.call_later(TICK_S, self._tick)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a rollout could not be carried on: %s", error, exc_info=None if isinstance(error, InferdError) else error)

    # ---- the thread ----

    def _begin_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="rollouts", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        """Works arms' requests off, and looks at the file."""
        looked_s, stamp = time.monotonic(), self._ledger.stamp()
        while not self._stopping.is_set():
            rest_s = FOLLOW_S
            for model, arm in self._arms.items():
                try:
                    rest_s = min(rest_s, arm.work())
                except Exception:
                    log.exception("the rollout of model '%s': requests could not be worked off", model)
            if time.monotonic() - looked_s > FOLLOW_S:
                looked_s = time.monotonic()
                if not self._following and (now := self._ledger.stamp()) != stamp:
                    stamp = now
                    self._look()
            self._stopping.wait(rest_s)

    def _look(self) -> None:
        self._following = True
        try:
            self.loop.call_soon_threadsafe(lambda: self.spawn(self._follow()))
        except RuntimeError:  # the loop is closed
            self._stopping.set()


def _ended_now(rollout: Rollout) -> Rollout:
    share = 1.0 if rollout.state is State.PROMOTED else 0.0
    return msgspec.structs.replace(rollout, changed_ns=time.time_ns(), share=share, memory={})
