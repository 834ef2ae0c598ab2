"""Requests that were recorded: a file of ModelInferRequest messages behind gRPC's prefix, as they travel and as h2load's -d has them.

Each is a 0 byte (not compressed), a length of 4 bytes, big-endian, and the message; one after the other. Never in here: sending.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from inferd.client_inputs.files import read_whole
from inferd.client_inputs.inputs import listed
from inferd.client_inputs.targets import require_client
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inferd.client_inputs.targets import Description
    from inferd.protocol.inference import InferTensorContents, ModelInferRequest
    from inferd.tensors import Array

MAX_FILE_BYTES = 1 << 30
MOST_REQUESTS = 1_000_000
PREFIX = struct.Struct(">BI")  # compressed or not, length
TYPED = {  # datatype -> the field of InferTensorContents
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def read_recording(path: str) -> list[bytes]:
    """The messages of a file, unread. Raises ConfigError, which names the request and where it begins."""
    content = read_whole(path, f"--recorded {path}", MAX_FILE_BYTES, "send fewer requests")
    messages: list[bytes] = []
    at = 0
    while at < len(content):
        where = f"--recorded {path}: request {len(messages)} at byte {at}"
        if len(messages) == MOST_REQUESTS:
            raise ConfigError(f"{where}: expected {MOST_REQUESTS:,} requests at most")
        if at + PREFIX.size > len(content):
            raise ConfigError(f"{where}: expected 5 bytes before the message, got {len(content) - at}")
        compressed, length = PREFIX.unpack_from(content, at)
        if compressed:
            raise ConfigError(f"{where}: expected a message that is not compressed (0), got {compressed}")
        at += PREFIX.size
        if at + length > len(content):
            raise ConfigError(f"{where}: expected a message of {length} bytes, got {len(content) - at}")
        messages.append(bytes(content[at : at + length]))
        at += length
    if not messages:
        raise ConfigError(f"--recorded {path}: expected requests, got an empty file")
    return messages


def readdress(messages: Sequence[bytes], description: Description, where: str) -> tuple[list[bytes], list[dict[str, Array]]]:
    """The bodies for another model and version, all else being equal, with raw contents; and the arrays in each.

    Raises ConfigError where one is no request, or has an input that the model lacks.
    """
    from inferd.protocol import inference

    bodies: list[bytes] = []
    inputs: list[dict[str, Array]] = []
    known = {spec.name: spec for spec in description.inputs}
    for index, message in enumerate(messages):
        try:
            request = inference.ModelInferRequest.FromString(message)
            arrays = _arrays(request)
        except Exception as error:  # protobuf's DecodeError, which only inferd.protocol may import; ValueError
            raise ConfigError(f"{where}: request {index}: expected a ModelInferRequest: {error}") from None
        for tensor in request.inputs if known else ():
            if tensor.name not in known or tensor.datatype != known[tensor.name].datatype:
                takes = listed(description.inputs)
                raise ConfigError(f"{where}: request {index} has the input {tensor.name} ({tensor.datatype}); the model takes: {takes}")
        request.model_name, request.model_version = description.model, description.version
        if not request.raw_input_contents:
            for tensor in request.inputs:
                tensor.ClearField("contents")
                request.raw_input_contents.append(bytes(require_client().tensors.encode(arrays[tensor.name], tensor.datatype)))
        bodies.append(request.SerializeToString())
        inputs.append(arrays)
    return bodies, inputs


def _arrays(request: ModelInferRequest) -> dict[str, Array]:
    """Inputs by name. ValueError where contents are not what datatype and shape say."""
    tensors = require_client().tensors
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise ValueError(f"it has {len(request.inputs)} inputs, and raw contents of {len(raw)}")
    arrays: dict[str, Array] = {}
    for index, tensor in enumerate(request.inputs):
        if "shared_memory_region" in tensor.parameters:
            raise ValueError(f"the input '{tensor.name}' lies in shared memory, which no file holds")
        try:
            if raw:
                arrays[tensor.name] = tensors.decode(raw[index], tensor.datatype, tuple(tensor.shape))
            else:
                arrays[tensor.name] = _typed(tensor.contents, tensor.datatype).reshape(tuple(tensor.shape))
        except ValueError as error:
            raise ValueError(f"input '{tensor.name}': {error}") from None
    return arrays


def _typed(contents: InferTensorContents, datatype: str) -> Array:
    field = TYPED.get(datatype)
    if field is None:
        raise ValueError(f"expected raw contents for {datatype}")
    array: Array = require_client().tensors.array_of(list(getattr(contents, field)), datatype)
    return array
