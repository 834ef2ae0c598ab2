"""Information about the server and its models: the RPCs of rpc.py, and the same by REST. Never in here: the responses themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import inferd
from inferd.part import Part, operation
from inferd.part.bodies import json_object, member
from inferd.part.json_form import json_form
from inferd.part.resource import Asked, Resource, Response, json_response
from inferd.protocol import inference
from inferd.serving.parts.inspection.rpc import Inspection

if TYPE_CHECKING:
    from inferd.part import Method
    from inferd.serving.parts.registry import Parts


def make(parts: Parts) -> Part:
    control, on_demand = parts.models.control, parts.models.on_demand
    bring = None if on_demand is None else on_demand.bring
    asked = Inspection(parts.repository, inferd.__version__, parts.ready, explicit=control.explicit, there=control.there, bring=bring)
    return InspectionPart(asked)


class InspectionPart(Part):
    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection

    def methods(self) -> dict[str, Method]:
        return self._inspection.methods()

    def resources(self) -> list[Resource]:
        of, get, state = Resource.of, operation.get, operation.state
        model = {"parameters": ("model",)}
        version = state("versionReady", "Whether a version takes requests.", "ready", parameters=("model", "version"))
        ready = state("modelReady", "Whether a model takes requests.", "ready", **model)
        metadata = get("model", "Names, datatypes and shapes of a model.", "404", "503", **model)
        config = get("config", "A model's configuration, as it is in force.", "404", "503", **model)
        statistics = get("statistics", "Counts and durations of a model.", "400", **model)
        index = "Every version with its state."
        return [
            of("v2", self._metadata, GET=get("server", "The server's name, version and extensions.")),
            of("v2/health/live", self._live, GET=state("live", "Whether the server runs.", "live")),
            of("v2/health/ready", self._ready, GET=state("ready", "Whether it takes requests.", "ready")),
            of("v2/models/{model}", self._model_metadata, GET=metadata),
            of("v2/models/{model}/config", self._model_config, GET=config),
            of("v2/models/{model}/stats", self._statistics, GET=statistics),
            of("v2/models/stats", self._statistics, GET=get("allStatistics", "Counts and durations of all models.")),
            of("v2/models/{model}/ready", self._model_ready, version, GET=ready),
            of("v2/repository/index", self._index, GET=get("indexRead", index), POST=operation.post("index", index)),
        ]

    async def _metadata(self, asked: Asked) -> Response:
        return json_response(json_form(await self._inspection.server_metadata(inference.ServerMetadataRequest())))

    async def _live(self, asked: Asked) -> Response:
        return _state("live", (await self._inspection.server_live(inference.ServerLiveRequest())).live)

    async def _ready(self, asked: Asked) -> Response:
        return _state("ready", (await self._inspection.server_ready(inference.ServerReadyRequest())).ready)

    async def _model_ready(self, asked: Asked) -> Response:
        found = await self._inspection.model_ready(inference.ModelReadyRequest(name=asked.model, version=asked.version))
        return _state("ready", found.ready, name=asked.model)

    async def _model_metadata(self, asked: Asked) -> Response:
        request = inference.ModelMetadataRequest(name=asked.model, version=asked.version, properties=True)
        return json_response(json_form(await self._inspection.model_metadata(request)))

    async def _model_config(self, asked: Asked) -> Response:
        found = await self._inspection.model_config(inference.ModelConfigRequest(name=asked.model, version=asked.version))
        return json_response(json_form(found.config))

    async def _statistics(self, asked: Asked) -> Response:
        request = inference.ModelStatisticsRequest(name=asked.model, version=asked.version)
        return json_response(json_form(await self._inspection.model_statistics(request), whole=True))

    async def _index(self, asked: Asked) -> Response:
        """The index in Triton's form: an array, in which a model that nobody loaded has only a name."""
        ready = member(json_object(asked.body), "ready", bool, False)
        found = await self._inspection.repository_index(inference.RepositoryIndexRequest(ready=ready))
        return json_response([{name: text for name, text in json_form(model).items() if text} for model in found.models])


def _state(name: str, holds: bool, /, **fields: str) -> Response:
    return json_response({**fields, name: holds}, 200 if holds else 503)
