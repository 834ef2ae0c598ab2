"""The models that are served, by name: an Entry each (entry.py), and the table in which requests find them (routing.py).

A start opens those that lie below some paths (opening.py). After that versions come and go (lifecycle.py). A model may also be on demand:
it is not in memory, and a request for it has it loaded (serving/on_demand.py). So it counts as ready. Every change happens on one thread at
a time, the loader's before the server is ready, the loop's after, and is told to all who `subscribe`. A request finds its model and is
submitted to it within one step of the loop, so that no change comes in between: a version that is replaced has all of its requests in its
queues by then. Never in here: requests, how a model is loaded.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from inferd.engine.arena import Decaying
from inferd.engine.entry import Entry, IndexEntry, Loads, Other
from inferd.engine.labels import STABLE
from inferd.engine.loader import Loader
from inferd.engine.model import CLOSE_TIMEOUT_S, QUEUE_LIMITS, Model, State
from inferd.engine.opening import open_models, unserved
from inferd.engine.places import Failure, Place, all_versions, find_places
from inferd.engine.routing import Routing
from inferd.errors import InferdError
from inferd.log import event
from inferd.steps.picture_memory import memory as picture_memory
from inferd.threads import start_thread

if TYPE_CHECKING:
    from inferd._core.batching.batch import Batch
    from inferd._core.inference.split import Split
    from inferd.engine.labels import Table
    from inferd.engine.planner import Host
    from inferd.engine.roots import Root

__all__ = ["Change", "Event", "IndexEntry", "Loads", "Repository"]

log = logging.getLogger("inferd.engine")

MAX_REASON = 2000  # characters of why a load failed: a client may have sent the names in it


class Event(StrEnum):
    """A version's way, or its model's; the state that it has then.

    LOADING    it is being loaded; one of the same number may serve meanwhile
    FAILED     it could not be loaded; UNAVAILABLE
    STARTING   it is loaded, and about to take requests: the moment for taps; LOADING
    STARTED    it takes requests; READY
    OFFERED    a request has the model loaded
    LEAVING    another has its place, or it was unloaded: it answers the requests that it has; UNLOADING
    GONE       it is out of memory
    HUNG       all of its instances hang, or one has ended its run after all
    LABELLED   labels of any model have moved
    FOUND      files of the model have come or gone
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


class Change(NamedTuple):
    """Something that happened to a model. name: "": to several. version: 0: to all of the model. model: the version, where it is there."""

    event: Event
    name: str = ""
    version: int = 0
    model: Model | None = None


