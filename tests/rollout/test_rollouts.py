"""Rollouts of one process, with puppets for live rollouts and for the loader: what is decided holds, and no model waits for another."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from inferd.engine.models.labels import Label
from inferd.errors import FailedPrecondition, RequestError, ResourceExhausted
from inferd.rollout import follower, rollouts, state, worker
from inferd.rollout.audit import Audit
from inferd.rollout.ledger import Ledger
from inferd.rollout.rollouts import Rollouts
from inferd.rollout.state import Evidence, Kind, Rollout, RolloutFile, RolloutState

LIMIT_S = 30


class Live:
    """Decides what it is told to."""

    def __init__(self, rollout: Rollout) -> None:
        self.ready = asyncio.Event()
        self.may_end = asyncio.Event()
        for each in (self.ready, self.may_end):
            each.set()
        self.before_tick: Callable[[], object] = lambda: None
        self.decides: dict[str, Any] = {}
        self.done: list[str] = []

    async def begin(self, *, resumed: bool = False) -> None:
        self.done.append("resumed" if resumed else "begun")
        await self.ready.wait()

    async def undo(self) -> None:
        self.done.append("undone")

    def tick(self, rollout: Rollout, now_ns: int) -> Rollout:
        self.before_tick()
        return msgspec.structs.replace(rollout, **self.decides) if rollout.runs else rollout

    def follow(self, rollout: Rollout) -> None:
        self.done.append(f"step {rollout.step}")

    def work(self) -> float:
        return math.inf

    def report(self, outcomes: Iterable[tuple[str, bool]]) -> tuple[int, int]:
        return 0, 0

    async def end(self, rollout: Rollout) -> Rollout:
        self.done.append(rollout.state)
        await self.may_end.wait()
        return self._told(rollout)

    def _told(self, rollout: Rollout) -> Rollout:
        return msgspec.structs.replace(rollout, **{name: each for name, each in self.decides.items() if name in ("memory", "evidence")})

    def abandon(self) -> None:
        self.done.append("abandoned")


class World:
    """A process with the models m and n. waiting: a label that is moved later; refusal: why none is moved now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lives: list[Live] = []
        self.before_begin: Callable[[Live], object] = lambda live: None
        self.waiting: Future[None] | None = None
        self.refusal: Exception | None = None
        self.refused = 0
        names = ("m", "n")
        self.repository = SimpleNamespace(
            labels={name: {"stable": Label(1)} for name in names},
            names=lambda: set(names),
            on_demand=set(),
            lookup=lambda name, version: SimpleNamespace(version=1),
        )
        place = SimpleNamespace(files={1: "", 2: ""})
        self.lifecycle = SimpleNamespace(place=lambda name: place, label=self.label, compare=lambda names: done())
        repository: Any = self.repository
        lifecycle: Any = self.lifecycle
        ledger = Ledger(RolloutFile(folder / "rollouts.json"), Audit(folder / "audit.jsonl"))
        self.rollouts = Rollouts(repository, lifecycle, asyncio.get_running_loop(), ledger, {Kind.CANARY: self.live})

    def live(self, rollout: Rollout, site: object) -> Live:
        live = Live(rollout)
        self.before_begin(live)
        self.lives.append(live)
        return live

    def label(self, name: str, label: str, version: int, *, only_new: bool = False) -> Future[None]:
        if self.waiting is not None:
            return self.waiting
        if self.refusal is not None:
            self.refused += 1
            return done(self.refusal)
        self.repository.labels = {**self.repository.labels, name: {label: Label(version)}}
        return done()

    async def start(self, name: str = "m") -> Live:
        await self.rollouts.start(name, Kind.CANARY, guards={})
        return self.lives[-1]

    def now(self, name: str = "m") -> Rollout:
        return self.rollouts.status(name)[0]

    def kept(self, name: str = "m") -> Rollout:
        return RolloutFile(self.folder / "rollouts.json").read()[name]

    def audited(self) -> list[str]:
        return [json.loads(line)["decision"] for line in (self.folder / "audit.jsonl").read_text().splitlines()]


