"""/openapi.json: the paths of REST as OpenAPI 3.1, with the real inputs and outputs of the models that are ready. Never in here: HTTP."""

from __future__ import annotations

import math
import re
import time
import weakref
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from inferd._core.tensor.tensor import DATATYPES
from inferd.engine.labels import versions_of
from inferd.observe.text_format import REST_S
from inferd.protocol import options
from inferd.serving.rest.json_form import JsonBody
from inferd.serving.rest.raw_body import Kind, raw_inputs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from inferd.engine.model import Model
    from inferd.engine.repository import Repository
    from inferd.serving.rest.raw_body import RawInput

__all__ = ["OpenApi"]

Json = dict[str, Any]
TensorSpec = tuple[str, str, tuple[int, ...]]  # name, datatype, shape

MAX_EXAMPLE_ELEMENTS = 256  # of all inputs; a picture's pixels would fill the document
RAW_ONLY = ("FP16", "BF16")
# One white pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg=="
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


class OpenApi:
    """The document of one repository, made again when its models have changed. For one thread, which rests after each
    model: the event loop goes on meanwhile."""

    def __init__(self, repository: Repository, version: str) -> None:
        self._repository, self._version = repository, version
        self._made_of: object = None
        self._document = b""

    def document(self) -> bytes:
        models = [model for model in self._repository.models() if model.state == "READY"]
        labels = self._repository.labels
        made_of = [weakref.ref(model) for model in models], labels
        if self._made_of != made_of:
            by_name: dict[str, list[Model]] = {}
            for model in models:
                by_name.setdefault(model.name, []).append(model)
            names = {name: versions_of(labels, name) for name in by_name}
            self._document = msgspec.json.encode(_document(by_name, names, self._version))
            self._made_of = made_of
        return self._document


def _document(models: dict[str, list[Model]], labels: dict[str, dict[str, int]], version: str) -> Json:
    schemas: Json = {"Error": ERROR, **ROLLOUT_SCHEMAS}
    paths: Json = dict(PATHS)
    for index, name in enumerate(sorted(models)):
        versions = sorted(models[name], key=lambda model: model.version)
        key = f"{re.sub('[^A-Za-z0-9._-]', '_', name)}.{index}"
        words = [str(model.version) for model in versions]
        words += [label for label, number in labels[name].items() if str(number) in words]
        own_paths, own_schemas = _of_model(key, versions, words)
        paths |= {path: msgspec.Raw(msgspec.json.encode(value)) for path, value in own_paths.items()}
        schemas |= {word: msgspec.Raw(msgspec.json.encode(value)) for word, value in own_schemas.items()}
        time.sleep(REST_S)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "inferd",
            "version": version,
            "description": "The models of this server, by the Open Inference Protocol v2.",
        },
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
    }


# ---- models ----


def _of_model(key: str, versions: list[Model], words: list[str]) -> tuple[Json, Json]:
    """Its paths, and the schemas that they name."""
    newest = versions[-1]
    schemas = _schemas(key, newest)
    path = f"/v2/models/{quote(newest.name, safe='')}"
    infer = _infer(key, newest) | {"operationId": f"infer.{key}", "x-inferd-model": _told(newest, words)}
    infer_version = _infer_version(key, versions, schemas) | {"operationId": f"infer.{key}.version"}
    paths = {
        f"{path}/infer": {"post": infer},
        f"{path}/versions/{{version}}/infer": {"parameters": [_version_parameter(words)], "post": infer_version},
    }
    return paths, schemas


def _told(model: Model, versions: list[str]) -> Json:
    """The part of a model that /docs shows."""
    kinds = {each.name: each.kind for each in raw_inputs(model) if each.step is not None}

    def tensors(specs: Iterable[TensorSpec]) -> list[Json]:
        return [{"name": name, "datatype": datatype, "shape": shape} for name, datatype, shape in specs]

    inputs = [
        tensor | ({"reads": kinds[tensor["name"]]} if tensor["name"] in kinds else {}) for tensor in tensors(model.signature.input_specs)
    ]
    return {"name": model.name, "versions": versions, "inputs": inputs, "outputs": tensors(model.signature.output_specs)}


def _version_parameter(words: list[str]) -> Json:
    described = "A version's number, or a label."
    return {"name": "version", "in": "path", "required": True, "description": described, "schema": {"type": "string", "enum": words}}


