"""The rollouts that this process knows: what it knows of each, which are at work here, and which begin.

Never in here: files, decisions.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import TYPE_CHECKING

import msgspec

from inferd.errors import FailedPrecondition, ResourceExhausted
from inferd.rollout.state import begun, running

if TYPE_CHECKING:
    from inferd.rollout.live_rollout import LiveRollout
    from inferd.rollout.state import Rollout, Table


class Start(Enum):
    """The state of a rollout that begins. REVOCABLE: it ends if its client leaves. FINAL: it is written or undone without the client."""

    REVOCABLE = auto()
    FINAL = auto()


class Roster:
    """Owns the rollouts of all models. Methods belong to the event loop's thread; `live` is read on the rollouts' thread, too.

    most: of all models at once; one that goes on after a restart goes on in any case."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.table: Table = {}  # as this process knows it: newer evidence than the file
        self.live: dict[str, LiveRollout] = {}  # by model; replaced as a whole, for the thread reads it
        self.starting: dict[str, Start] = {}  # models whose rollout begins
        self.again_ns: dict[str, int] = {}  # when a promotion that could not be carried out is tried again, by model
        self._locks: dict[str, asyncio.Lock] = {}  # of each model's live rollout, and of how it ends

    def lock(self, model: str) -> asyncio.Lock:
        return self._locks.setdefault(model, asyncio.Lock())

    def know(self, rollout: Rollout) -> None:
        self.table = {**self.table, rollout.model: rollout}

    def status(self, model: str) -> list[Rollout]:
        """The rollouts of all models (''), or of one. Raises NotFound."""
        if model and model not in self.table:
            running(self.table, model)
        return [rollout for name, rollout in sorted(self.table.items()) if not model or name == model]

    def running(self) -> Table:
        return {name: self.table[name] for name in self.live if self.table[name].runs}

    def is_news(self, there: Rollout) -> bool:
        """Whether the file knows more of a rollout than this process. Nothing that has ended here runs again."""
        known = self.table.get(there.model)
        if there.model in self.starting:
            return False
        if known is None or known.id != there.id:
            return True
        if not known.runs:
            return False
        if not there.runs or there.model not in self.live:
            return True
        here, place = (known.step, known.share), (there.step, there.share)
        return place > here or (place == here and there.state is not known.state)

    # ---- whether one may begin ----

    def check_begun(self, model: str) -> None:
        if model in self.starting:
            raise FailedPrecondition(f"rollout: one of model '{model}' begins just now, and its candidate is made ready; retry later")

    def check_room(self, table: Table, model: str) -> None:
        """Raises ResourceExhausted where as many others run or begin as may."""
        others = {name for name, rollout in table.items() if rollout.runs} | set(self.starting)
        if len(others - {model}) >= self.most:
            some = ", ".join(repr(name) for name in sorted(others - {model})[:4])
            raise ResourceExhausted(
                f"rollout: {self.most} run at once, which is the limit (max_rollouts): those of models {some}; end one, or raise the limit"
            )

    def begun(self, table: Table, made: Rollout) -> Table:
        """The table with one more that runs. Raises RequestError."""
        self.check_room(table, made.model)
        return begun(table, made)

    # ---- the live ones ----

    def add(self, model: str, live: LiveRollout) -> None:
        self.live = {**self.live, model: live}

    def remove(self, model: str) -> None:
        self.live = {name: each for name, each in self.live.items() if name != model}

    async def end(self, rollout: Rollout) -> Rollout:
        """The rollout has ended so. Returns it with its last counts."""
        live = self.live.get(rollout.model)
        if live is not None:
            rollout = await live.end(rollout)
        rollout = msgspec.structs.replace(rollout, memory={})  # it never goes on: the file keeps its evidence alone
        self.remove(rollout.model)
        self.again_ns.pop(rollout.model, None)
        self.know(rollout)
        return rollout