def done(error: Exception | None = None) -> Future[None]:
    future: Future[None] = Future()
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
    return future


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((rollouts, "TICK_S"), (rollouts, "SAVE_S"), (follower, "RETRY_S"), (worker, "FOLLOW_S")):
        monkeypatch.setattr(module, name, 0.001)


def run(folder: Path, story: Callable[[World], Any]) -> None:
    async def told() -> None:
        world = World(folder)
        try:
            async with asyncio.timeout(LIMIT_S):
                await story(world)
        finally:
            world.rollouts.close()

    asyncio.run(told())


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.001)


@contextmanager
def full_disk() -> Iterator[list[str]]:
    """What was tried meanwhile."""
    tries: list[str] = []

    def full(*_: object) -> None:
        tries.append("write")
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "replace", full)
        patch.setattr(Audit, "_write", full)
        yield tries


def test_a_rollback_that_cannot_be_written_holds_and_is_written_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story(world: World) -> None:
        live = await world.start()
        with full_disk() as tries:
            live.decides = {"state": RolloutState.ROLLED_BACK, "reason": "errors"}
            told = "that of model 'm' is ROLLED_BACK in this process, but a restart and other processes do not know it"
            await until(lambda: len(tries) > 5 and told in caplog.text)
            assert "the decision: {" in caplog.text
            assert world.kept().state is RolloutState.RUNNING
            await world.rollouts._follower.follow()
            assert world.now().state is RolloutState.ROLLED_BACK
        await until(lambda: world.kept().state is RolloutState.ROLLED_BACK and world.audited() == ["started", "rolled_back"])
        await world.rollouts._follower.follow()
        assert world.now().state is RolloutState.ROLLED_BACK
        assert live.done == ["begun", RolloutState.ROLLED_BACK]
        assert world.lives == [live], "it does not go on"

    run(tmp_path, story)


