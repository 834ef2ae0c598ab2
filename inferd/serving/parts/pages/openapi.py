"""/openapi.json: the paths of REST as OpenAPI 3.1, with the real inputs and outputs of the models that are ready.

Never in here: HTTP, the operations of a part's paths (inferd.part.operation).
"""

from __future__ import annotations

import math
import re
import time
import weakref
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from inferd._core.tensor.datatypes import DATATYPES
from inferd.engine.models.labels import versions_of
from inferd.observe.text_format import REST_S
from inferd.part.operation import STATUSES, Json, errors, ok, reference
from inferd.serving.rest.raw_body import ContentKind, raw_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from inferd.engine.model import Model
    from inferd.engine.models.repository import Repository
    from inferd.part import Resource
    from inferd.serving.rest.raw_body import RawInput

TensorSpec = tuple[str, str, tuple[int, ...]]  # name, datatype, shape

MAX_EXAMPLE_ELEMENTS = 256  # of all inputs; a picture's pixels would fill the document
RAW_ONLY = ("FP16", "BF16")
# One white pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg=="


class OpenApi:
    """The document of one repository, made again when its models have changed. Only one thread may use it. It rests after each model, so
    that the event loop gets its turn."""

    def __init__(self, repository: Repository, version: str, resources: Callable[[], Sequence[Resource]]) -> None:
        self._repository, self._version, self._resources = repository, version, resources
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
            self._document = msgspec.json.encode(_document(by_name, names, self._version, self._resources()))
            self._made_of = made_of
        return self._document


def _document(models: dict[str, list[Model]], labels: dict[str, dict[str, int]], version: str, resources: Sequence[Resource]) -> Json:
    paths, schemas = _of_parts(resources)
    schemas = {"Error": ERROR, **schemas}
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
        "info": {"title": "inferd", "version": version, "description": "The models of this server, by the Open Inference Protocol v2."},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
    }


# ---- models ----


def _of_model(key: str, versions: list[Model], words: list[str]) -> tuple[Json, Json]:
    """A model's paths, and the schemas that they name."""
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
    """The operation for any version. If versions differ in their tensors, the body may be that of any of them."""
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
        schemas[f"{key}.any{word}"] = {"anyOf": [reference(f"{each}.{word}") for each in keys]}
    operation["requestBody"]["content"]["application/json"]["schema"] = reference(f"{key}.anyRequest")
    operation["responses"]["200"]["content"]["application/json"]["schema"] = reference(f"{key}.anyResponse")
    return operation


def _specs(model: Model) -> tuple[object, object]:
    return model.signature.input_specs, model.signature.output_specs


def _infer(key: str, model: Model) -> Json:
    content: Json = {"application/json": {"schema": reference(f"{key}.Request")}}
    if (example := example_of(model)) is not None:
        content["application/json"]["examples"] = {"example": {"value": example}}
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
            "200": ok("The outputs.", reference(f"{key}.Response")),
            **errors(status for status in STATUSES if status not in ("412", "501")),
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
    if values := {each.name: _value(each) for each in raw_inputs(model) if each.kind != ContentKind.RECORD}:
        request = {"anyOf": [request, {"type": "object", "minProperties": 1, "additionalProperties": False, "properties": values}]}
    elif columns := [each for each in raw_inputs(model) if each.kind == ContentKind.RECORD]:
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
    return {"type": "object", "required": ["name", "datatype", "shape", "parameters" if is_binary else "data"], "properties": properties}


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
    is_file = raw.kind in (ContentKind.IMAGE, ContentKind.AUDIO)
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


def example_of(model: Model) -> Json | None:
    """A body that the model takes, by its configuration; None: it would be too long, or JSON cannot express it."""
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
    """A text; for a file, an object with its base64."""
    match raw.kind:
        case ContentKind.IMAGE:
            return {"b64": PNG}
        case ContentKind.AUDIO:
            return {"b64": b64encode(_silence()).decode()}
        case ContentKind.RECORD:
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


# ---- paths of the server's parts ----

ERROR: Json = {
    "type": "object",
    "required": ["error", "code"],
    "properties": {
        "error": {"type": "string", "description": "The field, what was expected, what came, and how to mend it."},
        "code": {"type": "string", "description": "The status by gRPC's name, such as INVALID_ARGUMENT."},
    },
}


def _of_parts(resources: Sequence[Resource]) -> tuple[Json, Json]:
    """The paths of these resources, and the schemas that they name."""
    paths: Json = {}
    for resource in resources:
        operations = {name.lower(): verb.operation for name, verb in resource.verbs.items() if verb.operation is not None}
        if operations:
            paths[f"/{resource.path}"] = operations
        if resource.of_version is not None:
            paths[f"/{resource.path}".replace("{model}", "{model}/versions/{version}")] = {"get": resource.of_version}
    bodies = {verb.body: None for resource in resources for verb in resource.verbs.values() if verb.body is not None}
    _, schemas = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    return paths, schemas
