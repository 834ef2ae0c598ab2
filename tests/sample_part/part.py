"""A whole part, as CONTRIBUTING.md describes one: an RPC, a path of REST, a metric, a setting, and a tap that counts responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd._core.batching.tap import Tap
from inferd.part import Asked, Method, Part, Resource, Response, counter, operation
from inferd.part.resource import Verb, json_response
from inferd.protocol import health
from tests.sample_part.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd.part import Table
    from inferd.part.part import Version
    from inferd.serving.parts.registry import Parts

METHOD = "/sample.v1.Sample/Count"


def make(parts: Parts) -> Part:
    return SamplePart(parts.settings.of(Settings).sample_name)


class SamplePart(Part):
    """Counts the responses of each model. The RPC asks by model; its response's status is 1 where there was one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._taps: dict[str, Tap] = {}

    def methods(self) -> dict[str, Method]:
        return {METHOD: Method("unary", self._count, health.HealthCheckRequest, health.HealthCheckResponse)}

    def resources(self) -> list[Resource]:
        document = operation.get("sample", "How many responses a model has made.", "404", parameters=("model",))
        return [Resource(f"v2/models/{{model}}/{self._name}", {"GET": Verb(self._shown, document)})]

    def metrics(self) -> Iterator[Table]:
        yield counter("sample_responses", "Responses of models.", sum(tap.seen for tap in self._taps.values()))

    def starting(self, version: Version) -> None:
        version.tap(self._taps.setdefault(version.name, Tap(0.0)))

    async def _count(self, request: health.HealthCheckRequest) -> health.HealthCheckResponse:
        return health.HealthCheckResponse(status=health.HealthCheckResponse.SERVING if self._seen(request.service) else 0)

    async def _shown(self, asked: Asked) -> Response:
        return json_response({"responses": self._seen(asked.model)})

    def _seen(self, model: str) -> int:
        return self._taps[model].seen if model in self._taps else 0
