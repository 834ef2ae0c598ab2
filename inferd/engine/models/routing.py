"""The table in which every request finds its model by name and version, with labels and the shares of canaries.

Never in here: which versions exist (entry.py), requests.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from inferd._core.inference.routes import Routes
from inferd.engine.files.places import MAX_VERSION, SHOWN_NAMES, shown
from inferd.engine.model import State
from inferd.engine.models.labels import DAMAGED, STABLE, versions_of
from inferd.errors import InvalidArgument, NotFound, RequestError, Unavailable
from inferd.log import event
from inferd.protocol.inference import InferParameter, ModelInferResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inferd._core.inference.path import Route
    from inferd.engine.models.entry import Entry
    from inferd.engine.models.labels import Table

log = logging.getLogger("inferd.engine")


def _arm(name: str) -> bytes:
    """A field of a ModelInferResponse: the arm of the canary that made the response."""
    return ModelInferResponse(parameters={"rollout_arm": InferParameter(string_param=name)}).SerializeToString()


ARM_STABLE, ARM_CANARY = _arm("stable"), _arm("canary")


class Routing:
    """entries: the repository's entries of all models, by name."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = entries
        self.labels: Table = {}  # replaced as a whole
        self.stable_gone: dict[str, int] = {}  # by model that serves other versions: the version that `stable` names
        self._divided: list[Route] = []  # routes that a split changes
        self.routes = Routes()  # routes that take requests, by name and version; '' is the one that `stable` names, or the newest

    def find(self, name: str, version: str) -> Route:
        """Called where `routes` has none. The route for an unusual spelling of the version, or an error that names what exists. Raises
        NotFound, InvalidArgument, Unavailable."""
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

    def _missing(self, name: str, version: str) -> RequestError:
        entry = self._entries.get(name)
        versions = [] if entry is None else entry.versions
        if entry is not None and not versions and any(other.state is State.LOADING for other in entry.others.values()):
            return Unavailable(f"model '{name}' is being loaded; retry later")
        if entry is not None and entry.skipped:
            return Unavailable(f"model '{name}' could not be loaded; the server's log says why")
        if entry is None or not versions:
            # No list of models: a proxy may let a client infer and not list. The first words are Triton's, which its programs look for.
            return NotFound(f"Request for unknown model: model_name: there is no model {shown(name)}; name one of the repository index")
        if not version and versions_of(self.labels, name).get(STABLE) == DAMAGED:
            return Unavailable(
                f"model_version: the label '{STABLE}' of model '{name}' cannot be read from the server's file of labels; set the label "
                "again, or name a version"
            )
        if not version and (stable := self._unloaded_stable(entry)):
            return Unavailable(f"model_version: label '{STABLE}' of model '{name}' names version {stable}, which takes no requests now")
        serving = entry.serving
        if version and int(version) not in versions:
            there = ", ".join(map(str, versions[-SHOWN_NAMES:]))
            cure = ", and no version means the newest"
            if int(version) in entry.unserved:
                cure = f"; its version_policy leaves version {version} out"
                newest = serving.get(versions[-1])
                if newest is not None and newest.config.version_policy.latest.num_versions == 1:  # as without a policy
                    cure = f"; version {version} is there, and by default only the newest is served; {entry.serves_all} serves all"
            said = f"model '{name}' serves no version {version}; it serves {there}{cure}"
            return NotFound(f"Request for unknown model: model_version: {said}")
        model = serving[int(version) if version else versions[-1]]
        return Unavailable(f"model '{name}' version {model.version} is {model.state} and takes no requests now; retry later")

    def _unloaded_stable(self, entry: Entry) -> int:
        """The version that the label `stable` names, if it is not in memory and others are, which do not take its requests. Else 0."""
        stable, serving = versions_of(self.labels, entry.name).get(STABLE, 0), entry.serving
        return stable if serving and stable not in serving else 0

    def is_on_demand(self, name: str, version: str) -> bool:
        """Whether a request for it waits until the model is loaded."""
        entry = self._entries.get(name)
        if entry is None or not entry.offered:
            return False
        number = versions_of(self.labels, name).get(version) or (int(version[:20]) if version.isascii() and version.isdigit() else 0)
        return not version or number in entry.offered

    def fill(self) -> None:
        """Makes a new table. A reader sees the old or the new one."""
        routes: dict[tuple[str, str], Route] = {}
        stable_gone: dict[str, int] = {}
        for name, entry in self._entries.items():
            ready = sorted((model for model in entry.models if model.state is State.READY), key=lambda model: model.version)
            own = {str(model.version): model.route for model in ready}
            labels = versions_of(self.labels, name)
            if ready and (STABLE not in labels or labels[STABLE] in entry.serving):
                own[""] = ready[-1].route
            labelled = {label: own[str(version)] for label, version in labels.items() if str(version) in own}
            if STABLE in labelled:
                own[""] = labelled[STABLE]
            routes |= {(name, version): route for version, route in (own | labelled).items()}
            if STABLE in labels and (gone := self._unloaded_stable(entry)):
                stable_gone[name] = gone
        for name in sorted(stable_gone.keys() - self.stable_gone.keys()):
            log.warning(
                "model '%s': label '%s' names version %d, which is not served: requests without a version are rejected; put the version "
                "back, or move the label",
                *(name, STABLE, stable_gone[name]),
                extra=event("label_without_version", model=name, version=stable_gone[name]),
            )
        self.stable_gone = stable_gone
        self.routes.fill(routes)
        self.divide()

    def divide(self) -> None:
        """Sets splits on the routes that serve. A candidate that takes no requests gets none."""
        before, self._divided = self._divided, []
        for name, entry in self._entries.items():
            if entry.split is None:
                continue
            version, split = entry.split
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
