"""The rollouts of one process: begins them, asks each a few times a second what it knows, and carries out what it decides.

    start -> the candidate is made ready -> RUNNING, HOLD -> PROMOTED: `stable` names the candidate
                                                          -> ROLLED_BACK, STOPPED: it stays where it is

What a kind of rollout does with requests is its `Arm` (shadow.py, canary.py). Every change is written to the file of rollouts and into the
audit log. Other processes of the server follow the file. Methods belong to the event loop's thread. Never in here: statistics, transports.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from inferd.engine.labels import STABLE, versions_of
from inferd.errors import ConfigError, FailedPrecondition, InferdError, InvalidArgument, NotFound
from inferd.rollout.state import Kind, Rollout, State, begun, changed, running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence

    from inferd.engine.lifecycle import Lifecycle
    from inferd.engine.repository import Repository
    from inferd.rollout.audit import Audit
    from inferd.rollout.state import RolloutFile, Table

__all__ = ["Arm", "Rollouts", "Site"]

log = logging.getLogger("inferd.rollout")

TICK_S = 0.1  # between two looks at what an arm knows
SAVE_S = 5.0  # between two writes of evidence that decides nothing
FOLLOW_S = 0.5  # between two looks at the file, which another process may have changed
IDLE_S = 0.002  # the thread's pause, once nothing is to be worked off


class Site(Protocol):
    """What an arm may use: the table of models, what changes it, and the loop. processes: those of the server, each of which decides."""

    @property
    def repository(self) -> Repository: ...
    @property
    def lifecycle(self) -> Lifecycle: ...
    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def processes(self) -> int: ...


class Arm(Protocol):
    """One rollout at work in this process. `work` is called on the rollouts' thread, all else on the loop's."""

    async def begin(self, *, resumed: bool = False) -> None:
        """Makes the candidate ready, and lets requests pass by. Raises RequestError: the rollout does not begin. resumed: it ran when the
        server stopped, which takes no requests before this returns: slow work goes on afterwards."""

    def tick(self, rollout: Rollout, now_ns: int) -> Rollout:
        """The rollout with what is known now. Another state, step or share is a decision: `reason` says why, and it has effect already.
        now_ns: monotonic."""

    def follow(self, rollout: Rollout) -> None:
        """Another process, or a person, has decided: takes the share of this."""

    def work(self) -> bool:
        """Works off what requests have left behind. True: there may be more."""

    def report(self, outcomes: Iterable[tuple[str, bool]]) -> tuple[int, int]:
        """What came of requests, by id. How many are known, and how many not."""

    async def end(self, rollout: Rollout) -> Rollout:
        """The rollout has ended: requests go where its state says, and nothing is left of it. Returns it with its last counts."""

    def abandon(self) -> None:
        """The server stops: frees what it has, and changes nothing. `tick` tells the last counts. Idempotent."""


class Rollouts:
    """kinds: what makes the arm of each kind. lifecycle: None: models stay as they are, and so no rollout begins."""

    def __init__(
        self,
        repository: Repository,
        lifecycle: Lifecycle | None,
        loop: asyncio.AbstractEventLoop,
        file: RolloutFile,
        audit: Audit,
        kinds: Mapping[Kind, Callable[[Rollout, Site], Arm]],
        processes: int = 1,
    ) -> None:
        self.repository, self._lifecycle, self.loop, self.processes = repository, lifecycle, loop, processes
        self._file, self.audit, self._kinds = file, audit, kinds
        self._table: Table = {}  # as this process knows it: newer evidence than the file
        self._arms: dict[str, Arm] = {}  # by model; replaced as a whole, for the thread reads it
        self._settled: set[str] = set()  # rollouts whose label was seen in its place: another process sets it, and this one follows
        self._changing = asyncio.Lock()  # of the file and of what arms there are
        self._timer: asyncio.TimerHandle | None = None
        self._saved_ns = 0
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()

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
    ) -> Rollout:
        """Begins a rollout, and returns it once it runs. candidate: 0: the newest version that is not the stable one. dwell_s, patience_s:
        of a canary; None: the usual ones. Raises RequestError: nothing has begun then."""
        if kind not in self._kinds:
            raise InvalidArgument(f"kind: expected {' or '.join(self._kinds)}, got {kind}")
        stable, candidate = await self._versions(model, candidate)
        made = Rollout(
            id=secrets.token_hex(8),
            model=model,
            kind=kind,
            stable=stable,
            candidate=candidate,
            sample=sample,
            steps=tuple(steps),
            guards=dict(guards),
            dwell_s=dwell_s,
            patience_s=patience_s,
            reason="started",
            started_ns=(now_ns := time.time_ns()),
            changed_ns=now_ns,
        )
        async with self._changing:
            begun(self._table, made)
            if versions_of(self.repository.labels, model).get(STABLE) != stable:
                await asyncio.wrap_future(self.lifecycle.label(model, STABLE, stable))
            arm = self._kinds[kind](made, self)
            try:
                await arm.begin()
                made = arm.tick(made, time.monotonic_ns())
                await self._write(lambda table: begun(table, made))
            except BaseException:
                arm.abandon()
                raise
            self._settled.add(made.id)
            self._table = {**self._table, model: made}
            self._adopt_arm(model, arm)
        self._audit("started", made)
        return made

    async def stop(self, model: str, reason: str = "") -> Rollout:
        return await self._end(model, State.STOPPED, reason or "a client stopped it")

    async def promote(self, model: str, reason: str = "") -> Rollout:
        return await self._end(model, State.PROMOTED, reason or "a client promoted it")

    async def roll_back(self, model: str, reason: str = "") -> Rollout:
        return await self._end(model, State.ROLLED_BACK, reason or "a client rolled it back")

    def status(self, model: str = "") -> list[Rollout]:
        """Of all models, or of one. Raises NotFound."""
        if model and model not in self._table:
            running(self._table, model)
        return [rollout for name, rollout in sorted(self._table.items()) if not model or name == model]

    def report(self, model: str, outcomes: Iterable[tuple[str, bool]]) -> tuple[int, int]:
        """What came of requests of a model, by id. How many are known, and how many not. Raises NotFound, FailedPrecondition."""
        running(self._table, model)
        return self._arms[model].report(outcomes) if model in self._arms else (0, len(list(outcomes)))

    # ---- life ----

    async def resume(self) -> None:
        """Once models are loaded: goes on with what ran when the server stopped."""
        if self._lifecycle is None:
            return
        await self._follow()
        if self._file.path is not None:
            self._begin_thread()

    def close(self) -> None:
        """The server stops. What runs goes on after the next start. Idempotent."""
        self._stopping.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._tasks:
            task.cancel()
        for model, arm in self._arms.items():
            arm.abandon()
            self._table = {**self._table, model: arm.tick(self._table[model], time.monotonic_ns())}
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(1.0)
        if self._arms:
            try:
                self._keep(lambda table: {**table, **self._running(table)})
            except InferdError as error:
                log.error("%s", error)
        self._arms = {}

    # ---- inside ----

    async def _versions(self, model: str, candidate: int) -> tuple[int, int]:
        """The stable version and the candidate. Raises RequestError."""
        stable = versions_of(self.repository.labels, model).get(STABLE) or self.repository.lookup(model, "").version
        place = await asyncio.to_thread(self.lifecycle.place, model)
        there = sorted(() if place is None else place.files)
        others = [version for version in there if version != stable]
        if candidate and candidate not in others:
            why = f"model '{model}' has no such version"
            if candidate == stable:
                why = f"requests get it already; where an earlier version is to be compared with it, move the label '{STABLE}' there first"
            raise InvalidArgument(f"candidate_version: expected one of {', '.join(map(str, others)) or 'none'}, got {candidate}: {why}")
        if not others:
            raise NotFound(f"candidate_version: model '{model}' has version {stable} alone; add the folder of another one")
        return stable, candidate or others[-1]

    async def _end(self, model: str, state: State, reason: str) -> Rollout:
        async with self._changing:
            found = running(self._table, model)
            return await self._ended(msgspec.structs.replace(found, state=state, reason=reason))

    async def _ended(self, rollout: Rollout) -> Rollout:
        """Carries out the end of a rollout. `_changing` is held."""
        arm = self._arms.get(rollout.model)
        rollout = msgspec.structs.replace(rollout, changed_ns=time.time_ns(), share=1.0 if rollout.state is State.PROMOTED else 0.0)
        if rollout.state is State.PROMOTED:
            await asyncio.wrap_future(self.lifecycle.label(rollout.model, STABLE, rollout.candidate))
        if arm is not None:
            rollout = await arm.end(rollout)
        self._arms = {name: each for name, each in self._arms.items() if name != rollout.model}
        self._table = {**self._table, rollout.model: rollout}
        await self._write(lambda table: changed(table, rollout))
        self._audit(rollout.state.lower(), rollout)
        return rollout

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
            self._table = {**self._table, model: after}
            if (after.state, after.step, after.share) != (before.state, before.step, before.share):
                self._spawn(self._decided(after))
        if now_ns - self._saved_ns > SAVE_S * 1e9:
            self._saved_ns = now_ns
            self._spawn(self._save())
        self._wind()

    def _moved(self, rollout: Rollout) -> Rollout | None:
        """A person has moved the label `stable` meanwhile: the rollout has nothing to compare with any more."""
        stable = versions_of(self.repository.labels, rollout.model).get(STABLE)
        if stable == rollout.stable:
            self._settled.add(rollout.id)
        if stable == rollout.stable or rollout.id not in self._settled or not rollout.runs or self._changing.locked():
            return None
        reason = f"the label '{STABLE}' was moved from version {rollout.stable} to {stable or 'none'} meanwhile"
        return msgspec.structs.replace(rollout, state=State.STOPPED, reason=reason)

    async def _decided(self, rollout: Rollout) -> None:
        """An arm has decided."""
        async with self._changing:
            if rollout.model not in self._arms or self._table[rollout.model].id != rollout.id:
                return  # a client was faster
            if not rollout.runs:
                await self._ended(rollout)
                return
            rollout = msgspec.structs.replace(rollout, changed_ns=time.time_ns())
            self._table = {**self._table, rollout.model: rollout}
            await self._write(lambda table: changed(table, rollout))
            self._audit("hold" if rollout.state is State.HOLD else "step", rollout)

    async def _save(self) -> None:
        async with self._changing:
            if self._arms:
                await self._write(lambda table: {**table, **self._running(table)})

    def _running(self, table: Table) -> Table:
        """Those of this process's arms that run in the file, too, with what is known now."""
        return {
            name: self._table[name]
            for name in self._arms
            if name in table and table[name].runs and table[name].id == self._table[name].id and self._table[name].runs
        }

    async def _follow(self) -> None:
        """Takes what another process has decided, and at the start all that runs."""
        async with self._changing:
            try:
                table = await asyncio.to_thread(self._file.read)  # not earlier: it would be older than what this process has written
            except ConfigError as error:
                log.error("%s", error)
                return
            for model, rollout in table.items():
                known = self._table.get(model)
                arm = self._arms.get(model) if known is not None and known.id == rollout.id else None
                if arm is None and rollout.runs and model in self.repository.names() | self.repository.on_demand:
                    if model in self._arms:
                        self._arms[model].abandon()
                    await self._follow_labels()
                    arm = self._kinds[rollout.kind](rollout, self)
                    try:
                        await arm.begin(resumed=True)
                    except Exception as error:
                        arm.abandon()
                        log.error("the rollout of model '%s' does not go on here: %s", model, error)
                        continue
                    self._adopt_arm(model, arm)
                elif arm is not None and not rollout.runs:
                    await arm.end(rollout)
                    await self._follow_labels()
                    self._arms = {name: each for name, each in self._arms.items() if name != model}
                elif (
                    arm is not None
                    and known is not None
                    and (known.state, known.step, known.share)
                    != (
                        rollout.state,
                        rollout.step,
                        rollout.share,
                    )
                ):
                    arm.follow(rollout)
                elif arm is not None:
                    continue  # this process knows more
                self._table = {**self._table, model: rollout}

    async def _follow_labels(self) -> None:
        """Another process has moved labels: this one takes them now, and not with its next look at the files of models."""
        try:
            await asyncio.wrap_future(self.lifecycle.compare({""}))
        except InferdError as error:
            log.error("labels stay as they are: %s", error)

    def _adopt_arm(self, model: str, arm: Arm) -> None:
        self._arms = {**self._arms, model: arm}
        self._begin_thread()
        self._wind()

    def _wind(self) -> None:
        if self._timer is None and self._arms and not self._stopping.is_set():
            self._timer = self.loop.call_later(TICK_S, self._tick)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a rollout could not be carried on: %s", error, exc_info=None if isinstance(error, InferdError) else error)

    def _write(self, change: Callable[[Table], Table]) -> Awaitable[None]:
        return asyncio.to_thread(self._keep, change)

    def _keep(self, change: Callable[[Table], Table]) -> None:
        with self._file.locked():
            try:
                table = self._file.read()
            except ConfigError as error:
                log.error("%s", error)
                raise FailedPrecondition("the file of rollouts is broken, and they stay as they are; the server's log says where") from None
            self._file.write(change(table))

    def _audit(self, decision: str, rollout: Rollout) -> None:
        self.audit.append(decision, rollout, time.time_ns())

    # ---- the thread ----

    def _begin_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="rollouts", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        """Works arms' requests off, and looks at the file."""
        looked_s, stamp = time.monotonic(), self._stamp()
        while not self._stopping.is_set():
            arms = self._arms
            more = False
            for model, arm in arms.items():
                try:
                    more |= arm.work()
                except Exception:
                    log.exception("the rollout of model '%s': requests could not be worked off", model)
            if time.monotonic() - looked_s > FOLLOW_S:
                looked_s = time.monotonic()
                if (now := self._stamp()) != stamp:
                    stamp = now
                    self._look()
            if not more:
                self._stopping.wait(IDLE_S if arms else FOLLOW_S)

    def _stamp(self) -> tuple[int, int]:
        try:
            found = self._file.path.stat() if self._file.path is not None else None
        except OSError:
            found = None
        return (0, 0) if found is None else (found.st_ino, found.st_mtime_ns)

    def _look(self) -> None:
        try:
            self.loop.call_soon_threadsafe(lambda: self._spawn(self._follow()))
        except RuntimeError:  # the loop is closed
            self._stopping.set()
