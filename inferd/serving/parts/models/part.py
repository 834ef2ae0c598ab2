"""Metrics of models, from their own counters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd.observe.model_metrics import tables_of
from inferd.part import Part, gauge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd.engine.model import Model
    from inferd.engine.models.repository import Repository
    from inferd.part import Table
    from inferd.serving.parts.registry import Parts


def make(parts: Parts) -> Part:
    return ModelMetrics(parts.repository)


class ModelMetrics(Part):
    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def metrics(self) -> Iterator[Table]:
        unique: dict[tuple[str, int], Model] = {}
        for model in self._repository.models():  # while a version is being replaced there are two, and the ready one counts
            key = model.name, model.version
            if key not in unique or model.state == "READY":
                unique[key] = model
        models = [unique[key] for key in sorted(unique)]
        yield from tables_of(models, {entry.name: entry.loads for entry in self._repository.entries() if entry.loads})
        waiting = sum(model.queues.depth for model in models)
        yield gauge("inferd_requests_waiting", "Requests that wait for an instance, of all models.", waiting)
        yield gauge("inferd_requests_running", "Requests in runs, of all models.", sum(model.running for model in models))