def _infer_version(key: str, versions: list[Model], schemas: Json) -> Json:
    """Versions may differ in what they take: then the body is that of any of them."""
    newest = versions[-1]
    others = [model for model in versions[:-1] if _specs(model) != _specs(newest)]
    if not others:
        return _infer(key, newest)
    keys = [key]
    for model in others:
        keys.append(f"{key}.v{model.version}")
        schemas |= _schemas(keys[-1], model)
    operation = _infer(key, newest)
    for word in ("Request", "Response"):
        schemas[f"{key}.any{word}"] = {"anyOf": [_reference(f"{each}.{word}") for each in keys]}
    operation["requestBody"]["content"]["application/json"]["schema"] = _reference(f"{key}.anyRequest")
    operation["responses"]["200"]["content"]["application/json"]["schema"] = _reference(f"{key}.anyResponse")
    return operation


def _specs(model: Model) -> tuple[object, object]:
    return model.signature.input_specs, model.signature.output_specs


def _infer(key: str, model: Model) -> Json:
    content: Json = {"application/json": {"schema": _reference(f"{key}.Request"), **_examples(model)}}
    raw = raw_inputs(model)
    for each in raw:
        for media_type in each.media_types:
            text = {"schema": {"type": "string"}} if media_type.startswith("text/") else {}
            content.setdefault(media_type, text)
    if raw:
        fields = {each.name: {"type": "string", "contentMediaType": "application/octet-stream"} for each in raw}
        content["multipart/form-data"] = {"schema": {"type": "object", "properties": fields}}
    return {
        "summary": f"One inference by the model {model.name}.",
        "tags": ["infer"],
        "parameters": [
            {
                "name": "Inferd-Timeout-Ms",
                "in": "header",
                "description": "The deadline: the server never runs a request after it.",
                "schema": {"type": "integer", "minimum": 1},
            }
        ],
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": _ok("The outputs.", _reference(f"{key}.Response")),
            **_errors({status: text for status, text in STATUSES.items() if status not in ("412", "501")}),
        },
    }


def _schemas(key: str, model: Model) -> Json:
    """The schemas of one model's request and response."""
    signature = model.signature
    names = {"type": "object", "required": ["name"], "properties": {"name": {"enum": list(signature.output_names)}}}
    request: Json = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "inputs": {"type": "array", "minItems": 1, "items": _any(_tensor(*spec, sent=True) for spec in signature.input_specs)},
            "outputs": {"type": "array", "items": names, "description": "The outputs to return; left out: all."},
        },
    }
    if values := {each.name: _value(each) for each in raw_inputs(model) if each.kind != Kind.RECORD}:
        request = {"anyOf": [request, {"type": "object", "minProperties": 1, "additionalProperties": False, "properties": values}]}
    elif columns := [each for each in raw_inputs(model) if each.kind == Kind.RECORD]:
        request = {"anyOf": [request, _record(columns[0])]}
    response = {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "outputs": {"type": "array", "items": _any(_tensor(*spec, sent=False) for spec in signature.output_specs)},
        },
    }
    return {f"{key}.Request": request, f"{key}.Response": response}


def _any(schemas: Iterable[Json]) -> Json:
    found = list(schemas)
    return found[0] if len(found) == 1 else {"anyOf": found}


def _tensor(name: str, datatype: str, shape: tuple[int, ...], *, sent: bool) -> Json:
    sizes = [{"const": size} if size >= 0 else {"type": "integer", "minimum": 0} for size in shape]
    is_binary = datatype in RAW_ONLY
    properties: Json = {
        "name": {"const": name},
        "datatype": {"const": datatype},
        "shape": {"type": "array", "prefixItems": sizes, "minItems": len(sizes), "maxItems": len(sizes)} if sizes else {"const": []},
        "parameters": {"type": "object"},
    }
    if is_binary:
        properties["parameters"] = {
            "type": "object",
            "required": ["binary_data_size"],
            "properties": {"binary_data_size": {"type": "integer", "minimum": 0}},
            "description": f"{datatype} exists in binary alone, behind the JSON; Inference-Header-Content-Length is the JSON's length.",
        }
    else:
        flat = "The elements in row-major order" + (", flat or nested." if sent else ".")
        properties["data"] = {"type": "array", "items": _element(datatype), "description": flat}
    return {
        "type": "object",
        "required": ["name", "datatype", "shape", "parameters" if is_binary else "data"],
        "properties": properties,
    }


def _element(datatype: str) -> Json:
    if datatype == "BYTES":
        return {"type": "string"}
    if datatype == "BOOL":
        return {"type": "boolean"}
    if datatype.startswith("FP"):
        return {"type": "number"}
    bits = 8 * DATATYPES[datatype][1]
    is_signed = datatype.startswith("INT")
    least = -(1 << bits - 1) if is_signed else 0
    return {"type": "integer", "minimum": least, "maximum": least + (1 << bits) - 1}


