"""Versions that come and go while requests are served: orders to load, unload and compare, and the one thread that carries them out.

    load aside -> swap, on the loop, in one assignment -> the old version drains on a thread of its own -> its memory is freed

A load runs beside the versions that serve: requests do not notice it, and a load that fails changes nothing. The thread carries out one
order at a time. Callers that ask for the same thing share one waiting order, which is dropped when all of them have cancelled. A version
whose files have the same bytes as before is not loaded again.

With a limit on the memory of models (overcommit), files decide which models can be served, and requests decide which are in memory. A
request for another model loads it, and the least recently used models without requests are evicted.
Never in here: how a model is loaded (loading/loader.py), when files are compared (files/watching.py), who may give orders
(serving/parts/model_control).
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from inferd.engine.files.content import Digests
from inferd.engine.files.places import SHOWN_NAMES, all_versions, find_place, shown, survey
from inferd.engine.files.roots import as_roots
from inferd.engine.loading.room import Room
from inferd.engine.models.labels import LabelFile, moved, removed, rolled_back, shown_versions, versions_of
from inferd.errors import ConfigError, FailedPrecondition, InferdError, NotFound, ResourceExhausted, StartError, Unavailable
from inferd.log import event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inferd.engine.files.overlay import Overlay
    from inferd.engine.files.places import Place
    from inferd.engine.files.roots import Root
    from inferd.engine.loading.loader import Selected
    from inferd.engine.model import Model
    from inferd.engine.models.labels import Label, Table
    from inferd.engine.models.repository import Repository

__all__ = ["Lifecycle"]

log = logging.getLogger("inferd.engine")

KiB = 1 << 10
MAX_ORDERS = 4096  # waiting orders
MAX_SENT_NBYTES = 256 << 20  # files that clients sent: those of the current load and of waiting ones
SWITCH_S = 0.0005  # the longest time that Python code of a load holds up the loop; otherwise it is Python's 5 ms
ROOM_WAIT_S = 1.0  # the wait for a model that can be evicted; then the load fails
ROOM_PAUSE_S = 0.002  # between two attempts to evict one
ROOM_RETRY_NS = 10**9  # when a client may retry after such a failed load
DRAIN_S = 300.0  # for requests of a version that leaves; then its runs are ended

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Wish:
    """The versions of a model to serve. whole: those of its version policy. also: single versions beside. never: versions not to serve
    even if the policy has them."""

    whole: bool = True
    also: frozenset[int] = frozenset()
    never: frozenset[int] = frozenset()


@dataclass(slots=True)
class Order:
    """A task for one model, or for all ('')."""

    name: str
    key: tuple[Any, ...]  # two orders of one key do the same
    work: Callable[[], Sequence[threading.Thread]]  # returns threads that it has started; the order ends with them
    nbytes: int = 0  # memory that it holds
    asked: list[Future[None]] = field(default_factory=list)  # one for each caller that waits for it
    left: int = 0  # cancelled futures

    def begin(self) -> bool:
        """Called before it is carried out: it cannot be cancelled any more. False: every caller has cancelled."""
        self.asked = [each for each in self.asked if each.set_running_or_notify_cancel()]
        return bool(self.asked)

    def carry_out(self) -> None:
        try:
            begun = self.work()
        except Exception as error:
            if not isinstance(error, InferdError):
                log.exception("a model could not be loaded or unloaded")
            self.end(error)
        else:
            if begun:
                threading.Thread(target=self._finish, args=(begun,), name="unload", daemon=True).start()
            else:
                self.end()

    def end(self, error: Exception | None = None) -> None:
        if error is not None:
            error.__context__ = error.__cause__ = error.__traceback__ = None  # their frames hold a client's files
        asked, self.asked = self.asked, []  # else a cycle keeps the error, and frames of its callers
        for each in asked:
            each.set_result(None) if error is None else each.set_exception(error)

    def _finish(self, begun: Sequence[threading.Thread]) -> None:
        for thread in begun:
            thread.join()
        self.end()


class Lifecycle:
    """Carries out orders for a repository that is loaded. Its methods return at once, on any thread; the futures have the results.

    paths: folders and files of models. update_stores(): called before a client's load. It fetches changes from the stores of paths, and
    returns the paths whose store could not be read, with why. on_loop(function): calls it on the event loop's thread and returns its
    result. giving_back(): memory that is freed in its block goes back to the system. begin(): called first on the loader's thread.
    label_file: keeps the labels. memory_bytes: the limit on the memory of models without their runs; 0: none, and each model is loaded
    as soon as it is there.
    """

    def __init__(
        self,
        repository: Repository,
        paths: Sequence[str | Path | Root],
        *,
        on_loop: Callable[[Callable[[], Any]], Any],
        giving_back: Callable[[], AbstractContextManager[object]] = nullcontext,
        begin: Callable[[], object] = lambda: None,
        label_file: LabelFile | None = None,
        memory_bytes: int = 0,
    ) -> None:
        self.repository = repository
        self.roots = as_roots(paths)
        self.update_stores: Callable[[], Mapping[Path, str]] = dict
        self._on_loop, self._giving_back, self._begin = on_loop, giving_back, begin
        self._wishes: dict[str, Wish] = {}
        self._overlays: dict[str, Overlay] = {}  # models that clients sent, instead of what lies below the paths
        self._label_file = label_file or LabelFile(None)
        self._room = Room()
        self._memory_bytes = memory_bytes
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._last: dict[str, Order] = {}  # the last waiting order of each model
        self._waiting = self._sent_nbytes = 0
        self._lock = threading.Lock()  # guards the four above, and `_stopping`
        self._stopping = False
        self._thread = threading.Thread(target=self._carry_out, name="loader", daemon=True)
        repository.loader.digests = repository.loader.digests or Digests()

    def start(self) -> None:
        """Starts the thread. Called once the repository is loaded."""
        self.repository.loader.beside_requests = True
        for name in self.repository.names() | self.repository.on_demand:
            self._wishes.setdefault(name, Wish())
        self._thread.start()

    def leave(self) -> None:
        """Fails waiting orders and new ones. An order under way goes on."""
        with self._lock:
            self._stopping = True
        self._orders.put(None)

    def stop(self, timeout_s: float) -> bool:
        """Leaves, and waits for the current order. False: it still runs after that time, and its model will be thrown away. Not on the
        event loop, which a load needs to end."""
        self.leave()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # ---- orders ----

    def load(
        self, name: str, version: int | None = None, sent: Callable[[Place | None], Overlay] | None = None, nbytes: int = 0
    ) -> Future[None]:
        """Loads a model's versions by its version policy, or one version beside those that serve. Unchanged versions are not loaded again.
        sent(place): makes the model from a client's files and the model of that name below the paths; it holds nbytes of memory. Fails
        with NotFound, or with FailedPrecondition, which says why."""
        return self._order(name, ("load", version, sent), lambda: self._load(name, version, sent), nbytes)

    def demand(self, name: str) -> Future[None]:
        """Loads a model on demand, for a request. Fails with FailedPrecondition, and with ResourceExhausted where there is no room."""
        return self._order(name, ("demand",), lambda: self._demand(name))

    def unload(self, name: str, version: int | None = None) -> Future[None]:
        """Unloads a model, or one version; done when all its requests have their responses. Fails with NotFound."""
        return self._order(name, ("unload", version), lambda: self._unload(name, version))

    def label(self, name: str, label: str, version: int, *, only_new: bool = False) -> Future[None]:
        """Moves a label to that version of a model, and loads the version first if needed; 0: removes the label. only_new: an existing
        label stays. Fails with NotFound, InvalidArgument or FailedPrecondition, and the label stays."""
        return self._order(name, ("label", label, version, only_new), lambda: self._label(name, label, version, only_new))

    def roll_back(self, name: str, label: str) -> Future[None]:
        """Moves a label to the version that it named before."""
        return self._order(name, ("roll back", label), lambda: self._move_labels(name, lambda table: rolled_back(table, name, label)))

    def compare(self, names: Collection[str] | None = None) -> Future[None]:
        """Compares the files of some models, or of all, with the versions that serve, then loads, replaces and unloads versions. A model
        that fails is logged. '' among the names: the labels' file."""
        return self._order("", ("compare", None if names is None else frozenset(names)), lambda: self._compare(names))

    def _order(self, name: str, key: tuple[Any, ...], work: Callable[[], Sequence[threading.Thread]], nbytes: int = 0) -> Future[None]:
        """A new future for this caller. A waiting order is dropped when all its callers have cancelled theirs."""
        asked: Future[None] = Future()
        with self._lock:
            order = self._last.get(name)
            if order is not None and order.key == key:
                order.asked.append(asked)
            elif error := self._rejection(nbytes):
                asked.set_exception(error)
                return asked
            else:
                self._last[name] = order = Order(name, key, work, nbytes, [asked])
                self._waiting += 1
                self._sent_nbytes += nbytes
                self._orders.put(order)
        asked.add_done_callback(partial(self._leave, order))
        return asked

    def _rejection(self, nbytes: int) -> InferdError | None:
        if self._stopping:
            return _stops()
        if self._waiting >= MAX_ORDERS:
            return ResourceExhausted(f"{MAX_ORDERS} loads and unloads wait, which is the limit; retry later")
        if nbytes and self._sent_nbytes + nbytes > MAX_SENT_NBYTES:
            return ResourceExhausted(
                f"loads that wait hold {self._sent_nbytes} bytes of files that clients sent: with {nbytes} more they would pass the limit "
                f"of {MAX_SENT_NBYTES}; retry later"
            )
        return None

    def _leave(self, order: Order, asked: Future[None]) -> None:
        """Called when a caller has cancelled its future, or has the result."""
        if not asked.cancelled():
            return
        with self._lock:
            order.left += 1
            is_wanted = order.left < len(order.asked)
            if not is_wanted and self._last.get(order.name) is order:
                del self._last[order.name]
        if not is_wanted:
            self._drop(order)

    def _drop(self, order: Order) -> None:
        """Frees the memory of an order that is carried out or cancelled."""
        with self._lock:
            self._sent_nbytes -= order.nbytes
            order.key, order.work, order.nbytes = (), lambda: (), 0

    # ---- the loader's thread ----

    def _carry_out(self) -> None:
        self._begin()
        while (order := self._orders.get()) is not None:
            with self._lock:
                self._waiting -= 1
                if self._last.get(order.name) is order:
                    del self._last[order.name]
                if not order.begin():
                    continue
            if self._stopping:
                order.end(_stops())
                continue
            interval_s = sys.getswitchinterval()
            sys.setswitchinterval(SWITCH_S)
            try:
                order.carry_out()
            finally:
                sys.setswitchinterval(interval_s)
            self._drop(order)
        for name in list(self._overlays):
            self._keep(name, None)

    def _load(self, name: str, version: int | None, sent: Callable[[Place | None], Overlay] | None) -> Sequence[threading.Thread]:
        away = self.update_stores()
        found = self._find(name)
        for path, why in away.items():
            concerned = sent is None if found is None else find_place([root for root in self.roots if root.path == path], name) is not None
            if concerned:
                raise FailedPrecondition(f"failed to load '{name[:100]}': {why}")
        offered = self.repository[name].offered
        overlay = None if sent is None else sent(found)
        place = found if overlay is None else overlay.place
        if place is None:
            raise NotFound(f"failed to load {shown(name)}, failed to poll from model repository: it has no such model")
        try:
            self._load_place(place, version)
        except BaseException:
            if overlay is not None:
                overlay.folder.cleanup()
                if offered and not self.repository[name].serving:
                    self._call(partial(self.repository.offer, name, offered))  # the files below the paths can still be served
            if found is None and name not in self._overlays and not self.repository[name].versions:
                self._call(partial(self.repository.forget, name))  # there are no files to try again
            raise
        self._keep(name, overlay)
        return ()

    def _load_place(self, place: Place, version: int | None) -> None:
        name, before = place.name, self._wishes.get(place.name)
        wish = before or Wish(whole=False)
        if version is None:
            wish = Wish()
        elif version in place.files:
            wish = Wish(wish.whole, wish.also | {version}, wish.never - {version})
        else:
            raise NotFound(f"failed to load '{name}': it has no version {version}")
        self._wishes[name] = wish
        if why := self._bring(place):
            if before is None and not self.repository[name].serving:
                del self._wishes[name]
            raise FailedPrecondition(f"failed to load '{name}': {why}")

    def _demand(self, name: str) -> Sequence[threading.Thread]:
        why = ""
        while offered := self.repository[name].offered:  # empty once another order has loaded or unloaded it
            place = self.place(name)
            if place is None or not {*offered} & {*place.files}:
                why = self._failed(name, 0, StartError("its files are gone"))
            else:
                why = self._bring(place, only=offered)
            if self.repository[name].offered == offered:
                break  # else the new version is broken, and earlier ones are offered now
        if why and not self.repository[name].serving:
            raise FailedPrecondition(f"failed to load '{name}': {why}")
        return ()

    def place(self, name: str) -> Place | None:
        """The model's files: those that a client sent, else those below the paths. None where there are none."""
        return self._overlays[name].place if name in self._overlays else self._find(name)

    def _find(self, name: str) -> Place | None:
        """The model's files below the paths."""
        try:
            return find_place(self.roots, name)
        except (ConfigError, StartError) as error:
            raise FailedPrecondition(f"failed to load '{name}': {self._failed(name, 0, error)}") from None

    def _keep(self, name: str, overlay: Overlay | None) -> None:
        """Sets the model's files to those that a client sent; None: to those below the paths. Deletes earlier ones that a client sent."""
        if (old := self._overlays.pop(name, None)) is not None:
            old.folder.cleanup()
        if overlay is not None:
            self._overlays[name] = overlay

    def _unload(self, name: str, version: int | None) -> Sequence[threading.Thread]:
        serving = self.repository[name].versions
        if not (serving or any(self.repository[name].index({}))):
            raise NotFound(f"failed to unload {shown(name)}: there is no such model")
        if version is not None and version not in serving:
            raise NotFound(f"failed to unload '{name}': version {version} is not loaded")
        labels = sorted(label for label, named in versions_of(self.repository.labels, name).items() if named == version)
        if labels:
            raise FailedPrecondition(f"failed to unload '{name}': label '{labels[0]}' names version {version}; move or remove it first")
        if version is not None:
            wish = self._wishes.get(name, Wish())
            self._wishes[name] = Wish(wish.whole, wish.also - {version}, wish.never | {version})
            return self._swap(name, [], {version})
        self._wishes.pop(name, None)
        self._keep(name, None)
        leaving = self._swap(name, [], set(serving))
        if not self._has_files(name):
            self._call(partial(self.repository.forget, name))
        return leaving

    def _has_files(self, name: str) -> bool:
        """Whether the model has files below the paths, even if they cannot be loaded now."""
        try:
            return find_place(self.roots, name) is not None
        except (ConfigError, StartError):
            return True

    def _label(self, name: str, label: str, version: int, only_new: bool) -> Sequence[threading.Thread]:
        if not version:
            return self._move_labels(name, lambda table: removed(table, name, label))
        if not self.repository[name].versions:
            raise NotFound(f"label: model {shown(name)} is not loaded")
        return self._move_labels(
            name, lambda table: table if only_new and label in table.get(name, {}) else moved(table, name, label, version)
        )

    def _move_labels(self, name: str, change: Callable[[Table], Table]) -> Sequence[threading.Thread]:
        """Changes the labels of one model: loads the versions that they name, writes the file, and then lets requests follow them."""
        after = change(self._table()).get(name, {})
        self._label_file.check_kept()  # else the load would be in vain
        while True:
            self._serve_labelled(name, after)
            with self._label_file.locked():
                table = change(self._table())  # a load takes long: another process may have moved labels meanwhile
                if (now := table.get(name, {})) == after:
                    self._label_file.write(table)
                    break
            after = now
        return self._follow(name, after)

    def _table(self) -> Table:
        """The labels in the file: another process may have moved some."""
        try:
            return self.repository.labels if self._label_file.path is None else self._label_file.read()
        except ConfigError as error:
            log.error("%s", error)
            raise FailedPrecondition("the file of labels is broken, and they stay as they are; the server's log says where") from None

    def _adopt(self) -> None:
        """Follows labels that another process, or a person by hand, has moved in the file."""
        table = self._table()
        for name in sorted({*table, *self.repository.labels}):
            if versions_of(table, name) != versions_of(self.repository.labels, name):
                try:
                    self._serve_labelled(name, table.get(name, {}))
                    self._follow(name, table.get(name, {}))
                except InferdError as error:
                    log.error("labels of model '%s' stay as they are: %s", name, error)

    def _serve_labelled(self, name: str, labels: Mapping[str, Label]) -> None:
        """Loads versions that these labels of a model name and did not name before."""
        before, after = versions_of(self.repository.labels, name), versions_of({name: labels}, name)
        place = self.place(name)
        there = [] if place is None else sorted(place.files)
        named = {version for label, version in after.items() if before.get(label) != version}
        if missing := named - set(there):
            has = ", ".join(map(str, there[-SHOWN_NAMES:])) or "none"
            raise NotFound(f"label: model '{name}' has no version {min(missing)}; it has {has}")
        serving = set(self.repository[name].serving)
        if place is not None and named - serving and (why := self._bring(place, named | serving)):
            raise FailedPrecondition(f"the label stays where it is: {why}")

    def _follow(self, name: str, labels: Mapping[str, Label]) -> Sequence[threading.Thread]:
        """Lets requests follow the labels of a model, and then unloads versions that nothing names. Labels of other models do not change,
        even if the file has changed them: their versions may not be loaded yet."""
        self._call(partial(self.repository.label, {**self.repository.labels, name: labels}))
        named = versions_of(self.repository.labels, name)
        shown = shown_versions(self.repository.labels, name)
        said = ", ".join(f"{label}={version}" for label, version in sorted(shown.items())) or "none"
        log.info("model '%s' has the labels %s", name, said, extra=event("labels_moved", model=name, labels=named))
        if (place := self.place(name)) is not None:
            self._take(place)
        return ()

    def _compare(self, names: Collection[str] | None) -> Sequence[threading.Thread]:
        if names is not None and "" in names:
            self._adopt()
        try:
            found, failed = survey(self.roots)
        except (ConfigError, StartError) as error:
            log.error("%s; the models that are loaded go on serving", error)
            raise
        known = {entry.name for entry in self.repository.entries() if entry.models or entry.offered or entry.loads}
        for name in sorted({*found, *failed, *known} if names is None else names):
            if self._stopping:
                break
            if name in found:
                self._wishes.setdefault(name, Wish())
                self._take(found[name])
            elif name in failed:
                self._failed(name, 0, failed[name])
            elif name in known:
                log.info("model '%s' is no longer there: it is unloaded", name, extra=event("model_removed", model=name))
                self._wishes.pop(name, None)
                self._swap(name, [], set(self.repository[name].serving))
                self._call(partial(self.repository.forget, name))
        return ()

    def _take(self, place: Place) -> None:
        """Called when files or labels of a model are new or changed. Loads its versions, or only offers them if memory is limited and
        none of them is loaded."""
        if not self._memory_bytes or self.repository[place.name].serving:
            try:
                self._bring(place)
            except ResourceExhausted as error:
                self._failed(place.name, 0, error)
            return
        try:
            wanted = [version for version, _ in self._select(place).versions]
        except (ConfigError, StartError) as error:
            self._failed(place.name, 0, error)
            return
        earlier = [version for version in self.repository[place.name].offered if version in place.files and version not in wanted]
        self._call(partial(self.repository.offer, place.name, wanted, earlier))
        self._call(partial(self.repository.found, place.name, place.files, sorted(set(place.files) - set(wanted)), all_versions(place)))

    def _select(self, place: Place, also: Collection[int] = ()) -> Selected:
        """The versions of a model to serve. also: versions beside those of its wish and labels. Raises ConfigError and StartError."""
        wish = self._wishes.get(place.name, Wish(whole=False))
        also = {*also, *wish.also, *versions_of(self.repository.labels, place.name).values()}
        selected = self.repository.loader.select(place, also)
        wanted = [entry for entry in selected.versions if entry[0] in also or (wish.whole and entry[0] not in wish.never)]
        return selected._replace(versions=wanted)

    def _bring(self, place: Place, also: Collection[int] = (), only: Collection[int] = ()) -> str:
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
            self._call(partial(repository.found, name, place.files, unserved, all_versions(place)))
            return self._failed(name, 0, error)
        unserved = sorted(set(place.files) - wanted)
        loaded: list[Model] = []
        failed = ""
        for version in missing:
            self._call(partial(repository.loading, name, version))
            try:
                self._room.check(place, version)
                loaded.append(self._room.measured(place, version, partial(loader.load, selected, version, self._count)))
                self._check_fits(loaded, serving)
            except Exception as error:
                failed = self._failed(name, version, error)
        retired = set() if failed else set(repository[name].versions) - wanted
        if self._stopping:
            for model in loaded:
                model.close()
            raise _stops()
        settled = repository[name].is_settled(place.files, unserved)
        if loaded or retired or not (failed or settled):
            self._swap(name, loaded, retired, whole=not failed)
        if loaded or retired or not settled:
            self._call(partial(repository.found, name, place.files, unserved, all_versions(place)))
        return failed

    def _make_room(self, place: Place, versions: Collection[int]) -> None:
        """Evicts idle models until these versions fit beside the others. Old versions of their own model do not count: they leave soon.
        Raises StartError where they would not fit alone, ResourceExhausted where all other models are busy for ROOM_WAIT_S."""
        if not self._memory_bytes:
            return
        limit, needed = self._memory_bytes, sum(self._room.expected(place, version) for version in versions)
        if needed > limit:
            raise self._too_large(place.name, needed)
        until_s = time.monotonic() + ROOM_WAIT_S
        while self.repository.memory_bytes(place.name) + needed > limit:
            if self._evict_one(place.name):
                continue
            if self._stopping or time.monotonic() >= until_s:
                raise ResourceExhausted(
                    f"there is no room for model '{place.name}': all models in memory are in use; retry later, or raise model_memory",
                    retry_after_ns=ROOM_RETRY_NS,
                )
            time.sleep(ROOM_PAUSE_S)

    def _too_large(self, name: str, nbytes: int) -> StartError:
        return StartError(
            f"model '{name}' takes about {nbytes // KiB} KiB, and model_memory is {self._memory_bytes // KiB} KiB: raise it, or serve "
            "fewer versions of the model"
        )

    def _check_fits(self, loaded: list[Model], serving: Mapping[int, Model]) -> None:
        """Compares the limit with the memory that versions really take, known after a load. Closes the last one and raises StartError if
        they do not fit."""
        new = {model.version for model in loaded}
        held = [*loaded, *(model for version, model in serving.items() if version not in new)]
        if self._memory_bytes and (nbytes := sum(model.memory_bytes for model in held)) > self._memory_bytes:
            model = loaded.pop()
            model.close()
            raise self._too_large(model.name, nbytes)

    def _evict_one(self, but: str) -> bool:
        """Unloads the idle model that was used least recently, except `but`. False: there is none."""
        for name in self.repository.idle_by_last_use():
            if name != but and (leaving := self._call(partial(self.repository.evict, name))):
                for thread in self._let_go_of(leaving):
                    thread.join()
                return True
        return False

    @property
    def _count(self) -> int:
        return len(self.repository.names()) + 1

    def _failed(self, name: str, version: int, error: Exception) -> str:
        """Reports a failed load in the log and the index. Returns why, for clients."""
        serving = sorted(self.repository[name].serving)
        stays = f"; version {', '.join(map(str, serving))} goes on serving" if serving else ""
        which = f"model '{name}' version {version}" if version else f"model '{name}'"
        fields = event("model_load_failed", model=name, **({"version": version} if version else {}))
        if isinstance(error, InferdError):
            log.error("%s was not loaded: %s%s", which, error, stays, extra=fields)
        else:
            log.error("%s was not loaded%s", which, stays, extra=fields, exc_info=error)
        return self._call(partial(self.repository.failed, name, version, error))

    def _swap(self, name: str, loaded: Sequence[Model], retired: Collection[int], *, whole: bool = True) -> Sequence[threading.Thread]:
        """Replaces versions (see Entry.swap). Returns the threads on which the replaced ones drain."""
        leaving = self._call(partial(self.repository.swap, name, loaded, retired, whole=whole))
        if loaded or leaving:
            serves = ", ".join(map(str, sorted(self.repository[name].serving))) or "none"
            again = {model.version for model in loaded} & {model.version for model in leaving}
            parts = [f"{'the earlier load of ' if model.version in again else ''}version {model.version}" for model in leaving]
            said = f"; {' and '.join(parts)} drains" if parts else ""
            log.info("model '%s' serves version %s%s", name, serves, said, extra=event("model_swapped", model=name))
        return self._let_go_of(leaving)

    def _let_go_of(self, leaving: Sequence[Model]) -> Sequence[threading.Thread]:
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
                self._call(partial(self.repository.gone, model.name, id(model)))
                del model
            took_s = time.monotonic() - began_s
            log.info("%s is unloaded, after %.2f s", which, took_s, extra=event("model_unloaded", **fields))
        except Unavailable:  # the server has stopped
            pass
        except Exception:
            log.exception("%s could not be unloaded", which)

    def _call(self, function: Callable[[], Result]) -> Result:
        """Calls it on the loop and returns its result."""
        found: Result = self._on_loop(function)
        return found


def _stops() -> Unavailable:
    return Unavailable("the server stops: it loads and unloads no models any more")
