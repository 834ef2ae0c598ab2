"""Loading and unloading models: the RPCs of rpc.py, and the same by REST."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as NoBase64
from typing import TYPE_CHECKING, Any

import msgspec

from inferd.errors import InvalidArgument, ResourceExhausted
from inferd.part import Part, operation
from inferd.part.bodies import MAX_SHOWN_CHARS, json_object, member, set_parameter, wrong_json
from inferd.part.resource import Asked, Resource, Response, Verb
from inferd.protocol import inference
from inferd.serving.parts.model_control.rpc import MAX_LOAD_NBYTES, MAX_PARAMETERS

if TYPE_CHECKING:
    from inferd.part import Method
    from inferd.serving.parts.model_control.rpc import ModelControl
    from inferd.serving.parts.registry import Parts


def make(parts: Parts) -> Part:
    return ModelControlPart(parts.models.control)


class ModelControlPart(Part):
    def __init__(self, control: ModelControl) -> None:
        self._control = control

    def methods(self) -> dict[str, Method]:
        return self._control.methods()

    def resources(self) -> list[Resource]:
        path, is_allowed = "v2/repository/models/{model}", self._control.check_allowed
        load = Verb(self._load, _order("load", "Loads a model, with --model-control explicit."), None, MAX_LOAD_NBYTES, True, is_allowed)
        unload = Verb(self._unload, _order("unload", "Unloads a model, with --model-control explicit."), changes=True)
        return [Resource(f"{path}/load", {"POST": load}), Resource(f"{path}/unload", {"POST": unload})]

    async def _load(self, asked: Asked) -> Response:
        """Loads a model. Its files are in base64."""
        request = inference.RepositoryModelLoadRequest(model_name=asked.model)
        for name, value in _load_parameters(asked.body).items():
            if not name.startswith("file:"):
                set_parameter(request.parameters[name], f"parameters.{name}", value)
                continue
            try:
                request.parameters[name].bytes_param = b64decode(value, validate=True)
            except (NoBase64, TypeError, ValueError):
                raise InvalidArgument(f"parameters.{name[:MAX_SHOWN_CHARS]}: expected the file's bytes as a string in base64") from None
        await self._control.load(request)
        return Response(200)

    async def _unload(self, asked: Asked) -> Response:
        request = inference.RepositoryModelUnloadRequest(model_name=asked.model)
        for name, value in member(json_object(asked.body), "parameters", dict, {}).items():
            set_parameter(request.parameters[name], f"parameters.{name}", value)
        await self._control.unload(request)
        return Response(200)


class _Load(msgspec.Struct):
    """A body of 64 MB may hold 20 million empty arrays: only these types become Python objects."""

    parameters: dict[str, str | int | float | bool | None] = {}


def _load_parameters(body: bytes) -> dict[str, Any]:
    """The parameters of a body. Quotes are counted before it is parsed: each parameter has two to four that no backslash escapes."""
    most = 4 * (MAX_PARAMETERS + 64)
    if body.count(b'"') > most and body.count(b'"') - body.count(b'\\"') > most:
        raise ResourceExhausted(f"body: expected at most {MAX_PARAMETERS} parameters, got more; send fewer files", reason="message_size")
    try:
        return msgspec.json.decode(body or b"{}", type=_Load).parameters
    except (msgspec.DecodeError, RecursionError) as error:
        raise wrong_json("a JSON object with parameters", error) from None


def _order(operation_id: str, summary: str) -> operation.Json:
    """An operation whose response has no body."""
    found = operation.post(operation_id, summary, "404", "412", parameters=("model",))
    found["responses"]["200"] = {"description": "It is done."}
    return found
