"""Which parts the server has: one line each. Never in here: what a part does (inferd.part), when it is told (server.py)."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import inferd
from inferd.observe.metrics import Metrics
from inferd.observe.model_metrics import ModelMetrics
from inferd.rollout.part import RolloutPart
from inferd.serving.parts.health import Health
from inferd.serving.parts.inspection.part import InspectionPart
from inferd.serving.parts.inspection.rpc import Inspection
from inferd.serving.parts.live_settings.part import LiveSettingsPart
from inferd.serving.parts.live_settings.rpc import LiveSettings
from inferd.serving.parts.model_control.part import ModelControlPart
from inferd.serving.parts.reflection import Reflection
from inferd.serving.rest.pages import Pages
from inferd.serving.service import InferenceService

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from inferd.config import Settings
    from inferd.engine.repository import Repository
    from inferd.part import Method, Part, Resource
    from inferd.serving.models import Models

__all__ = ["PARTS", "Parts"]

P = TypeVar("P", bound="Part")


class Parts:
    """All parts of a server, and what they are made of.

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
        for make in PARTS:
            if (part := make(self)) is not None:
                self._all.append(part)

    def __iter__(self) -> Iterator[Part]:
        return iter(self._all)

    def add(self, part: Part) -> None:
        """One that has no RPCs and no paths."""
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


def record(parts: Parts) -> Part | None:
    if parts.settings.record is None:
        return None
    from inferd.record.part import RecordPart  # with pyarrow

    return RecordPart(parts.settings)


def health(parts: Parts) -> Part:
    settings = parts.settings
    return Health(parts.repository, parts.ready, settings.max_watchers, settings.max_connection_watchers)


def inspection(parts: Parts) -> Part:
    control, on_demand = parts.models.control, parts.models.on_demand
    bring = None if on_demand is None else on_demand.bring
    asked = Inspection(parts.repository, inferd.__version__, parts.ready, explicit=control.explicit, there=control.there, bring=bring)
    return InspectionPart(asked)


def pages(parts: Parts) -> Part | None:
    if not parts.settings.serves_http:
        return None
    metrics = parts.metrics().wsgi_app() if parts.has_metrics else None
    return Pages(parts.repository, inferd.__version__, parts.resources, metrics)


# They start in this order, and stop in it.
PARTS: list[Callable[[Parts], Part | None]] = [
    lambda parts: parts.service,
    lambda parts: ModelMetrics(parts.repository),
    record,
    health,
    inspection,
    lambda parts: LiveSettingsPart(LiveSettings(parts.repository)),
    lambda parts: ModelControlPart(parts.models.control),
    lambda parts: parts.models.on_demand,
    lambda parts: RolloutPart(parts.models.rollouts),
    lambda _: Reflection(),
    pages,
]
