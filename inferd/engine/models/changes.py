"""The life of a version, as a table, and the events that tell of it.

    LOADING -> STARTING -> STARTED -> LEAVING -> GONE
            -> FAILED

Never in here: who changes a version (repository.py), what is done about it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple

from inferd.engine.model import Model, State


class Event(StrEnum):
    """An event of a version, or of its model.

    - LOADING: a load has begun; a version of the same number may serve meanwhile.
    - FAILED: the load failed.
    - STARTING: it is loaded and about to take requests, so that taps can be added.
    - STARTED: it takes requests.
    - OFFERED: the model is on demand.
    - LEAVING: it was replaced or unloaded, and drains.
    - GONE: it is out of memory.
    - HUNG: all instances of a version hang, or one has ended its run after all. It names no model.
    - LABELLED: labels have moved. It names no model.
    - FOUND: files of the model have come or gone.
    """

    LOADING = "loading"
    FAILED = "failed"
    STARTING = "starting"
    STARTED = "started"
    OFFERED = "offered"
    LEAVING = "leaving"
    GONE = "gone"
    HUNG = "hung"
    LABELLED = "labelled"
    FOUND = "found"


class Stage(NamedTuple):
    """A stage in the life of one load of a version. state: in Triton's words. next: the events that may follow."""

    state: State
    next: frozenset[Event] = frozenset()


# By the event that begins the stage. A version of the start begins with STARTING. A hung one is UNAVAILABLE until a run of it ends.
LIFE: Mapping[Event, Stage] = {
    Event.LOADING: Stage(State.LOADING, frozenset({Event.STARTING, Event.FAILED})),
    Event.STARTING: Stage(State.LOADING, frozenset({Event.STARTED})),
    Event.STARTED: Stage(State.READY, frozenset({Event.LEAVING})),
    Event.LEAVING: Stage(State.UNLOADING, frozenset({Event.GONE})),
    Event.GONE: Stage(State.UNAVAILABLE),
    Event.FAILED: Stage(State.UNAVAILABLE),
}


class Change(NamedTuple):
    """An event. name: "": of several models. version: 0: of all of the model. model: the version, where it is in memory."""

    event: Event
    name: str = ""
    version: int = 0
    model: Model | None = None


class Changes:
    """Owns the listeners. `tell` is called on the thread that makes the change, which is the loop's once the server is ready."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Change], object]] = []

    def subscribe(self, listener: Callable[[Change], object]) -> None:
        """listener(change) is called on the thread that makes the change, after it; for STARTING, before it."""
        self._listeners.append(listener)

    def tell(self, event: Event, name: str = "", version: int = 0, model: Model | None = None) -> None:
        for listener in self._listeners:
            listener(Change(event, name, version, model))
