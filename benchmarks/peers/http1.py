"""One request over HTTP/1.1 in each form that a peer asks for, and the tensor in its answer. Never in here: sockets, measuring.

http       the plain bytes of the inputs, one after another; the answer is those of the first output
json       {"x": [[...]]}, answered by {"y": [[...]]}: what a service has that someone wrote for one model
v2-json    the Open Inference Protocol's REST: tensors as JSON
v2-binary  the same with Triton's binary extension, both ways
echo       a v2-json request, which comes back as it is: a yardstick without a model
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http.client import HTTPMessage
from typing import NamedTuple

import numpy as np

from .models import Array, Model

DATATYPES = {"float32": "FP32", "int64": "INT64"}
JSON = {"content-type": "application/json"}
OCTETS = {"content-type": "application/octet-stream"}
JSON_NBYTES = "Inference-Header-Content-Length"


class Request(NamedTuple):
    """A POST."""

    path: str
    headers: dict[str, str]
    body: bytes


def request(protocol: str, model: Model) -> Request:
    return REQUESTS[protocol](model)


def plain(model: Model) -> Request:
    return Request("/infer", OCTETS, b"".join(value.tobytes() for value in model.inputs.values()))


def named(model: Model) -> Request:
    return Request("/infer", JSON, compact({name: value.tolist() for name, value in model.inputs.items()}))


def v2_json(model: Model) -> Request:
    tensors = [{**described(name, value), "data": value.ravel().tolist()} for name, value in model.inputs.items()]
    return Request(f"/v2/models/{model.name}/infer", JSON, compact({"inputs": tensors}))


def v2_binary(model: Model) -> Request:
    tensors = [{**described(name, value), "parameters": {"binary_data_size": value.nbytes}} for name, value in model.inputs.items()]
    head = compact({"inputs": tensors, "parameters": {"binary_data_output": True}})
    headers = {**OCTETS, JSON_NBYTES: str(len(head))}
    return Request(f"/v2/models/{model.name}/infer", headers, head + plain(model).body)


def echo(model: Model) -> Request:
    return v2_json(model)._replace(path="/")


REQUESTS: dict[str, Callable[[Model], Request]] = {
    "http": plain,
    "json": named,
    "v2-json": v2_json,
    "v2-binary": v2_binary,
    "echo": echo,
}


def described(name: str, value: Array) -> dict[str, object]:
    return {"name": name, "datatype": DATATYPES[value.dtype.name], "shape": value.shape}


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def output(protocol: str, model: Model, headers: HTTPMessage, body: bytes) -> Array:
    """The model's output in a right answer. Of another one: an error of its form, or an array that is not the expected one."""
    dtype = model.expected.dtype
    if protocol == "http":
        return np.frombuffer(body, dtype)
    if protocol == "v2-binary":
        return np.frombuffer(body[int(headers[JSON_NBYTES]) :], dtype)
    found = json.loads(body)
    if protocol == "json":
        return np.array(found[model.output], dtype).ravel()
    return np.array(found["inputs" if protocol == "echo" else "outputs"][0]["data"], dtype).ravel()
