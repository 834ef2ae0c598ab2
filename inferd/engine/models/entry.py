"""One model by its name: its versions in memory, those that are loaded on demand, and the state of the rest.

Only the repository's thread (repository.py) changes an entry. Other threads read tuples, which are replaced as a whole. The loader's
thread, which orders the changes, reads all fields. Never in here:
other models, routes, how a version is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from inferd.engine.model import State
from inferd.engine.models.labels import versions_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from inferd._core.inference.split import Split
    from inferd.engine.model import Model
    from inferd.engine.models.labels import Table

LOAD_FAILED = "the last load failed: "
ON_DEMAND = "not in memory: a request has it loaded"


class IndexEntry(NamedTuple):
    """One version as RepositoryIndex shows it."""

    name: str
    version: str
    state: str
    reason: str


class Other(NamedTuple):
    """A version that is not served, as the index shows it; or why the last load of a served version failed."""

    state: State
    reason: str


class Loads(NamedTuple):
    """A model's loads, for the metrics. failing: the last one failed."""

    failures: int = 0
    failing: bool = False


class Entry:
    def __init__(self, name: str) -> None:
        self.name = name
        self.models: tuple[Model, ...] = ()  # versions that take requests, or will again, in the order of loading
        self.leaving: tuple[Model, ...] = ()  # replaced or unloaded versions that still drain
        self.offered: tuple[int, ...] = ()  # on demand: versions that are not in memory until a request asks for the model
        self.earlier: tuple[int, ...] = ()  # versions offered before; offered again where the newer ones cannot be loaded
        self.others: dict[int, Other] = {}  # by version; 0: the model as a whole
        self.skipped = ""  # why the model could not be loaded; a text, as an exception would keep a client's files in memory
        self.unserved: list[int] = []  # versions with files that the version policy leaves out
        self.serves_all = ""  # the line of configuration that would serve them all, and its file
        self.loads: Loads | None = None  # None until a load or an unload after the start, or a load that failed
        self.split: tuple[int, Split] | None = None  # of a canary: the candidate's version, and its share

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of the model."""
        known = self.models, self.leaving, self.offered, self.others, self.skipped, self.unserved, self.loads, self.split
        return not any(known)

    @property
    def serving(self) -> dict[int, Model]:
        """The versions that take requests, or will again."""
        return {model.version: model for model in self.models}

    @property
    def versions(self) -> list[int]:
        """The versions that serve, or are on demand; oldest first."""
        return sorted(self.serving or self.offered)

    @property
    def broken(self) -> dict[int, str]:
        """Versions whose load failed and of which no earlier load serves, each with why."""
        failed = {version: other.reason for version, other in self.others.items() if other.reason.startswith(LOAD_FAILED)}
        return {version: why for version, why in failed.items() if version not in self.serving}

    def index(self, labels: Table) -> Iterator[IndexEntry]:
        """Every version with its state."""
        states = dict(self.others)
        states |= dict.fromkeys(self.offered, Other(State.READY, ON_DEMAND))
        names: dict[int, list[str]] = {}
        for label, version in versions_of(labels, self.name).items():
            names.setdefault(version, []).append(label)
        for model in (*self.leaving, *self.models):
            failed = self.others[model.version].reason if model.version in self.others and model in self.models else ""
            labelled = ", ".join(sorted(names.get(model.version, ())))
            states[model.version] = Other(model.state, model.reason or failed or (f"label {labelled}" if labelled else ""))
        for version, other in states.items():
            yield IndexEntry(self.name, str(version or ""), *other)

    # ---- changes ----

    def failed(self, version: int, why: str, told: str) -> None:
        """Called when a version could not be loaded; 0: none could, or none was found. why: for clients; told: for the operator."""
        self.others[version] = Other(State.UNAVAILABLE, f"{LOAD_FAILED}{why}")
        self.loads = Loads((self.loads or Loads()).failures + 1, failing=True)
        left = tuple(each for each in self.offered if each != version)
        if not left:
            left, self.earlier = self.earlier, ()
        if version and left:
            self.offered = left
        elif not self.models:
            self.offered, self.skipped = (), told

    def swap(self, loaded: Sequence[Model], retired: Collection[int], *, whole: bool) -> list[Model]:
        """Replaces the retired versions, and those of the same numbers, by the loaded ones. Returns those that leave. whole: the load of
        the whole model succeeded, so earlier failures are forgotten."""
        new = {model.version for model in loaded}
        leaving = [model for model in self.models if model.version in new or model.version in retired]
        offered, self.offered, self.earlier = self.offered, (), ()
        if not loaded:
            self.offered = tuple(version for version in offered if version not in retired)
        self.models = (*(model for model in self.models if model not in leaving), *loaded)
        self.leaving = (*self.leaving, *leaving)
        for version in {0, *self.serving} if whole else new:
            self.others.pop(version, None)
        if whole:
            self.skipped = ""
            self.loads = (self.loads or Loads())._replace(failing=False)
        for version in {*(model.version for model in leaving), *(set(offered) & set(retired))} - new:
            self.others[version] = Other(State.UNAVAILABLE, "unloaded")
        return leaving

    def offer(self, versions: Sequence[int], earlier: Sequence[int]) -> None:
        self.offered = tuple(versions)
        self.earlier = tuple(earlier) or self.earlier
        self.skipped = ""
        if self.loads is not None:
            self.loads = self.loads._replace(failing=False)
        for version in (0, *versions):
            self.others.pop(version, None)

    def is_settled(self, there: Collection[int], unserved: Sequence[int]) -> bool:
        """Whether there is nothing to report: no load failed, and `found` was called with these versions."""
        return self.others.keys() <= {*there} and self.unserved == list(unserved) and not (self.loads and self.loads.failing)

    def found(self, there: Collection[int], unserved: Sequence[int], serves_all: str) -> None:
        """Called with the versions whose files exist: the index forgets others."""
        self.unserved, self.serves_all = list(unserved), serves_all
        self.others = {version: other for version, other in self.others.items() if version in (0, *there)}

    def forget(self) -> None:
        """Called when the model is no longer there. Versions that leave still drain."""
        self.offered, self.earlier, self.others, self.skipped = (), (), {}, ""
        self.unserved, self.serves_all, self.loads = [], "", None
