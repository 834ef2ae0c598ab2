"""The monitor by REST: the paths of rpc.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd.part import operation
from inferd.part.json_form import json_form
from inferd.part.resource import Asked, Resource, Response, Verb, json_response
from inferd.protocol import options

if TYPE_CHECKING:
    from inferd.monitor.rpc import MonitorControl

PATH = "v2/models/{model}/drift"


class MonitorPaths:
    def __init__(self, control: MonitorControl) -> None:
        self._control = control

    def resources(self) -> list[Resource]:
        told = "Whether the data of a model has moved away from its reference profile."
        show = operation.get("drift", told, "404", parameters=("model",))
        of_version = operation.get("versionDrift", told, "404", parameters=("model", "version"))
        return [Resource(PATH, {"GET": Verb(self._drift, show)}, of_version)]

    async def _drift(self, asked: Asked) -> Response:
        request = options.DriftRequest(model_name=asked.model, model_version=int(asked.version or 0))
        return json_response(json_form(await self._control.drift(request)))
