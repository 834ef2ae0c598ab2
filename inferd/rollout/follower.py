"""The file of rollouts, which other processes of the server change: this process takes what they have begun and decided.

Never in here: when the file has changed (worker.py), writing it (ledger.py).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from inferd.errors import FailedPrecondition, InferdError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from inferd.rollout.ledger import Ledger
    from inferd.rollout.live_rollout import LiveRollout, Site
    from inferd.rollout.roster import Roster
    from inferd.rollout.state import Kind, Rollout

log = logging.getLogger("inferd.rollout")

RETRY_S = 5.0  # until the next look at the file where labels could not be read


class Follower:
    """Owns the looks at the file. Methods belong to the event loop's thread; `stamp` and `ask` are for any thread. began(model, live):
    called when a rollout goes on here."""

    def __init__(
        self,
        site: Site,
        roster: Roster,
        ledger: Ledger,
        kinds: Mapping[Kind, Callable[[Rollout, Site], LiveRollout]],
        began: Callable[[str, LiveRollout], None],
    ) -> None:
        self._site, self._roster, self._ledger, self._kinds, self._began = site, roster, ledger, kinds, began
        self.is_asked = False  # for a look that has not read the file yet
        self._retry: asyncio.TimerHandle | None = None

    def stamp(self) -> tuple[int, int]:
        """Another one: the file has changed."""
        return self._ledger.stamp()

    def ask(self) -> bool:
        """Asks for a look at the file. False: the loop is closed."""
        self.is_asked = True
        try:
            self._site.loop.call_soon_threadsafe(lambda: self._site.spawn(self.follow()))
        except RuntimeError:
            return False
        return True

    def close(self) -> None:
        if self._retry is not None:
            self._retry.cancel()

    async def there(self, model: str) -> Rollout | None:
        """The rollout in the file; None also where it cannot be read: a rollback has effect then, too."""
        try:
            return (await self._ledger.read()).get(model)
        except FailedPrecondition:
            return None

    async def follow(self) -> None:
        """Takes what another process has decided, and at the start all that runs."""
        try:
            table = await self._ledger.read()
        except FailedPrecondition:
            return  # the log has it
        finally:
            self.is_asked = False  # what is written from now on is looked at again
        news = [rollout.model for rollout in table.values() if self._roster.is_news(rollout)]
        begins = [model for model in news if table[model].runs and model not in self._roster.live and self._is_served(model)]
        for model in news:
            if model not in begins:
                await self._follow_one(table[model])
        if (begins or any(not table[model].runs for model in news)) and not await self.follow_labels() and begins:
            if self._retry is not None:
                self._retry.cancel()
            self._retry = self._site.loop.call_later(RETRY_S, self.ask)  # a rollout whose labels are not known would seem to have lost them
            return
        for model in begins:
            await self._follow_one(table[model])

    async def _follow_one(self, seen: Rollout) -> None:
        model, roster = seen.model, self._roster
        async with roster.lock(model):
            rollout = await self.there(model)  # once more: this process may have written meanwhile
            if rollout is None or rollout.id != seen.id or not roster.is_news(rollout):
                return  # another rollout, with labels of its own, is followed with the next look at the file
            known, live = roster.table.get(model), roster.live.get(model)
            if live is not None and known is not None and known.id != rollout.id:
                live.abandon()  # the label belongs to the other one
                roster.remove(model)
                live = None
            if not rollout.runs:
                await roster.end(rollout)
            elif live is not None:
                live.follow(rollout)
            elif self._is_served(model):
                try:
                    live = self._kinds[rollout.kind](rollout, self._site)
                    await live.begin(resumed=True)
                except Exception as error:
                    if live is not None:
                        live.abandon()
                    where = self._ledger.path or "memory"
                    log.error("the rollout of model '%s' does not go on here: '%s': %s", model, where, error)
                    return
            roster.know(rollout)  # an end with the counts of the process that has decided
            if rollout.runs and live is not None:
                self._began(model, live)

    async def follow_labels(self) -> bool:
        """Another process has moved labels: this one takes them now, and not with its next look at the files of models. Whether it has
        them."""
        try:
            await asyncio.wrap_future(self._site.lifecycle.compare({""}))
        except InferdError as error:
            log.error("labels stay as they are: %s", error)
            return False
        return True

    def _is_served(self, model: str) -> bool:
        return model in self._site.repository.names() | self._site.repository.on_demand
