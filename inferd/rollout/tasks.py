"""Work of rollouts on the event loop that no client waits for, or that goes on without its client."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from inferd.errors import InferdError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from inferd.rollout.state import Rollout

log = logging.getLogger("inferd.rollout")


class Tasks:
    """Owns the tasks. On the event loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Work that nobody waits for. Its error is logged."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    async def outlive(self, work: Coroutine[Any, Any, Rollout], is_revocable: Callable[[], bool], over: Callable[[], object]) -> Rollout:
        """Carries work out, even if the client that asked for it leaves: half of an end is none. is_revocable(): whether it ends with its
        client nevertheless. over: called at the end of the work."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        for call in (self._tasks.discard, lambda _: over()):
            task.add_done_callback(call)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if is_revocable():
                task.cancel()
            task.add_done_callback(self._over)  # the log gets its error
            raise

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a rollout could not be carried on: %s", error, exc_info=None if isinstance(error, InferdError) else error)