class Repository:
    """All models of one server or embedded engine.

    `settings` has the fields of config_sources.Defaults and picture_memory_bytes, of which the process has the largest, or some of them.
    `on_model_error`: as the setting of that name.
    `schedule` and `deliver` are passed to each Model.
    """

    def __init__(
        self,
        settings: Any = None,
        *,
        schedule: Callable[[Callable[[], None]], object] | None = None,
        deliver: Callable[[Batch], None],
        host: Host | None = None,
        on_model_error: str = "exit",
    ) -> None:
        if asked_bytes := getattr(settings, "picture_memory_bytes", 0):
            picture_memory.allow(asked_bytes)
        self._on_model_error = on_model_error
        self._entries: dict[str, Entry] = {}
        self._listeners: list[Callable[[Change], object]] = []
        self.evictions = 0  # models that left memory to make room
        self.left_requests = 0  # that versions answered which are no longer in memory
        self._limits: dict[str, int] = {}  # of queues, as the settings that were read again have them
        self.active: set[Model] = set()  # those at which requests wait, or run on threads: `expire` visits no others
        self._decaying = Decaying(self.decay)
        self._routing = Routing(self._entries)
        self.routes, self.find, self.is_on_demand = self._routing.routes, self._routing.find, self._routing.is_on_demand
        self.loader = Loader(settings, schedule=schedule, deliver=deliver, activated=self.active.add, host=host)

    def lookup(self, name: str, version: str) -> Model:
        """The model of that name; '' is the version that the label `stable` names, or else the newest one that is ready. Raises NotFound,
        InvalidArgument, Unavailable."""
        route = self.routes.find(name, version)
        if route is None:
            route = self.find(name, version)
        model: Model = route.model
        return model

    def subscribe(self, listener: Callable[[Change], object]) -> None:
        """listener(change) is called on the thread that makes the change, once it is made: of STARTING, before."""
        self._listeners.append(listener)

    def _tell(self, event: Event, name: str = "", version: int = 0, model: Model | None = None) -> None:
        for listener in self._listeners:
            listener(Change(event, name, version, model))

    # ---- what there is: on any thread ----

    def __getitem__(self, name: str) -> Entry:
        """What is known of a model; an empty Entry where nothing is. To be read alone."""
        return self._entries.get(name) or Entry(name)

    def entries(self) -> list[Entry]:
        return list(self._entries.values())

    def _serving(self) -> list[Model]:
        return [model for entry in self.entries() for model in entry.models]

    def models(self) -> list[Model]:
        """Every version in memory; first those that leave."""
        return [*(model for entry in self.entries() for model in entry.leaving), *self._serving()]

    def names(self) -> set[str]:
        """The models of which a version serves."""
        return {entry.name for entry in self.entries() if entry.models}

    @property
    def on_demand(self) -> set[str]:
        """The models that are not in memory, and that a request has loaded."""
        return {entry.name for entry in self.entries() if entry.offered}

    @property
    def labels(self) -> Table:
        return self._routing.labels

    def idle_by_last_use(self) -> list[str]:
        """The models in memory that have nothing to do, the one that was used least recently first."""
        idle = [entry for entry in self.entries() if entry.models and all(model.idle for model in entry.models)]
        return [entry.name for entry in sorted(idle, key=lambda entry: max(model.used_ns for model in entry.models))]

    def memory_bytes(self, but: str = "") -> int:
        """What models hold, as far as it was estimated: all but what serves of one."""
        return sum(
            model.memory_bytes for entry in self.entries() for model in (*entry.leaving, *(entry.models if entry.name != but else ()))
        )

    def index(self) -> list[IndexEntry]:
        """Every version with its state, by name and version."""
        found = {(each.name, each.version): each for entry in self.entries() for each in entry.index(self.labels)}
        for name, version in self._routing.stable_gone.items():
            gone = IndexEntry(name, str(version), State.UNAVAILABLE, f"label {STABLE} names it, and it is not there")
            found.setdefault((name, gone.version), gone)
        return sorted(found.values(), key=lambda each: (each.name, int(each.version or 0)))

    # ---- the start ----

    def load(self, paths: str | Path | Sequence[str | Path | Root], *, on_demand: bool = False) -> None:
        """Finds, loads, warms and starts all models below `paths`. Call once. on_demand: reads their configurations, and loads none.

        Raises ConfigError or StartError that names every failure; nothing is left running then. A failure that on_model_error allows is
        logged instead, as long as one model is served.
        """
        places, failures = find_places([Path(paths)] if isinstance(paths, str | Path) else paths)
        self.load_places(places, failures, on_demand=on_demand)

    def load_places(self, places: Sequence[Place], failures: Sequence[Failure] = (), *, on_demand: bool = False) -> None:
        """The same for models whose places are known; failures: of those that are none."""
        opened = open_models(self.loader, places, failures, self.labels, self._on_model_error, on_demand=on_demand)
        for selected in opened.selected:
            place = selected.place
            entry = self._entry(place.name)
            entry.found(place.files, unserved(selected), all_versions(place))
            if on_demand:
                entry.offered = tuple(version for version, _ in selected.versions)
        for model in opened.loaded:
            self._start(model)
            entry = self._entry(model.name)
            entry.models = (*entry.models, model)
        for failure in opened.failures:
            log.error("skipped: %s", failure.error, extra=event("model_skipped", model=failure.name))
            self.failed(failure.name, 0, failure.error)
        for name, version, why in opened.broken:
            serves = ", ".join(map(str, self[name].versions))
            fields = event("model_load_failed", model=name, version=version)
            log.error("model '%s' version %d was not loaded: %s; version %s is served", name, version, why, serves, extra=fields)
            self.failed(name, version, why)
        self._routing.fill()
        for model in opened.loaded:
            self._tell(Event.STARTED, model.name, model.version, model)
        start_thread(self._decaying)

    # ---- versions that come and go: on the loop ----

    def _entry(self, name: str) -> Entry:
        return self._entries.setdefault(name, Entry(name))

    def _drop_empty(self, name: str) -> None:
        if name in self._entries and self._entries[name].is_empty:
            del self._entries[name]

    def _start(self, model: Model) -> None:
        self._tell(Event.STARTING, model.name, model.version, model)
        model.start()

    def loading(self, name: str, version: int) -> None:
        """A version is being loaded; one of the same number may serve meanwhile."""
        self._entry(name).others[version] = Other(State.LOADING, "")
        self._tell(Event.LOADING, name, version)

    def failed(self, name: str, version: int, error: Exception) -> str:
        """A version could not be loaded; 0: none could, or none was found. The versions that serve go on serving. Returns why, for
        clients."""
        why = _without_paths(str(error))[:MAX_REASON] if isinstance(error, InferdError) else "the server's log says why"
        self._entry(name).failed(version, why, str(error) if isinstance(error, InferdError) else why)
        self._tell(Event.FAILED, name, version)
        return why

    def swap(self, name: str, loaded: Sequence[Model], retired: Collection[int], *, whole: bool = True) -> list[Model]:
        """The loaded versions take requests from now on, and the retired ones and those of the same numbers no longer: in one assignment.
        Returns the models that leave, for the caller to drain. whole: all that should be loaded is."""
        for model in loaded:
            model.limit_queue({limit: value for limit, value in self._limits.items() if limit not in model.origin.own_limits})
            self._start(model)
        leaving = self._entry(name).swap(loaded, retired, whole=whole)
        self._routing.fill()
        for model in leaving:
            model.leave()
        for happened, models in ((Event.STARTED, loaded), (Event.LEAVING, leaving)):
            for model in models:
                self._tell(happened, name, model.version, model)
        return leaving

    def offer(self, name: str, versions: Sequence[int], earlier: Sequence[int] = ()) -> None:
        """A model that is not in memory, and whose files have come or changed, is on demand from now on. earlier: versions that are
        offered again where these cannot be loaded."""
        self._entry(name).offer(versions, earlier)
        self._tell(Event.OFFERED, name)

    def evict(self, name: str) -> list[Model]:
        """Takes a model out of memory that has nothing to do: it is on demand from now on. Returns the versions that leave, as `swap` does;
        none: it has something to do after all."""
        entry = self[name]
        serving = entry.serving
        if not all(model.idle for model in serving.values()):
            return []
        leaving = self.swap(name, [], serving, whole=False)
        entry.offered = tuple(sorted(serving))
        for version in serving:
            del entry.others[version]
        self.evictions += 1
        self._tell(Event.OFFERED, name)
        return leaving

    def label(self, labels: Table) -> None:
        """These are all labels from now on: requests follow in one assignment."""
        self._routing.labels = labels
        self._routing.fill()
        self._tell(Event.LABELLED)

    def split(self, name: str, version: int, split: Split | None) -> None:
        """A share of the model's requests without a version goes to that version from now on; None: none does."""
        self._entry(name).split = None if split is None else (version, split)
        self._routing.divide()
        self._drop_empty(name)

    def gone(self, name: str, number: int) -> None:
        """A version that left has answered all that it had. number: the id() of its model, which only its caller keeps from now on."""
        entry = self._entry(name)
        (version,) = (model.version for model in entry.leaving if id(model) == number)
        self.left_requests += sum(model.statistics.request.count for model in entry.leaving if id(model) == number)
        entry.leaving = tuple(model for model in entry.leaving if id(model) != number)
        self.active.difference_update([model for model in self.active if id(model) == number])
        self._drop_empty(name)
        self._tell(Event.GONE, name, version)

    def found(self, name: str, there: Collection[int], unserved: Sequence[int], serves_all: str) -> None:
        """Takes which versions of a model are there: the index forgets others. unserved: those that nobody asked for; serves_all: the
        line that has them served."""
        self._entry(name).found(there, unserved, serves_all)
        self._tell(Event.FOUND, name)

    def forget(self, name: str) -> None:
        """The model is no longer there, and the index names it no more."""
        self._entry(name).forget()
        self._drop_empty(name)
        self._tell(Event.FOUND, name)

    # ---- some times a second, and at the end ----

    def expire(self, now_ns: int) -> None:
        """Active models answer requests whose time ran out, and end runs that take too long. Call it some times a second, on the loop."""
        changed = False
        self.loader.limit.look(now_ns)
        for model in tuple(self.active):
            changed |= model.expire(now_ns)
            if model.rest(now_ns):
                self.active.discard(model)
        if changed:
            self._routing.fill()
            self._tell(Event.HUNG)

    @property
    def hung(self) -> int:
        """Instances of all models whose run was told to end and does not. Their models are active."""
        return sum(model.hung for model in tuple(self.active))

    def decay(self) -> None:
        """Gives back the memory of earlier runs that no run uses now. Every DECAY_S, on a thread of its own."""
        for model in self._serving():
            model.decay()

    def limit_queues(self, settings: Any) -> None:
        """Takes the limits of queues as the server's settings say them now, where a model's own configuration does not. On the loop."""
        self._limits = {name: getattr(settings, name) for name in QUEUE_LIMITS}
        for model in self._serving():
            model.limit_queue({name: value for name, value in self._limits.items() if name not in model.origin.own_limits})

    def hurry(self) -> None:
        """The server drains: no batch waits for more requests."""
        for model in self._serving():
            model.hurry()

    def drain(self, timeout_s: float) -> bool:
        """No model takes anything new; waits until what is queued has run. False: that took longer than `timeout_s`."""
        self.routes.fill({})
        until_s = time.monotonic() + timeout_s
        drained = [model.drain(max(until_s - time.monotonic(), 0.0)) for model in self._serving()]
        return all(drained)

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Ends every model: what runs is ended, what waits is rejected. Idempotent. False: runs do not end within timeout_s for all
        together, and are left behind."""
        self.routes.fill({})
        self._decaying.stop()
        models = [*self._serving(), *(model for entry in self._entries.values() for model in entry.leaving)]
        for model in models:
            model.end()
        until_s = time.monotonic() + timeout_s
        ended = [model.close(max(until_s - time.monotonic(), 0.0)) for model in models]
        self.loader.close(max(until_s - time.monotonic(), 0.0))
        return all(ended)


def _without_paths(text: str) -> str:
    """Files without the folders that they lie in: clients may read this."""
    text = re.sub(r"'(?:file:)?/[^']*/([^'/]*)'", r"'.../\1'", text)  # in quotes folders may have blanks
    return re.sub(r"(?<![\w./])(?:file:)?/(?!/)(?:[^\s'\"/]+/)*(?=[^\s'\"/])", ".../", text)
