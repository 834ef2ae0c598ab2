"""Care for the versions in memory: some times a second, every DECAY_S, and when settings are reloaded.

Never in here: which versions there are (repository.py), the life of one request (engine/model.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inferd.engine.model import Model
from inferd.engine.running.queues import QUEUE_LIMITS
from inferd.engine.runtime.arena import Decaying
from inferd.threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Upkeep:
    """Owns the set of active models, the reloaded limits of queues, and the thread that calls `decay`; all else is for the loop's thread.

    serving(): the versions that serve, on any thread. hung(): called when a version hangs, or does no longer.
    """

    def __init__(self, serving: Callable[[], Iterable[Model]], hung: Callable[[], object]) -> None:
        self._serving, self._told = serving, hung
        self.active: set[Model] = set()  # `expire` visits no others: requests wait or run on threads, or an executor thread is idle
        self._limits: dict[str, int] = {}  # limits of queues in reloaded settings
        self._decaying = Decaying(self.decay)

    def start(self) -> None:
        start_thread(self._decaying)

    def stop(self) -> None:
        self._decaying.stop()

    def expire(self, now_ns: int) -> None:
        """Called some times a second. Fails requests that are too late, and ends runs that take too long, of active models."""
        changed = False
        for model in tuple(self.active):
            changed |= model.expire(now_ns)
            if model.rest(now_ns):
                self.active.discard(model)
        if changed:
            self._told()

    @property
    def hung(self) -> int:
        """Instances of all models whose run was terminated and does not end. Their models are active."""
        return sum(model.hung for model in tuple(self.active))

    def forget(self, number: int) -> None:
        """Called when a version has drained. number: the id() of its model."""
        self.active.difference_update([model for model in self.active if id(model) == number])

    def decay(self) -> None:
        """Returns unused memory of earlier runs to the system. Called every DECAY_S, on a thread of its own."""
        for model in self._serving():
            model.decay()

    def limit_queues(self, settings: Any) -> None:
        """Sets the limits of queues to those of reloaded settings, unless a model's own configuration sets them."""
        self._limits = {name: getattr(settings, name) for name in QUEUE_LIMITS}
        for model in self._serving():
            self.limit_queue(model)

    def limit_queue(self, model: Model) -> None:
        """Called before a new version starts."""
        model.queues.limit({limit: value for limit, value in self._limits.items() if limit not in model.origin.own_limits})

    def hurry(self) -> None:
        """Called when the server drains: no batch waits for more requests."""
        for model in self._serving():
            model.queues.hurry()
