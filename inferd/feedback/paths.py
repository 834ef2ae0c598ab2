"""Feedback by REST: the paths of rpc.py."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from inferd.errors import InvalidArgument, NotFound
from inferd.feedback.rpc import MAX_REPORT_NBYTES
from inferd.part import operation
from inferd.part.bodies import MAX_SHOWN_CHARS
from inferd.part.json_form import JsonBody, json_form
from inferd.part.resource import Asked, Resource, Response, Verb, json_response
from inferd.protocol import options

if TYPE_CHECKING:
    from inferd.feedback.rpc import FeedbackControl

MODEL = "v2/models/{model}"
NUMBERS = ("since_unix_ns", "until_unix_ns", "buckets")
LARGEST = {"buckets": (1 << 32) - 1}


class FeedbackPaths:
    def __init__(self, control: FeedbackControl) -> None:
        self._control = control
        self._labels = JsonBody(options.ReportLabelsRequest, "model_name")

    def resources(self) -> list[Resource]:
        told = "Reports labels of requests, by id; they join the predictions that the server keeps."
        schema = operation.reference(self._labels.struct.__name__)
        report = operation.post("reportLabels", told, "404", "429", "503", parameters=("model",), schema=schema)
        told = "How well a model predicted, by the labels that have come."
        show = operation.get("performance", told, "400", "404", "503", parameters=("model",))
        of_version = operation.get("versionPerformance", told, "400", "404", "503", parameters=("model", "version"))
        for each in (show, of_version):
            each["parameters"] += [
                {"name": name, "in": "query", "schema": {"type": "string" if name == "slice" else "integer"}}
                for name in ("slice", *NUMBERS)
            ]
        return [
            Resource(f"{MODEL}/feedback", {"POST": Verb(self._report, report, self._labels.struct, MAX_REPORT_NBYTES)}),
            Resource(f"{MODEL}/performance", {"GET": Verb(self._performance, show)}, of_version),
        ]

    async def _report(self, asked: Asked) -> Response:
        if asked.version:
            raise NotFound("labels are of a request, whichever version took it: leave /versions/... out of the path")
        return json_response(json_form(await self._control.report(self._labels.read(asked.body, model_name=asked.model))))

    async def _performance(self, asked: Asked) -> Response:
        return json_response(json_form(await self._control.performance(_request(asked))))


def _request(asked: Asked) -> options.PerformanceRequest:
    """Raises InvalidArgument."""
    request = options.PerformanceRequest(model_name=asked.model, model_version=_number("version", asked.version or "0"))
    for name, text in parse_qsl(asked.head.query.decode("latin-1"), keep_blank_values=True):
        if name == "slice":
            request.slice = text
        elif name in NUMBERS:
            setattr(request, name, _number(name, text))
        else:
            raise InvalidArgument(f"query: expected {', '.join(NUMBERS)} and slice, got {name[:MAX_SHOWN_CHARS]!r}")
    return request


def _number(name: str, text: str) -> int:
    most = LARGEST.get(name, (1 << 63) - 1)
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= most):
        raise InvalidArgument(f"{name}: expected a whole number from 0 to {most}, got {text[:MAX_SHOWN_CHARS]!r}")
    return int(text)
