"""The versions to serve of each model, and how they are replaced.

    load aside -> swap, on the loop, in one assignment -> the old version drains -> its memory is freed

A load runs beside the versions that serve: requests do not notice it, and a load that fails changes nothing. A version whose files have
the same bytes as before is not loaded again. Never in here: how a model is loaded (loading/loader.py), who asked for it (lifecycle.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from inferd.engine.files.places import all_versions
from inferd.engine.loading.room import Room
from inferd.engine.models.departures import Departures
from inferd.engine.models.labels import versions_of
from inferd.engine.models.memory_limit import MemoryLimit, idle_by_last_use
from inferd.engine.models.orders import stops
from inferd.errors import ConfigError, InferdError, ResourceExhausted, StartError
from inferd.log import event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inferd.engine.files.places import Place
    from inferd.engine.loading.loader import Selected
    from inferd.engine.model import Model
    from inferd.engine.models.orders import Orders
    from inferd.engine.models.repository import Repository

log = logging.getLogger("inferd.engine")

ROOM_WAIT_S = 1.0  # the wait for a model that can be evicted; then the load fails
ROOM_PAUSE_S = 0.002  # between two attempts to evict one
ROOM_RETRY_NS = 10**9  # when a client may retry after such a failed load

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Wish:
    """The versions of a model to serve. whole: those of its version policy. also: single versions beside. never: versions not to serve
    even if the policy has them."""

    whole: bool = True
    also: frozenset[int] = frozenset()
    never: frozenset[int] = frozenset()


class Versions:
    """Owns the wish of each model, and the versions that are loaded and do not serve yet. All on the loader's thread, but
    `failed`: any thread may call it, except the event loop's.

    on_loop(function): calls it on the event loop's thread and returns its result. memory_bytes: see Lifecycle. orders: they end a load
    when the server stops.
    """

    def __init__(
        self,
        repository: Repository,
        orders: Orders,
        departures: Departures,
        on_loop: Callable[[Callable[[], Any]], Any],
        memory_bytes: int,
    ) -> None:
        self.repository = repository
        self.wishes: dict[str, Wish] = {}
        self._orders, self._departures, self._on_loop = orders, departures, on_loop
        self._room = Room()
        self._limit = MemoryLimit(memory_bytes, self._room)

    def offer_or_bring(self, place: Place) -> None:
        """Called when files or labels of a model are new or changed. Loads its versions, or only offers them if memory is limited and
        none of them is loaded."""
        if not self._limit.nbytes or self.repository[place.name].serving:
            try:
                self.bring(place)
            except ResourceExhausted as error:
                self.failed(place.name, 0, error)
            return
        try:
            wanted = [version for version, _ in self._select(place).versions]
        except (ConfigError, StartError) as error:
            self.failed(place.name, 0, error)
            return
        earlier = [version for version in self.repository[place.name].offered if version in place.files and version not in wanted]
        self.call(partial(self.repository.offer, place.name, wanted, earlier))
        self.call(partial(self.repository.found, place.name, place.files, sorted(set(place.files) - set(wanted)), all_versions(place)))

    def _select(self, place: Place, also: Collection[int] = ()) -> Selected:
        """The versions of a model to serve. also: versions beside those of its wish and labels. Raises ConfigError and StartError."""
        wish = self.wishes.get(place.name, Wish(whole=False))
        also = {*also, *wish.also, *versions_of(self.repository.labels, place.name).values()}
        selected = self.repository.loader.select(place, also)
        wanted = [entry for entry in selected.versions if entry[0] in also or (wish.whole and entry[0] not in wish.never)]
        return selected._replace(versions=wanted)

    def bring(self, place: Place, also: Collection[int] = (), only: Collection[int] = ()) -> str:
        """Loads the selected versions of a model that do not serve or whose files have changed, and unloads the rest. If a load fails,
        the versions that serve stay. Returns why, for clients. also: versions to serve beside the selected ones. only: just these, if
        any of them exist."""
        name, repository, loader = place.name, self.repository, self.repository.loader
        serving = repository[name].serving
        try:
            selected = self._select(place, {*also, *only})
            wanted = {version for version, _ in selected.versions}
            if only and wanted & {*only}:
                wanted &= {*only}
            missing = [
                each for each in sorted(wanted) if each not in serving or serving[each].origin.content != loader.content(place, each)
            ]
            if missing:
                self._make_room(place, wanted)
        except (ConfigError, StartError) as error:
            unserved = [each for each in repository[name].unserved if each in place.files]
            self.call(partial(repository.found, name, place.files, unserved, all_versions(place)))
            return self.failed(name, 0, error)
        unserved = sorted(set(place.files) - wanted)
        loaded: list[Model] = []
        failed = ""
        for version in missing:
            self.call(partial(repository.loading, name, version))
            try:
                self._room.check(place, version)
                loaded.append(self._room.measured(place, version, partial(loader.load, selected, version, self._count)))
                self._limit.check_fits(loaded, serving)
            except Exception as error:
                failed = self.failed(name, version, error)
        retired = set() if failed else set(repository[name].versions) - wanted
        if self._orders.is_stopping:
            for model in loaded:
                model.close()
            raise stops()
        settled = repository[name].is_settled(place.files, unserved)
        if loaded or retired or not (failed or settled):
            self.swap(name, loaded, retired, whole=not failed)
        if loaded or retired or not settled:
            self.call(partial(repository.found, name, place.files, unserved, all_versions(place)))
        return failed

    def _make_room(self, place: Place, versions: Collection[int]) -> None:
        """Evicts idle models until these versions fit beside the others. Old versions of their own model do not count: they leave soon.
        Raises StartError where they would not fit alone, ResourceExhausted where all other models are busy for ROOM_WAIT_S."""
        if not self._limit.nbytes:
            return
        limit, needed = self._limit.nbytes, self._limit.needed(place, versions)
        until_s = time.monotonic() + ROOM_WAIT_S
        while self.repository.memory_bytes(place.name) + needed > limit:
            if self._evict_one(place.name):
                continue
            if self._orders.is_stopping or time.monotonic() >= until_s:
                raise ResourceExhausted(
                    f"there is no room for model '{place.name}': all models in memory are in use; retry later, or raise model_memory",
                    retry_after_ns=ROOM_RETRY_NS,
                )
            time.sleep(ROOM_PAUSE_S)

    def _evict_one(self, but: str) -> bool:
        """Unloads the idle model that was used least recently, except `but`. False: there is none."""
        for name in idle_by_last_use(self.repository.entries()):
            if name != but and (leaving := self.call(partial(self.repository.evict, name))):
                for thread in self._departures.begin(leaving):
                    thread.join()
                return True
        return False

    @property
    def _count(self) -> int:
        return len(self.repository.names()) + 1

    def failed(self, name: str, version: int, error: Exception) -> str:
        """Reports a failed load in the log and the index. Returns why, for clients."""
        serving = sorted(self.repository[name].serving)
        stays = f"; version {', '.join(map(str, serving))} goes on serving" if serving else ""
        which = f"model '{name}' version {version}" if version else f"model '{name}'"
        fields = event("model_load_failed", model=name, **({"version": version} if version else {}))
        if isinstance(error, InferdError):
            log.error("%s was not loaded: %s%s", which, error, stays, extra=fields)
        else:
            log.error("%s was not loaded%s", which, stays, extra=fields, exc_info=error)
        return self.call(partial(self.repository.failed, name, version, error))

    def swap(self, name: str, loaded: Sequence[Model], retired: Collection[int], *, whole: bool = True) -> Sequence[threading.Thread]:
        """Replaces versions (see Entry.swap). Returns the threads on which the replaced ones drain."""
        leaving = self.call(partial(self.repository.swap, name, loaded, retired, whole=whole))
        if loaded or leaving:
            serves = ", ".join(map(str, sorted(self.repository[name].serving))) or "none"
            again = {model.version for model in loaded} & {model.version for model in leaving}
            parts = [f"{'the earlier load of ' if model.version in again else ''}version {model.version}" for model in leaving]
            said = f"; {' and '.join(parts)} drains" if parts else ""
            log.info("model '%s' serves version %s%s", name, serves, said, extra=event("model_swapped", model=name))
        return self._departures.begin(leaving)

    def call(self, function: Callable[[], Result]) -> Result:
        """Calls it on the loop and returns its result."""
        found: Result = self._on_loop(function)
        return found