def _value(raw: RawInput) -> Json:
    """An input in an object of values by their names."""
    is_file = raw.kind in (Kind.IMAGE, Kind.AUDIO)
    text: Json = {"type": "string", "contentEncoding": "base64"} if is_file else {"type": "string"}
    b64: Json = {"type": "object", "required": ["b64"], "properties": {"b64": {"type": "string", "contentEncoding": "base64"}}}
    return {"anyOf": [text, b64, {"type": "array", "items": {"anyOf": [text, b64]}}]}


COLUMN_TYPES = {"INT64": "integer", "BOOL": "boolean", "BYTES": "string"}


def _record(raw: RawInput) -> Json:
    types = {column.name: COLUMN_TYPES.get(column.datatype, "number") for column in _columns(raw)}
    return {"type": "object", "properties": {name: {"type": sorted({word, "string", "null"})} for name, word in types.items()}}


def _columns(raw: RawInput) -> Sequence[Any]:
    return [] if raw.step is None else list(raw.step.columns.columns)


# ---- examples ----


def _examples(model: Model) -> Json:
    example = example_of(model)
    return {} if example is None else {"examples": {"example": {"value": example}}}


def example_of(model: Model) -> Json | None:
    """A body that the model takes, as far as its configuration tells; None: it would be too long, or has no form in JSON."""
    specs = model.signature.input_specs
    raw = {each.name: each for each in raw_inputs(model)}
    values = {name: _example_value(each) for name, each in raw.items()}
    if values and len(specs) == len(raw) and all(isinstance(value, dict) for value in values.values()):
        return values
    sizes = {name: tuple(max(size, 1) for size in shape) for name, _, shape in specs}
    if sum(map(math.prod, sizes.values())) > MAX_EXAMPLE_ELEMENTS or any(datatype in RAW_ONLY for _, datatype, _ in specs):
        return None
    inputs = []
    for name, datatype, _ in specs:
        value = values[name] if name in raw else False if datatype == "BOOL" else 0
        if isinstance(value, dict):
            return None
        inputs.append({"name": name, "datatype": datatype, "shape": sizes[name], "data": [value] * math.prod(sizes[name])})
    return {"inputs": inputs}


def _example_value(raw: RawInput) -> str | Json:
    """A text; of a file an object with its base64."""
    match raw.kind:
        case Kind.IMAGE:
            return {"b64": PNG}
        case Kind.AUDIO:
            return {"b64": b64encode(_silence()).decode()}
        case Kind.RECORD:
            return _example_record(raw)
    return "A sentence."


def _silence() -> bytes:
    """A WAV file of 10 ms."""
    data = bytes(320)
    head = b"fmt " + b"".join(n.to_bytes(size, "little") for n, size in ((16, 4), (1, 2), (1, 2), (16000, 4), (32000, 4), (2, 2), (16, 2)))
    content = b"WAVE" + head + b"data" + len(data).to_bytes(4, "little") + data
    return b"RIFF" + len(content).to_bytes(4, "little") + content


def _example_record(raw: RawInput) -> str:
    def value(column: Any) -> Any:
        if column.allowed:
            return column.allowed[0]
        return {"BYTES": "text", "BOOL": False}.get(column.datatype, 0)

    return msgspec.json.encode({column.name: value(column) for column in _columns(raw)}).decode()


# ---- what every server has ----


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _ok(description: str, schema: Json | None = None) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema or {"type": "object"}}}}


def _errors(statuses: dict[str, str]) -> Json:
    return {status: _ok(text, _reference("Error")) for status, text in statuses.items()}


ERROR: Json = {
    "type": "object",
    "required": ["error", "code"],
    "properties": {
        "error": {"type": "string", "description": "The field, what was expected, what came, and how to mend it."},
        "code": {"type": "string", "description": "The status by gRPC's name, such as INVALID_ARGUMENT."},
    },
}


def _get(operation_id: str, summary: str, *others: str, parameters: Sequence[str] = ()) -> Json:
    found: Json = {
        "operationId": operation_id,
        "summary": summary,
        "responses": {"200": _ok(summary), **_errors({status: STATUSES[status] for status in ("401", *others)})},
    }
    if parameters:
        found["parameters"] = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in parameters]
    return found


def _post(operation_id: str, summary: str, *others: str, parameters: Sequence[str] = (), schema: Json | None = None) -> Json:
    body = {"content": {"application/json": {"schema": schema or {"type": "object"}}}}
    return _get(operation_id, summary, "400", "403", *others, parameters=parameters) | {"requestBody": body}


