"""The interface of a kind of rollout: its `LiveRollout` acts on requests, at a `Site`. Never in here: kinds, files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine, Iterable

    from inferd.engine.models.lifecycle import Lifecycle
    from inferd.engine.models.repository import Repository
    from inferd.rollout.state import Rollout


class Site(Protocol):
    """The parts of the server that a live rollout may use. processes: of this server; each decides by its own requests."""

    @property
    def repository(self) -> Repository: ...
    @property
    def lifecycle(self) -> Lifecycle: ...
    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def processes(self) -> int: ...
    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Work that nobody waits for. Its error is logged."""


class LiveRollout(Protocol):
    """One rollout at work in this process. `work` is called on the rollouts' thread, all else on the loop's."""

    async def begin(self, *, resumed: bool = False) -> None:
        """Makes the candidate ready, and lets requests pass by. Raises RequestError: the rollout does not begin. Then `undo` is called,
        or `abandon` where another process began one first. resumed: it ran when the server stopped, which takes no requests before this
        returns: slow work goes on afterwards."""

    async def undo(self) -> None:
        """Nothing is left of a `begin` that was not resumed, also of one that failed half-way."""

    def tick(self, rollout: Rollout, now_ns: int) -> Rollout:
        """The rollout with what is known now. Another state, step or share is a decision: `reason` says why, and it has effect already.
        now_ns: monotonic."""

    def follow(self, rollout: Rollout) -> None:
        """Another process, or a person, has decided: takes the share of this."""

    def work(self) -> float:
        """Works off what requests have left behind. Seconds until there may be more."""

    def report(self, outcomes: Iterable[tuple[str, bool]]) -> tuple[int, int]:
        """Takes outcomes of requests, by id. Returns how many of the ids are known, and how many are not."""

    async def end(self, rollout: Rollout) -> Rollout:
        """The rollout has ended: requests go where its state says, and nothing is left of it. Waits for no load. Returns it with its last
        counts."""

    def abandon(self) -> None:
        """The server stops, or this process gives the rollout up: frees what it has, and changes nothing. `tick` tells the last counts.
        Idempotent."""
