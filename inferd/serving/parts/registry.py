"""The parts of one server, made from the list in inferd/parts.py. Never in here: what a part does, when hooks are called (server.py)."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from inferd.observe.metrics import Metrics
from inferd.parts import PARTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from inferd.config import Settings
    from inferd.engine.models.lifecycle import Lifecycle
    from inferd.engine.models.repository import Repository
    from inferd.part import Method, Part, Resource, Table
    from inferd.serving.models import Models
    from inferd.serving.service import InferenceService

log = logging.getLogger("inferd.serving")

P = TypeVar("P", bound="Part")
T = TypeVar("T")


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

    def tell(self, hook: Callable[[Part], object]) -> None:
        """Calls a hook of each part. The log has an error of one, and the others are told all the same."""
        for part in self._all:
            try:
                hook(part)
            except Exception:
                log.exception("a fault in %s; serving goes on", type(part).__name__)

    async def tell_in_turn(self, hook: Callable[[Part], Awaitable[object]]) -> None:
        """The same of a hook that is awaited."""
        for part in self._all:
            try:
                await hook(part)
            except Exception:
                log.exception("a fault in %s; the others go on", type(part).__name__)

    def methods(self) -> dict[str, Method]:
        """The service table."""
        return distinct((name, method) for part in self._all for name, method in part.methods().items())

    def resources(self) -> list[Resource]:
        return list(distinct((each.path, each) for part in self._all for each in part.resources()).values())

    def metrics(self) -> Metrics:
        return Metrics(self._tables, self.build)

    def _tables(self) -> Iterator[Table]:
        for part in self._all:
            try:
                yield from part.metrics()
            except Exception:
                log.exception("a fault in the metrics of %s; the others are shown", type(part).__name__)


def distinct(named: Iterable[tuple[str, T]]) -> dict[str, T]:
    """The things by their names. Raises ValueError where two parts have one name: one would hide the other."""
    found: dict[str, T] = {}
    for name, each in named:
        if name in found:
            raise ValueError(f"two parts have {name}")
        found[name] = each
    return found
