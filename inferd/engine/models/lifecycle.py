"""Versions that come and go while requests are served: orders to load, unload and compare, and what each of them does.

    Lifecycle: what is asked -> Orders: one thread, one order after the other -> Versions: load aside, swap -> Departures: drain, free

The files of a model are in model_files.py, moves of its labels in label_moves.py.

With a limit on the memory of models (overcommit), files decide which models can be served, and requests decide which are in memory. A
request for another model loads it, and the least recently used models without requests are evicted (versions.py).
Never in here: how a model is loaded (loading/loader.py), when files are compared (files/watching.py), who may give orders
(serving/parts/model_control).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferd.engine.files.content import Digests
from inferd.engine.files.places import shown, survey
from inferd.engine.models.departures import Departures
from inferd.engine.models.label_moves import LabelMoves
from inferd.engine.models.labels import LabelFile, rolled_back, versions_of
from inferd.engine.models.model_files import ModelFiles
from inferd.engine.models.orders import Orders
from inferd.engine.models.versions import Versions, Wish
from inferd.errors import ConfigError, FailedPrecondition, NotFound, StartError
from inferd.log import event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inferd.engine.files.overlay import Overlay
    from inferd.engine.files.places import Place
    from inferd.engine.files.roots import Root
    from inferd.engine.models.repository import Repository

log = logging.getLogger("inferd.engine")


class Lifecycle:
    """Carries out orders for a repository that is loaded. Orders return at once, on any thread; the futures have the results. `place` and
    `stop` wait: not on the event loop.

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
        self.update_stores: Callable[[], Mapping[Path, str]] = dict
        self._orders = Orders(begin, lambda: self.files.close())
        self._versions = Versions(repository, self._orders, Departures(repository, on_loop, giving_back), on_loop, memory_bytes)
        self.files = ModelFiles(paths, self._versions.failed)
        self._labels = LabelMoves(label_file or LabelFile(None), self.files, self._versions)
        repository.loader.digests = repository.loader.digests or Digests()

    def start(self) -> None:
        """Starts the thread. Called once the repository is loaded."""
        self.repository.loader.beside_requests = True
        for name in self.repository.names() | self.repository.on_demand:
            self._versions.wishes.setdefault(name, Wish())
        self._orders.start()

    def leave(self) -> None:
        """Fails waiting orders and new ones. An order under way goes on."""
        self._orders.leave()

    def stop(self, timeout_s: float) -> bool:
        """Leaves, and waits for the current order. False: it still runs after that time, and its model will be thrown away. Not on the
        event loop, which a load needs to end."""
        return self._orders.stop(timeout_s)

    def place(self, name: str) -> Place | None:
        """The model's files: those that a client sent, else those below the paths. None where there are none."""
        return self.files.place(name)

    # ---- orders ----

    def load(
        self, name: str, version: int | None = None, sent: Callable[[Place | None], Overlay] | None = None, nbytes: int = 0
    ) -> Future[None]:
        """Loads a model's versions by its version policy, or one version beside those that serve. Unchanged versions are not loaded again.
        sent(place): makes the model from a client's files and the model of that name below the paths; it holds nbytes of memory. Fails
        with NotFound, FailedPrecondition or ResourceExhausted, which says why, and with Unavailable where the server stops."""
        return self._orders.give(name, ("load", version, sent), lambda: self._load(name, version, sent), nbytes)

    def demand(self, name: str) -> Future[None]:
        """Loads a model on demand, for a request. Fails with FailedPrecondition, and with ResourceExhausted where there is no room."""
        return self._orders.give(name, ("demand",), lambda: self._demand(name))

    def unload(self, name: str, version: int | None = None) -> Future[None]:
        """Unloads a model, or one version; done when all its requests have their responses. Fails with NotFound, or with
        FailedPrecondition where a label names the version."""
        return self._orders.give(name, ("unload", version), lambda: self._unload(name, version))

    def label(self, name: str, label: str, version: int, *, only_new: bool = False) -> Future[None]:
        """Moves a label to that version of a model, and loads the version first if needed; 0: removes the label. only_new: an existing
        label stays. Fails as a load does, or with InvalidArgument, and the label stays."""
        return self._orders.give(name, ("label", label, version, only_new), lambda: self._labels.put(name, label, version, only_new))

    def roll_back(self, name: str, label: str) -> Future[None]:
        """Moves a label to the version that it named before."""
        return self._orders.give(name, ("roll back", label), lambda: self._labels.move(name, lambda table: rolled_back(table, name, label)))

    def compare(self, names: Collection[str] | None = None) -> Future[None]:
        """Compares the files of some models, or of all, with the versions that serve, then loads, replaces and unloads versions. A model
        that fails is logged. '' among the names: the labels' file."""
        return self._orders.give("", ("compare", None if names is None else frozenset(names)), lambda: self._compare(names))

    # ---- what they do: on the loader's thread ----

    def _load(self, name: str, version: int | None, sent: Callable[[Place | None], Overlay] | None) -> None:
        away = self.update_stores()
        found = self.files.find(name)
        for path, why in away.items():
            concerned = sent is None if found is None else self.files.is_below(path, name)
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
                    self._versions.call(partial(self.repository.offer, name, offered))  # the files below the paths can still be served
            if found is None and not self.files.is_sent(name) and not self.repository[name].versions:
                self._versions.call(partial(self.repository.forget, name))  # there are no files to try again
            raise
        self.files.keep(name, overlay)

    def _load_place(self, place: Place, version: int | None) -> None:
        name, before = place.name, self._versions.wishes.get(place.name)
        wish = before or Wish(whole=False)
        if version is None:
            wish = Wish()
        elif version in place.files:
            wish = Wish(wish.whole, wish.also | {version}, wish.never - {version})
        else:
            raise NotFound(f"failed to load '{name}': it has no version {version}")
        self._versions.wishes[name] = wish
        if why := self._versions.bring(place):
            if before is None and not self.repository[name].serving:
                del self._versions.wishes[name]
            raise FailedPrecondition(f"failed to load '{name}': {why}")

    def _demand(self, name: str) -> None:
        why = ""
        while offered := self.repository[name].offered:  # empty once another order has loaded or unloaded it
            place = self.files.place(name)
            if place is None or not {*offered} & {*place.files}:
                why = self._versions.failed(name, 0, StartError("its files are gone"))
            else:
                why = self._versions.bring(place, only=offered)
            if self.repository[name].offered == offered:
                break  # else the new version is broken, and earlier ones are offered now
        if why and not self.repository[name].serving:
            raise FailedPrecondition(f"failed to load '{name}': {why}")

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
            wish = self._versions.wishes.get(name, Wish())
            self._versions.wishes[name] = Wish(wish.whole, wish.also - {version}, wish.never | {version})
            return self._versions.swap(name, [], {version})
        self._versions.wishes.pop(name, None)
        self.files.keep(name, None)
        leaving = self._versions.swap(name, [], set(serving))
        if not self.files.is_there(name):
            self._versions.call(partial(self.repository.forget, name))
        return leaving

    def _compare(self, names: Collection[str] | None) -> None:
        if names is not None and "" in names:
            self._labels.adopt()
        try:
            found, failed = survey(self.files.roots)
        except (ConfigError, StartError) as error:
            log.error("%s; the models that are loaded go on serving", error)
            raise
        known = {entry.name for entry in self.repository.entries() if entry.models or entry.offered or entry.loads}
        for name in sorted({*found, *failed, *known} if names is None else names):
            if self._orders.is_stopping:
                break
            if name in found:
                self._versions.wishes.setdefault(name, Wish())
                self._versions.offer_or_bring(found[name])
            elif name in failed:
                self._versions.failed(name, 0, failed[name])
            elif name in known:
                log.info("model '%s' is no longer there: it is unloaded", name, extra=event("model_removed", model=name))
                self._versions.wishes.pop(name, None)
                self._versions.swap(name, [], set(self.repository[name].serving))
                self._versions.call(partial(self.repository.forget, name))
