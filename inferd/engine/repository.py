"""The models that are served: the table of their versions, in which every request finds its model by name and version.

At the start it loads those that lie below some paths (places.py, loader.py). That is strict: unless every version that the version
policy selects is loaded and warm, nothing is served, and the error names every failure. `on_model_error` may allow that a version of which
others are served fails, or that a model is skipped: the log says why, requests for it are rejected and RepositoryIndex lists it.

After that versions come and go (lifecycle.py). A model may also be on demand: it is not in memory, and a request for it has it loaded
(serving/on_demand.py). So it counts as ready. Every change of the table happens on one thread at a time: the loader's before the server
is ready, the loop's after. A request finds its model and is submitted to it within one step of the loop, so that no change comes in
between: a version that is replaced has all of its requests in its queues by then. Never in here: requests, how a model is loaded.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from inferd._core.inference.routes import Routes
from inferd.engine.arena import Decaying
from inferd.engine.labels import DAMAGED, STABLE, versions_of
from inferd.engine.loader import Loader
from inferd.engine.model import CLOSE_TIMEOUT_S, QUEUE_LIMITS, Model, State
from inferd.engine.places import MAX_VERSION, SHOWN_NAMES, Failure, Place, all_versions, find_places, shown
from inferd.engine.room import LEAST_FACTOR, Room
from inferd.errors import ConfigError, InferdError, InvalidArgument, NotFound, RequestError, StartError, Unavailable
from inferd.log import event
from inferd.pipeline.picture_memory import memory as picture_memory
from inferd.protocol.inference import InferParameter, ModelInferResponse
from inferd.threads import start_thread

if TYPE_CHECKING:
    from inferd._core.batching.batch import Batch
    from inferd._core.inference.path import Route
    from inferd._core.inference.split import Split
    from inferd.engine.labels import Table
    from inferd.engine.loader import Selected
    from inferd.engine.planner import Host
    from inferd.engine.roots import Root

__all__ = ["IndexEntry", "Loads", "Repository"]

log = logging.getLogger("inferd.engine")

MAX_REASON = 2000  # characters of why a load failed: a client may have sent the names in it
LOAD_FAILED = "the last load failed: "
ON_DEMAND = "not in memory: a request has it loaded"


def _arm(name: str) -> bytes:
    """A field of a ModelInferResponse: which arm of a canary made it."""
    return ModelInferResponse(parameters={"rollout_arm": InferParameter(string_param=name)}).SerializeToString()


ARM_STABLE, ARM_CANARY = _arm("stable"), _arm("canary")


class IndexEntry(NamedTuple):
    """One version as RepositoryIndex shows it."""

    name: str
    version: str
    state: str
    reason: str


class Other(NamedTuple):
    """What the index says of a version that no model serves; or why the last load of one that is served failed."""

    state: State
    reason: str


class Loads(NamedTuple):
    """A model's loads, for the metrics. failing: the last one failed."""

    failures: int = 0
    failing: bool = False


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
        self._skipped: dict[str, str] = {}  # why models could not be loaded, by name; an exception would hold what a client sent
        self._unserved: dict[str, list[int]] = {}  # versions that are there and that the version policy leaves out, by model
        self._serves_all: dict[str, str] = {}  # the line that has them served, and its file, by model
        self._models: list[Model] = []  # replaced as a whole: other threads read it
        self._leaving: list[Model] = []  # versions that were replaced or unloaded, and still answer what they have
        self._on_demand: dict[str, tuple[int, ...]] = {}  # the versions of models that are not in memory until a request asks for them
        self._earlier: dict[str, tuple[int, ...]] = {}  # of those, the versions that were offered before
        self.evictions = 0  # models that left memory to make room
        self.left_requests = 0  # that versions answered which are no longer in memory
        self._others: dict[tuple[str, int], Other] = {}  # what the index says beside: of loads, and of versions that have gone
        self.loads: dict[str, Loads] = {}  # of each model, once there was one after the start, or one that failed
        self.labels: Table = {}  # replaced as a whole
        self._stable_gone: set[str] = set()  # models that serve, but not the version that `stable` names
        self.before_start: list[Callable[[Model], object]] = []  # called with each model that is about to take requests
        self._splits: dict[str, tuple[int, Split]] = {}  # of canaries: the candidate's version, and its share, by model
        self._divided: list[Route] = []  # routes that a split changes
        self._limits: dict[str, int] = {}  # of queues, as the settings that were read again have them
        self.active: set[Model] = set()  # those at which requests wait, or run on threads: `expire` visits no others
        self._decaying = Decaying(self.decay)
        self.routes = Routes()  # of what takes requests, by name and version; '' is the one that `stable` names, or the newest
        self.loader = Loader(settings, schedule=schedule, deliver=deliver, activated=self.active.add, host=host)

    # ---- every request ----

    def lookup(self, name: str, version: str) -> Model:
        """The model of that name; '' is the version that the label `stable` names, or else the newest one that is ready. Raises NotFound,
        InvalidArgument, Unavailable."""
        route = self.routes.find(name, version)
        if route is None:
            route = self.find(name, version)
        model: Model = route.model
        return model

    def find(self, name: str, version: str) -> Route:
        """The rare cases, where `routes` has none: an unusual spelling of the version, or the error that says what there is."""
        if self.is_on_demand(name, version):
            raise Unavailable(f"model '{name}' is not in memory now; an inference request has it loaded")
        if labelled := versions_of(self.labels, name).get(version):
            raise Unavailable(f"model_version: label '{version}' of model '{name}' names version {labelled}, which takes no requests now")
        if version and not (re.fullmatch("[0-9]{1,19}", version, re.ASCII) and 1 <= int(version) <= MAX_VERSION):
            raise InvalidArgument(
                "model_version: expected a number from 1, a label of the model, or nothing for the newest: failed to get model version "
                f"from specified version string {shown(version)}"
            )
        spelled = str(int(version)) if version else ""
        route: Route | None = self.routes.find(name, spelled)
        if spelled != version and route is not None:
            return route
        raise self._missing(name, spelled)

    def _unloaded_stable(self, name: str) -> int:
        """The version that the label `stable` names, where it is not in memory, and others are. Those do not take its requests. Else 0."""
        stable, serving = versions_of(self.labels, name).get(STABLE, 0), self.serving(name)
        return stable if serving and stable not in serving else 0

    def _missing(self, name: str, version: str) -> RequestError:
        versions = self.versions(name)
        if not versions and any(other.state is State.LOADING for (model, _), other in self._others.items() if model == name):
            return Unavailable(f"model '{name}' is being loaded; retry later")
        if name in self._skipped:
            return Unavailable(f"model '{name}' could not be loaded; the server's log says why")
        if not versions:
            # Not which ones there are: a proxy may let a client infer and not list. The first words are Triton's: its programs look there.
            return NotFound(f"Request for unknown model: model_name: there is no model {shown(name)}; name one of the repository index")
        if not version and versions_of(self.labels, name).get(STABLE) == DAMAGED:
            return Unavailable(
                f"model_version: the label '{STABLE}' of model '{name}' cannot be read from the server's file of labels; set the label "
                "again, or name a version"
            )
        if not version and (stable := self._unloaded_stable(name)):
            return Unavailable(f"model_version: label '{STABLE}' of model '{name}' names version {stable}, which takes no requests now")
        if version and int(version) not in versions:
            there = ", ".join(map(str, versions[-SHOWN_NAMES:]))
            cure = ", and no version means the newest"
            if int(version) in self.unserved(name):
                cure = f"; its version_policy leaves version {version} out"
                newest = self.serving(name).get(versions[-1])
                if newest is not None and newest.config.version_policy.latest.num_versions == 1:  # as without a policy
                    cure = f"; version {version} is there, and by default only the newest is served; {self._serves_all[name]} serves all"
            said = f"model '{name}' serves no version {version}; it serves {there}{cure}"
            return NotFound(f"Request for unknown model: model_version: {said}")
        model = self.serving(name)[int(version) if version else versions[-1]]
        return Unavailable(f"model '{name}' version {model.version} is {model.state} and takes no requests now; retry later")

    # ---- what there is ----

    def models(self) -> list[Model]:
        """Every version in memory, in the order of loading; first those that leave."""
        return [*self._leaving, *self._models]

    def names(self) -> set[str]:
        """The models of which a version serves."""
        return {model.name for model in self._models}

    def serving(self, name: str) -> dict[int, Model]:
        """A model's versions that take requests, or will again."""
        return {model.version: model for model in self._models if model.name == name}

    def versions(self, name: str) -> list[int]:
        """A model's versions that serve, or are on demand; oldest first."""
        return sorted(self.serving(name) or self._on_demand.get(name, ()))

    def why_broken(self, name: str, version: int) -> str:
        """Why a version could not be loaded, where no earlier load of it serves; else ''."""
        other = self._others.get((name, version))
        is_broken = other is not None and other.reason.startswith(LOAD_FAILED) and version not in self.serving(name)
        return other.reason if other is not None and is_broken else ""

    def is_on_demand(self, name: str, version: str) -> bool:
        """Whether a request for it waits until the model is loaded."""
        versions = self._on_demand.get(name)
        if not versions:
            return False
        number = versions_of(self.labels, name).get(version) or (int(version[:20]) if version.isascii() and version.isdigit() else 0)
        return not version or number in versions

    def offered(self, name: str) -> tuple[int, ...]:
        """The versions of a model that is on demand, and not in memory."""
        return self._on_demand.get(name, ())

    @property
    def on_demand(self) -> set[str]:
        """The models that are not in memory, and that a request has loaded."""
        return set(self._on_demand)

    def idle_by_last_use(self) -> list[str]:
        """The models in memory that have nothing to do, the one that was used least recently first. On any thread."""
        models = self._models
        busy = {model.name for model in models if not model.idle}
        used_ns: dict[str, int] = {}
        for model in models:
            if model.name not in busy:
                used_ns[model.name] = max(used_ns.get(model.name, 0), model.used_ns)
        return sorted(used_ns, key=used_ns.__getitem__)

    def memory_bytes(self, but: str = "") -> int:
        """What models hold, as far as it was estimated: all but what serves of one. On any thread."""
        return sum(model.memory_bytes for model in (*self._leaving, *(model for model in self._models if model.name != but)))

    def index(self) -> list[IndexEntry]:
        """Every version with its state, by name and version."""
        entries = {(name, version): IndexEntry(name, str(version or ""), *other) for (name, version), other in self._others.items()}
        for name, versions in self._on_demand.items():
            entries |= {(name, number): IndexEntry(name, str(number), State.READY, ON_DEMAND) for number in versions}
        for name in self._stable_gone:
            version = self._unloaded_stable(name)
            gone = IndexEntry(name, str(version), State.UNAVAILABLE, f"label {STABLE} names it, and it is not there")
            entries.setdefault((name, version), gone)
        for model in (*self._leaving, *self._models):
            other = self._others.get((model.name, model.version))
            failed = other.reason if other is not None and model in self._models else ""
            reason = model.reason or failed or self._labelled(model)
            entries[model.name, model.version] = IndexEntry(model.name, str(model.version), model.state, reason)
        return [entries[key] for key in sorted(entries)]

    def _labelled(self, model: Model) -> str:
        names = [label for label, version in versions_of(self.labels, model.name).items() if version == model.version]
        return f"label {', '.join(sorted(names))}" if names else ""

    def unserved(self, name: str) -> list[int]:
        """Versions of a model that are there and that its version policy leaves out."""
        return self._unserved.get(name, [])

    @property
    def skipped(self) -> dict[str, str]:
        """The models that could not be loaded and do not keep the others from being served, and why, by name."""
        return dict(self._skipped)

    @property
    def broken(self) -> dict[tuple[str, int], str]:
        """The versions that could not be loaded, of models of which others are served, and why."""
        return {(name, version): why for name, version in self._others if self.serving(name) and (why := self.why_broken(name, version))}

    # ---- life ----

    def load(self, paths: str | Path | Sequence[str | Path | Root], *, on_demand: bool = False) -> None:
        """Finds, loads, warms and starts all models below `paths`. Call once. on_demand: reads their configurations, and loads none.

        Raises ConfigError or StartError that names every failure; nothing is left running then. A failure that on_model_error allows is
        logged instead, as long as one model is served.
        """
        places, failures = find_places([Path(paths)] if isinstance(paths, str | Path) else paths)
        self.load_places(places, failures, on_demand=on_demand)

    def load_places(self, places: Sequence[Place], failures: Sequence[Failure] = (), *, on_demand: bool = False) -> None:
        """The same for models whose places are known; failures: of those that are none."""
        failures = list(failures)
        broken: list[tuple[str, int, Exception]] = []  # versions of models of which others are served
        loaded: list[Model] = []
        count = len(places) + len(failures)
        for place in places:
            try:
                selected = self.loader.select(place, versions_of(self.labels, place.name).values())
                self._tell_versions(selected)
                if on_demand:
                    self._on_demand[place.name] = tuple(version for version, _ in selected.versions)
                    continue
                versions, errors = self._load_versions(selected, len(places))
            except (ConfigError, StartError) as error:
                failures.append(Failure(place.name, error, named=place.repository is None))
            else:
                loaded += versions
                broken += [(place.name, version, error) for version, error in errors.items()]
        if failures and (not (loaded or self._on_demand) or not all(map(self._skips, failures))):
            for model in loaded:
                model.close()
            raise _joined([failure.error for failure in failures], count)
        for model in loaded:
            self._start(model)
        self._models = loaded
        for failure in failures:
            log.error("skipped: %s", failure.error, extra=event("model_skipped", model=failure.name))
            self.failed(failure.name, 0, failure.error)
        for name, version, why in broken:
            serves = ", ".join(map(str, self.versions(name)))
            fields = event("model_load_failed", model=name, version=version)
            log.error("model '%s' version %d was not loaded: %s; version %s is served", name, version, why, serves, extra=fields)
            self.failed(name, version, why)
        self._list_ready()
        start_thread(self._decaying)

    def _load_versions(self, selected: Selected, count: int) -> tuple[list[Model], dict[int, Exception]]:
        """The versions of one model that can be served, and why others cannot. Raises ConfigError, StartError where none can, or where
        on_model_error is exit."""
        strict = self._on_model_error == "exit"
        loaded: list[Model] = []
        errors: dict[int, Exception] = {}
        for version, _ in selected.versions:
            try:
                Room().check(selected.place, version, LEAST_FACTOR)  # what may fit is tried: nothing serves yet
                loaded.append(self.loader.load(selected, version, count))
            except (ConfigError, StartError) as error:
                errors[version] = error
                if strict:
                    break
        if errors and (strict or not loaded):
            for model in loaded:
                model.close()
            raise next(iter(errors.values()))
        return loaded, errors

    # ---- versions that come and go: on the loop ----

    def loading(self, name: str, version: int) -> None:
        """A version is being loaded; one of the same number may serve meanwhile."""
        self._others[name, version] = Other(State.LOADING, "")

    def failed(self, name: str, version: int, error: Exception) -> str:
        """A version could not be loaded; 0: none could, or none was found. The versions that serve go on serving. Returns why, for
        clients."""
        why = _without_paths(str(error))[:MAX_REASON] if isinstance(error, InferdError) else "the server's log says why"
        self._others[name, version] = Other(State.UNAVAILABLE, f"{LOAD_FAILED}{why}")
        loads = self.loads.get(name, Loads())
        self.loads[name] = Loads(loads.failures + 1, failing=True)
        left = tuple(each for each in self.offered(name) if each != version) or self._earlier.pop(name, ())
        if version and left:
            self._on_demand[name] = left
        elif not self.serving(name):
            self._on_demand.pop(name, None)
            self._skipped[name] = str(error) if isinstance(error, InferdError) else why
        return why

    def swap(self, name: str, loaded: Sequence[Model], retired: Collection[int], *, whole: bool = True) -> list[Model]:
        """The loaded versions take requests from now on, and the retired ones and those of the same numbers no longer: in one assignment.
        Returns the models that leave, for the caller to drain. whole: all that should be loaded is."""
        new = {model.version for model in loaded}
        leaving = [model for model in self._models if model.name == name and (model.version in new or model.version in retired)]
        for model in loaded:
            model.limit_queue({limit: value for limit, value in self._limits.items() if limit not in model.own_limits})
            self._start(model)
        offered = self._on_demand.pop(name, ())
        self._earlier.pop(name, None)
        if not loaded and (left := tuple(version for version in offered if version not in retired)):
            self._on_demand[name] = left
        self._models = [model for model in self._models if model not in leaving] + list(loaded)
        self._leaving = [*self._leaving, *leaving]
        self._list_ready()
        for version in {0, *self.serving(name)} if whole else new:
            self._others.pop((name, version), None)
        if whole:
            self._skipped.pop(name, None)
            self.loads[name] = self.loads.get(name, Loads())._replace(failing=False)
        for model in leaving:
            model.leave()
        for version in {*(model.version for model in leaving), *(set(offered) & set(retired))} - new:
            self._others[name, version] = Other(State.UNAVAILABLE, "unloaded")
        return leaving

    def _start(self, model: Model) -> None:
        for call in self.before_start:
            call(model)
        model.start()

    def offer(self, name: str, versions: Sequence[int], earlier: Sequence[int] = ()) -> None:
        """A model that is not in memory, and whose files have come or changed, is on demand from now on. earlier: versions that are
        offered again where these cannot be loaded."""
        self._on_demand[name] = tuple(versions)
        if earlier:
            self._earlier[name] = tuple(earlier)
        self._skipped.pop(name, None)
        if name in self.loads:
            self.loads[name] = self.loads[name]._replace(failing=False)
        for version in (0, *versions):
            self._others.pop((name, version), None)

    def evict(self, name: str) -> list[Model]:
        """Takes a model out of memory that has nothing to do: it is on demand from now on. Returns the versions that leave, as `swap` does;
        none: it has something to do after all."""
        serving = self.serving(name)
        if not all(model.idle for model in serving.values()):
            return []
        leaving = self.swap(name, [], serving, whole=False)
        self._on_demand[name] = tuple(sorted(serving))
        for version in serving:
            del self._others[name, version]
        self.evictions += 1
        return leaving

    def label(self, labels: Table) -> None:
        """These are all labels from now on: requests follow in one assignment."""
        self.labels = labels
        self._list_ready()

    def split(self, name: str, version: int, split: Split | None) -> None:
        """A share of the model's requests without a version goes to that version from now on; None: none does."""
        self._splits = {model: each for model, each in self._splits.items() if model != name}
        if split is not None:
            self._splits[name] = version, split
        self._divide()

    def _divide(self) -> None:
        """Puts splits on the routes that serve. A candidate that takes no requests gets none."""
        before, self._divided = self._divided, []
        for name, (version, split) in self._splits.items():
            stable, candidate = self.routes.find(name, ""), self.routes.find(name, str(version))
            if stable is None or candidate is None or stable is candidate:
                continue
            split.candidate, stable.split = candidate, split
            stable.signature.arm, candidate.signature.arm = ARM_STABLE, ARM_CANARY
            self._divided += [stable, candidate]
        for route in before:
            if all(route is not each for each in self._divided):
                route.split = route.signature.arm = None
            elif any(route is each for each in self._divided[1::2]):
                route.split = None

    def gone(self, number: int) -> None:
        """A version that left has answered all that it had. number: the id() of its model, which only its caller keeps from now on."""
        answered = sum(model.statistics.request.count for model in self._leaving if id(model) == number)
        self._leaving = [model for model in self._leaving if id(model) != number]
        self.left_requests += answered
        self.active.difference_update([model for model in self.active if id(model) == number])

    def is_settled(self, name: str, there: Collection[int], unserved: Sequence[int]) -> bool:
        """Whether the table says of a model that nothing has to be said: no load failed, and `found` has taken what is there."""
        stale = any(model == name and version not in there for model, version in self._others)
        return not (stale or self.unserved(name) != list(unserved) or self.loads.get(name, Loads()).failing)

    def found(self, name: str, there: Collection[int], unserved: Sequence[int], serves_all: str) -> None:
        """Takes which versions of a model are there: the index forgets others. unserved: those that nobody asked for; serves_all: the
        line that has them served."""
        self._unserved[name] = list(unserved)
        self._serves_all[name] = serves_all
        self._others = {key: other for key, other in self._others.items() if key[0] != name or key[1] in (0, *there)}

    def knows(self, name: str) -> bool:
        """Whether the index names a model."""
        return any(entry.name == name for entry in self.index())

    def forget(self, name: str) -> None:
        """The model is no longer there, and the index names it no more."""
        self._unserved.pop(name, None)
        self._serves_all.pop(name, None)
        self._on_demand.pop(name, None)
        self._earlier.pop(name, None)
        self._skipped.pop(name, None)
        self.loads.pop(name, None)
        self._others = {key: other for key, other in self._others.items() if key[0] != name}

    def _skips(self, failure: Failure) -> bool:
        return self._on_model_error == "skip" or (self._on_model_error == "auto" and not failure.named)

    def _tell_versions(self, selected: Selected) -> None:
        """Says which versions are there and not served: nobody who has not read of version policies expects that."""
        place, written, versions, _ = selected
        served = [version for version, _ in versions]
        self._unserved[place.name] = unserved = sorted(set(place.files) - set(served))
        self._serves_all[place.name] = all_versions(place)
        if unserved and not written.config.version_policy.WhichOneof("policy_choice"):
            log.info(
                "model '%s': serves version %d, the newest, and not %s; %s serves all",
                *(place.name, served[-1], ", ".join(map(str, unserved[-SHOWN_NAMES:])), self._serves_all[place.name]),
                extra=event("versions_unserved", model=place.name, version=served[-1], unserved=unserved),
            )

    def _list_ready(self) -> None:
        """Makes the table that requests are looked up in: a reader sees the old or the new one."""
        ready = sorted((model for model in self._models if model.state is State.READY), key=lambda model: model.version)
        routes = {(model.name, str(model.version)): model.route for model in ready}
        there = {(model.name, model.version) for model in self._models}
        named = {name: versions_of(self.labels, name).get(STABLE) for name in self.labels}
        waiting = {name for name, version in named.items() if version is not None and (name, version) not in there}
        newest = {(model.name, ""): model.route for model in ready if model.name not in waiting}  # no other version than the stable one
        gone = {name for name in waiting if self._unloaded_stable(name)}
        for name in sorted(gone - self._stable_gone):
            log.warning(
                "model '%s': label '%s' names version %d, which is not served: requests without a version are rejected; put the version "
                "back, or move the label",
                *(name, STABLE, named[name]),
                extra=event("label_without_version", model=name, version=named[name]),
            )
        self._stable_gone = gone
        labelled = {
            (name, label): route
            for name in self.labels
            for label, version in versions_of(self.labels, name).items()
            if (route := routes.get((name, str(version)))) is not None
        }
        stable = {(name, ""): route for (name, label), route in labelled.items() if label == STABLE}
        self.routes.fill(routes | newest | labelled | stable)
        self._divide()

    def expire(self, now_ns: int) -> bool:
        """Active models answer requests whose time ran out, and end runs that take too long. Call it some times a second, on the loop.
        True: a model takes requests no longer, or again."""
        changed = False
        self.loader.limit.look(now_ns)
        for model in tuple(self.active):
            changed |= model.expire(now_ns)
            if model.rest(now_ns):
                self.active.discard(model)
        if changed:
            self._list_ready()
        return changed

    @property
    def hung(self) -> int:
        """Instances of all models whose run was told to end and does not. Their models are active."""
        return sum(model.hung for model in tuple(self.active))

    def decay(self) -> None:
        """Gives back the memory of earlier runs that no run uses now. Every DECAY_S, on a thread of its own."""
        for model in self._models:
            model.decay()

    def limit_queues(self, settings: Any) -> None:
        """Takes the limits of queues as the server's settings say them now, where a model's own configuration does not. On the loop."""
        self._limits = {name: getattr(settings, name) for name in QUEUE_LIMITS}
        for model in self._models:
            model.limit_queue({name: value for name, value in self._limits.items() if name not in model.own_limits})

    def hurry(self) -> None:
        """The server drains: no batch waits for more requests."""
        for model in self._models:
            model.hurry()

    def drain(self, timeout_s: float) -> bool:
        """No model takes anything new; waits until what is queued has run. False: that took longer than `timeout_s`."""
        self.routes.fill({})
        until_s = time.monotonic() + timeout_s
        drained = [model.drain(max(until_s - time.monotonic(), 0.0)) for model in self._models]
        return all(drained)

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Ends every model: what runs is ended, what waits is rejected. Idempotent. False: runs do not end within timeout_s for all
        together, and are left behind."""
        self.routes.fill({})
        self._decaying.stop()
        models = [*self._models, *self._leaving]
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


def _joined(failures: Sequence[InferdError], count: int) -> InferdError:
    """One error for all: a wrong configuration weighs more than a machine that says no."""
    if len(failures) == 1:
        return failures[0]
    text = f"{len(failures)} of {count} models cannot be served:" + "".join(f"\n  - {failure}" for failure in failures)
    return ConfigError(text) if any(isinstance(failure, ConfigError) for failure in failures) else StartError(text)
