"""Versions that leave: each drains on a thread of its own, then its memory is freed.

Never in here: which versions leave (versions.py), when requests stop finding them (repository.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from inferd.errors import Unavailable
from inferd.log import event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inferd.engine.model import Model
    from inferd.engine.models.repository import Repository

log = logging.getLogger("inferd.engine")

DRAIN_S = 300.0  # for requests of a version that leaves; then its runs are ended


class Departures:
    """Owns the threads on which versions drain. Called on the loader's thread. on_loop, giving_back: see Lifecycle."""

    def __init__(
        self,
        repository: Repository,
        on_loop: Callable[[Callable[[], Any]], Any],
        giving_back: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._repository, self._on_loop, self._giving_back = repository, on_loop, giving_back

    def begin(self, leaving: Sequence[Model]) -> Sequence[threading.Thread]:
        """Lets go of versions that have left the table of routes. Returns their threads."""
        threads = [threading.Thread(target=self._let_go, args=([model],), name="drain", daemon=True) for model in leaving]
        for thread in threads:
            thread.start()
        return threads

    def _let_go(self, held: list[Model]) -> None:
        """Drains a version on a thread of its own, and frees its memory. held: the list has the only reference to it."""
        model, began_s = held.pop(), time.monotonic()
        which, fields = f"model '{model.name}' version {model.version}", {"model": model.name, "version": model.version}
        try:
            if not model.drain(DRAIN_S):
                log.warning("%s: requests are left after %g s, and are ended", which, DRAIN_S)
            with self._giving_back():
                if not model.close():
                    return  # a run that does not end keeps its model
                self._on_loop(partial(self._repository.gone, model.name, id(model)))
                del model
            took_s = time.monotonic() - began_s
            log.info("%s is unloaded, after %.2f s", which, took_s, extra=event("model_unloaded", **fields))
        except Unavailable:  # the server has stopped
            pass
        except Exception:
            log.exception("%s could not be unloaded", which)