def test_a_decision_that_nobody_carries_out_any_more_is_kept(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        live = await world.start()
        live.decides = {"state": RolloutState.ROLLED_BACK, "reason": "errors"}
        world.rollouts._tick()
        world.rollouts.close()
        assert world.kept().state is RolloutState.ROLLED_BACK

    run(tmp_path, story)


@pytest.mark.parametrize("verb", ["", "roll_back", "stop", "promote"])
def test_a_promotion_that_cannot_be_carried_out_is_none(tmp_path: Path, verb: str) -> None:
    """It is tried again, and people may decide meanwhile."""

    async def story(world: World) -> None:
        live = await world.start()
        world.refusal = FailedPrecondition("labels cannot be written")
        live.decides = {"state": RolloutState.PROMOTED, "reason": "all is well"}
        await until(lambda: world.refused > 2)
        assert world.now().state is RolloutState.RUNNING
        assert world.now().reason.startswith("not promoted yet, and tried again every")
        assert world.now().reason.endswith("labels cannot be written")
        assert world.audited() == ["started"]
        if verb in ("", "promote"):
            if verb:
                with pytest.raises(FailedPrecondition, match=r"^labels cannot be written$"):
                    await world.rollouts.promote("m")
            world.refusal = None
            await until(lambda: not world.now().runs)
            assert (world.now().state, world.now().reason, world.now().share) == (RolloutState.PROMOTED, "all is well", 1.0)
        else:
            ended = await getattr(world.rollouts, verb)("m", "a person")
            assert (ended.state, ended.reason) == ({"roll_back": RolloutState.ROLLED_BACK, "stop": RolloutState.STOPPED}[verb], "a person")
        await until(lambda: world.kept() == world.now())
        assert world.audited() == ["started", world.now().state.lower()]

    run(tmp_path, story)


def test_a_rollback_waits_for_no_other_model(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.start("n")
        world.before_begin = lambda live: live.ready.clear()
        starting = asyncio.create_task(world.start("m"))
        await until(lambda: len(world.lives) == 2)
        begins = "rollout: one of model 'm' begins just now, and its candidate is made ready; retry later"
        for call in (world.start("m"), world.rollouts.roll_back("m")):
            with pytest.raises(FailedPrecondition, match=begins):
                await call
        assert (await world.rollouts.roll_back("n")).state is RolloutState.ROLLED_BACK
        assert world.kept("n").state is RolloutState.ROLLED_BACK
        world.lives[1].ready.set()
        await starting
        assert world.now("m").state is RolloutState.RUNNING

    run(tmp_path, story)


def test_a_rollback_ends_a_promotion_that_waits_for_the_loader(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.start()
        world.waiting = waiting = Future()
        promoting = asyncio.create_task(world.rollouts.promote("m"))
        await until(lambda: bool(world.rollouts._moving))
        assert (await world.rollouts.roll_back("m")).state is RolloutState.ROLLED_BACK
        assert waiting.cancelled()
        with pytest.raises(FailedPrecondition, match="rollout: that of model 'm' was ended before it was promoted"):
            await promoting
        assert world.audited() == ["started", "rolled_back"]

    run(tmp_path, story)


def test_a_broken_file_keeps_no_rollback_from_taking_effect(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        live = await world.start()
        whole = (tmp_path / "rollouts.json").read_bytes()
        (tmp_path / "rollouts.json").write_bytes(b"{")
        with pytest.raises(FailedPrecondition, match=r"is ROLLED_BACK in this process, but .* yet: the file of rollouts is broken"):
            await world.rollouts.roll_back("m")
        assert world.now().state is RolloutState.ROLLED_BACK
        assert live.done == ["begun", RolloutState.ROLLED_BACK]
        assert world.audited() == ["started", "rolled_back"]
        with pytest.raises(FailedPrecondition, match="the file of rollouts is broken"):
            await world.start("n")
        assert world.lives == [live], "nothing was begun"
        (tmp_path / "rollouts.json").write_bytes(whole)
        await until(lambda: world.kept().state is RolloutState.ROLLED_BACK)

    run(tmp_path, story)


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_start_that_cannot_be_written_is_undone(tmp_path: Path, is_taken: bool) -> None:
    """But what another process has begun meanwhile keeps its label."""

    async def story(world: World) -> None:
        other = Rollout(id="0" * 16, model="m", kind=Kind.CANARY, stable=1, candidate=2)
        file = RolloutFile(tmp_path / "rollouts.json")
        world.before_begin = lambda live: file.write({"m": other}) if is_taken else None
        with (
            nullcontext() if is_taken else full_disk(),
            pytest.raises(RequestError, match="has one already" if is_taken else "cannot be written"),
        ):
            await world.start()
        assert world.lives[0].done == ["begun", "abandoned" if is_taken else "undone"]
        if is_taken:
            await until(lambda: len(world.lives) == 2 and world.now().id == other.id)
            assert world.lives[1].done == ["resumed"]

    run(tmp_path, story)


def test_the_further_step_of_two_processes_holds(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        live = await world.start()
        file = RolloutFile(tmp_path / "rollouts.json")
        there = msgspec.structs.replace(world.now(), step=2, share=0.5)
        file.write({"m": there})
        await world.rollouts._save()
        assert world.kept().step == 2
        await world.rollouts._follower.follow()
        assert "step 2" in live.done
        live.decides = {"step": 3, "share": 0.9}
        await until(lambda: world.kept().step == 3)
        file.write({"m": there})
        await world.rollouts._follower.follow()
        assert (world.now().step, world.now().share) == (3, 0.9)

    run(tmp_path, story)


def test_how_another_process_has_ended_it_holds(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        live = await world.start()
        there = msgspec.structs.replace(world.now(), state=RolloutState.ROLLED_BACK, reason="errors")
        RolloutFile(tmp_path / "rollouts.json").write({"m": there})
        with pytest.raises(FailedPrecondition, match="has ended: ROLLED_BACK, errors"):
            await world.rollouts.promote("m")
        assert world.now() == there
        assert live.done[-1] is RolloutState.ROLLED_BACK
        assert world.repository.labels["m"]["stable"].version == 1

    run(tmp_path, story)


def test_a_rollout_begins_here_once_the_labels_are_known(tmp_path: Path) -> None:
    """Another process began it, and has set labels that cannot be read yet."""

    async def story(world: World) -> None:
        refusals: list[Exception | None] = [FailedPrecondition("the file of labels is broken"), None]
        world.lifecycle.compare = lambda names: done(refusals.pop(0))
        RolloutFile(tmp_path / "rollouts.json").write({"m": Rollout(id="0" * 16, model="m", kind=Kind.CANARY, stable=1, candidate=2)})
        await world.rollouts.resume()
        assert world.lives == []
        await until(lambda: bool(world.lives) and world.now().state is RolloutState.RUNNING)
        assert refusals == []

    run(tmp_path, story)


@pytest.mark.parametrize("verb", ["promote", "roll_back", "stop"])
def test_an_end_that_has_begun_outlives_its_client(tmp_path: Path, verb: str) -> None:
    async def story(world: World) -> None:
        live = await world.start()
        live.may_end.clear()
        ending = asyncio.create_task(getattr(world.rollouts, verb)("m"))
        await until(lambda: len(live.done) == 2)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        live.may_end.set()
        await until(lambda: not world.kept().runs and len(world.audited()) == 2)
        assert world.kept() == world.now()
        assert world.audited() == ["started", world.now().state.lower()]
        assert (
            world.now().state
            is {"promote": RolloutState.PROMOTED, "roll_back": RolloutState.ROLLED_BACK, "stop": RolloutState.STOPPED}[verb]
        )

    run(tmp_path, story)


@pytest.mark.parametrize("is_ready", [False, True])
def test_a_client_that_leaves_ends_a_start_before_it_is_written(tmp_path: Path, is_ready: bool) -> None:
    async def story(world: World) -> None:
        world.before_begin = lambda live: live.ready.clear()
        starting = asyncio.create_task(world.start())
        await until(lambda: bool(world.lives) and world.lives[0].done == ["begun"])
        (live,) = world.lives
        if is_ready:
            live.before_tick = starting.cancel  # just before it is written
            live.ready.set()
        else:
            starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await until(lambda: not world.rollouts.roster.starting)
        if is_ready:
            assert world.kept() == world.now()
            assert world.audited() == ["started"]
        else:
            assert live.done == ["begun", "undone"]
            with pytest.raises(RequestError, match="has none"):
                world.now()

    run(tmp_path, story)


def test_one_that_has_ended_keeps_its_evidence_alone(tmp_path: Path) -> None:
    """Whether a client ends it, or the server stops before its decision is carried out."""

    async def story(world: World) -> None:
        evidence = (Evidence("errors", 10),)
        for name in ("m", "n"):
            live = await world.start(name)
            live.decides = {"memory": {"seen": [1.5]}, "evidence": evidence}
        await until(lambda: bool(world.kept("m").memory and world.kept("n").memory))
        await world.rollouts.stop("m")
        live.decides |= {"state": RolloutState.ROLLED_BACK}
        world.rollouts.close()
        for name in ("m", "n"):
            assert not world.kept(name).runs
            assert (world.kept(name).memory, world.kept(name).evidence) == ({}, evidence)

    run(tmp_path, story)


def test_no_more_than_the_limit_run_at_once(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.rollouts.roster.most = 1
        await world.start("m")
        with pytest.raises(ResourceExhausted, match=r"1 run at once, which is the limit \(max_rollouts\): those of models 'm'; end one"):
            await world.start("n")
        assert len(world.lives) == 1
        await world.rollouts.stop("m")
        await world.start("n")

    run(tmp_path, story)


def test_the_limit_holds_for_what_other_processes_have_begun(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.rollouts.roster.most = 1
        other = World(tmp_path)
        await other.start("m")
        with pytest.raises(ResourceExhausted, match="max_rollouts"):
            await world.start("n")
        assert set(RolloutFile(tmp_path / "rollouts.json").read()) == {"m"}
        other.rollouts.close()

    run(tmp_path, story)
