"""Rollouts by REST: the paths of rpc.py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from inferd.errors import NotFound
from inferd.part import operation
from inferd.part.json_form import JsonBody, json_form
from inferd.part.resource import MAX_BODY_NBYTES, Asked, Resource, Response, Verb, json_response
from inferd.protocol import options
from inferd.rollout.rpc import MAX_REPORT_NBYTES

if TYPE_CHECKING:
    from inferd.rollout.rpc import RolloutControl

MODEL = "v2/models/{model}/rollout"


class RolloutPaths:
    def __init__(self, control: RolloutControl) -> None:
        self._control = control

    def resources(self) -> list[Resource]:
        control, request = self._control, options.RolloutRequest
        read = operation.get("rollout", "A model's rollout: what runs, or what ran last.", "404", "412", parameters=("model",))
        start = _order(control.start, options.StartRolloutRequest, "startRollout", "Begins a rollout.")
        promote = _order(control.promote, request, "promoteRollout", "Ends it: all requests go to the new version.")
        roll_back = _order(control.roll_back, request, "rollBackRollout", "Ends it: all requests go to the stable version.")
        stop = _order(control.stop, request, "stopRollout", "Ends it without a verdict.")
        told = "Reports for requests, by id, whether their response was right."
        report = _order(control.report, options.ReportOutcomesRequest, "reportOutcomes", told, MAX_REPORT_NBYTES, changes=False)
        return [
            Resource("v2/rollouts", {"GET": Verb(self._all, operation.get("rollouts", "The rollouts of all models.", "412"))}),
            Resource(MODEL, {"GET": Verb(self._one, read), "POST": start}),
            Resource(f"{MODEL}/promote", {"POST": promote}),
            Resource(f"{MODEL}/rollback", {"POST": roll_back}),
            Resource(f"{MODEL}/stop", {"POST": stop}),
            Resource(f"{MODEL}/outcomes", {"POST": report}),
        ]

    async def _all(self, asked: Asked) -> Response:
        return json_response(json_form(await self._control.status(options.RolloutStatusRequest())))

    async def _one(self, asked: Asked) -> Response:
        """A model has one at a time."""
        _check_no_version(asked)
        (found,) = (await self._control.status(options.RolloutStatusRequest(model_name=asked.model))).rollouts
        return json_response(json_form(found))


def _order(
    handler: Callable[[Any], Awaitable[Any]],
    message: Any,
    operation_id: str,
    summary: str,
    max_body_nbytes: int = MAX_BODY_NBYTES,
    *,
    changes: bool = True,
) -> Verb:
    """Begins or ends a rollout, or reports outcomes. message: its body, without the model's name, which the path has."""
    read = _body(message)

    async def order(asked: Asked) -> Response:
        _check_no_version(asked)
        return json_response(json_form(await handler(read.read(asked.body, model_name=asked.model))))

    document = operation.post(operation_id, summary, "404", "412", parameters=("model",), schema=operation.reference(read.struct.__name__))
    return Verb(order, document, read.struct, max_body_nbytes, changes)


@cache
def _body(message: Any) -> JsonBody:
    return JsonBody(message, "model_name")


def _check_no_version(asked: Asked) -> None:
    """A rollout is of a model: the versions in it are not those of a path."""
    if asked.version:
        raise NotFound("a rollout is of a model, not of a version: leave /versions/... out of the path")
