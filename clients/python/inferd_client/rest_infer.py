"""ModelInfer over HTTP: the serialized ModelInferRequest as JSON and tensors, and what comes back as a ModelInferResponse.

By Triton's binary extension tensors follow the JSON as they are, without a copy. For a server without it they are numbers and texts in the
JSON. Sends nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from inferd_client import codec, messages, tensors
from inferd_client.rest import JSON_NBYTES, HttpRequest, HttpResponse, Part, document_of, target_of, unreadable

__all__ = ["infer_message", "infer_request"]

_FAULTS = (AttributeError, KeyError, OverflowError, TypeError, ValueError)


def infer_request(message: bytes, *, binary: bool) -> HttpRequest:
    """Raises ValueError for a tensor that JSON cannot hold."""
    head, raws = codec.split(message, codec.RAW_INPUT_CONTENTS)
    request = messages.ModelInferRequest.FromString(head)
    parameters = _values(request.parameters)
    if binary:
        parameters["binary_data_output"] = True
    document: dict[str, Any] = {"inputs": [_input(tensor, raw, binary) for tensor, raw in zip(request.inputs, raws, strict=True)]}
    if request.id:
        document["id"] = request.id
    if parameters:
        document["parameters"] = parameters
    if request.outputs:
        document["outputs"] = [{"name": output.name} for output in request.outputs]
    text = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    target = target_of(request.model_name, request.model_version, "/infer")
    if not binary:
        return HttpRequest("POST", target, (("content-type", "application/json"),), (text,))
    headers = (("content-type", "application/octet-stream"), (JSON_NBYTES, str(len(text))))
    return HttpRequest("POST", target, headers, (text, *raws))


def _input(tensor: messages.ModelInferRequest.InferInputTensor, raw: memoryview, binary: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": tensor.name, "shape": list(tensor.shape), "datatype": tensor.datatype}
    if binary:
        found["parameters"] = {"binary_data_size": len(raw)}
        return found
    try:
        found["data"] = _data(tensors.decode(raw, tensor.datatype, tuple(tensor.shape)).reshape(-1), tensor.datatype)
    except ValueError as error:
        raise ValueError(f"input {tensor.name!r}: this server takes JSON alone, and {error}") from error
    return found


def _data(array: tensors.Array, datatype: str) -> list[Any]:
    """Values as JSON has them."""
    if datatype == "BYTES":
        try:
            return [element.decode() for element in array]
        except UnicodeDecodeError:
            raise ValueError("these bytes are no text in UTF-8") from None
    if datatype == "BF16":
        raise ValueError("BF16 is no number of JSON: convert the input to FP32")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError("there is no NaN and no infinity in JSON")
    values: list[Any] = array.tolist()
    return values


def infer_message(response: HttpResponse) -> bytes:
    """The serialized ModelInferResponse. Raises InferenceError."""
    try:
        end = None if (said := response.headers.get(JSON_NBYTES)) is None else int(said)
        if end is not None and end < 0:
            raise ValueError(f"{JSON_NBYTES} is {said}")
    except ValueError as error:
        raise unreadable(error) from error
    document = document_of(response, end)
    try:
        return _message(document, b"" if end is None else response.body[end:])
    except _FAULTS as error:
        raise unreadable(error) from error


def _message(document: Any, rest: Part) -> bytes:
    made = messages.ModelInferResponse(
        model_name=document.get("model_name") or "", model_version=document.get("model_version") or "", id=document.get("id") or ""
    )
    _set(made.parameters, document.get("parameters") or {})
    raws: list[Part] = []
    at = 0
    for output in document["outputs"]:
        datatype = output["datatype"]
        tensor = made.outputs.add(name=output["name"], datatype=datatype, shape=output["shape"])
        parameters = dict(output.get("parameters") or {})
        nbytes = parameters.pop("binary_data_size", None)
        _set(tensor.parameters, parameters)
        if nbytes is None:
            with np.errstate(over="ignore"):  # a number that is too large for its datatype is infinite
                raws.append(tensors.encode(tensors.array_of(output["data"], datatype), datatype))
            continue
        if not 0 <= nbytes <= len(rest) - at:
            raise ValueError(f"output {tensor.name!r} says {nbytes} bytes, but {len(rest) - at} are left")
        raws.append(rest[at : at + nbytes])
        at += nbytes
    return codec.joined(made, codec.RAW_OUTPUT_CONTENTS, raws)


def _values(parameters: Mapping[str, messages.InferParameter]) -> dict[str, Any]:
    return {name: codec.parameter_value(value) for name, value in parameters.items()}


def _set(parameters: Any, said: Mapping[str, Any]) -> None:
    """Sets the parameters that a message has room for: no null, no lists, no objects."""
    for name, value in said.items():
        if isinstance(value, (bool, int, float, str)):
            codec.set_parameter(parameters[name], name, value)