def _order(operation_id: str, summary: str) -> Json:
    """Loads or unloads. Its response has no body."""
    found = _post(operation_id, summary, "404", "412", parameters=["model"])
    found["responses"]["200"] = {"description": "It is done."}
    return found


_, ROLLOUT_SCHEMAS = msgspec.json.schema_components(
    [
        JsonBody(message, "model_name").struct
        for message in (options.StartRolloutRequest, options.RolloutRequest, options.ReportOutcomesRequest)
    ],
    ref_template="#/components/schemas/{name}",
)


def _rollout(operation_id: str, summary: str, body: str = "RolloutRequest") -> Json:
    return _post(operation_id, summary, "404", "412", parameters=["model"], schema=_reference(body))


def _ready(operation_id: str, summary: str, *parameters: str) -> Json:
    found = _state(operation_id, summary, "ready")
    found["parameters"] = _get("", "", parameters=parameters)["parameters"]
    return found


def _state(operation_id: str, summary: str, schema_name: str) -> Json:
    schema = {"type": "object", "required": [schema_name], "properties": {schema_name: {"type": "boolean"}}}
    return {
        "operationId": operation_id,
        "summary": summary,
        "security": [],
        "responses": {"200": _ok("Yes.", schema), "503": _ok("No.", schema)},
    }


PATHS: Json = {
    "/v2": {"get": _get("server", "The server's name, version and extensions.")},
    "/v2/health/live": {"get": _state("live", "Whether the server runs.", "live")},
    "/v2/health/ready": {"get": _state("ready", "Whether it takes requests.", "ready")},
    "/v2/models/{model}": {"get": _get("model", "Names, datatypes and shapes of a model.", "404", "503", parameters=["model"])},
    "/v2/models/{model}/config": {"get": _get("config", "A model's configuration, as it is in force.", "404", "503", parameters=["model"])},
    "/v2/models/{model}/stats": {"get": _get("statistics", "Counts and durations of a model.", "400", parameters=["model"])},
    "/v2/models/stats": {"get": _get("allStatistics", "Counts and durations of all models.")},
    "/v2/models/{model}/ready": {"get": _ready("modelReady", "Whether a model takes requests.", "model")},
    "/v2/models/{model}/versions/{version}/ready": {
        "get": _ready("versionReady", "Whether a version takes requests.", "model", "version"),
    },
    "/v2/repository/index": {
        "get": _get("indexRead", "Every version with its state."),
        "post": _post("index", "Every version with its state."),
    },
    "/v2/repository/models/{model}/load": {
        "post": _order("load", "Loads a model, with --model-control explicit."),
    },
    "/v2/repository/models/{model}/unload": {
        "post": _order("unload", "Unloads a model, with --model-control explicit."),
    },
    "/v2/rollouts": {"get": _get("rollouts", "The rollouts of all models.", "412")},
    "/v2/models/{model}/rollout": {
        "get": _get("rollout", "A model's rollout: what runs, or what ran last.", "404", "412", parameters=["model"]),
        "post": _rollout("startRollout", "Begins a rollout.", "StartRolloutRequest"),
    },
    "/v2/models/{model}/rollout/promote": {"post": _rollout("promoteRollout", "Ends it: all requests go to the new version.")},
    "/v2/models/{model}/rollout/rollback": {"post": _rollout("rollBackRollout", "Ends it: all requests go to the stable version.")},
    "/v2/models/{model}/rollout/stop": {"post": _rollout("stopRollout", "Ends it without a verdict.")},
    "/v2/models/{model}/rollout/outcomes": {
        "post": _rollout("reportOutcomes", "Reports for requests, by id, whether their response was right.", "ReportOutcomesRequest"),
    },
    "/v2/logging": {"get": _get("logSettings", "The log's level."), "post": _post("setLogSettings", "Sets the log's level.")},
    "/v2/models/{model}/trace/setting": {
        "get": _get("modelTraceSettings", "What is traced of a model.", "404", parameters=["model"]),
        "post": _post("setModelTraceSettings", "Sets what is traced of a model.", "404", "501", parameters=["model"]),
    },
    "/v2/trace/setting": {
        "get": _get("traceSettings", "What is traced."),
        "post": _post("setTraceSettings", "Sets what is traced.", "501"),
    },
    "/metrics": {
        "get": _get("metrics", "The page of the metrics port.", "501")
        | {
            "responses": {
                "200": {"description": "The metrics.", "content": {"text/plain": {"schema": {"type": "string"}}}},
                **_errors({status: STATUSES[status] for status in ("401", "501")}),
            }
        },
    },
}
