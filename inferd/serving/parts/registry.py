"""The parts of one server, made from the list in inferd/parts.py. Never in here: what a part does, when hooks are called (server.py)."""

from __future__ import annotations

from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from inferd.observe.metrics import Metrics
from inferd.parts import PARTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from inferd.config import Settings
    from inferd.engine.models.lifecycle import Lifecycle
    from inferd.engine.models.repository import Repository
    from inferd.part import Method, Part, Resource
    from inferd.serving.models import Models
    from inferd.serving.service import InferenceService

P = TypeVar("P", bound="Part")


class Parts:
    """All parts of a server, and the objects that they need.

    settings: with a number in place of each `auto`. ready(): whether the server takes requests. build: labels of inferd_build_info.
    has_metrics: whether the metrics of the server are those of this process.
    """

    def __init__(
        self,
        settings: Settings,
        repository: Repository,
        models: Models,
        service: InferenceService,
        *,
        ready: Callable[[], bool],
        build: Mapping[str, str],
        has_metrics: bool,
    ) -> None:
        self.settings, self.repository, self.models, self.service = settings, repository, models, service
        self.ready, self.build, self.has_metrics = ready, build, has_metrics
        self._all: list[Part] = []
        for package in PARTS:
            if (part := import_module(f"{package}.part").make(self)) is not None:
                self._all.append(part)

    @property
    def lifecycle(self) -> Lifecycle | None:
        """Loads and unloads models; None: models do not change."""
        return self.models.changing

    def state_file(self, name: str) -> Path | None:
        """The file in which a part keeps its state; None: there is no place for files."""
        return self.models.state_file(name)

    def __iter__(self) -> Iterator[Part]:
        return iter(self._all)

    def add(self, part: Part) -> None:
        """Adds a part that has no RPCs and no paths."""
        self._all.append(part)

    def of(self, kind: type[P]) -> P:
        """The part of this class."""
        return next(part for part in self._all if isinstance(part, kind))

    def methods(self) -> dict[str, Method]:
        """The service table."""
        return {name: method for part in self._all for name, method in part.methods().items()}

    def resources(self) -> list[Resource]:
        return [resource for part in self._all for resource in part.resources()]

    def metrics(self) -> Metrics:
        return Metrics(lambda: chain.from_iterable(part.metrics() for part in self._all), self.build)
