"""Makes the operations of OpenAPI 3.1 that describe a path in /openapi.json. Never in here: models, which paths exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Json = dict[str, Any]

STATUSES = {
    "400": "The request can never be right: `error` names the field and the cure.",
    "401": "A token is needed, or is not known.",
    "403": "This client, or a web page of that origin, may not call.",
    "404": "There is no such model or version.",
    "412": "A model cannot be loaded, or the server changes no models: `error` says why.",
    "413": "The body is over `max_message_bytes`.",
    "415": "The model takes no body of this Content-Type or Content-Encoding.",
    "429": "A limit or a full queue: `Retry-After` says when to come back.",
    "500": "A fault of the server; its log has the details.",
    "501": "The server does not have this feature.",
    "503": "The model or the server cannot take it now; another replica may.",
    "504": "The deadline (`Inferd-Timeout-Ms`) passed.",
}


def reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def ok(description: str, schema: Json | None = None) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema or {"type": "object"}}}}


def errors(statuses: Iterable[str]) -> Json:
    return {status: ok(STATUSES[status], reference("Error")) for status in statuses}


def get(operation_id: str, summary: str, *statuses: str, parameters: Sequence[str] = ()) -> Json:
    """A GET. statuses: of errors, beside 401. parameters: of the path."""
    found: Json = {"operationId": operation_id, "summary": summary, "responses": {"200": ok(summary), **errors(("401", *statuses))}}
    return _with(found, parameters)


def post(operation_id: str, summary: str, *statuses: str, parameters: Sequence[str] = (), schema: Json | None = None) -> Json:
    """A POST. schema: of the body."""
    body = {"content": {"application/json": {"schema": schema or {"type": "object"}}}}
    return get(operation_id, summary, "400", "403", *statuses, parameters=parameters) | {"requestBody": body}


def state(operation_id: str, summary: str, name: str, *, parameters: Sequence[str] = ()) -> Json:
    """A GET whose response is {name: true}, or {name: false} with 503. One without parameters asks for the server, and needs no token."""
    schema = {"type": "object", "required": [name], "properties": {name: {"type": "boolean"}}}
    responses = {"200": ok("Yes.", schema), "503": ok("No.", schema)}
    if not parameters:
        return {"operationId": operation_id, "summary": summary, "security": [], "responses": responses}
    return _with({"operationId": operation_id, "summary": summary, "responses": {**responses, **errors(("401", "404"))}}, parameters)


def text(operation_id: str, summary: str, *statuses: str) -> Json:
    """A GET of a page of plain text."""
    page = {"description": summary, "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {"operationId": operation_id, "summary": summary, "responses": {"200": page, **errors(("401", *statuses))}}


def _with(operation: Json, parameters: Sequence[str]) -> Json:
    if parameters:
        operation["parameters"] = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in parameters]
    return operation
