"""The models that are served, by name: an Entry each (entry.py), and the table in which requests find them (routing.py).

A start opens the models below some paths (opening.py). After that versions come and go (lifecycle.py). A model may also be on demand: it is
not in memory and counts as ready, and a request for it loads it (serving/on_demand.py). Changes happen on one thread at a time: those of
the start on the thread that loads, then on the loop's. Subscribers hear of each change but a split (changes.py). A request finds its model
and is submitted within one step of the loop, so that no change comes in between. When a version is replaced, all of its requests are in its
queues. Never in here: requests, how a model is loaded.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferd.engine.files.places import Failure, Place, all_versions, find_places
from inferd.engine.loading.loader import Loader
from inferd.engine.model import CLOSE_TIMEOUT_S, Model, State
from inferd.engine.models.changes import Changes, Event
from inferd.engine.models.entry import Entry, IndexEntry, Other
from inferd.engine.models.labels import STABLE
from inferd.engine.models.opening import open_models, unserved
from inferd.engine.models.routing import Routing
from inferd.engine.models.upkeep import Upkeep
from inferd.errors import InferdError
from inferd.log import event
from inferd.steps.picture_memory import memory as picture_memory

if TYPE_CHECKING:
    from inferd._core.batching.batch import Batch
    from inferd._core.inference.split import Split
    from inferd.engine.files.roots import Root
    from inferd.engine.loading.planner import Host
    from inferd.engine.models.labels import Table

log = logging.getLogger("inferd.engine")

MAX_REASON = 2000  # characters of a failed load's error, which may hold long names from a client


class Repository:
    """All models of one server or embedded engine.

    `settings` has the fields of config_sources.Defaults, or some of them, and picture_memory_bytes: the process uses the largest of these.
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
        self.changes = Changes()
        self.evictions = 0  # models that left memory to make room
        self.left_requests = 0  # requests to versions that are no longer in memory
        self.upkeep = Upkeep(self._serving, self._hung)
        self._routing = Routing(self._entries)
        self.routes, self.find, self.is_on_demand = self._routing.routes, self._routing.find, self._routing.is_on_demand
        self.loader = Loader(settings, schedule=schedule, deliver=deliver, activated=self.upkeep.active.add, host=host)

    def lookup(self, name: str, version: str) -> Model:
        """A model's version. '' is the version that the label `stable` names, or else the newest ready one. Raises NotFound,
        InvalidArgument, Unavailable."""
        route = self.routes.find(name, version)
        if route is None:
            route = self.find(name, version)
        model: Model = route.model
        return model

    # ---- what there is: on any thread ----

    def __getitem__(self, name: str) -> Entry:
        """The entry of a model, only for reading; an empty one where there is none."""
        return self._entries.get(name) or Entry(name)

    def entries(self) -> list[Entry]:
        return list(self._entries.values())

    def _serving(self) -> list[Model]:
        return [model for entry in self.entries() for model in entry.models]

    def models(self) -> list[Model]:
        """Every version in memory; those that leave come first."""
        return [*(model for entry in self.entries() for model in entry.leaving), *self._serving()]

    def names(self) -> set[str]:
        """The models with a version that serves."""
        return {entry.name for entry in self.entries() if entry.models}

    @property
    def on_demand(self) -> set[str]:
        """The models that are not in memory until a request comes."""
        return {entry.name for entry in self.entries() if entry.offered}

    @property
    def labels(self) -> Table:
        return self._routing.labels

    def memory_bytes(self, but: str = "") -> int:
        """Estimated memory of models without their runs, except the serving versions of `but`."""
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
        """Finds, loads, warms and starts all models below `paths`. Call once. on_demand: only reads their configurations.

        Raises ConfigError or StartError that names every model that failed; nothing is left running then. A failure that on_model_error
        allows is logged instead, if any model is served.
        """
        places, failures = find_places([Path(paths)] if isinstance(paths, str | Path) else paths)
        self.load_places(places, failures, on_demand=on_demand)

    def load_places(self, places: Sequence[Place], failures: Sequence[Failure] = (), *, on_demand: bool = False) -> None:
        """As `load`, for models whose places are known. failures: those of `find_places`."""
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
            self.changes.tell(Event.STARTED, model.name, model.version, model)
        self.upkeep.start()

    # ---- versions that come and go: on the loop ----

    def _entry(self, name: str) -> Entry:
        return self._entries.setdefault(name, Entry(name))

    def _drop_empty(self, name: str) -> None:
        if name in self._entries and self._entries[name].is_empty:
            del self._entries[name]

    def _start(self, model: Model) -> None:
        self.changes.tell(Event.STARTING, model.name, model.version, model)
        model.start()

    def loading(self, name: str, version: int) -> None:
        """Called when the load of a version begins; a version of the same number may serve meanwhile."""
        self._entry(name).others[version] = Other(State.LOADING, "")
        self.changes.tell(Event.LOADING, name, version)

    def failed(self, name: str, version: int, error: Exception) -> str:
        """Called when a version could not be loaded; 0: none could, or none was found. The versions that serve stay. Returns why, for
        clients."""
        why = _without_paths(str(error))[:MAX_REASON] if isinstance(error, InferdError) else "the server's log says why"
        self._entry(name).failed(version, why, str(error) if isinstance(error, InferdError) else why)
        self.changes.tell(Event.FAILED, name, version)
        return why

    def swap(self, name: str, loaded: Sequence[Model], retired: Collection[int], *, whole: bool = True) -> list[Model]:
        """Replaces the retired versions, and those of the same numbers, by the loaded ones, in one assignment. Returns the models that
        leave, for the caller to drain. whole: no version of the model failed to load."""
        for model in loaded:
            self.upkeep.limit_queue(model)
            self._start(model)
        leaving = self._entry(name).swap(loaded, retired, whole=whole)
        self._routing.fill()
        for model in leaving:
            model.leave()
        for happened, models in ((Event.STARTED, loaded), (Event.LEAVING, leaving)):
            for model in models:
                self.changes.tell(happened, name, model.version, model)
        return leaving

    def offer(self, name: str, versions: Sequence[int], earlier: Sequence[int] = ()) -> None:
        """Puts a model on demand that is not in memory, as its files have come or changed. earlier: versions to offer again if these
        cannot be loaded."""
        self._entry(name).offer(versions, earlier)
        self.changes.tell(Event.OFFERED, name)

    def evict(self, name: str) -> list[Model]:
        """Takes an idle model out of memory, and puts it on demand. Returns the versions that leave, as `swap` does; none: it is not idle
        after all."""
        entry = self[name]
        serving = entry.serving
        if not all(model.queues.idle for model in serving.values()):
            return []
        leaving = self.swap(name, [], serving, whole=False)
        entry.offered = tuple(sorted(serving))
        for version in serving:
            del entry.others[version]
        self.evictions += 1
        self.changes.tell(Event.OFFERED, name)
        return leaving

    def label(self, labels: Table) -> None:
        """Replaces all labels. Requests follow them in one assignment."""
        self._routing.labels = labels
        self._routing.fill()
        self.changes.tell(Event.LABELLED)

    def split(self, name: str, version: int, split: Split | None) -> None:
        """Sends a share of the model's requests without a version to that version from now on; None: no share."""
        self._entry(name).split = None if split is None else (version, split)
        self._routing.divide()
        self._drop_empty(name)

    def gone(self, name: str, number: int) -> None:
        """Called when a version has drained. number: the id() of its model; only the caller keeps the model from now on."""
        entry = self._entry(name)
        (version,) = (model.version for model in entry.leaving if id(model) == number)
        self.left_requests += sum(model.statistics.request.count for model in entry.leaving if id(model) == number)
        entry.leaving = tuple(model for model in entry.leaving if id(model) != number)
        self.upkeep.forget(number)
        self._drop_empty(name)
        self.changes.tell(Event.GONE, name, version)

    def found(self, name: str, there: Collection[int], unserved: Sequence[int], serves_all: str) -> None:
        """Called with the versions whose files exist: the index forgets others. unserved: those that are not selected. serves_all: the
        line of configuration that would serve them."""
        self._entry(name).found(there, unserved, serves_all)
        self.changes.tell(Event.FOUND, name)

    def forget(self, name: str) -> None:
        """Called when a model is no longer there: the index forgets it."""
        self._entry(name).forget()
        self._drop_empty(name)
        self.changes.tell(Event.FOUND, name)

    # ---- some times a second, and at the end ----

    def expire(self, now_ns: int) -> None:
        """Called some times a second, on the loop. Fails requests that are too late, and ends runs that take too long, of active models
        and of the current load."""
        self.loader.limit.enforce(now_ns)
        self.upkeep.expire(now_ns)

    def _hung(self) -> None:
        self._routing.fill()
        self.changes.tell(Event.HUNG)

    def drain(self, timeout_s: float) -> bool:
        """Takes no new requests, and waits for those that wait and run. False: some are left after `timeout_s`."""
        self.routes.fill({})
        until_s = time.monotonic() + timeout_s
        drained = [model.drain(max(until_s - time.monotonic(), 0.0)) for model in self._serving()]
        return all(drained)

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Ends every model: terminates runs and rejects waiting requests. Idempotent. False: some runs did not end within timeout_s, and
        are left behind."""
        self.routes.fill({})
        self.upkeep.stop()
        models = [*self._serving(), *(model for entry in self._entries.values() for model in entry.leaving)]
        for model in models:
            model.end()
        until_s = time.monotonic() + timeout_s
        ended = [model.close(max(until_s - time.monotonic(), 0.0)) for model in models]
        self.loader.close(max(until_s - time.monotonic(), 0.0))
        return all(ended)


def _without_paths(text: str) -> str:
    """Removes the folders of files from a text that clients may read."""
    text = re.sub(r"'(?:file:)?/[^']*/([^'/]*)'", r"'.../\1'", text)  # in quotes folders may have blanks
    return re.sub(r"(?<![\w./])(?:file:)?/(?!/)(?:[^\s'\"/]+/)*(?=[^\s'\"/])", ".../", text)
